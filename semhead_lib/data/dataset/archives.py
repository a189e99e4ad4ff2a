"""Datasets in the form of EG3D and PanoHead: images in a folder or zip, with a `dataset.json` of
camera labels.

`{"labels": [["00000/img00000000.png", [25 numbers]], ...]}`; numbers may also be written as
strings. Nothing is
extracted: entries are read by name, after their names and sizes were looked at.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import stat
import warnings
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

import numpy as np

from semhead_lib.cameras import label_error, nearest_rigid
from semhead_lib.data.dataset.entries import MAX_ENTRY
from semhead_lib.data.dataset.manifest import MANIFEST, MAX_BYTES
from semhead_lib.files import read_bytes

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_SLACK, _MOST_RATIO = 1 << 20, 100  # bytes of unpacked JSON: of lists and dicts it becomes more
_END = 4096  # bytes at either end of a file that its checksum is of


def unsafe_name(name: str) -> str | None:
    """Why extracting an archive entry of this name could write elsewhere (one phrase), or None when
    it could not."""
    if not name or "\0" in name:
        return "is empty or holds a zero byte"
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name.startswith("\\"):
        return "is absolute"
    if ".." in PureWindowsPath(name).parts:  # which parts at both kinds of slashes
        return "climbs out by '..'"
    return None


class ImageArchive:
    """A folder or zip of images with camera labels, read by entry name.

    Raises FileNotFoundError when there is nothing at `path`, ValueError when it is neither a folder
    nor a zip file.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} does not exist")
        self.zip: zipfile.ZipFile | None = None
        self.sizes: dict[str, int] = {}  # entry name -> bytes
        self._stored: dict[str, str] = {}  # entry name -> what the zip file calls it
        self.problems: list[str] = []  # entries that are not looked into, and why
        if self.path.is_dir():
            self._scan_folder()
        else:
            self._scan_zip()

    def __enter__(self) -> ImageArchive:
        return self

    def __exit__(self, *_: object) -> None:
        if self.zip:
            self.zip.close()

    def images(self) -> list[str]:
        """Names of all images, sorted: the order in which EG3D numbers them."""
        return sorted(name for name in self.sizes if name.lower().endswith(SUFFIXES))

    def read(self, name: str) -> bytes:
        """The bytes of an entry. Raises ValueError when it is missing, too large or damaged."""
        limit = MAX_BYTES if name == MANIFEST else MAX_ENTRY
        if name not in self.sizes:
            raise ValueError(f"{self.path}: has no {name}")
        if self.sizes[name] > limit:
            raise ValueError(f"{self.path}: {name}: larger than {limit} bytes")
        if self.zip and name == MANIFEST:
            packed = self.zip.getinfo(self._stored[name]).compress_size
            if self.sizes[name] > _SLACK + _MOST_RATIO * packed:
                raise ValueError(
                    f"{self.path}: {name}: {packed} bytes unpack to {self.sizes[name]}, more than "
                    f"{_MOST_RATIO} times as many"
                )
        try:
            with self.open(name) as file:
                return file.read(limit)
        except Exception as error:  # damaged zip files fail in many ways
            raise ValueError(f"{self.path}: {name}: cannot be read: {error}") from None

    def open(self, name: str) -> IO[bytes]:
        """An entry as a file, for its beginning. Damaged ones raise in many ways."""
        if self.zip is None:
            return open(self.path / name, "rb")
        return self.zip.open(self._stored.get(name, name))

    def fingerprint(self) -> str:
        """Of all images: SHA-256 of their names, sizes and, of a zip file, their checksums; of a
        folder, a checksum of the beginning and the end of each. Raises ValueError naming an image
        that cannot be read."""
        found = hashlib.sha256()
        for name in self.images():
            found.update(f"{name}\0{self.sizes[name]}\0{self._checksum(name)}\n".encode())
        return found.hexdigest()

    def _checksum(self, name: str) -> int:
        if self.zip is not None:
            return self.zip.getinfo(self._stored.get(name, name)).CRC
        try:
            with open(self.path / name, "rb") as file:
                ends = file.read(_END)
                file.seek(max(self.sizes[name] - _END, 0))
                return zlib.crc32(file.read(_END), zlib.crc32(ends))
        except OSError as error:
            raise ValueError(f"{self.path}: {name}: cannot be read: {error.strerror}") from None

    def labels(self) -> list[tuple[str, Any]]:
        """The entries of `dataset.json`, as they are: (image name, label). Raises ValueError when
        there are none."""
        return parse_labels(self.read(MANIFEST), f"{self.path}: {MANIFEST}")

    def _scan_folder(self) -> None:
        known = set()
        for folder, below, files in os.walk(self.path, followlinks=True):
            found = os.stat(folder)
            if (place := (found.st_dev, found.st_ino)) in known:  # links may go round in circles
                below.clear()
                continue
            known.add(place)
            below.sort()
            for file in files:
                path = Path(folder) / file
                name = path.relative_to(self.path).as_posix()
                if not _hidden(name) and (path.is_file() or not path.exists()):
                    self.sizes[name] = path.stat().st_size if path.exists() else 0

    def _scan_zip(self) -> None:
        try:
            if not self.path.is_file():
                raise ValueError("a pipe or a device")
            self.zip = zipfile.ZipFile(self.path)
        except Exception as error:  # damaged zip files fail in many ways
            raise ValueError(
                f"{self.path}: is neither a folder nor a readable zip file: {error}"
            ) from None
        for info in self.zip.infolist():
            stored = info.orig_filename.replace("\\", "/")
            problem = unsafe_name(info.filename)
            if problem:
                problem = f"unsafe path: {problem}"
            elif stat.S_ISLNK(info.external_attr >> 16):
                problem = "is a link"
            elif info.flag_bits & 1:
                problem = "is encrypted"
            elif stored in self.sizes:
                problem = "appears twice"
            if problem:
                self.problems.append(f"{self.path}: {info.filename!r}: {problem}")
            elif not info.is_dir() and not _hidden(stored):
                self.sizes[stored], self._stored[stored] = info.file_size, info.filename
        top = {name.partition("/")[0] for name in self.sizes}
        if (
            MANIFEST not in self.sizes
            and len(top) == 1
            and f"{(top := top.pop())}/{MANIFEST}" in self.sizes
        ):
            cut = len(top) + 1  # a folder was zipped, not what is in it
            self.sizes = {name[cut:]: size for name, size in self.sizes.items()}
            self._stored = {name[cut:]: stored for name, stored in self._stored.items()}


