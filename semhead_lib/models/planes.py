"""Plane representations: how a feature map is split into planes in space.

Each is a `Planes`: size and channels of the feature map, and the layout of planes in it.
`semhead_lib.ops.sample_planes` reads points and `semhead_lib.ops.render_rays` renders rays for all
of them.

>>> planes = make_planes("hyplane", side=256, channels=32)
>>> planes.map_side, planes.map_channels  # one map of 512 x 512, cut into four
(512, 32)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from semhead_lib.ops.layout import Layout, Projection, Window

PLANAR = (Projection.XY, Projection.XZ, Projection.YZ)
DUAL = tuple(projection for projection in Projection if projection >= Projection.POLAR_TP)


@dataclass(frozen=True)
class Planes:
    """One representation at one size."""

    name: str
    map_side: int  # rows and columns of the feature map
    map_channels: int
    layout: Layout

    def map(
        self, features: Tensor
    ) -> Tensor:  # [B, map_channels, map_side, map_side] -> [B, side, side, channels]
        """The backbone's output as the channels-last map that the ops read, without a copy if it is
        already channels-last in memory.

        Raises ValueError for another shape.
        """
        expected = (self.map_channels, self.map_side, self.map_side)
        if features.ndim != 4 or tuple(features.shape[1:]) != expected:
            raise ValueError(
                f"{self.name} needs features [B, *{expected}], got {list(features.shape)}"
            )
        return features.permute(0, 2, 3, 1)


def _by_channels(
    projections: tuple[Projection, ...], side: int, channels: int, depth: int = 1
) -> tuple[int, int, Layout]:
    """Planes that share the map's rows and columns: each has channels of its own."""
    windows = tuple(Window(p, channel=i * depth * channels) for i, p in enumerate(projections))
    return side, len(windows) * depth * channels, Layout(side, side, channels, windows, depth)


def _by_quarters(
    projections: tuple[Projection, ...], side: int, channels: int
) -> tuple[int, int, Layout]:
    """Four planes that share the map's channels: each is a quarter of it (unify-split,
    HyPlaneHead)."""
    corners = ((0, 0), (0, side), (side, 0), (side, side))
    windows = tuple(
        Window(p, row, column) for p, (row, column) in zip(projections, corners, strict=True)
    )
    return 2 * side, channels, Layout(side, side, channels, windows)


# name -> (side of a plane, its channels) -> side and channels of the map, layout
_MAKERS: dict[str, Callable[[int, int], tuple[int, int, Layout]]] = {
    # EG3D (Chan et al., 2022), with the third plane that its published projection leaves out
    "triplane": lambda side, channels: _by_channels(PLANAR, side, channels),
    # PanoHead (An et al., 2023): each plane a stack of three slices, so that front and back need
    # not share a texel
    "trigrid": lambda side, channels: _by_channels(PLANAR, side, channels, depth=3),
    # SphereHead (Li et al., 2024): two sets of spherical planes, each where the other has its seam
    # and poles
    "spherical": lambda side, channels: _by_channels(DUAL, side, channels),
    # HyPlaneHead (Li et al., 2025): three planar planes and one of all directions, quarters of one
    # map
    "hyplane": lambda side, channels: _by_quarters((*PLANAR, Projection.TOP), side, channels),
    # two and two: the planes that tell left from right and front from back, and seams under the
    # neck and at the back
    "hyplane-2+2": lambda side, channels: _by_quarters(
        (Projection.XY, Projection.YZ, Projection.TOP, Projection.FRONT), side, channels
    ),
    # the first again, cut by channels as the others are: what unify-split is compared with
    "hyplane-channels": lambda side, channels: _by_channels(
        (*PLANAR, Projection.TOP), side, channels
    ),
}
REPRESENTATIONS = tuple(_MAKERS)


def make_planes(name: str, side: int, channels: int) -> Planes:
    """The representation called `name` with planes of side x side texels and `channels` numbers
    each.

    Raises ValueError for a name that is not in `REPRESENTATIONS`.
    """
    if name not in _MAKERS:
        raise ValueError(
            f"representation must be one of {', '.join(REPRESENTATIONS)}, got {name!r}"
        )
    return Planes(name, *_MAKERS[name](side, channels))
