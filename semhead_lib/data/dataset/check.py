"""Checking a dataset, ours or one in EG3D's form: every problem in one clear line, whatever the
files hold.

Files may come from anywhere, so nothing is extracted or unpickled, sizes are looked at before
anything is read, and damage of any kind ends as a line.
"""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from semhead_lib import old_names
from semhead_lib.atomic import leftovers
from semhead_lib.data.dataset.archives import ImageArchive, parse_label, unsafe_name
from semhead_lib.data.dataset.conventions import camera_problem
from semhead_lib.data.dataset.eg3d_import import ArchiveSource
from semhead_lib.data.dataset.encoding import decode_entry, sample_problems
from semhead_lib.data.dataset.entries import MAX_ENTRY, decode_image
from semhead_lib.data.dataset.manifest import FORMAT, LEASES, LOG, MANIFEST, Manifest, ShardRecord
from semhead_lib.data.dataset.packed import open_packed
from semhead_lib.data.dataset.sample_info import decode_info
from semhead_lib.data.dataset.shards import read_member, sample_layout, shard_problem
from semhead_lib.errors import worded


def check(path: Path | str) -> list[str]:
    """Every problem of the dataset at `path` (our folder, one that was packed, or an EG3D or
    PanoHead folder or zip), one line each.

    An empty list means that all files are there, whole, and what `dataset.json` says. Never raises
    for bad data.
    """
    path = Path(path)
    if not path.exists():
        return [f"{path} does not exist"]
    try:
        if path.is_file() and (path.suffix == ".tar" or _is_tar(path)):
            return list(_check_packed(path))
        return list(_check_archive(path) if _is_archive(path) else _check_dataset(path))
    except Exception as error:  # a checker that falls over bad data is of no use
        return [f"{path}: cannot be checked: {worded(error)}"]


def _is_tar(path: Path) -> bool:
    """By its first bytes alone: `tarfile.is_tarfile` would unpack what is compressed."""
    with open(path, "rb") as file:
        return file.read(262)[257:] == b"ustar"


def _is_archive(path: Path) -> bool:
    """Whether this is to be read as EG3D's form: a file, or a folder without shards whose
    dataset.json is not ours."""
    if not path.is_dir():
        return True
    if any(path.glob("*.tar")) or _is_begun(path) or not (path / MANIFEST).is_file():
        return False
    with open(path / MANIFEST, "rb") as file:
        return FORMAT.encode() not in file.read(256)


def _is_begun(folder: Path) -> bool:
    return any((folder / name).exists() for name in (LOG, LEASES, old_names.LEASES))


def _check_dataset(folder: Path) -> Iterator[str]:
    if _is_begun(folder) and not (folder / MANIFEST).exists():
        yield f"{folder}: is not finished; start the same synthesis again to complete it"
        return
    try:
        manifest = Manifest.load(folder)
    except (ValueError, OSError) as error:
        yield str(error)
        return
    if manifest.subjects != manifest.plan.subjects:
        yield (
            f"{folder / MANIFEST}: its shards have {manifest.subjects} subjects, its plan "
            f"{manifest.plan.subjects}"
        )
    listed = {record.name for record in manifest.shards}
    for path in sorted({*folder.glob("*.tar"), *leftovers(folder)}):
        if path.name not in listed:
            yield f"{path}: is not in {MANIFEST}"
    owner: dict[str, str] = {}  # subject id -> shard
    cameras: list[np.ndarray] = []
    for record in manifest.shards:
        yield from _check_shard(folder / record.name, record, manifest, owner, cameras)
    yield from _check_cameras(folder / MANIFEST, cameras, manifest)


def _check_packed(path: Path) -> Iterator[str]:
    try:
        manifest, decode = open_packed(path)
    except ValueError as error:
        yield str(error)
        return
    cameras, ids = [], set()
    for number in range(manifest.subjects):
        try:
            subject = decode(number)
        except ValueError as error:
            yield str(error)
            continue
        if subject.id in ids:
            yield f"{path}: subject id {subject.id!r} appears twice"
        ids.add(subject.id)
        cameras.append(subject.cameras.numpy())
    yield from _check_cameras(path, cameras, manifest)