def parse_labels(data: bytes, where: str) -> list[tuple[str, Any]]:
    """The entries of a `dataset.json`, as they are: (image name, label). Raises ValueError, starting
    with `where`, when there are none."""
    return _pairs(_json(data, where), where)


def _json(data: bytes, where: str) -> Any:
    twice: list[str] = []

    def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            twice.append(Counter(name for name, _ in pairs).most_common(1)[0][0])
        return found

    try:
        content = json.loads(data, object_pairs_hook=once_each)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: is not JSON: {error}") from None
    if twice:
        raise ValueError(f"{where}: {twice[0]!r:.80} is there twice")
    return content


def _pairs(content: Any, where: str) -> list[tuple[str, Any]]:
    labels = content.get("labels") if isinstance(content, dict) else None
    if not labels:
        raise ValueError(f"{where}: has no labels; each image needs its 25-number camera label")
    pairs = list(labels.items()) if isinstance(labels, dict) else labels
    if not isinstance(pairs, list):
        raise ValueError(f"{where}: labels must be a list of [image name, label]")
    for row, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise ValueError(
                f"{where}: labels, row {row}: expected [image name, label], got {pair!r:.80}"
            )
    return [(name.replace("\\", "/"), label) for name, label in pairs]  # as EG3D reads them


def folder_labels(folder: Path) -> dict[str, Any]:
    """Camera labels of the `dataset.json` in `folder` by image name; none where there is no such
    file, or where it is JSON of something else, which a warning says.

    One that is not JSON is damaged, not of something else: without its labels, the photographs
    would be read as if they had no cameras. Raises ValueError for it, for what cannot be read, and
    for labels that are none.
    """
    path = folder / MANIFEST
    if not os.path.lexists(path):
        return {}
    return _folder_labels(path, path.stat().st_mtime_ns if path.is_file() else 0)


@functools.lru_cache(maxsize=8)
def _folder_labels(path: Path, changed: int) -> dict[str, Any]:
    data = read_bytes(path, MAX_BYTES)
    content = _json(data, str(path))
    if not isinstance(content, dict) or content.get("labels") is None:
        warnings.warn(f"{path}: is not used: it has no camera labels", stacklevel=3)
        return {}
    pairs = _pairs(content, str(path))
    if len(labels := dict(pairs)) < len(pairs):
        name, count = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"{path}: {name} has {count} labels")
    return labels


def parse_label(label: Any) -> np.ndarray:  # [25] float32
    """A camera label from JSON: a list of numbers or numeric strings, or one string of them. A
    rotation that is off a little becomes the nearest one (`nearest_rigid`).

    Raises ValueError saying what is wrong; the caller knows of which image.
    """
    rigid = nearest_rigid(label_numbers(label))
    if error := label_error(rigid):
        raise ValueError(error)
    return rigid.astype(np.float32)


def label_numbers(label: Any) -> np.ndarray:  # [N] float64
    """The numbers of a label from JSON, as they are. Raises as `parse_label`."""
    parts = label.replace(",", " ").split() if isinstance(label, str) else label
    if not isinstance(parts, list):
        raise ValueError(f"expected a list of 25 numbers, got {label!r:.40}")
    values = []
    for part in parts:
        try:
            if isinstance(part, bool) or not isinstance(part, int | float | str):
                raise ValueError
            values.append(float(part))
        except (ValueError, OverflowError):
            raise ValueError(f"{part!r:.40} is not a number") from None
    return np.asarray(values, dtype=np.float64)


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
