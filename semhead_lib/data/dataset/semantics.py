"""Filling the semantic slot of a finished dataset: images stay as they are to the byte, only
features are added."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from semhead_lib.atomic import folder_lock, publish, remove_leftovers
from semhead_lib.data.dataset.encoding import (
    Sample,
    decode_entry,
    decode_info,
    encode_info,
    encode_npy,
)
from semhead_lib.data.dataset.manifest import Layout, Manifest, ShardRecord, merged_layout
from semhead_lib.data.dataset.shards import file_sha256, read_shard, sample_layout, write_shard

Encode = Callable[
    [Tensor], Tensor
]  # uint8 frontal images [N, 3, R, R] -> float32 unit features [N, D]


def fill_semantics(
    folder: Path | str, encode: Encode, encoder: str, *, batch: int = 64, progress: bool = True
) -> Manifest:
    """Store `encode(frontal images)` as the semantic features of the dataset in `folder`, replacing
    earlier ones.

    `encoder` is the identity of `encode`, stored with every feature. New shards are written beside
    the old ones under names that carry the encoder's, then the manifest changes over in one step
    and the old shards go: the dataset is valid at every moment and needs twice its space meanwhile.
    Interrupted, the same call goes on behind the last new shard; features that are there already
    (same `encoder`) are not made again.

    Raises FileNotFoundError or ValueError for a bad dataset, ValueError for features of a wrong
    shape or not finite, BlockingIOError when another process is writing here, OSError when the disk
    is full.
    """
    folder = Path(folder)
    if not encoder:
        raise ValueError("encoder must name what makes the features, got an empty string")
    manifest = Manifest.load(folder)
    with folder_lock(folder):
        remove_leftovers(folder)
        if (manifest.layout.semantic or {}).get("encoder") != encoder:
            tag, made = hashlib.sha256(encoder.encode()).hexdigest()[:8], []
            for old in tqdm(
                manifest.shards, unit="shard", desc=f"semantics {folder.name}", disable=not progress
            ):
                new = folder / f"{old.name.partition('.')[0]}.semantic-{tag}.tar"
                made.append(
                    _measure(new)
                    if new.exists()
                    else _fill(folder / old.name, new, encode, encoder, batch)
                )
            layout = merged_layout((record.name, layout) for record, layout in made)
            manifest = replace(manifest, layout=layout, shards=tuple(record for record, _ in made))
            manifest.save(folder)
        listed = {record.name for record in manifest.shards}
        for path in folder.glob("shard-*.tar"):
            if path.name not in listed:
                path.unlink()
    return manifest


def _fill(
    old: Path, new: Path, encode: Encode, encoder: str, batch: int
) -> tuple[ShardRecord, Layout]:
    partial, record, layout = write_shard(new, _filled(old, encode, encoder, batch))
    publish(partial, new)
    return record, layout


def _measure(path: Path) -> tuple[ShardRecord, Layout]:
    """Record and layout of a shard that is there."""
    layouts = [
        sample_layout(sample)
        for _, sample in read_shard(path, lambda _, names: ["json", "semantic.npy"])
    ]
    views = sum(layout.views_per_subject[0] for layout in layouts)
    record = ShardRecord(path.name, len(layouts), views, path.stat().st_size, file_sha256(path))
    return record, merged_layout((path.name, layout) for layout in layouts)


def _filled(path: Path, encode: Encode, encoder: str, batch: int) -> Iterator[Sample]:
    """The samples of a shard with new features, encoded `batch` subjects at a time."""
    held: list[dict[str, Any]] = []
    for _, sample in read_shard(path):
        held.append(sample)
        if len(held) == batch:
            yield from _with_features(held, encode, encoder)
            held = []
    if held:
        yield from _with_features(held, encode, encoder)


def _with_features(samples: list[dict[str, Any]], encode: Encode, encoder: str) -> Iterator[Sample]:
    infos = [decode_info(sample) for sample in samples]
    frontals = torch.stack(
        [decode_frontal(s, info) for s, info in zip(samples, infos, strict=True)]
    )
    features = encode(frontals).detach().float().cpu()
    if features.ndim != 2 or len(features) != len(samples) or not features.isfinite().all():
        raise ValueError(
            f"{encoder}: expected finite features of shape [{len(samples)}, D], got shape "
            f"{list(features.shape)}"
        )
    for sample, info, feature in zip(samples, infos, features, strict=True):
        fields = info.fields if "semantic" in info.fields else (*info.fields, "semantic")
        info = replace(info, fields=fields, semantic_encoder=encoder)
        yield sample | {"semantic.npy": encode_npy(feature), "json": encode_info(info)}


def decode_frontal(sample: Sample, info: Any) -> Tensor:  # [3, R, R] uint8
    """The frontal image of a sample: its own entry, or the view that it is."""
    front = info.frontal_view
    return decode_entry(
        sample, info, "frontal.png" if front is None else info.entry("views", front)
    )
