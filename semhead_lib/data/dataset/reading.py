"""Subjects of a dataset, whole: one by index, or all in order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from semhead_lib.data.dataset.encoding import decode_subject
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.data.dataset.sample_info import SampleInfo, decode_info
from semhead_lib.data.dataset.shards import read_listed
from semhead_lib.data.subjects import Subject


def load_subject(folder: Path | str, index: int) -> Subject:
    """Subject number `index` of the dataset in `folder`.

    Raises FileNotFoundError, IndexError when there is no such subject, ValueError naming the file
    and what is wrong.
    """
    folder, manifest = Path(folder), Manifest.load(folder)
    if not 0 <= index < manifest.subjects:
        raise IndexError(f"{folder} has subjects 0 to {manifest.subjects - 1}, asked for {index}")
    shard = bisect_right(manifest.first_subjects, index) - 1
    wanted, record = index - manifest.first_subjects[shard], manifest.shards[shard]
    path = folder / record.name
    for _, sample in read_listed(
        folder, record, lambda position, names: names if position == wanted else None
    ):
        return _decode(sample, path)
    raise ValueError(f"{path}: has no subject number {wanted}, against the manifest")


def subjects(folder: Path | str) -> Iterator[Subject]:
    """All subjects of the dataset in `folder`, in order, one in memory at a time. Raises as
    `load_subject`."""
    folder = Path(folder)
    for record in Manifest.load(folder).shards:
        path = folder / record.name
        for _, sample in read_listed(folder, record):
            yield _decode(sample, path)


def infos(folder: Path | str) -> list[SampleInfo]:
    """What is known of each subject of the dataset in `folder`, in order, without its images.
    Raises as `load_subject`."""
    folder, found = Path(folder), []
    for record in Manifest.load(folder).shards:
        path = folder / record.name
        for _, sample in read_listed(
            folder, record, lambda _, names: [name for name in names if name == "json"]
        ):
            try:
                found.append(decode_info(sample))
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
    return found


def _decode(sample: dict, path: Path) -> Subject:
    try:
        return decode_subject(sample)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
