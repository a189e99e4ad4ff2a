"""Jobs that outlive the command that started them: they stop soon, and the next ones wait for it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

_GRACE = 90  # seconds that a job needs at most to stop


def end_with(parent: int) -> None:
    """Stop, as for Ctrl-C, when the process that started this one is gone, however it ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def wait_for(lock: Callable[[], AbstractContextManager[None]], seconds: int = _GRACE) -> None:
    """Until a job that lost its parent, and is about to end, leaves what `lock` holds to this one;
    at most that long."""
    for _ in range(seconds):
        with contextlib.suppress(RuntimeError, BlockingIOError), lock():
            return
        time.sleep(1)
