"""A dataset as one compact file (`packed_archive` says what is in it), read with numpy and Pillow
alone: `semhead data pack` (`packing`) makes one.

Frontal images and normals stay behind: a packed dataset is what a training reads.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from semhead_lib.cameras import LABEL_LENGTH, orbit_angles
from semhead_lib.data.dataset.entries import decode_image, decode_npy
from semhead_lib.data.dataset.manifest import (
    Layout,
    Manifest,
    ShardRecord,
    parse_layout,
    parse_plan,
)
from semhead_lib.data.dataset.packed_archive import (
    CAMERAS,
    CLASS_LENGTHS,
    CLASSES,
    DEPTH,
    DEPTH_LENGTHS,
    DEPTH_RANGES,
    GEOMETRY,
    IMAGES,
    LENGTHS,
    MANIFEST,
    MOST_TEXT,
    SEMANTICS,
    SUBJECTS,
    read_packed,
    sha256,
)
from semhead_lib.data.dataset.packed_geometry import decode_classes, decode_depth
from semhead_lib.data.dataset.subset import limited_layout, limited_subject
from semhead_lib.data.subjects import Subject
from semhead_lib.devices import threads_of_one_core

if TYPE_CHECKING:
    from semhead_lib.data.dataset.memory import SubjectsInMemory

# Of `subjects.json`, decompressed, to its file; the tables that we write: 5 to 25.
_MOST_RATIO = 100


def is_packed(path: Path | str) -> bool:
    """Whether `path` is a file rather than a dataset's folder."""
    return Path(path).is_file()


def load_packed(
    path: Path | str,
    *,
    geometry: Collection[str] | None = None,
    limit: int | None = None,
    views_limit: int | None = None,
    threads: int = 2,
) -> SubjectsInMemory:
    """The subjects of a packed dataset, or its first `limit`, decoded by `threads`; all views, or
    `views_limit` of each, spread over all (`subset.spread_views`).

    `geometry` names what to read of "depth" and "segmentation"; None: what there is. Depth is known
    at every second pixel of every second row, and 0 at the others. `frontal` of a subject is its
    view nearest the front. Raises FileNotFoundError, or ValueError naming the file, and the member
    and what is wrong with it, or the geometry that is not there.
    """
    from semhead_lib.data.dataset.memory import SubjectsInMemory

    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    manifest, decode = open_packed(path, geometry=geometry)
    manifest = replace(manifest, layout=limited_layout(manifest.layout, views_limit))

    def decode_limited(number: int) -> Subject:
        return limited_subject(decode(number), number, views_limit)

    with threads_of_one_core(threads) as pool:
        subjects = list(pool.map(decode_limited, range(manifest.subjects)[:limit]))
    return SubjectsInMemory(subjects, range(len(subjects)), manifest)


def open_packed(
    path: Path | str, *, geometry: Collection[str] | None = None
) -> tuple[Manifest, Callable[[int], Subject]]:
    """The manifest of a packed dataset and what decodes its subjects by their numbers; all of it is
    compared with its checksums. `geometry` as of `load_packed`; raises as that, and so does what
    decodes."""
    path = Path(path)
    if unknown := set(geometry or ()) - set(GEOMETRY):
        raise ValueError(
            f"geometry may name {', '.join(sorted(GEOMETRY))}, got {', '.join(sorted(unknown))}"
        )
    content, members = read_packed(path)
    try:
        manifest, table = _manifest(content, members), _table(members[SUBJECTS])
        layout, views = manifest.layout, [row["views"] for row in table]
        _agree(content, layout, views)
        if lacking := sorted(set(geometry or ()) - set(layout.fields)):
            raise ValueError(
                f"has no {' and no '.join(lacking)}: pack the dataset with geometry=true"
            )
        wanted = layout.fields if geometry is None else geometry
        images, classes, depth = _images(members, LENGTHS, IMAGES, sum(views)), None, None
        if "segmentation" in wanted:
            classes = _images(members, CLASS_LENGTHS, CLASSES, sum(views))
        if "depth" in wanted:
            depth = _depth(members, sum(views))
        cameras = decode_npy(members[CAMERAS], CAMERAS, (sum(views), LABEL_LENGTH)).split(views)
        semantics: Any = [None] * len(views)
        if layout.semantic:
            semantics = decode_npy(
                members[SEMANTICS], SEMANTICS, (len(views), layout.semantic["dimension"])
            )
        ends = np.cumsum([0, *views]).tolist()

        def decode(number: int) -> Subject:
            mine = slice(ends[number], ends[number + 1])
            try:
                return _subject(
                    table[number],
                    images[mine],
                    None if classes is None else classes[mine],
                    None if depth is None else depth[mine],
                    cameras[number],
                    semantics[number],
                    manifest,
                    content["packed"],
                )
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None

    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return manifest, decode


