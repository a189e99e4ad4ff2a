"""Work beside the kernel: of many wishes in a row the newest is done, so that sliders stay live."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Wish = TypeVar("Wish")


class Newest(Generic[Wish]):
    """A thread that takes the newest wish through steps, from quick to slow.

    A wish that is followed by another before a step is not taken through that step: the first steps show each wish that
    there was time for, the last ones only those that stayed. Errors go to `failed` and end the wish.
    """

    def __init__(
        self, steps: Sequence[Callable[[Wish], None]], failed: Callable[[Exception], None], pause: float = 0.15
    ) -> None:
        self._steps, self._failed = steps, failed
        self._pause = pause  # seconds that a wish has to stay before its second step
        self._changed = threading.Condition()
        self._wish: Wish | None = None
        self._number = self._done = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True, name="semhead explorer")
        self._thread.start()

    def want(self, wish: Wish) -> None:
        """Wish for something else."""
        with self._changed:
            self._wish, self._number = wish, self._number + 1
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Until the newest wish went through all steps; False when that took longer than `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._done == self._number, timeout)

    def close(self) -> None:
        """End the thread after the step it is at."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._done != self._number)
                if self._closed:
                    return
                wish, number = self._wish, self._number
            assert wish is not None  # it came with its number
            try:
                for place, step in enumerate(self._steps):
                    if place and self._superseded(number, self._pause if place == 1 else 0.0):
                        break
                    step(wish)
            except Exception as error:
                self._failed(error)
            with self._changed:
                self._done = number
                self._changed.notify_all()

    def _superseded(self, number: int, seconds: float) -> bool:
        """Whether another wish came, or the end, within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or self._number != number, seconds)
