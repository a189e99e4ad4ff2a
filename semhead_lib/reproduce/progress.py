"""How far an execution is, and how that is written on a terminal or into a log."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass, field


@dataclass
class Progress:
    """Where a notebook's execution is."""

    cell: int = 0  # number of the cell being executed, from 1; 0 = the kernel is starting
    cells: int = 0  # how many there are, the injected parameters included
    started: float = field(default_factory=time.monotonic)
    memory: int = 0  # bytes, the kernel's process tree now
    peak: int = 0  # bytes, the most seen
    looked: float = 0.0  # when the memory was measured last

    def __str__(self) -> str:
        where = f"cell {self.cell}/{self.cells}" if self.cell else "starting"
        return f"{where}, {duration(self.seconds)}, {size(self.memory)}"

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def look(self, kernel: int | None) -> None:
        """Measure the memory of a kernel and its descendants, at most once a second, since it takes
        milliseconds of theirs; memory that processes share counts once, where the system tells."""
        import psutil

        if kernel is None or time.monotonic() - self.looked < 1:
            return
        self.looked = time.monotonic()
        total = 0
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(kernel)
            for process in [parent, *parent.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    memory = process.memory_full_info()
                    total += getattr(memory, "pss", memory.rss)
        self.memory, self.peak = total, max(self.peak, total)


class ProgressLine:
    """One line of progress: rewritten in place on a terminal, printed every 20 seconds into a
    file."""

    def __init__(self, label: str = "", every: float = 20.0):
        self.label, self.every = f"{label}: " if label else "", every
        self.last, self.tty = time.monotonic(), sys.stdout.isatty()

    def show(self, text: str) -> None:
        """Say where things are now."""
        if self.tty:
            print(f"\r\x1b[2K{self.label}{text}", end="", flush=True)
        elif time.monotonic() - self.last >= self.every:
            self.last = time.monotonic()
            print(f"{self.label}{text}", flush=True)

    def end(self) -> None:
        """Leave the line empty for what comes next."""
        if self.tty:
            print("\r\x1b[2K", end="", flush=True)


def duration(seconds: float) -> str:
    """Minutes and seconds, with hours when there are any.

    >>> duration(75), duration(3725)
    ('1:15', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: float) -> str:
    """Bytes as MB or GB (powers of ten).

    >>> size(312_000_000), size(1_240_000_000)
    ('312 MB', '1.2 GB')
    """
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
