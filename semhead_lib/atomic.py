"""Files that appear whole or not at all: written under a temporary name, flushed to the disk, then
renamed."""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import itertools
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_SUFFIX = ".partial"  # temporary names are `.NAME.HOST-PID.partial`, beside the final one


def partial_path(path: Path) -> Path:
    """The temporary name under which this process prepares `path`."""
    host = socket.gethostname().partition(".")[
        0
    ]  # of two machines that share a disk, process numbers may agree
    return path.with_name(f".{path.name}.{host}-{os.getpid()}{_SUFFIX}")


def publish(partial: Path, path: Path) -> None:
    """Give the finished `partial` its final name, replacing the file that was there, and make the
    renaming durable. Raises OSError naming `path` where a folder is in the way."""
    try:
        os.replace(partial, path)
    except IsADirectoryError as error:
        raise OSError(error.errno, "a folder is in the file's place", str(path)) from None
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot flush a folder
            os.fsync(folder)
    finally:
        os.close(folder)


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path`; a reader sees the old content or the new, never a part. Raises
    OSError naming `path`."""
    partial = partial_path(path)
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        publish(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, f"cannot write: {error.strerror}", str(path)) from error


def leftovers(folder: Path, name: str = "*") -> Iterator[Path]:
    """Temporary files and folders that interrupted runs left in `folder` (for the final name
    `name`, or all)."""
    return folder.glob(f".{name}.*{_SUFFIX}")


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Delete what `leftovers` finds."""
    for path in leftovers(folder, name):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; the lock ends with the process, however that ends. What a
    process that was killed here left half written is removed.

    Raises BlockingIOError when another process holds it. File systems that cannot lock a folder are
    not locked.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        if _lock(handle, folder):
            with contextlib.suppress(OSError):  # of a disk that is only read
                remove_leftovers(folder)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Make `folder` if it is missing, and hold it as `folder_lock` does. Where what is done in it
    leaves nothing, folders that were made for it go again."""
    missing = _make(folder)
    with folder_lock(folder):
        try:
            yield
        finally:
            _remove_empty(missing)


def _make(folder: Path) -> list[Path]:
    """Make a folder; which were missing, the innermost first. Raises NotADirectoryError naming a
    file that is in the place of one."""
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "is a file, expected a folder", str(place))
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_empty(folders: list[Path]) -> None:
    with contextlib.suppress(OSError):  # what is not empty stays
        for folder in folders:
            folder.rmdir()


def check_apart(*, within: bool = False, **places: Path | str | None) -> None:
    """Raise ValueError where two of the places that arguments name are the same one, or, asked
    about `within`, where one lies within another."""
    named = [(name, Path(place).resolve()) for name, place in places.items() if place]
    for (one, here), (other, there) in itertools.permutations(named, 2):
        if here == there:
            raise ValueError(f"{one} and {other} are both {here}: name two places")
        if within and there in here.parents:
            raise ValueError(f"{one}={here} lies within {other}={there}: name places apart")


def holds_out(function: Callable[P, R]) -> Callable[P, R]:
    """A function that writes into the folder `out`, which is a `held_folder` meanwhile."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def held(*args: P.args, **kwargs: P.kwargs) -> R:
        out = Path(signature.bind(*args, **kwargs).arguments["out"])
        with held_folder(out):
            return function(*args, **kwargs)

    return held


@contextlib.contextmanager
def place_lock(path: Path) -> Iterator[None]:
    """Hold the name `path`, of a file or folder that need not be there yet, as `folder_lock` does.

    What is locked is `.NAME.lock` in its parent, which goes with the lock. The parent is made if
    missing, and goes again if it is still empty.
    """
    missing = _make(path.parent)
    try:
        with _locked(path):
            yield
    finally:
        _remove_empty(missing)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_name(f".{path.name}.lock")
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # another process has just removed the parent that it had made
        try:
            _lock(handle, path)
            if lock.exists() and os.path.samestat(lock.stat(), os.fstat(handle)):
                break
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # whoever held it has just removed its file
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _lock(handle: int, path: Path) -> bool:
    """Whether it is held now, and not merely of a file system without locks."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, "another process is writing here", str(path)) from None
    except OSError:
        return False
    return True
