"""Pieces of work claimed by processes that share nothing but a folder, perhaps on a network's file
system.

A lease is a file that only one process can create, touched every few seconds while its owner lives.
One that was not touched for a lease, by the file system's own clock or by that of whoever waits, is
of a process that is gone, and may be taken over. A process that slept through its lease may still
go on with a piece that another has taken: so leases only save work. What holds exactly is `settle`:
of all who have done a piece, the outcome of one counts, and it stays.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from semhead_lib.files import read_bytes

_BEATS = 4  # touches a lease
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Leases:
    """This process's leases in `folder`, which must be there. A thread keeps them until `close`.

    Raises ValueError for a lease that is not positive.
    """

    def __init__(self, folder: Path | str, lease: float = 120.0) -> None:
        if not lease > 0:
            raise ValueError(f"lease must be more than 0 seconds, got {lease}")
        self.folder, self.lease = Path(folder), lease
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._held: set[str] = set()
        self._seen: dict[Path, tuple[int, float]] = {}  # when a lease was last found touched anew
        self._changes, self._ended = threading.Lock(), threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True, name="semhead leases")
        self._keeper.start()

    def take(self, piece: str) -> bool:
        """Claim a piece; False when it is settled, or another process has it.

        Raises FileNotFoundError when the folder is gone: all is settled, and somebody has put it
        away.
        """
        if self._outcome_path(piece).exists():
            return False
        path = self._path(piece)
        if not self._create(path) and not (self._is_stale(path) and self._take_over(path)):
            return False
        with self._changes:
            self._held.add(piece)
        if self._outcome_path(piece).exists():  # settled between the two looks
            self.release(piece)
            return False
        return True

    def release(self, piece: str) -> None:
        """Give a piece back, done or not."""
        with self._changes:
            self._held.discard(piece)
        if self._owner_of(self._path(piece)) == self.owner:
            self._path(piece).unlink(missing_ok=True)

    def settle(self, piece: str, outcome: dict[str, Any]) -> bool:
        """Write the outcome of a piece, unless there is one already; whether this one counts.

        Raises FileNotFoundError as `take` does.
        """
        path, own = self._outcome_path(piece), self.folder / f".{piece}.{self.owner}"
        with open(own, "w", encoding="utf-8") as file:
            file.write(json.dumps(outcome, ensure_ascii=False, allow_nan=False))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(own, path)  # unlike a renaming, it fails when the name is taken
            return True
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._settle_without_links(own, path)
        finally:
            own.unlink(missing_ok=True)

    def outcome(self, piece: str) -> dict[str, Any] | None:
        """The outcome of a piece, or None. Raises ValueError naming a file that is damaged."""
        path = self._outcome_path(piece)
        try:
            return dict(json.loads(read_bytes(path)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{path}: damaged ({error}); remove it to do this piece again"
            ) from None

    def forget(self, piece: str) -> None:
        """Take the outcome of a piece away: it is to be done again."""
        self._outcome_path(piece).unlink(missing_ok=True)

    def settled(self) -> set[str]:
        """All pieces that have an outcome."""
        return {path.stem for path in self.folder.glob("*.json")}

    def holders(self) -> dict[str, str]:
        """Pieces that are being done, and by whom (host, process, a random word)."""
        found = {
            path.stem: self._owner_of(path)
            for path in self.folder.glob("*.lease")
            if not self._is_stale(path)
        }
        return {piece: owner for piece, owner in found.items() if owner}

    def close(self) -> None:
        """Give back what is held, and end the thread."""
        self._ended.set()
        self._keeper.join()
        for piece in list(self._held):
            self.release(piece)
        self._clock().unlink(missing_ok=True)

    def __enter__(self) -> Leases:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _path(self, piece: str) -> Path:
        return self.folder / f"{piece}.lease"

    def _outcome_path(self, piece: str) -> Path:
        return self.folder / f"{piece}.json"

    def _clock(self) -> Path:
        return self.folder / f".clock.{self.owner}"

    def _create(self, path: Path) -> bool:
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(self.owner)
        except FileExistsError:
            return False
        return True

    def _owner_of(self, path: Path) -> str | None:
        try:
            return path.read_text(encoding="utf-8")
        except OSError:
            return None

    def _is_stale(self, path: Path) -> bool:
        """Whether a lease has not been touched for a lease: both times by the file system's clock,
        or, where that was set back meanwhile, seen unchanged for so long by our own."""
        clock = self._clock()
        clock.touch()
        try:
            now, touched = clock.stat().st_mtime_ns, path.stat().st_mtime_ns
        except FileNotFoundError:  # it was given back just now: the next round sees
            return False
        if now - touched > self.lease * 1e9:
            return True
        seen, since = self._seen.get(path, (None, 0.0))
        if seen != touched:
            self._seen[path] = touched, time.monotonic()
            return False
        return time.monotonic() - since > self.lease

    def _take_over(self, path: Path) -> bool:
        """Replace a stale lease by one of our own, one process at a time."""
        turn = path.with_suffix(".heir")
        if not self._create(turn):
            if self._is_stale(
                turn
            ):  # its maker was lost at just this place: the next round goes on
                turn.unlink(missing_ok=True)
            return False
        try:
            before = self._owner_of(path)
            return self._is_stale(path) and self._put_aside(path, before) and self._create(path)
        finally:
            turn.unlink(missing_ok=True)

    def _put_aside(self, path: Path, owner: str | None) -> bool:
        """Remove the lease of that owner; False when it is another's by now."""
        aside = path.with_name(f".{path.name}.{self.owner}")
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return False
        same = self._owner_of(aside) == owner
        if not same:
            with contextlib.suppress(OSError):
                os.link(aside, path)
        aside.unlink(missing_ok=True)
        return same

    def _settle_without_links(self, own: Path, path: Path) -> bool:
        """On file systems without hard links. A crash between the two steps leaves a damaged
        outcome, which is said."""
        try:
            with open(path, "xb") as file:
                file.write(own.read_bytes())
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            return False
        return True

    def _keep(self) -> None:
        while not self._ended.wait(self.lease / _BEATS):
            with self._changes:
                held = list(self._held)
            for piece in held:
                with contextlib.suppress(
                    OSError
                ):  # taken over, or the file system is away: `settle` decides
                    if self._owner_of(self._path(piece)) == self.owner:
                        os.utime(self._path(piece))
