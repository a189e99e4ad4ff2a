"""Progress of what takes long: tqdm's bar where tqdm is installed, else a plain line now and
then."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

_EVERY = 10.0  # seconds between plain lines


def progress_bar(
    total: float, unit: str, *, initial: float = 0, shown: bool = True, **of_tqdm: Any
) -> Any:
    """A bar with the part of `tqdm.tqdm` that is used here: `n`, `update`, `set_postfix`, `close`,
    a with-block.

    `of_tqdm` goes to tqdm alone.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        return PlainProgress(total, unit, initial, shown)
    return tqdm(total=total, unit=unit, initial=initial, disable=not shown, **of_tqdm)


class PlainProgress:
    """Lines such as "12 of 200 kimg, loss_g 0.69" on standard error, one in ten seconds at most and
    one at the end.

    >>> with PlainProgress(4, "step", 0, shown=False) as bar:
    ...     bar.update(3)
    >>> bar.n
    3
    """

    def __init__(self, total: float, unit: str, initial: float, shown: bool) -> None:
        self.total, self.unit, self.n, self.shown = total, unit, initial, shown
        self._postfix, self._written, self._at = "", None, time.monotonic()

    def update(self, n: float = 1) -> None:
        self.n += n
        if time.monotonic() - self._at >= _EVERY:
            self._write()

    def set_postfix(self, values: Mapping[str, Any], refresh: bool = True) -> None:
        self._postfix = "".join(f", {name} {value}" for name, value in values.items())

    def close(self) -> None:
        if self._written != self.n:
            self._write()

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self) -> None:
        self._written, self._at = self.n, time.monotonic()
        if self.shown:
            print(
                f"{self.n:.4g} of {self.total:.4g} {self.unit}{self._postfix}",
                file=sys.stderr,
                flush=True,
            )
