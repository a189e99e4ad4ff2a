"""Images of a collection: a folder or zip of images (with or without EG3D's labels), or a tar file
or folder of tar files (WebDataset). Entries are read by name; nothing is extracted."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from semhead_lib.data.dataset.archives import SUFFIXES, ImageArchive, unsafe_name
from semhead_lib.data.dataset.entries import MAX_ENTRY
from semhead_lib.data.dataset.shards import read_member
from semhead_lib.data.portraits.photos import UNREAD


def collection(path: Path | str) -> Iterator[tuple[str, bytes]]:
    """Names and files of all images of a collection, always in the same order. Those of kinds that
    are not read (`UNREAD`) come without their content.

    Raises FileNotFoundError, or ValueError naming what is wrong: no name, nothing in it, unsafe
    names, damage.
    """
    if not str(path):
        raise ValueError("name a folder, zip or tar file of photographs")
    path = Path(path)
    tars = [path] if path.suffix == ".tar" else sorted(path.glob("*.tar")) if path.is_dir() else []
    found = 0
    for name, data in _of_tars(tars) if tars else _of_archive(path):
        found += 1
        yield name, data
    if not found:
        raise ValueError(f"{path}: no images in it ({', '.join(SUFFIXES)})")


def is_unread(name: str) -> bool:
    """Whether an image is of a kind that is not read."""
    return name.lower().endswith(UNREAD)


def _of_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    with ImageArchive(path) as archive:
        if archive.problems:
            raise ValueError(archive.problems[0])
        for name in sorted(archive.sizes):
            if name.lower().endswith(SUFFIXES):
                yield name, archive.read(name)
            elif is_unread(name):
                yield name, b""


def _of_tars(paths: list[Path]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist")
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    read = member.name.lower().endswith(SUFFIXES)
                    if not member.isreg() or not (read or is_unread(member.name)):
                        continue
                    if (problem := unsafe_name(member.name)) or (read and member.size > MAX_ENTRY):
                        raise ValueError(f"{member.name!r}: {problem or 'too large'}")
                    yield f"{path.name}/{member.name}", read_member(tar, member) if read else b""
        except (tarfile.TarError, ValueError) as error:
            raise ValueError(f"{path}: is not a readable tar file: {error}") from None
