"""Shards: tar files of samples, written the same way to the byte each time, and read without
extracting anything."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

from semhead_lib.atomic import partial_path
from semhead_lib.data.dataset.entries import MAX_ENTRY, decode_npy
from semhead_lib.data.dataset.manifest import MANIFEST, Layout, ShardRecord, merge_layouts
from semhead_lib.data.dataset.sample_info import Sample, decode_info

Choose = Callable[
    [int, list[str]], Collection[str] | None
]  # (position in the shard, entry names) -> entries to read


def write_shard(path: Path, samples: Iterable[Sample]) -> tuple[Path, ShardRecord, Layout]:
    """Write encoded samples into a temporary file beside `path`, flushed to the disk;
    `files.publish` then names it.

    Headers hold no time, user or mode of this machine, so the same samples give the same bytes.
    Returns the temporary path, the record of the shard and its layout. The temporary file is
    removed when anything fails.
    Raises ValueError when a subject has another layout than those before it or the id of one of
    them, or there are no samples; OSError naming the file when it cannot be written.
    """
    from webdataset.writer import TarWriter  # only what writes needs it

    partial, layout, keys, views = partial_path(path), None, set(), 0
    try:
        with open(partial, "wb") as file:
            hashed: Any = _HashedFile(file)
            with TarWriter(
                hashed, user="semhead", group="semhead", mode=0o644, mtime=0, encoder=False
            ) as tar:
                for sample in samples:
                    if sample["__key__"] in keys:
                        raise ValueError(
                            f"{path.name}: subject id {sample['__key__']!r} appears twice"
                        )
                    keys.add(sample["__key__"])
                    found = sample_layout(sample)
                    layout = (
                        layout.merge(found, f"subject {sample['__key__']}") if layout else found
                    )
                    views += found.views_per_subject[0]
                    tar.write(dict(sample))
            file.flush()
            os.fsync(file.fileno())
        if layout is None:
            raise ValueError(f"{path.name}: a shard needs at least one subject")
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if (
            isinstance(error, OSError) and error.filename is None
        ):  # a full disk does not say which file
            raise OSError(error.errno, f"cannot write: {error.strerror}", str(path)) from error
        raise
    return (
        partial,
        ShardRecord(path.name, len(keys), views, hashed.count, hashed.digest.hexdigest()),
        layout,
    )


def sample_layout(sample: Sample) -> Layout:
    """The layout of one sample. Raises ValueError when its `json` or `semantic.npy` is not
    readable."""
    info, semantic = decode_info(sample), None
    if "semantic" in info.fields:
        vector = decode_npy(sample["semantic.npy"], f"{info.id}.semantic.npy", (None,))
        semantic = {"encoder": info.semantic_encoder, "dimension": len(vector)}
    return Layout(
        info.resolution, info.image_format, info.fields, (info.views, info.views), semantic
    )


def read_shard(path: Path, choose: Choose | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Samples of a shard in order, as (position in the shard, sample).

    `choose` says per subject which entries to read (`None`: skip the subject); without it all are
    read. What is not chosen is sought over, not read. Raises FileNotFoundError, or ValueError
    naming the file when it is no readable tar.
    """
    try:
        with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for position, (key, group) in enumerate(
                groupby(tar, lambda member: member.name.partition(".")[0])
            ):
                members = {member.name.partition(".")[2]: member for member in group}
                chosen = members.keys() if choose is None else choose(position, list(members))
                if chosen is not None:
                    yield (
                        position,
                        {"__key__": key}
                        | {n: read_member(tar, members[n]) for n in chosen if n in members},
                    )
    except (tarfile.TarError, ValueError) as error:
        raise ValueError(f"{path}: is not a readable tar file: {error}") from None


def read_listed(
    folder: Path, record: ShardRecord, choose: Choose | None = None, *, verify: bool | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """`read_shard` of a shard that the manifest lists, held against what it says.

    A tar file that was cut between two members, or filled with zeros from there on, reads without
    an error: so its size is compared first, and when all is read its number of subjects. With
    `verify` (None: where no `choose` leaves entries out) its checksum is compared first: a bit that
    flipped in a camera or an attribute shows nowhere else. Raises FileNotFoundError, or ValueError
    naming the file, what was expected and what came.
    """
    path, seen = folder / record.name, 0
    if (size := path.stat().st_size) != record.bytes:
        raise ValueError(f"{path}: has {size} bytes, {MANIFEST} says {record.bytes}")
    if (choose is None if verify is None else verify) and (
        problem := shard_problem(folder, record)
    ):
        raise ValueError(problem)

    def counted(position: int, names: list[str]) -> Collection[str] | None:
        nonlocal seen
        seen = position + 1
        return names if choose is None else choose(position, names)

    yield from read_shard(path, counted)
    if seen != record.subjects:
        raise ValueError(f"{path}: has {seen} subjects, {MANIFEST} says {record.subjects}")


def read_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The bytes of a member. Raises ValueError when it is no plain file, larger than MAX_ENTRY, or
    cut short."""
    if not member.isreg() or member.size > MAX_ENTRY or member.issparse():
        raise ValueError(f"{member.name}: expected a plain file of at most {MAX_ENTRY} bytes")
    file = tar.extractfile(member)
    data = b"" if file is None else file.read()
    if len(data) != member.size:
        raise ValueError(f"{member.name}: cut short: {len(data)} of {member.size} bytes")
    return data


def shard_problem(folder: Path, record: ShardRecord) -> str | None:
    """How a shard's file differs from what the manifest says (one line), or None."""
    path = folder / record.name
    if not path.is_file():
        return f"{path}: missing"
    size = path.stat().st_size
    if size < record.bytes:
        return f"{path}: truncated: {size} of {record.bytes} bytes"
    if size > record.bytes:
        return f"{path}: has {size} bytes, {MANIFEST} says {record.bytes}"
    if (digest := file_sha256(path)) != record.sha256:
        return f"{path}: wrong checksum: SHA-256 is {digest}, {MANIFEST} says {record.sha256}"
    return None


def made_problem(folder: Path, record: ShardRecord, layout: Layout) -> str | None:
    """How a finished shard differs from what the log of its making says (one line), or None. Its
    checksum is right where the log's numbers, which nothing else holds, are not: so those are
    counted again."""
    if problem := shard_problem(folder, record):
        return problem
    keep = {"json", "semantic.npy"}
    samples = read_shard(folder / record.name, lambda _, names: keep.intersection(names))
    found = [sample_layout(sample) for _, sample in samples]
    views = sum(one.views_per_subject[0] for one in found)
    if (len(found), views) != (record.subjects, record.views):
        return f"{folder / record.name}: has {len(found)} subjects with {views} views"
    whole = merge_layouts((record.name, one) for one in found)
    return None if whole == layout else f"{folder / record.name}: has the layout {whole}"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _HashedFile:
    """Passes what is written on to `file`, counting and hashing it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest, self.count = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.count += len(data)
        return self.file.write(data)