def _check_cameras(path: Path, cameras: list[np.ndarray], manifest: Manifest) -> Iterator[str]:
    source = manifest.plan.source
    settings = source.get("settings") if source.get("name") == ArchiveSource.name else None
    imported = settings.get("camera", "") if isinstance(settings, dict) else ""
    if cameras and (problem := camera_problem(np.concatenate(cameras), imported)):
        yield f"{path}: {problem}"


def _check_shard(
    path: Path,
    record: ShardRecord,
    manifest: Manifest,
    owner: dict[str, str],
    cameras: list[np.ndarray],  # [V, 25] of each subject, which it adds
) -> Iterator[str]:
    if problem := shard_problem(path.parent, record):
        yield problem
    if not path.is_file():
        return
    subjects = views = 0
    try:
        for sample in _samples(path):
            if isinstance(sample, str):
                yield sample
                continue
            key = sample["__key__"]
            if key in owner:
                yield f"{path}: subject id {key!r} appears twice, also in {owner[key]}"
            owner[key] = record.name
            subjects += 1
            found = sample_problems(sample)
            yield from (f"{path}: {problem}" for problem in found)
            if not found:
                cameras.append(decode_entry(sample, decode_info(sample), "cameras.npy").numpy())
            try:
                layout = sample_layout(sample)
                views += layout.views_per_subject[0]
                merged = manifest.layout.merge(layout, f"{path}: subject {key}")
                if merged.views_per_subject != manifest.layout.views_per_subject:
                    least, most = manifest.layout.views_per_subject
                    yield (
                        f"{path}: subject {key}: has {layout.views_per_subject[0]} views, "
                        f"expected {least} to {most}"
                    )
            except (ValueError, KeyError) as error:
                if not found:
                    yield str(error)
    except Exception as error:  # the tar reader meets damage with many kinds of exceptions
        yield f"{path}: is not a readable tar file: {error}"
        return
    for name, count, expected in (
        ("subjects", subjects, record.subjects),
        ("views", views, record.views),
    ):
        if count != expected:
            yield f"{path}: has {count} {name}, {MANIFEST} says {expected}"


def _samples(path: Path) -> Iterator[str | dict]:
    """Samples of a tar file, and a line for each entry that is not safe to read, which is left
    out."""
    sample: dict = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            if problem := _member_problem(member):
                yield f"{path}: {member.name!r}: {problem}"
                continue
            key, _, entry = member.name.partition(".")
            if sample and sample["__key__"] != key:
                yield sample
                sample = {}
            if entry in sample:
                yield f"{path}: {member.name!r}: appears twice"
            sample |= {"__key__": key, entry: read_member(tar, member)}
    if sample:
        yield sample


def _member_problem(member: tarfile.TarInfo) -> str | None:
    """Why a tar entry is not to be read, or None."""
    if reason := unsafe_name(member.name):
        return f"unsafe path: {reason}"
    if member.issym() or member.islnk():
        return f"is a link to {member.linkname!r}"
    if not member.isreg():
        return "is a device, folder or other special entry"
    if member.size > MAX_ENTRY:
        return f"has {member.size} bytes, more than {MAX_ENTRY}"
    key, _, entry = member.name.partition(".")
    return None if key and entry and "/" not in key else "is not named ID.ENTRY"


def _check_archive(path: Path) -> Iterator[str]:
    try:
        archive = ImageArchive(path)
    except (ValueError, OSError) as error:
        yield str(error)
        return
    with archive:
        yield from archive.problems
        images = archive.images()
        try:
            labels = archive.labels()
        except ValueError as error:
            yield str(error)
            labels = []
        counts, cameras = Counter(name for name, _ in labels), []
        yield from (f"{path}: {name}: has {n} labels" for name, n in counts.items() if n > 1)
        for name, label in labels:
            if name not in archive.sizes:
                yield f"{path}: {name}: has a label, but there is no such image"
            try:
                cameras.append(parse_label(label))
            except ValueError as error:
                yield f"{path}: {name}: label {error}"
        if cameras and (problem := camera_problem(np.stack(cameras))):
            yield f"{path}: {MANIFEST}: {problem}"
        if not images:
            yield f"{path}: has no images"
        resolution, first = None, ""
        for name in images:
            if labels and name not in counts:
                yield f"{path}: {name}: has no label"
            try:
                where = f"{path}: {name}"
                pixels = decode_image(archive.read(name), where, resolution=resolution, like=first)
                resolution, first = pixels.shape[-1], first or name
            except ValueError as error:
                yield str(error)
