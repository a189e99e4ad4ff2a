"""Filling the semantic slot of a finished dataset: images stay as they are to the byte, only
features are added."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from semhead_lib.atomic import folder_lock, publish, remove_leftovers, write_atomically
from semhead_lib.data.dataset.encoding import decode_entry
from semhead_lib.data.dataset.entries import encode_npy
from semhead_lib.data.dataset.manifest import (
    Layout,
    Manifest,
    ShardRecord,
    merged_layout,
    parse_layout,
    parse_name,
    parse_record,
)
from semhead_lib.data.dataset.sample_info import Sample, decode_info, encode_info
from semhead_lib.data.dataset.shards import (
    made_problem,
    read_listed,
    shard_problem,
    write_shard,
)
from semhead_lib.files import read_bytes

LOG = "semantics.jsonl"

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
    Interrupted, the same call goes on behind the last new shard (`semantics.jsonl` knows what it
    made); features that are there already (same `encoder`) are not made again. A shard that is not
    what the manifest says is an error, and stays; other files in the folder are not touched.

    Raises FileNotFoundError or ValueError for a bad dataset, ValueError for features of a wrong
    shape or not finite, FileExistsError for a file in the way, BlockingIOError when another process
    is writing here, OSError when the disk is full.
    """
    folder = Path(folder)
    if not encoder:
        raise ValueError("encoder must name what makes the features, got an empty string")
    manifest = Manifest.load(folder)
    with folder_lock(folder):
        remove_leftovers(folder)
        begun = _Begun.read(folder)
        if (manifest.layout.semantic or {}).get("encoder") != encoder:
            if (begun.encoder, begun.digest) != (encoder, manifest.digest):
                begun.remove(folder, manifest)
                begun = _Begun(encoder, manifest.digest, [r.name for r in manifest.shards], {})
            tag, made = hashlib.sha256(encoder.encode()).hexdigest()[:8], []
            for old in tqdm(
                manifest.shards, unit="shard", desc=f"semantics {folder.name}", disable=not progress
            ):
                new = folder / f"{old.name.partition('.')[0]}.semantic-{tag}.tar"
                if new.name not in begun.made and new.exists():
                    raise FileExistsError(f"{new} is not in {LOG}: move it away")
                if new.name not in begun.made or made_problem(folder, *begun.made[new.name]):
                    begun.add(folder, *_fill(folder, old, new, encode, encoder, batch))
                made.append(begun.made[new.name])
            layout = merged_layout((record.name, layout) for record, layout in made)
            manifest = replace(manifest, layout=layout, shards=tuple(record for record, _ in made))
            manifest.save(folder)
        begun.remove(folder, manifest)
    return manifest


@dataclass(frozen=True)
class _Begun:
    """`semantics.jsonl`: what an encoding that is not finished replaces, and what it has made."""

    encoder: str
    digest: str  # of the manifest that it began with
    replaced: list[str]  # shards
    made: dict[str, tuple[ShardRecord, Layout]]  # by name

    @classmethod
    def read(cls, folder: Path) -> _Begun:
        """That of `folder`; an empty one where nothing was begun. A last line that was cut off is
        left out. Raises ValueError naming a file that is damaged."""
        path = folder / LOG
        if not path.exists():
            return cls("", "", [], {})
        try:
            first, *rest = [json.loads(line) for line in read_bytes(path).split(b"\n")[:-1]]
            found = [(parse_record(r["shard"]), parse_layout(r["layout"])) for r in rest]
            replaced = [parse_name(name) for name in first["replaced"]]
            made = {record.name: (record, layout) for record, layout in found}
            named = {str((layout.semantic or {}).get("encoder")) for _, layout in found}
            if named - {first["encoder"]}:
                raise ValueError(f"features of {', '.join(named)}, begun with {first['encoder']}")
            return cls(str(first["encoder"]), str(first["digest"]), replaced, made)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: damaged: {error}; remove it to encode anew") from None

    def add(self, folder: Path, partial: Path, record: ShardRecord, layout: Layout) -> None:
        """Enter a shard, and give it its name: none that is there is unknown."""
        about = {"encoder": self.encoder, "digest": self.digest, "replaced": self.replaced}
        if not (folder / LOG).exists():
            write_atomically(folder / LOG, json.dumps(about).encode() + b"\n")
        with open(folder / LOG, "ab") as log:
            line = {"shard": asdict(record), "layout": asdict(layout)}
            log.write(json.dumps(line).encode() + b"\n")
            log.flush()
            os.fsync(log.fileno())
        publish(partial, folder / record.name)
        self.made[record.name] = record, layout

    def remove(self, folder: Path, manifest: Manifest) -> None:
        """Delete those of its shards, replaced or made, that the manifest does not list; no other
        file was written by it, and none is touched."""
        for name in {*self.replaced, *self.made} - {record.name for record in manifest.shards}:
            (folder / name).unlink(missing_ok=True)
        if (folder / LOG).exists():  # a finished dataset may be on a disk that is only read
            (folder / LOG).unlink()


def _fill(
    folder: Path, old: ShardRecord, new: Path, encode: Encode, encoder: str, batch: int
) -> tuple[Path, ShardRecord, Layout]:
    """Write one new shard, of an old one that is what the manifest says: damage must not get a
    checksum of its own."""
    if problem := shard_problem(folder, old):
        raise ValueError(f"{problem}; nothing was replaced")
    return write_shard(new, _filled(folder, old, encode, encoder, batch))


def _filled(
    folder: Path, record: ShardRecord, encode: Encode, encoder: str, batch: int
) -> Iterator[Sample]:
    """The samples of a shard with new features, encoded `batch` subjects at a time."""
    samples = (sample for _, sample in read_listed(folder, record))
    while held := list(islice(samples, batch)):
        try:
            yield from _with_features(held, encode, encoder)
        except ValueError as error:
            raise ValueError(f"{folder / record.name}: {error}") from None


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
