"""The cameras of an evaluation, and the real heads to compare with.

| cameras   | judged heads are seen from                 | real heads are seen from                    |
|-----------|--------------------------------------------|---------------------------------------------|
| reference | those of the matched real heads, as with a generator of ours       | their own cameras   |
| bins      | the centres of the bins of azimuth         | the views of theirs that are nearest        |
| own       | any: what a set of images has              | the views of theirs that are nearest        |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semhead_lib.data.subjects import Subject
from semhead_lib.evaluation.reference_statistics import ReferenceStatistics
from semhead_lib.evaluation.samples import Samples, real_samples, stacked

OWN = "own"


@dataclass(frozen=True)
class Viewing:
    """Cameras of the evaluated heads."""

    kind: str  # "reference", "bins" or "own"
    cameras: Tensor  # [N, V, 25]
    seed: int  # of the choice of real heads

    def __str__(self) -> str:
        n, v = self.cameras.shape[:2]
        whose = {"reference": "of the matched real heads", OWN: "of its own"}
        cameras = whose.get(self.kind, "at the centres of bins of azimuth, elevation 0")
        return f"{n} heads, {v} views of each, cameras {cameras}"

    def same_as(self, other: Viewing) -> bool:
        """Whether heads with these and other cameras can be compared."""
        mine, its = ((x.kind, x.seed, x.cameras.shape) for x in (self, other))
        return mine == its and torch.equal(self.cameras, other.cameras)

    def statistics(
        self,
        subjects: Sequence[Subject],
        resolution: int,  # pixels a side
        *of: Any,  # the extractor and the encoder of `ReferenceStatistics.of`
        **settings: Any,  # of it
    ) -> tuple[ReferenceStatistics, str]:
        """Statistics of the real data, and a description of how near its cameras are. Raises ValueError for too
        few subjects or views, or subjects that are not those of a plan."""
        heads, views = self.cameras.shape[:2]
        if self.kind != "reference":
            near = nearest_real_samples(
                subjects, self.cameras, resolution=resolution, seed=self.seed
            )
            sets, settings = (near.reference, near.matched), settings | {"cameras": self.cameras}
            middle, worst = near.degrees.median(), near.degrees.quantile(0.95)
            words = f"real views are {middle:.1f} degrees away (median; 95 % within {worst:.1f})"
            return ReferenceStatistics.of(*sets, *of, **settings), words
        sets = real_samples(subjects, heads, views, resolution=resolution, seed=self.seed)
        if not torch.equal(sets[1].cameras, self.cameras):
            raise ValueError(
                "the plan's cameras are of another dataset, or of other subjects: judge with the "
                "reference that the plan was made for, or plan with cameras=bins"
            )
        return ReferenceStatistics.of(*sets, *of, **settings), "real views have these cameras"


@dataclass(frozen=True)
class NearestHeads:
    """Two disjoint sets of real heads, with views near those of the evaluated heads."""

    reference: Samples
    matched: Samples
    degrees: Tensor  # [2, N, V] from each judged camera to that of the real view in its place


def nearest_real_samples(
    subjects: Sequence[Subject],
    cameras: Tensor,  # [N, V, 25] of judged heads
    *,
    resolution: int | None = None,  # pixels a side; larger images are brought to it
    seed: int = 0,
) -> NearestHeads:
    """For every judged head two subjects, drawn at random, with V of their views: those whose
    cameras are nearest to the judged head's, by the angle between the directions that they look
    from, all of them together.

    Raises ValueError when there are fewer than 2 N subjects, or one has fewer views.
    """
    heads, views = cameras.shape[:2]
    if heads < 2 or len(subjects) < 2 * heads:
        raise ValueError(
            f"two sets of {heads} heads need {2 * heads} subjects (heads at least 2), got "
            f"{len(subjects)}: at most heads={len(subjects) // 2}"
        )
    chosen = np.random.default_rng((seed, 1)).permutation(len(subjects))[: 2 * heads].tolist()
    rows, degrees = [], []
    for place, index in enumerate(chosen):
        subject = subjects[index]
        if len(subject.views) < views:
            raise ValueError(
                f"judged heads have {views} views, subject {subject.id} has {len(subject.views)}"
            )
        taken, off = nearest_views(cameras[place % heads], subject.cameras)
        rows.append((subject, taken))
        degrees.append(off)
    halves = (rows[:heads], rows[heads:])
    reference, matched = (stacked(half, resolution) for half in halves)
    return NearestHeads(reference, matched, torch.stack(degrees).unflatten(0, (2, heads)))


def nearest_views(
    judged: Tensor,  # [V, 25]
    real: Tensor,  # [U, 25], U >= V
) -> tuple[list[int], Tensor]:  # [V] places in `real`, [V] degrees
    """A different real view for each evaluated one, such that the sum of squared angles is minimal (the
    Hungarian method; Kuhn, 1955).

    >>> from semhead_lib.cameras import orbit_cameras
    >>> one, other = (
    ...     orbit_cameras(torch.tensor(turn), torch.zeros(len(turn)))
    ...     for turn in ([0.0, 10.0], [90.0, 9.0, -20.0])
    ... )
    >>> places, degrees = nearest_views(one, other)
    >>> places, degrees.round().tolist()
    ([2, 1], [20.0, 1.0])
    """
    from scipy.optimize import linear_sum_assignment

    centres = (c[:, [3, 7, 11]].double() for c in (judged, real))
    one, other = (torch.nn.functional.normalize(c, dim=-1) for c in centres)
    angle = torch.rad2deg((one @ other.T).clamp(-1, 1).acos())
    rows, places = linear_sum_assignment(angle.square().numpy())
    return places.tolist(), angle[rows, places]
