"""`dataset.json`: what a dataset holds, how it was made, and each shard's SHA-256. Its presence
says "complete"."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any

from semhead_lib import old_names
from semhead_lib.atomic import write_atomically
from semhead_lib.cameras import FOCAL, RADIUS

LOG = "synthesis.jsonl"
LEASES = "leases"  # folder of a dataset that several processes make (`jobs.distributed`)

MANIFEST = "dataset.json"
FORMAT = "semhead-subjects"
VERSION = 1
MAX_BYTES = 512 << 20  # of any dataset.json; larger ones are refused before they are read
CAMERA_CONVENTIONS = {
    "label": "4x4 camera-to-world row by row, then 3x3 intrinsics divided by the image size: 25 "
    "numbers, as EG3D",
    "axes": "OpenCV: x right, y down, z into the scene",
    "world": "right-handed, y up, the face looks towards +z, the subject's left is +x",
    "azimuth": "degrees, 0 in front, positive towards the subject's left, 180 behind",
    "elevation": "degrees, positive upwards",
    "radius": RADIUS,
    "focal": FOCAL,
}


@dataclass(frozen=True)
class ShardRecord:
    """One tar file of a dataset."""

    name: str
    subjects: int
    views: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Layout:
    """What the subjects of a dataset have in common."""

    resolution: int  # pixels a side
    image_format: str  # of the views
    fields: tuple[str, ...]  # fields of Subject that every subject has
    views_per_subject: tuple[int, int]  # least and most
    semantic: dict[str, Any] | None = (
        None  # {"encoder": identity, "dimension": D}, None while the slot is empty
    )

    def merge(self, other: Layout, where: str) -> Layout:
        """The layout of both together. Raises ValueError, starting with `where`, when a common
        property differs."""
        for name in ("resolution", "image_format", "fields", "semantic"):
            mine, its = getattr(self, name), getattr(other, name)
            if mine != its:
                raise ValueError(f"{where}: {name} is {its}, the subjects before it have {mine}")
        least, most = zip(self.views_per_subject, other.views_per_subject, strict=True)
        return replace(self, views_per_subject=(min(least), max(most)))


@dataclass(frozen=True)
class Plan:
    """The settings of a dataset: what a resumed run must share with the run it goes on with."""

    subjects: int
    shard_size: int  # subjects a shard; the last may hold fewer
    image_format: str
    seed: int | None
    source: dict[str, Any]  # {"name": ..., "licence": ..., "settings": the source's describe()}

    def shards(self) -> int:
        """Number of shards."""
        return -(-self.subjects // self.shard_size)

    def shard_name(self, shard: int) -> str:
        """File name of shard number `shard`."""
        return f"shard-{shard:06d}.tar"

    def indices(self, shard: int) -> range:
        """Subjects of shard number `shard`."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.subjects))

    def differences(self, other: Plan) -> list[str]:
        """What `other` has otherwise, as "key is A there, B here"; empty when they agree."""
        here, there = _flatten(asdict(other)), _flatten(asdict(self))
        return [
            f"{key} is {json.dumps(there[key]) if key in there else 'absent'} there, "
            f"{json.dumps(here[key]) if key in here else 'absent'} here"
            for key in sorted(here.keys() | there.keys())
            if (key in here, here.get(key)) != (key in there, there.get(key))
        ]


