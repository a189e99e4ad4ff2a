"""What stands in a sample's JSON: which files there are, and what is said of the subject."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from semhead_lib import old_names
from semhead_lib.data.dataset.entries import (
    IMAGE_FORMATS,
    MAX_SIDE,
)

VERSION = (
    2  # 1 called segmentation `labels`; it is read, and what is added to it stays of that version
)
DEPTH_UNIT = 1e-4  # scene units a step, for depths up to 6.5535
STEMS = {
    "views": "view",
    "masks": "mask",
    "depth": "depth",
    "normals": "normal",
    "segmentation": "segmentation",
}
Sample = Mapping[
    str, bytes
]  # entry name -> content, and "__key__" -> the subject's id, as WebDataset has it


@dataclass(frozen=True)
class SampleInfo:
    """The `json` entry: what the sample holds, and what is known of the subject."""

    id: str
    version: int
    resolution: int  # pixels a side, of every image
    views: int
    image_format: str  # of the views: a key of IMAGE_FORMATS
    fields: tuple[str, ...]  # fields of Subject that are present, in the order of Subject
    depth_unit: float | None  # scene units a step of the depth images
    frontal_view: int | None  # the view that is the frontal image, or None: `frontal.png`
    semantic_encoder: str | None
    attributes: dict[str, Any]
    caption: str
    provenance: dict[str, Any]
    licence: str

    def entries(self) -> list[str]:
        """Names of all entries that a sample with this info has."""
        names = ["json", "cameras.npy"]
        names += ["frontal.png"] if self.frontal_view is None else []
        names += ["semantic.npy"] if "semantic" in self.fields else []
        return names + [
            self.entry(f, view) for f in self.fields if f in STEMS for view in range(self.views)
        ]

    def entry(self, field: str, view: int) -> str:
        """Name of the entry that holds `view` of `field` ("views", "masks", "depth", "normals" or
        "segmentation")."""
        stem = (
            old_names.STEMS[field]
            if self.version == 1 and field in old_names.STEMS
            else STEMS[field]
        )
        return f"{stem}_{view:03d}.{self.image_format if field == 'views' else 'png'}"


def encode_info(info: SampleInfo) -> bytes:
    """The `json` entry. Raises ValueError for values that JSON lacks (NaN, infinities, objects)."""
    content = {k: v for k, v in asdict(info).items() if k != "id"}
    if info.version == 1:
        earlier = {name: old for old, name in old_names.FIELDS.items()}
        content["fields"] = [earlier.get(name, name) for name in info.fields]
    try:
        return json.dumps(content, sort_keys=True, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"subject {info.id}: attributes and provenance must be JSON: {error}"
        ) from None


def decode_info(sample: Sample) -> SampleInfo:
    """Read and check the `json` entry. Raises ValueError naming what is wrong."""
    where = f"{sample['__key__']}.json"
    if "json" not in sample:
        raise ValueError(f"{where}: missing")
    try:
        content = json.loads(sample["json"])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: is not JSON: {error}") from None
    kinds = {
        "version": int,
        "resolution": int,
        "views": int,
        "image_format": str,
        "fields": list,
        "depth_unit": float | None,
        "frontal_view": int | None,
        "semantic_encoder": str | None,
        "attributes": dict,
        "caption": str,
        "provenance": dict,
        "licence": str,
    }
    if isinstance(content, dict) and content.get("version") not in (1, VERSION):
        raise ValueError(
            f"{where}: has format version {content.get('version')!r}, this release reads 1 to "
            f"{VERSION}"
        )
    if not isinstance(content, dict) or content.keys() != kinds.keys():
        raise ValueError(f"{where}: expected the keys {sorted(kinds)}")
    for name, kind in kinds.items():
        if not isinstance(content[name], kind):
            raise ValueError(
                f"{where}: {name} must be {getattr(kind, '__name__', kind)}, got {content[name]!r}"
            )
    values: dict[str, Any] = content | {"fields": old_names.fields(content["fields"])}
    info = SampleInfo(id=str(sample["__key__"]), **values)
    front = info.frontal_view
    for name, right in {
        "resolution": 1 <= info.resolution <= MAX_SIDE,
        "views": 1 <= info.views <= 100_000,
        "image_format": info.image_format in IMAGE_FORMATS,
        "fields": {"views", "cameras", "frontal"}
        <= set(info.fields)
        <= {*STEMS, "cameras", "frontal", "semantic"},
        "depth_unit": (info.depth_unit or 0) > 0
        if "depth" in info.fields
        else info.depth_unit is None,
        "frontal_view": front is None or 0 <= front < info.views,
        "semantic_encoder": "semantic" not in info.fields or bool(info.semantic_encoder),
    }.items():
        if not right:
            raise ValueError(
                f"{where}: {name} is {content[name]!r}, which version {info.version} does not allow"
            )
    return info
