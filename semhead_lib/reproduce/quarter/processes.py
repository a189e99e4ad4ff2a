"""Steps as processes with a time limit, their output in one log. Needs nothing but Python."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_GRACE = 10.0  # seconds that a process has to end when asked


class Log:
    """Lines with the seconds since the start, in a file and on standard output."""

    def __init__(self, path: Path) -> None:
        self.began, self._lock = time.monotonic(), threading.Lock()
        self._file = open(path, "a", encoding="utf-8", errors="replace")  # noqa: SIM115 (for the whole process)

    def write(self, step: str, text: str) -> None:
        line = f"{time.monotonic() - self.began:7.1f} s  {step:<7} {text.rstrip()}"
        with self._lock:
            with contextlib.suppress(OSError):  # a disk that is full
                self._file.write(line + "\n")
                self._file.flush()
            with contextlib.suppress(OSError):  # a terminal that has gone
                print(line, flush=True)


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    seconds: float
    reason: str  # why it did not end well, "" when it did
    cut_off: bool = False  # its time was over: it did not fail

    @property
    def well(self) -> bool:
        return not self.reason


def run(
    step: str,
    command: list[str],
    log: Log,
    limit: float,  # seconds
    *,
    environment: dict[str, str] | None = None,
    stopped: Callable[[], bool] = lambda: False,
    meanwhile: Callable[[], None] = lambda: None,  # called once a second
    grace: float = _GRACE,  # seconds from the request to end to the end by force
) -> Ended:
    """Run a command in a process group of its own until it ends, `limit` is over, or `stopped()`.

    It is then asked to end by SIGTERM, and killed with all its children `grace` seconds later.
    """
    began, last = time.monotonic(), [""]
    if limit <= 0:
        return Ended(-1, 0.0, "no time was left")
    try:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
            env=os.environ | (environment or {}),
        )
    except OSError as error:
        return Ended(-1, 0.0, f"{command[0]} does not start: {error}")

    def listen() -> None:
        for line in process.stdout or ():
            if line.strip():
                last[0] = line.strip()
                log.write(step, line)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    why, cut_off = "", False
    while process.poll() is None:
        left = limit - (time.monotonic() - began)
        if stopped() or left <= 0:
            cut_off = not stopped()
            why = f"cut off after {limit:.0f} s" if cut_off else "stopped by a signal"
            _end(process, grace)
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(1.0, left))
        meanwhile()
    _kill(process)  # children that outlived it
    listener.join(5)
    if not why and process.returncode:
        by = (
            f"signal {-process.returncode}"
            if process.returncode < 0
            else f"exit code {process.returncode}"
        )
        why = f"{last[0] or 'it said nothing'} ({by})"
    return Ended(process.returncode, time.monotonic() - began, why, cut_off)


def _end(process: subprocess.Popen, grace: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