@dataclass(frozen=True)
class Manifest:
    """The content of `dataset.json`."""

    plan: Plan
    layout: Layout
    shards: tuple[ShardRecord, ...]
    cameras: dict[str, Any] = field(default_factory=lambda: dict(CAMERA_CONVENTIONS))

    @property
    def subjects(self) -> int:
        """Subjects in all shards."""
        return sum(s.subjects for s in self.shards)

    @property
    def views(self) -> int:
        """Views of all subjects."""
        return sum(s.views for s in self.shards)

    @property
    def licence(self) -> str:
        """Licence of the dataset, as its source gave it."""
        return self.plan.source["licence"]

    @cached_property
    def digest(self) -> str:
        """Tells the shards' content from another's: 16 hexadecimal digits of their checksums'
        SHA-256."""
        return hashlib.sha256("".join(s.sha256 for s in self.shards).encode()).hexdigest()[:16]

    @cached_property
    def first_subjects(self) -> list[int]:
        """Index of each shard's first subject, and then the number of subjects: one more than there
        are shards."""
        return list(accumulate((s.subjects for s in self.shards), initial=0))

    def dumps(self) -> bytes:
        """`dataset.json` as bytes: the same content gives the same bytes."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            "subjects": self.subjects,
            "views": self.views,
            **asdict(self.layout),
            "licence": self.licence,
            "plan": asdict(self.plan),
            "cameras": self.cameras,
            "shards": [asdict(s) for s in self.shards],
        }
        return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    def save(self, folder: Path | str) -> None:
        """Write `folder`/dataset.json in one step. Raises OSError naming the file."""
        write_atomically(Path(folder) / MANIFEST, self.dumps())

    @classmethod
    def load(cls, folder: Path | str) -> Manifest:
        """Read `folder`/dataset.json. Raises FileNotFoundError, or ValueError naming what is wrong
        in it."""
        path = Path(folder) / MANIFEST
        if not path.is_file():
            hint = "not a dataset, or its synthesis is not finished"
            if not path.parent.is_dir():
                hint = "no such folder"
            if path.parent.is_file():
                raise ValueError(
                    f"{folder}: is a file, expected the folder of a dataset: packed ones can be "
                    "checked and trained on, not made into others"
                )
            raise FileNotFoundError(f"{path} does not exist: {hint}")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path}: larger than {MAX_BYTES} bytes")
        try:
            content = json.loads(path.read_bytes(), parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: is not JSON: {error}") from None
        if isinstance(content, dict) and "labels" in content and "format" not in content:
            raise ValueError(
                f"{path}: is of an EG3D or PanoHead dataset; bring it in with `semhead data import`"
            )
        if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (
            FORMAT,
            VERSION,
        ):
            raise ValueError(f"{path}: expected format {FORMAT!r}, version {VERSION}")
        try:
            manifest = _parse(content)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: {error}") from None
        for name in ("subjects", "views"):
            if content.get(name) != getattr(manifest, name):
                raise ValueError(
                    f"{path}: {name} is {content.get(name)!r}, its shards together have {getattr(manifest, name)}"
                )
        return manifest


def parse_record(content: Any) -> ShardRecord:
    """A ShardRecord from JSON. Raises ValueError naming what is wrong."""
    record = _build(ShardRecord, content, "shard")
    parse_name(record.name)
    if min(record.subjects, record.views, record.bytes) < 1:
        raise ValueError(f"shard {record.name}: subjects, views and bytes must be positive")
    return record


def parse_name(name: str) -> str:
    """The name of a shard from JSON. Raises ValueError when it could be that of another file."""
    if PurePosixPath(name).name != name or not name.endswith(".tar") or name.startswith("."):
        raise ValueError(f"shard name {name!r} must be a plain file name ending in .tar")
    return name


def parse_layout(content: Any) -> Layout:
    """A Layout from JSON. Raises ValueError naming what is wrong."""
    layout = _build(Layout, content, "layout")
    if not all(isinstance(name, str) for name in layout.fields):
        raise ValueError(f"fields must be names, got {layout.fields!r:.80}")
    views = tuple(layout.views_per_subject)
    if len(views) != 2 or not all(isinstance(v, int) for v in views):
        raise ValueError(
            f"views_per_subject must be two integers, got {layout.views_per_subject!r}"
        )
    return replace(layout, fields=old_names.fields(layout.fields), views_per_subject=views)


def parse_plan(content: Any) -> Plan:
    """A Plan from JSON. Raises ValueError naming what is wrong."""
    plan = _build(Plan, content, "plan")
    if not isinstance(plan.source.get("licence"), str):
        raise ValueError("plan: source needs a licence")
    if min(plan.subjects, plan.shard_size) < 1:
        raise ValueError("plan: subjects and shard_size must be positive")
    settings = plan.source.get("settings")
    if isinstance(settings, dict) and isinstance(settings.get("channels"), list):
        channels = list(old_names.fields(settings["channels"]))
        plan = replace(plan, source={**plan.source, "settings": {**settings, "channels": channels}})
    return plan


def merged_layout(named: Iterable[tuple[str, Layout]]) -> Layout:
    """`merge_layouts` of one layout or more. Raises ValueError for none."""
    merged = merge_layouts(named)
    if merged is None:
        raise ValueError("there are no layouts to merge")
    return merged


def merge_layouts(named: Iterable[tuple[str, Layout]]) -> Layout | None:
    """The layout of all together, None for nothing. Raises ValueError naming the first that does
    not fit."""
    merged: Layout | None = None
    for where, layout in named:
        merged = merged.merge(layout, where) if merged else layout
    return merged


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _parse(content: dict[str, Any]) -> Manifest:
    shards = content.get("shards")
    if not isinstance(shards, list) or not shards:
        raise ValueError(f"shards must be a list that is not empty, got {shards!r:.80}")
    records = tuple(parse_record(s) for s in shards)
    if len({r.name for r in records}) != len(records):
        raise ValueError("two shards have one name")
    if not isinstance(content.get("cameras"), dict):
        raise ValueError("cameras must be the camera conventions")
    layout = parse_layout({f.name: content[f.name] for f in fields(Layout) if f.name in content})
    if ("semantic" in layout.fields) != (layout.semantic is not None):
        raise ValueError(f"semantic is {layout.semantic!r:.80}, fields are {layout.fields}")
    return Manifest(
        plan=parse_plan(content.get("plan")),
        layout=layout,
        shards=records,
        cameras=content["cameras"],
    )


def _build(kind: type, content: Any, what: str) -> Any:
    """`kind(**content)`, with the names and the JSON types of `content` checked against the fields
    of `kind`."""
    names = {f.name: str(f.type) for f in fields(kind)}
    if not isinstance(content, dict) or content.keys() != names.keys():
        got = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{what}: expected the keys {sorted(names)}, got {got}")
    for name, annotation in names.items():
        python = {"int": int, "str": str, "dict": dict, "tuple": list}[
            annotation.partition("[")[0].partition(" ")[0]
        ]
        value = content[name]
        if not (isinstance(value, python) and not isinstance(value, bool)) and not (
            value is None and annotation.endswith("None")
        ):
            raise ValueError(f"{what}: {name} must be {annotation}, got {value!r:.80}")
    return kind(**content)


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {
            k: v
            for key, item in value.items()
            for k, v in _flatten(item, f"{prefix}.{key}".strip(".")).items()
        }
    return {prefix: value}


def check_unseen(data: Path | str, unseen: Path | str) -> None:
    """Raise ValueError where two datasets were made of the same subjects."""
    one, other = (Manifest.load(path).plan for path in (data, unseen))
    same_seed = one.seed is not None and one.seed == other.seed
    if one.source == other.source or (same_seed and one.source["name"] == other.source["name"]):
        raise ValueError(
            f"unseen={unseen} is of the subjects of {data} (seed {one.seed}): to judge what was "
            "trained on them, others are needed"
        )
