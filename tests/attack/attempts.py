"""One attempt: a forked child reads what was damaged, within limits of time and memory, and what
came of it is classified."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GOOD = ("refused", "identical", "harmless")
BAD = ("silent", "unnamed", "unclear", "hang", "memory", "crash", "lost")


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt, one of GOOD or BAD, and what was said."""

    kind: str
    said: str
    seconds: float

    @property
    def good(self) -> bool:
        return self.kind in GOOD


def digest(value: Any) -> str:
    """Tells one value from another: of tensors, arrays, dataclasses and what JSON knows."""
    found = hashlib.sha256()
    _feed(found, value)
    return found.hexdigest()


def _feed(found: Any, value: Any) -> None:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if hasattr(value, "tobytes"):
        found.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            found.update(f"{key}:".encode())
            _feed(found, value[key])
    elif isinstance(value, list | tuple):
        found.update(b"[%d" % len(value))
        for item in value:
            _feed(found, item)
    else:
        found.update(value if isinstance(value, bytes) else repr(value).encode())


def tree(folder: Path) -> dict[str, bytes]:
    """Name and content of every file of a folder, hidden ones left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def attempt(
    read: Callable[[], Any],
    plain: Callable[[], Any] | None,  # what another reader finds in the same input
    truth: str | None,  # digest of what the undamaged input gives; None: find it
    path: Path,  # of what was damaged, which an error has to name
    folder: Path,  # for what the child prints
    seconds: float = 60.0,
    memory: int = 2 << 30,  # bytes beyond what is held now
) -> tuple[Outcome, str | None]:
    """The outcome, and the digest of what was read."""
    began, printed = time.monotonic(), folder / "printed.txt"
    result, answer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(result)
        _child(read, plain, truth, answer, printed, memory)
    os.close(answer)
    text, hung = _wait(result, pid, seconds)
    _, status = os.waitpid(pid, 0)
    took = time.monotonic() - began
    said = printed.read_text(errors="replace") if printed.exists() else ""
    if hung:
        return Outcome("hang", f"no end after {seconds:.0f} s", took), None
    if not text:
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {status}"
        return Outcome("crash", f"{how}: {said[-300:]}", took), None
    answered = json.loads(text)
    if answered["code"]:
        return _refused(said, path, took), None
    found = answered["found"]
    if truth is None or found == truth:
        return Outcome("identical", said[-300:], took), found
    if found == answered["plain"]:
        return Outcome("harmless", said[-300:], took), found
    lines = [line for line in said.splitlines() if path.name in line]
    if lines:  # it went on without what was damaged, and said so
        return Outcome("refused", lines[-1][:300], took), found
    return Outcome("silent", said[-300:], took), found


def _refused(said: str, path: Path, took: float) -> Outcome:
    at = said.rfind("semhead: ")
    message = said[max(at, 0) :].strip()
    kind = "refused"
    if "MemoryError" in message or "not enough memory" in message:
        kind = "memory"
    elif at < 0 or "SEMHEAD_DEBUG" in message or "Traceback" in said or "\n" in message:
        kind = "unclear"
    elif path.name not in message and not _of_folder(path, message):
        kind = "unnamed"
    return Outcome(kind, message[-400:], took)


def _of_folder(path: Path, message: str) -> bool:
    """Whether the message is of a folder and one of its settings or images, which files beside
    them describe."""
    begun = "was begun with" in message or path.name == "dataset.json"
    return begun and any(str(folder) in message for folder in list(path.parents)[:2])


def _child(read, plain, truth, answer: int, printed: Path, memory: int) -> None:
    """Read, answer with a line of JSON, and end: nothing of the parent goes on in the child."""
    from semhead_lib.cli import _in_words

    os.setpgrp()
    out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    held = _held() + memory
    resource.setrlimit(resource.RLIMIT_DATA, (held, held))
    found: dict[str, Any] = {"code": 1}
    try:
        value = digest(read())
        found = {"code": 0, "found": value, "plain": None}
        if plain is not None and value != truth:
            try:
                found["plain"] = digest(plain())
            except Exception as error:
                print(f"(the plain reader: {error!r:.200})")
    except SystemExit:  # of a command, which has said why
        pass
    except BaseException as error:
        print(f"semhead: error: {_in_words(error)}")  # type: ignore
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(answer, json.dumps(found).encode())
        os._exit(0)


def _held() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData"):
            return int(line.split()[1]) << 10
    return 0


def _wait(result: int, pid: int, seconds: float) -> tuple[bytes, bool]:
    """What the child answers, and whether it had to be ended. One that would work, but hardly gets
    the processor of a busy machine, is waited for ten times as long."""
    text, hung, began = b"", False, time.monotonic()
    until = began + seconds
    while True:
        left = max(until - time.monotonic(), 0)
        ready, _, _ = select.select([result], [], [], left)
        if not ready and until < began + 10 * seconds and _starved(pid, seconds / 2):
            until += seconds
            continue
        part = os.read(result, 1 << 16) if ready else b""
        text += part
        if not part:
            hung = not ready
            break
    os.close(result)
    with contextlib.suppress(ProcessLookupError):  # its own processes, which are of its group, too
        os.killpg(pid, signal.SIGKILL)
    return text, hung


def _starved(pid: int, seconds: float) -> bool:
    """Whether a process is ready to run, but has had less than so many seconds of a processor."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.is_file():  # not on Linux
        return False
    state, *numbers = stat.read_text().rpartition(")")[2].split()
    return state == "R" and sum(map(int, numbers[10:12])) / os.sysconf("SC_CLK_TCK") < seconds


def command(*words: object) -> None:
    """`semhead WORDS` in this process. Raises SystemExit when it fails; it has said why."""
    from semhead_lib.cli import main

    if main([str(word) for word in words]):
        raise SystemExit(1)
