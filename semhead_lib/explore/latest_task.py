"""Background work: of several requests in a row, only the newest is computed, so that sliders stay responsive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Task = TypeVar("Task")


class LatestTask(Generic[Task]):
    """A thread that takes the newest task through steps, from quick to slow.

    A task is not taken through further steps after a newer one has arrived: the first steps show
    every task that there was time for, the last steps only those that stayed. Errors go to `failed`
    and end the task.
    """

    def __init__(
        self,
        steps: Sequence[Callable[[Task], None]],
        failed: Callable[[Exception], None],
        pause: float = 0.15,
    ) -> None:
        self._steps, self._failed = steps, failed
        self._pause = pause  # seconds that a task has to stay before its second step
        self._changed = threading.Condition()
        self._task: Task | None = None
        self._number = self._done = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True, name="semhead explorer")
        self._thread.start()

    def submit(self, task: Task) -> None:
        """Do this task next, in place of any that waits."""
        with self._changed:
            self._task, self._number = task, self._number + 1
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Until the newest task went through all steps; False when that took longer than `timeout`
        seconds."""
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
                task, number = self._task, self._number
            assert task is not None  # it came with its number
            try:
                for place, step in enumerate(self._steps):
                    if place and self._superseded(number, self._pause if place == 1 else 0.0):
                        break
                    step(task)
            except Exception as error:
                self._failed(error)
            with self._changed:
                self._done = number
                self._changed.notify_all()

    def _superseded(self, number: int, seconds: float) -> bool:
        """Whether another task came, or the end, within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or self._number != number, seconds)
