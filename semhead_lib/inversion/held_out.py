"""Subjects with known ground truth at every azimuth: parametric heads that no generator was trained
on, rendered as one or several photographs.

Making them needs the extra `data`; evaluating fitted heads does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semhead_lib.cameras import orbit_cameras
from semhead_lib.data.parametric.captions import caption
from semhead_lib.inversion.judging import Truth
from semhead_lib.metrics.geometry import unproject
from semhead_lib.view_samplers import sample_orbit

SEED = 3000  # of the source; generators are trained on seeds below 1000, judged on 1000
_AROUND = (
    (-60.0, 4),
    (-25.0, 8),
    (10.0, 8),
    (45.0, 6),
    (80.0, 2),
)  # elevation, cameras: where the surface is seen from
_SURFACE_SIDE, _SURFACE_POINTS = 128, 20_000


@dataclass(frozen=True)
class KnownSubject:
    """K photographs of a head, and the truth about it."""

    name: str
    photos: Tensor  # [K, 3, P, P] uint8
    masks: Tensor  # [K, P, P] uint8 coverage
    cameras: Tensor  # [K, 25]
    here: Truth  # the photographs' views, at the generator's size
    around: Truth  # views at equal steps of azimuth, elevation 0
    caption: str


def held_out(
    count: int,
    resolution: int,  # pixels a side of the generator's images
    *,
    views: int = 12,
    photo: int = 256,  # pixels a side of the photograph
    seed: int = SEED,
    first: int = 0,
    azimuths: Sequence[float] = (),
) -> Iterator[KnownSubject]:
    """Subjects `first` ... of a seed. Photographs are taken from 10 degrees below to 20 above.

    Args:
        azimuths: of the cameras of each subject's photographs, degrees, positive towards its left;
            empty: one photograph, at random within 40 degrees of the front.

    Raises ModuleNotFoundError without the extra `data`.
    """
    from semhead_lib.data.parametric import appearance
    from semhead_lib.data.parametric.cast import Caster
    from semhead_lib.data.parametric.source import ParametricSource

    source = ParametricSource(seed=seed, resolution=resolution)
    angles = sample_orbit(views)
    around = orbit_cameras(angles[:, 0], angles[:, 1])
    for index in range(first, first + count):
        azimuth, elevation = np.random.default_rng([seed, index, 7]).uniform(
            (-40.0, -10.0), (40.0, 20.0)
        )
        turned = torch.tensor(azimuths or (azimuth,), dtype=torch.float32)
        taken_from = orbit_cameras(turned, torch.full_like(turned, elevation))
        who = source.attributes(index)
        caster, light = Caster(source.scene(index)), appearance.light(who)
        taken, count = caster.cast(taken_from, photo, light), len(turned)
        both = caster.cast(torch.cat([taken_from, around]), resolution, light)
        truths = [
            Truth(both.images[part], both.masks[part], labels, both.depth[part])
            for part, labels in ((slice(0, count), taken_from), (slice(count, None), around))
        ]
        yield KnownSubject(
            f"p{seed}-{index:04d}",
            taken.images,
            taken.masks,
            taken_from,
            truths[0],
            Truth(*list(vars(truths[1]).values())[:4], surface=outer_surface(caster, light)),
            caption(who),
        )


def outer_surface(caster, light) -> Tensor:  # -> [N, 3] world
    """Points of a scene's surface that can be seen from outside, about evenly spread, within the
    planes' cube."""
    cameras = torch.cat(
        [
            orbit_cameras(torch.arange(n) * (360.0 / n), torch.full((n,), elevation))
            for elevation, n in _AROUND
        ]
    )
    depth = caster.cast(cameras, _SURFACE_SIDE, light, samples=1).depth
    points = torch.cat([unproject(d, label) for d, label in zip(depth, cameras, strict=True)])
    points = points[points.abs().amax(1) < 0.5]
    cells = torch.unique((points / 0.008).round().int(), dim=0, return_inverse=True)[
        1
    ]  # a point a cell
    order = torch.argsort(cells, stable=True)
    kept = points[order[torch.cat([torch.ones(1, dtype=torch.bool), cells[order].diff() > 0])]]
    chosen = torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))[:_SURFACE_POINTS]
    return kept[chosen].float()
