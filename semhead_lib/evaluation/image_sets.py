"""Images of generated heads that were rendered elsewhere, in EG3D's form: a folder or zip of square
images with a `dataset.json` of 25-number camera labels.

    {"labels": [["front-00000/00.png", [25 numbers]], ...],
     "condition_cameras": [["front-00000/00.png", [25 numbers]], ...],
     "plan": {...}}

`condition_cameras`, if there, says which camera the mapping network was conditioned on for each
image; its form is that of `labels`. `plan`, if there, is the plan's `about` (render_plan.py).
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from semhead_lib.cameras import FOCAL, RADIUS, orbit_angles
from semhead_lib.conditioning.cameras import FRONT
from semhead_lib.data.dataset.archives import (
    SUFFIXES,
    ImageArchive,
    label_numbers,
    parse_label,
    parse_labels,
)
from semhead_lib.data.dataset.batches import choose_views
from semhead_lib.data.dataset.conventions import converted, parse_camera
from semhead_lib.data.dataset.eg3d_import import ArchiveSource
from semhead_lib.data.dataset.manifest import MANIFEST
from semhead_lib.errors import listed
from semhead_lib.evaluation.image_groups import grouped
from semhead_lib.evaluation.matching import OWN, Viewing
from semhead_lib.evaluation.planned_images import SAME, checked_cameras, planned_rows
from semhead_lib.evaluation.render_plan import DEPTH, PlanSummary
from semhead_lib.evaluation.samples import LEAST_SIDE, Samples, hashed, resized
from semhead_lib.evaluation.settings import ImageSetSettings
from semhead_lib.evaluation.sources import JudgedHeads
from semhead_lib.evaluation.surfaces import depths, planned_differences
from semhead_lib.metrics.consistency import Differences
from semhead_lib.models.generator import CONFIG

CONDITIONS, PLAN = "condition_cameras", "plan"
RENDERED = "render.json"  # that the script of a plan has begun
_FRONTAL = 10.0  # degrees from the front within which a view is taken for a head's front
_FRAMING = 0.1  # of radius and focal length, by which those of other images may differ
_WORDS = {"view": "rendered", "random": "random"}  # as condition cameras are called elsewhere


def is_image_set(path: Path | str) -> bool:
    """Whether `path` is, or should be, a set of images with camera labels: a zip, or a folder of
    images or with a dataset.json, but no generator."""
    path = Path(path)
    if not path.is_dir():
        return path.suffix.lower() == ".zip" and path.exists()
    if (path / CONFIG).exists() or next(path.glob(f"*/{CONFIG}"), None) is not None:
        return False
    found = (image for kind in SUFFIXES for image in path.glob(f"*/*{kind}"))
    begun = (path / MANIFEST).exists() or (path / RENDERED).exists()
    return begun or next(found, None) is not None


class ImageSet:
    """Heads given as images.

    `group` says which images show one head: "folder", those of a folder; "none", each image is a
    head; else a regular expression that is searched for in the images' names, whose first group (or
    whole match) names the head. `camera` is the labels' convention (`data import`).

    Raises FileNotFoundError, or ValueError naming the image or label that is wrong.
    """

    def __init__(
        self,
        path: Path | str,
        group: str = "folder",
        camera: str = "auto",
        name: str | None = None,  # in tables; None: that of the folder or zip
        views: int | None = None,  # of each head; None: as many as every head has
    ) -> None:
        self.path, self._stem = Path(path), Path(path).resolve().stem
        self.name = name or self._stem
        if (self.path / RENDERED).exists() and not (self.path / MANIFEST).exists():
            raise ValueError(f"{path}: is not rendered to the end: run plan_renderer.py again")
        self._source = ArchiveSource(path, camera=camera)
        for note in self._source.notes():
            warnings.warn(note, stacklevel=2)
        self.side = self._source.subject(0).views.shape[-1]
        if self.side < LEAST_SIDE:
            raise ValueError(
                f"{path}: images need {LEAST_SIDE} pixels a side or more, got {self.side}"
            )
        self._steps, self._most_views = parse_camera(camera), views
        archive = self._source.archive
        self._names, content = archive.images(), _content(archive)
        self._place = {name: i for i, name in enumerate(self._names)}
        self._cameras = self._labels(dict(archive.labels()), "labels")
        self._conditions = self._condition_cameras(content)
        try:
            self.plan = PlanSummary.from_json(content[PLAN]) if PLAN in content else None
        except ValueError as error:
            raise ValueError(f"{path}: {MANIFEST}: {error}") from None
        if self.plan is not None and group != ImageSetSettings.group:
            raise ValueError(
                f"group={group} is asked for, but the plan of {path} says which images show one "
                "head: leave group out"
            )
        heads = grouped(self._names, group, str(path))
        if group == "folder" and self.plan is None and len(self._names) > len(heads) == 1:
            raise ValueError(
                f"{path}: all {len(self._names)} images lie in one folder, so they count as one "
                "head: use group=none, or a regular expression that finds the head in their names"
            )
        self.kinds = self._by_kind(heads)
        self._check_framing()

    def __len__(self) -> int:
        """Heads that all metrics can be of."""
        return len(self.kinds[self._main])

    def fingerprint(self) -> str:
        """A digest of these images and labels."""
        archive = self._source.archive
        labels = hashlib.sha256(archive.read(MANIFEST)).hexdigest()
        kinds = hashlib.sha256(json.dumps(self.kinds).encode()).hexdigest()
        surfaces = depths(archive, self.plan) if self.plan else ""
        return f"{archive.fingerprint()} {labels} {kinds} {self._steps} {self.plan} {surfaces}"

    def viewing(self, heads: int, most_views: int, seed: int) -> Viewing:
        """The cameras of the first `heads` heads, at most `most_views` of each. Raises ValueError
        for images that are not those of their plan."""
        if self.plan is None:
            rows = self._chosen(self._main, heads, most_views, seed)
            return Viewing(OWN, self._cameras[torch.tensor(rows)], seed)
        cameras = checked_cameras(
            self.plan, self._place, self._cameras, self._conditions, str(self.path)
        )
        return Viewing(self.plan.cameras, cameras, self.plan.seed)

    def heads(self, viewing: Viewing, resolution: int, progress: bool = False) -> JudgedHeads:
        """The heads that are seen so, at `resolution` pixels a side."""
        heads, views = viewing.cameras.shape[:2]
        if self.plan is not None:
            rows = self._planned("front")
            images = self._read(rows, resolution, progress)
            kept, fronts, own_front = images[:, :-1], images[:, -1], None
        else:
            rows = self._chosen(self._main, heads, views, viewing.seed)
            kept = self._read(rows, resolution, progress)
            fronts, own_front = self._fronts(rows, kept, resolution)
        made = f"{self._stem} [images {hashed(kept)}]"
        if self._main != "none":
            made += f", condition camera {_WORDS.get(self._main, self._main)}"
        samples = Samples(kept, viewing.cameras, fronts, made, front_views=own_front)
        left_out = {
            "condition_cosine, condition_recall": "no semantic condition of these heads is known"
        }
        agreement = self._agreement(resolution)
        if agreement is None:
            left_out["consistency"] = "needs the part depth of a plan, and a generator's depth"
        if fronts is None:
            left_out["cross_view_recall, mode_coverage, frechet_front"] = (
                f"{self._without_front} heads have no view within {_FRONTAL:g} degrees of the front"
            )
        conditioned = {}
        for part, what in (
            ("view", "the camera they are rendered from"),
            ("random", "another image's camera"),
        ):
            if self._main == part:
                conditioned[part] = samples
            elif part not in self.kinds:
                left_out[f"frechet_{part}"] = f"no images are conditioned on {what}"
            elif (found := self._part(part, viewing, resolution, progress)) is not None:
                conditioned[part] = found
            else:
                left_out[f"frechet_{part}"] = f"images conditioned on {what} have other cameras"
        return JudgedHeads(samples, conditioned, left_out, agreement)

    def _agreement(self, resolution: int) -> Differences | None:
        """How the views of the plan's part `depth` agree."""
        if self.plan is None:
            return None
        return planned_differences(
            self._source.archive,
            self.plan,
            lambda name: self._image(self._place[name], resolution),
        )

    @property
    def _main(self) -> str:
        """The kind of heads that all metrics are of: those that are conditioned on one camera each,
        or of which nothing is known, if there are any."""
        return next(iter(self.kinds))

    def _part(self, part: str, viewing: Viewing, resolution: int, progress: bool) -> Samples | None:
        heads, views = viewing.cameras.shape[:2]
        if self.plan is not None:
            rows = self._planned(part)
        elif len(self.kinds[part]) < heads or min(map(len, self.kinds[part])) < views:
            return None
        else:
            rows = self._chosen(part, heads, views, viewing.seed)
        if not torch.equal(self._cameras[torch.tensor(rows)], viewing.cameras):
            return None
        images = self._read(rows, resolution, progress)
        made = f"{self._stem} [images {hashed(images)}], condition camera {_WORDS[part]}"
        return Samples(images, viewing.cameras, None, made)

    def _chosen(self, kind: str, heads: int, most_views: int, seed: int) -> list[list[int]]:
        """Places of the images of the first heads, equally many of each."""
        groups = self.kinds[kind]
        if self._most_views is not None:  # heads with fewer are left out
            groups = [group for group in groups if len(group) >= self._most_views]
        groups = groups[:heads]
        if not groups:
            raise ValueError(f"{self.path}: no head has views={self._most_views} images or more")
        views = min(self._most_views or min(map(len, groups)), most_views)
        return [
            [group[v] for v in sorted(choose_views(seed, 0, i, len(group), views))]
            for i, group in enumerate(groups)
        ]

    def _planned(self, part: str) -> list[list[int]]:
        """Places of the images of a plan's part, in its order, the front of each head last."""
        assert self.plan is not None
        return planned_rows(self.plan, part, self._place, str(self.path))

    def _fronts(
        self, rows: list[list[int]], images: Tensor, resolution: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """Frontal images of all heads and which of their views they are; None where one has none."""
        group_of = {i: group for group in self.kinds[self._main] for i in group}
        azimuth, elevation, _ = torch.deg2rad(orbit_angles(self._cameras)).unbind(-1)
        off = torch.rad2deg((azimuth.cos() * elevation.cos()).clamp(-1, 1).acos())
        nearest = [min(group_of[row[0]], key=lambda i: float(off[i])) for row in rows]
        self._without_front = sum(float(off[i]) > _FRONTAL for i in nearest)
        if self._without_front:
            return None, None
        place = torch.tensor(
            [row.index(i) if i in row else -1 for row, i in zip(rows, nearest, strict=True)]
        )
        fronts = torch.stack(
            [
                images[head, v]
                if v >= 0
                else self._read([[nearest[head]]], resolution, False)[0, 0]
                for head, v in enumerate(place.tolist())
            ]
        )
        return fronts, place

    def _read(self, rows: list[list[int]], resolution: int, progress: bool) -> Tensor:
        bar = tqdm(rows, unit="head", desc=f"reading {self.name}", disable=not progress)
        return torch.stack([torch.stack([self._image(i, resolution) for i in row]) for row in bar])

    def _image(self, place: int, resolution: int) -> Tensor:  # [3, S, S] uint8
        images = self._source.subject(place).views
        return resized(images, resolution, f"{self.path}: images")[0]

    def _labels(self, labels: dict[str, Any], what: str) -> Tensor:  # [images, 25]
        found = []
        for name in self._names:
            try:
                label = parse_label(labels[name])
                if self._steps:
                    numbers = label_numbers(labels[name]).astype(np.float32)[None]
                    label = parse_label(converted(numbers, self._steps, self.side)[0].tolist())
            except ValueError as error:
                raise ValueError(f"{self.path}: {name}: {what}: {error}") from None
            found.append(torch.from_numpy(label))
        return torch.stack(found)

    def _condition_cameras(self, content: dict[str, Any]) -> Tensor | None:
        if CONDITIONS not in content:
            return None
        where = f"{self.path}: {MANIFEST}: {CONDITIONS}"
        written = json.dumps({"labels": content[CONDITIONS]}).encode()
        pairs = parse_labels(written, where)
        if len(labels := dict(pairs)) < len(pairs):
            name, count = Counter(name for name, _ in pairs).most_common(1)[0]
            raise ValueError(f"{where}: {name} has {count} labels")
        if missing := [name for name in self._names if name not in labels]:
            raise ValueError(f"{where}: {len(missing)} images are not there: {listed(missing)}")
        return self._labels(labels, CONDITIONS)

    def _by_kind(self, groups: list[list[int]]) -> dict[str, list[list[int]]]:
        """Heads by what they are conditioned on: "none" where nothing is known, "front" or another
        azimuth, "view", "random"; the first are those that all metrics are of."""
        if self.plan is not None:
            return {part: self._planned(part) for part in self.plan.parts if part != DEPTH}
        if self._conditions is None:
            return {"none": groups}
        whole = _alike(self._conditions)
        found: dict[str, list[list[int]]] = {}
        for group in groups:
            on, own = self._conditions[group], self._cameras[group]
            if whole or (len(group) > 1 and _alike(on)):
                azimuth, elevation, _ = orbit_angles(on[:1])[0].tolist()
                kind = f"{round(azimuth)}" if max(abs(azimuth), abs(elevation)) > 1 else FRONT
            else:
                kind = "view" if (on - own).abs().max() < SAME else "random"
            found.setdefault(kind, []).append(group)
        fixed = [kind for kind in found if kind not in _WORDS]
        if len(fixed) > 1:
            raise ValueError(
                f"{self.path}: its heads are conditioned on cameras at azimuth "
                f"{', '.join(sorted(fixed))}: judge them as sets of their own"
            )
        return {kind: found[kind] for kind in (*fixed, *_WORDS) if kind in found}

    def _check_framing(self) -> None:
        radius, focal = orbit_angles(self._cameras)[:, 2].median(), self._cameras[:, 16].median()
        size = float(focal / radius) / (FOCAL / RADIUS)
        if abs(size - 1) > _FRAMING:
            warnings.warn(
                f"{self.path}: heads are seen {size:.2f} times as large as in datasets of ours "
                f"(focal length {focal:.3g}, distance {radius:.3g}): distances will say so",
                stacklevel=3,
            )


def _content(archive: ImageArchive) -> dict[str, Any]:
    """What a dataset.json whose labels were read holds."""
    return json.loads(archive.read(MANIFEST))


def _alike(labels: Tensor) -> bool:  # [B, 25]
    return bool((labels - labels[:1]).abs().max() < SAME)
