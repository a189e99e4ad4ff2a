"""What a packed dataset holds of its subjects, read from shards and encoded: for
`semhead_lib.data.dataset.packing`."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from semhead_lib.data.dataset.encoding import decode_entry
from semhead_lib.data.dataset.entries import encode_npy
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.data.dataset.packed_archive import (
    CAMERAS,
    CLASS_LENGTHS,
    CLASSES,
    DEPTH,
    DEPTH_LENGTHS,
    DEPTH_RANGES,
    IMAGES,
    LENGTHS,
    SEMANTICS,
    SUBJECTS,
)
from semhead_lib.data.dataset.packed_geometry import encode_classes, encode_depth
from semhead_lib.data.dataset.sample_info import Sample, SampleInfo, decode_info
from semhead_lib.data.dataset.shards import read_listed
from semhead_lib.devices import threads_of_one_core


@dataclass(frozen=True)
class EncodedGeometry:
    """Of a view, encoded."""

    classes: bytes
    depth: bytes
    range: tuple[float, float]  # least depth, and step

    @property
    def size(self) -> int:
        return len(self.classes) + len(self.depth)


def encode_geometry(classes: np.ndarray, depth: np.ndarray) -> EncodedGeometry:
    return EncodedGeometry(encode_classes(classes), *encode_depth(depth))


@dataclass(frozen=True)
class BareSubject:
    """Of a subject what is packed."""

    row: dict[str, Any]
    images: list[np.ndarray]  # [H, W, 3 or 4] uint8, the mask as alpha
    cameras: Tensor
    semantic: Tensor | None
    # of each view: classes [H, W] uint8, depth [H, W] float32; empty where they are not packed
    geometry: list[tuple[np.ndarray, np.ndarray]]


def read_bare(
    folder: Path, manifest: Manifest, wanted: Collection[int], geometry: bool
) -> Iterator[BareSubject]:
    """The subjects numbered `wanted`, in order, without what is not packed."""
    wanted, stems = set(wanted), ("json", "cameras.", "semantic.", "view_", "mask_")
    stems += ("segmentation_", "label_", "depth_") if geometry else ()
    for record, first in zip(manifest.shards, manifest.first_subjects, strict=False):
        path = folder / record.name

        def choose(position: int, names: list[str], first: int = first) -> list[str] | None:
            return [n for n in names if n.startswith(stems)] if first + position in wanted else None

        for _, sample in read_listed(folder, record, choose, verify=True):
            try:
                info = decode_info(sample)
                images = [_pixels(sample, info, view) for view in range(info.views)]
                semantic = (
                    decode_entry(sample, info, "semantic.npy")
                    if "semantic" in info.fields
                    else None
                )
                row = {
                    "id": info.id,
                    "views": info.views,
                    "attributes": info.attributes,
                    "caption": info.caption,
                }
                cameras = decode_entry(sample, info, "cameras.npy")
                classes, depth = (
                    [
                        decode_entry(sample, info, info.entry(field, view)).numpy()
                        for view in range(info.views if geometry else 0)
                    ]
                    for field in ("segmentation", "depth")
                )
                of_views = list(zip(classes, depth, strict=True))
                yield BareSubject(row, images, cameras, semantic, of_views)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None


def _pixels(sample: Sample, info: SampleInfo, view: int) -> np.ndarray:  # [H, W, 3 or 4]
    pixels = decode_entry(sample, info, info.entry("views", view))
    if "masks" in info.fields:
        pixels = torch.cat([pixels, decode_entry(sample, info, info.entry("masks", view))[None]])
    return pixels.movedim(0, -1).contiguous().numpy()


def encode_members(
    folder: Path,
    manifest: Manifest,
    wanted: Sequence[int],
    quality: int,
    known: dict[str, list[EncodedGeometry]] | None,
    threads: int,
    progress: bool,
) -> dict[str, bytes]:
    """All members but the manifest.

    `known` has the encoded geometry of subjects by their id, which no quality changes, and receives
    what it lacks; None where geometry is not packed.
    """
    rows, cameras, semantics, images = [], [], [], []
    geometry: list[EncodedGeometry] = []
    subjects = read_bare(folder, manifest, wanted, known is not None)

    def encode(subject: BareSubject) -> tuple[list[bytes], list[EncodedGeometry]]:
        of_geometry = (known or {}).get(subject.row["id"])
        if of_geometry is None:
            of_geometry = [encode_geometry(*g) for g in subject.geometry]
        return [webp(i, quality) for i in subject.images], of_geometry

    with (
        threads_of_one_core(threads) as pool,
        tqdm(total=len(wanted), unit="subject", disable=not progress) as bar,
    ):
        while chunk := list(
            islice(subjects, 4 * threads)
        ):  # bounds what is read but not yet encoded
            for subject, (of_images, of_geometry) in zip(
                chunk, pool.map(encode, chunk), strict=True
            ):
                rows.append(subject.row)
                cameras.append(subject.cameras)
                semantics.append(subject.semantic)
                images += of_images
                geometry += of_geometry
                if known is not None:
                    known[subject.row["id"]] = of_geometry
            bar.update(len(chunk))
    members = {
        SUBJECTS: packed_rows(rows),
        LENGTHS: _lengths(images),
        CAMERAS: encode_npy(torch.cat(cameras)),
    }
    if manifest.layout.semantic:
        members[SEMANTICS] = encode_npy(torch.stack(semantics))
    members[IMAGES] = b"".join(images)
    if known is not None:
        classes, depth = [g.classes for g in geometry], [g.depth for g in geometry]
        members |= {CLASS_LENGTHS: _lengths(classes), CLASSES: b"".join(classes)}
        ranges = torch.tensor([g.range for g in geometry])
        members |= {DEPTH_RANGES: encode_npy(ranges), DEPTH_LENGTHS: _lengths(depth)}
        members[DEPTH] = b"".join(depth)
    return members


def _lengths(files: list[bytes]) -> bytes:
    return encode_npy(torch.tensor([len(data) for data in files], dtype=torch.int32))


def packed_rows(rows: list[dict[str, Any]]) -> bytes:
    return zlib.compress(
        json.dumps(rows, sort_keys=True, ensure_ascii=False, allow_nan=False).encode(), 9
    )


def webp(image: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()  # exact: colours outside the mask are the background, and stay
    Image.fromarray(image).save(
        file, "WEBP", quality=quality, method=4, exact=True, alpha_quality=100
    )
    return file.getvalue()