def _manifest(content: dict[str, Any], members: dict[str, bytes]) -> Manifest:
    """What the rest of the library reads a dataset's properties from; the file counts as its only
    shard."""
    names = ("resolution", "image_format", "fields", "views_per_subject", "semantic")
    try:
        layout = parse_layout({name: content[name] for name in names})
        plan, conventions = parse_plan(content["plan"]), dict(content["cameras"])
        subjects, views, _ = (
            int(content["subjects"]),
            int(content["views"]),
            dict(content["packed"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{MANIFEST}: {error!r}") from None
    record = ShardRecord(
        "packed.tar", subjects, views, len(members[IMAGES]), sha256(members[IMAGES])
    )
    return Manifest(plan, layout, (record,), conventions)


def _agree(content: dict[str, Any], layout: Layout, views: list[int]) -> None:
    """Raise ValueError unless the manifest counts the subjects and views that there are."""
    found = {
        "subjects": len(views),
        "views": sum(views),
        "views_per_subject": (min(views), max(views)),
    }
    for name, value in found.items():
        said = layout.views_per_subject if name == "views_per_subject" else content[name]
        if said != value:
            raise ValueError(f"{MANIFEST}: {name} is {said}, {SUBJECTS} has {value}")
    if layout.semantic and SEMANTICS not in content["members"]:
        raise ValueError(f"{SEMANTICS}: missing")
    for field, names in GEOMETRY.items():
        for name in names:
            if field in layout.fields and name not in content["members"]:
                raise ValueError(f"{name}: missing")
            if field not in layout.fields and name in content["members"]:
                raise ValueError(f"{name}: is there, but the fields of {MANIFEST} lack {field}")
    if layout.semantic and (
        not isinstance(layout.semantic.get("dimension"), int) or "encoder" not in layout.semantic
    ):
        raise ValueError(
            f"{MANIFEST}: semantic must have encoder and dimension, got {layout.semantic!r:.80}"
        )


def _table(data: bytes) -> list[dict[str, Any]]:
    unpacking, most = zlib.decompressobj(), min(MOST_TEXT, (1 << 20) + _MOST_RATIO * len(data))
    try:
        text = unpacking.decompress(data, most)
        if unpacking.unconsumed_tail:
            raise ValueError(f"{len(data)} bytes unpack to more than {most}")
        table = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise ValueError(f"{SUBJECTS}: is not readable: {error}") from None
    kinds = {"id": str, "views": int, "attributes": dict, "caption": str}
    for number, row in enumerate(table if isinstance(table, list) and table else [None]):
        if (
            not isinstance(row, dict)
            or row.keys() != kinds.keys()
            or any(not isinstance(row[name], kind) for name, kind in kinds.items())
            or row["views"] < 1
        ):
            raise ValueError(
                f"{SUBJECTS}: entry {number} must have id, views (at least 1), attributes and caption"
            )
    return table


def _images(members: dict[str, bytes], of: str, name: str, count: int) -> list[memoryview]:
    """The `count` images of the member `name`, whose lengths are in the member `of`."""
    lengths = decode_npy(members[of], of, (count,), np.int32).long()
    blob = memoryview(members[name])
    if bool((lengths < 1).any()) or int(lengths.sum()) != len(blob):
        raise ValueError(f"{of}: must be positive and add up to the {len(blob)} bytes of {name}")
    ends = [0, *lengths.cumsum(0).tolist()]
    return [blob[a:b] for a, b in pairwise(ends)]


def _depth(members: dict[str, bytes], count: int) -> list[tuple[memoryview, float, float]]:
    """Of each of the `count` views the image of its depth, its least depth and its step."""
    ranges = decode_npy(members[DEPTH_RANGES], DEPTH_RANGES, (count, 2))
    if not bool(ranges.isfinite().all()) or bool((ranges < 0).any()):
        raise ValueError(f"{DEPTH_RANGES}: must be finite and not negative")
    images = _images(members, DEPTH_LENGTHS, DEPTH, count)
    return [(data, near, step) for data, (near, step) in zip(images, ranges.tolist(), strict=True)]


def _subject(
    row: dict[str, Any],
    images: list[memoryview],
    classes: list[memoryview] | None,
    depth: list[tuple[memoryview, float, float]] | None,
    cameras: Tensor,
    semantic: Tensor | None,
    manifest: Manifest,
    how: dict[str, Any],  # it was packed
) -> Subject:
    layout, masked = manifest.layout, "masks" in manifest.layout.fields
    views, masks = [], []
    for view, data in enumerate(images):
        where = f"{row['id']}, view {view}"
        pixels = decode_image(
            bytes(data), where, ("RGBA", "RGB") if masked else ("RGB",), layout.resolution
        )
        views.append(pixels[:3])
        if masked:  # an alpha of 255 everywhere is not stored
            masks.append(pixels[3] if len(pixels) == 4 else torch.full_like(pixels[0], 255))
    segmentation = z = None
    if classes is not None:
        segmentation = torch.stack(
            [
                decode_classes(
                    bytes(data), f"{CLASSES}: {row['id']}, view {view}", layout.resolution
                )
                for view, data in enumerate(classes)
            ]
        )
    if depth is not None:
        z = torch.stack(
            [
                decode_depth(
                    bytes(data), f"{DEPTH}: {row['id']}, view {view}", layout.resolution, near, step
                )
                for view, (data, near, step) in enumerate(depth)
            ]
        )
    azimuth, elevation, _ = torch.deg2rad(orbit_angles(cameras)).unbind(-1)
    stacked = torch.stack(views)
    return Subject(
        id=row["id"],
        views=stacked,
        cameras=cameras.clone(),
        frontal=stacked[int((azimuth.cos() * elevation.cos()).argmax())],
        masks=torch.stack(masks) if masked else None,
        depth=z,
        segmentation=segmentation,
        semantic=semantic,
        semantic_encoder=layout.semantic["encoder"] if layout.semantic else None,
        attributes=row["attributes"],
        caption=row["caption"],
        provenance={"source": manifest.plan.source.get("name", ""), "packed": how},
        licence=manifest.licence,
    ).validate()
