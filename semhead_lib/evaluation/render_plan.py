"""Render plans: the cameras, seeds and condition cameras of a fair comparison of generators.

| part   | mapping network conditioned on                       | for                                  |
|--------|------------------------------------------------------|--------------------------------------|
| front  | the frontal camera, one for all views of a head      | all metrics; FID-front               |
| view   | for each image, the camera that it is rendered from  | FID-view                             |
| random | for each image, the camera of another image          | FID-random                           |

The part `depth` asks for two views, 15 degrees apart, about the centre of each bin of azimuth, of the
first heads, for multi-view consistency; where the generator gives `image_depth`, it is kept beside
these images.

`cameras="reference"` takes the cameras of the real heads that the generated ones stand in for, so
that these images are measured exactly as our generators are. `cameras="bins"` needs no dataset:
every head is seen from the centres of the bins of azimuth at elevation 0, and compared with the
real views that are nearest.

The file is JSON: `cameras` has each label once, and `images` has a row [name, seed, camera,
condition camera] for each image, the last two as places in `cameras`. `about` goes into the
dataset.json of the images, and says how to evaluate them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semhead_lib.atomic import write_atomically
from semhead_lib.cameras import check_cameras, orbit_cameras
from semhead_lib.conditioning.cameras import FRONT, RANDOM, RENDERED, condition_cameras
from semhead_lib.data.subjects import Subject
from semhead_lib.errors import worded
from semhead_lib.evaluation.samples import hashed, real_samples
from semhead_lib.files import in_file, read_json
from semhead_lib.metrics.azimuth import AzimuthBins
from semhead_lib.metrics.consistency import paired_cameras

FORMAT, VERSION = "semhead-render-plan", 1
PARTS = {"front": FRONT, "view": RENDERED, "random": RANDOM}  # part -> condition camera
DEPTH, DEPTH_HEADS, DEPTH_APART = "depth", 8, 15.0  # its part, heads at most, degrees of a pair
KINDS = ("reference", "bins")
MOST = 1_000_000  # views that a plan has at most
FRONT_NAME = "front"  # of the frontal image of a head, beside 00, 01, ...
_ABOUT = {"cameras": str, "heads": int, "views": int, "seed": int, "digest": str, "parts": list}


def check_size(heads: int, views: int) -> None:
    """Raise ValueError for a plan with more than MOST views."""
    if heads * views > MOST:
        raise ValueError(f"a plan has at most {MOST} views, got {heads} heads with {views} each")


def head_seed(seed: int, head: int) -> int:
    """Seed of a head's latent, below 2 ** 32, which numpy's generators take."""
    return (seed * 1_000_003 + head) % 2**32


@dataclass(frozen=True)
class PlanSummary:
    """Summary of a plan that is stored with its images, from which it can be made again."""

    cameras: str  # "reference" or "bins"
    heads: int
    views: int  # of each head, beside its front
    seed: int  # of the choice of heads and cameras
    digest: str  # of all cameras
    parts: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "parts": list(self.parts)}

    @classmethod
    def from_json(cls, content: Any) -> PlanSummary:
        """Raises ValueError naming what is wrong."""
        if not isinstance(content, dict) or content.keys() != _ABOUT.keys():
            came = sorted(content) if isinstance(content, dict) else f"{content!r:.60}"
            raise ValueError(f"a plan has the keys {', '.join(sorted(_ABOUT))}; got {came}")
        for name, kind in _ABOUT.items():
            if not isinstance(content[name], kind) or isinstance(content[name], bool):
                raise ValueError(f"plan: {name} must be {kind.__name__}, got {content[name]!r:.60}")
        if content["cameras"] not in KINDS:
            raise ValueError(
                f"plan: cameras must be {' or '.join(KINDS)}, got {content['cameras']!r}"
            )
        if min(content["heads"], content["views"]) < 1 or content["seed"] < 0:
            raise ValueError("plan: heads and views must be at least 1, seed at least 0")
        check_size(content["heads"], content["views"])
        parts = content["parts"]
        known = (*PARTS, DEPTH)
        if not parts or not set(map(str, parts)) <= set(known) or parts[0] != "front":
            raise ValueError(
                f"plan: parts must be front, and any of {', '.join(known)}; got {parts}"
            )
        return cls(**{**content, "parts": tuple(parts)})


def depth_heads(summary: PlanSummary) -> int:
    """How many heads the part `depth` is of."""
    return min(summary.heads, DEPTH_HEADS) if DEPTH in summary.parts else 0


def depth_cameras(bins: AzimuthBins | None = None) -> Tensor:  # [2 A, 25]
    """Pairs of cameras on either side of the centre of each bin, one after the other."""
    return paired_cameras((bins or AzimuthBins()).centres, DEPTH_APART)


@dataclass(frozen=True)
class RenderPlan:
    """Cameras of N heads with V views each."""

    summary: PlanSummary
    cameras: Tensor  # [N, V, 25] float32

    @classmethod
    def of_reference(
        cls,
        subjects: Sequence[Subject],
        heads: int,
        views: int | None = None,  # of each head; None: all that the subjects have
        seed: int = 0,
        parts: Sequence[str] = (*PARTS, DEPTH),
    ) -> RenderPlan:
        """The cameras of the matched real heads of the first 2 * `heads` subjects, as
        `real_samples` draws them. Raises ValueError for too few subjects or views."""
        _, matched = real_samples(subjects[: 2 * heads], heads, views, seed=seed)
        return cls._of("reference", matched.cameras, seed, parts)

    @classmethod
    def of_bins(
        cls,
        heads: int,
        views: int | None = None,  # azimuths; None: one for each of the 8 bins
        seed: int = 0,
        parts: Sequence[str] = (*PARTS, DEPTH),
    ) -> RenderPlan:
        """The centres of `views` bins of azimuth, for every head. Raises ValueError for too many."""
        check_size(heads, views or AzimuthBins().count)
        azimuths = torch.tensor(AzimuthBins(views or AzimuthBins().count).centres)
        cameras = orbit_cameras(azimuths, torch.zeros_like(azimuths))
        return cls._of("bins", cameras.expand(heads, -1, -1).clone(), seed, parts)

    @classmethod
    def _of(cls, kind: str, cameras: Tensor, seed: int, parts: Sequence[str]) -> RenderPlan:
        n, v = cameras.shape[:2]
        known = (*PARTS, DEPTH)
        parts = ("front", *(part for part in known if part in parts and part != "front"))
        return cls(PlanSummary(kind, n, v, seed, hashed(cameras), parts), cameras)

    def conditions(self, part: str) -> Tensor:  # [N, V, 25]
        """The camera that each image of a part is conditioned on."""
        of = condition_cameras(PARTS[part], self.cameras, self.summary.seed)
        return of.expand_as(self.cameras)

    def save(self, path: Path | str) -> int:
        """Write the plan; how many images it asks for. Every head has one seed in all parts."""
        labels: dict[tuple[float, ...], int] = {}
        images: list[list[Any]] = []

        def place(label: Tensor) -> int:
            return labels.setdefault(tuple(label.double().tolist()), len(labels))

        front = orbit_cameras(torch.zeros(1), torch.zeros(1))[0]
        for part in self.summary.parts:
            if part == DEPTH:
                continue
            conditions = self.conditions(part)
            for head in range(self.summary.heads):
                pairs = zip(self.cameras[head], conditions[head], strict=True)
                rows = [(f"{v:02d}", c, on) for v, (c, on) in enumerate(pairs)]
                if part == "front":
                    rows.append((FRONT_NAME, front, front))
                for name, camera, on in rows:
                    file = f"{part}-{head:05d}/{name}.png"
                    seed = head_seed(self.summary.seed, head)
                    images.append([file, seed, place(camera), place(on)])
        if DEPTH in self.summary.parts:
            for head in range(depth_heads(self.summary)):
                seed = head_seed(self.summary.seed, head)
                for v, camera in enumerate(depth_cameras()):
                    file = f"{DEPTH}-{head:05d}/{v:02d}.png"
                    images.append([file, seed, place(camera), place(front)])
        content = {"format": FORMAT, "version": VERSION, "about": self.summary.as_json()}
        lines = [
            json.dumps(content)[:-1] + ',\n"cameras": [',
            ",\n".join(json.dumps(label) for label in labels),
            '],\n"images": [',
            ",\n".join(json.dumps(image) for image in images),
            "]}\n",
        ]
        write_atomically(Path(path), "\n".join(lines).encode())
        return len(images)

    @classmethod
    def load(cls, path: Path | str) -> RenderPlan:
        """Raises FileNotFoundError, or ValueError naming the file and what is wrong in it."""
        content = read_json(path)
        try:
            if (content.get("format"), content.get("version")) != (FORMAT, VERSION):
                raise ValueError(f"is no render plan: expected format {FORMAT}, version {VERSION}")
            summary = PlanSummary.from_json(content.get("about"))
            labels = torch.tensor(content["cameras"], dtype=torch.float32)
            check_cameras(labels, "cameras")
            shown = summary.heads * (summary.views + 1)
            rows = [
                int(camera)
                for name, _, camera, _ in content["images"][:shown]
                if not str(name).endswith(f"/{FRONT_NAME}.png")
            ]
            if len(rows) != summary.heads * summary.views:
                raise ValueError(
                    f"has {len(rows)} images of {summary.heads} heads with {summary.views} views"
                )
            cameras = labels[torch.tensor(rows)].unflatten(0, (summary.heads, summary.views))
            if hashed(cameras) != summary.digest:
                raise ValueError("its cameras are not those that it was written with")
        except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as error:
            raise ValueError(in_file(path, ValueError(worded(error)))) from None
        return cls(summary, cameras)
