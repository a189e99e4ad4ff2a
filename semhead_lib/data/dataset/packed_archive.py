"""The file of a packed dataset: a tar of six to eleven members under checksums, never unpacked.

| member              | content                                                                    |
|---------------------|----------------------------------------------------------------------------|
| `manifest.json`     | layout, licence, how it was made and packed, bytes and SHA-256 of the rest |
| `subjects.json`     | of each subject: id, number of views, attributes, caption; zlib            |
| `lengths.npy`       | [M] int32, bytes of each image of `images.bin`, by subject and view        |
| `cameras.npy`       | [M, 25] float32                                                            |
| `semantics.npy`     | [S, D] float32; absent while the dataset has no features                   |
| `images.bin`        | M WebP images in a row: lossy colours, the mask as lossless alpha          |
| `class_lengths.npy` | [M] int32, bytes of each image of `classes.bin`                            |
| `classes.bin`       | M lossless WebP images in that order: the classes of surfaces              |
| `depth_ranges.npy`  | [M, 2] float32, of each view the least depth, and the step of its levels   |
| `depth_lengths.npy` | [M] int32, bytes of each image of `depth.bin`                              |
| `depth.bin`         | M lossless WebP images in that order: depth as levels                      |

The last five are there where geometry was asked for (`semhead_lib.data.dataset.packed_geometry`
says what their images hold). Frontal images and normals stay behind: a packed dataset is what a
training reads.
`semhead data pack` (`semhead_lib.data.dataset.packing`) makes one.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from semhead_lib.atomic import partial_path, publish

FORMAT, VERSION = "semhead-packed", 1
MANIFEST, SUBJECTS, LENGTHS = "manifest.json", "subjects.json", "lengths.npy"
CAMERAS, SEMANTICS, IMAGES = "cameras.npy", "semantics.npy", "images.bin"
CLASS_LENGTHS, CLASSES = "class_lengths.npy", "classes.bin"
DEPTH_RANGES, DEPTH_LENGTHS, DEPTH = "depth_ranges.npy", "depth_lengths.npy", "depth.bin"
GEOMETRY = {  # field of a subject -> the members that hold it
    "segmentation": (CLASS_LENGTHS, CLASSES),
    "depth": (DEPTH_RANGES, DEPTH_LENGTHS, DEPTH),
}
MEMBERS = (MANIFEST, SUBJECTS, LENGTHS, CAMERAS, SEMANTICS, IMAGES, *sum(GEOMETRY.values(), ()))
MOST_TEXT = 256 << 20  # bytes of `subjects.json`, decompressed, and of `manifest.json`


def write_packed(path: Path, content: dict[str, Any], members: dict[str, bytes]) -> None:
    """Write the members behind a manifest of `content` and their checksums; the same give the same
    bytes.

    The file appears when it is complete. Raises OSError naming it.
    """
    content = {"format": FORMAT, "version": VERSION} | content
    content["members"] = {
        name: {"bytes": len(data), "sha256": sha256(data)} for name, data in members.items()
    }
    content["sha256"] = _own_checksum(content)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    partial = partial_path(path)
    try:
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in ({MANIFEST: text} | members).items():
                entry = tarfile.TarInfo(name)  # of no time, no user
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        publish(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, f"cannot write: {error.strerror}", str(path)) from error


def read_packed(path: Path | str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest and the other members, compared with its checksums.

    Nothing is written, and no more is read than the file is long. Raises FileNotFoundError, or
    ValueError naming the file, the member and what is wrong with it.
    """
    path, members = Path(path), {}
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with tarfile.open(path, "r:") as tar:
            for entry in tar:
                if entry.name not in MEMBERS or entry.name in members:
                    raise ValueError(f"unexpected member {entry.name!r:.80}")
                if not entry.isreg() or entry.issparse() or entry.size > path.stat().st_size:
                    raise ValueError(
                        f"{entry.name}: expected a plain file no larger than the archive"
                    )
                file = tar.extractfile(entry)
                members[entry.name] = b"" if file is None else file.read()
                if len(members[entry.name]) != entry.size:
                    raise ValueError(
                        f"{entry.name}: cut short: {len(members[entry.name])} of {entry.size} bytes"
                    )
        return _checked(members)
    except (
        tarfile.TarError,
        MemoryError,
    ) as error:  # a header may announce more than there is memory
        raise ValueError(
            f"{path}: is not a packed dataset: {str(error) or 'a header of it is too large'}"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _checked(members: dict[str, bytes]) -> tuple[dict[str, Any], dict[str, bytes]]:
    text = members.pop(MANIFEST, None)
    if text is None or len(text) > MOST_TEXT:
        raise ValueError(f"{MANIFEST}: missing, or larger than {MOST_TEXT} bytes")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{MANIFEST}: is not JSON: {error}") from None
    if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (
        FORMAT,
        VERSION,
    ):
        raise ValueError(f"{MANIFEST}: expected format {FORMAT!r}, version {VERSION}")
    if content.get("sha256") != _own_checksum(content):
        raise ValueError(f"{MANIFEST}: damaged: its checksum is not that of its content")
    listed = content.get("members")
    if not isinstance(listed, dict) or not {SUBJECTS, LENGTHS, CAMERAS, IMAGES} <= listed.keys():
        raise ValueError(
            f"{MANIFEST}: members must name {SUBJECTS}, {LENGTHS}, {CAMERAS} and {IMAGES}"
        )
    for name, record in listed.items():
        if name not in members:
            raise ValueError(f"{name}: missing")
        if not isinstance(record, dict) or record.get("sha256") != sha256(members[name]):
            raise ValueError(f"{name}: damaged: its checksum is not the manifest's")
    return content, {name: members[name] for name in listed}


def _own_checksum(content: dict[str, Any]) -> str:
    rest = {name: value for name, value in content.items() if name != "sha256"}
    return sha256(json.dumps(rest, sort_keys=True).encode())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
