"""Multi-view consistency: does a head look the same where two cameras see the same point of it?

One view's image is read where the other view's surface falls in it. Only points that both see are
compared: those whose distance from the second camera is the one recorded there. Light that moves
with the camera, gloss and resampling make a difference too, so views with exact depth (parametric
heads) give the ceiling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import orbit_angles, orbit_cameras, project, rays
from semhead_lib.data.subjects import Subject

TOLERANCE = 0.02  # scene units: a head is 0.4 high, a pixel of 64 about 0.01
_MOST_DECIBELS = 100.0


@dataclass(frozen=True)
class SurfaceViews:
    """P views with what they see of surfaces."""

    images: Tensor  # [P, 3, R, R] in [0, 1]
    distance: Tensor  # [P, R, R] along each ray from the camera's centre, scene units
    mask: Tensor  # [P, R, R] bool: where the ray meets a surface
    cameras: Tensor  # [P, 25]

    def __post_init__(self) -> None:
        p, _, h, w = self.images.shape if self.images.ndim == 4 else (0, 0, 0, 0)
        shapes = [list(x.shape) for x in (self.images, self.distance, self.mask, self.cameras)]
        if (
            h != w
            or shapes != [[p, 3, h, h], [p, h, h], [p, h, h], [p, 25]]
            or self.mask.dtype != torch.bool
        ):
            raise ValueError(
                "expected images [P, 3, R, R], distance and bool mask [P, R, R], cameras [P, "
                f"25]; got {shapes}"
            )


@dataclass(frozen=True)
class Differences:
    """Of P pairs of views, summed over the pixels that both see: they add up over pairs."""

    squared: Tensor  # [P] sum over pixels of the mean squared difference of R, G and B in [0, 1]
    absolute: Tensor  # [P]
    pixels: Tensor  # [P] that both see
    surface: Tensor  # [P] pixels with a surface in the first view

    def psnr(self, pairs: Tensor | slice = slice(None)) -> float:
        """Peak signal-to-noise ratio of the pairs together, decibels, at most 100; NaN when no
        pixel is seen twice."""
        squared, pixels = float(self.squared[pairs].sum()), float(self.pixels[pairs].sum())
        return (
            -10 * math.log10(max(squared / pixels, 10 ** (-_MOST_DECIBELS / 10)))
            if pixels
            else math.nan
        )

    def l1(self, pairs: Tensor | slice = slice(None)) -> float:
        """Mean absolute difference of colours in [0, 1]; NaN when no pixel is seen twice."""
        pixels = float(self.pixels[pairs].sum())
        return float(self.absolute[pairs].sum()) / pixels if pixels else math.nan

    def seen_twice(self, pairs: Tensor | slice = slice(None)) -> float:
        """Share of the first views' surface that the second views see too; 0 where there is no
        surface."""
        return float(self.pixels[pairs].sum() / self.surface[pairs].sum().clamp_min(1))


def paired_cameras(azimuths: Sequence[float], apart: float) -> Tensor:  # [2 A, 25]
    """Two cameras at elevation 0 on either side of each azimuth, `apart` degrees from each other."""
    turn = torch.tensor([[a - apart / 2, a + apart / 2] for a in azimuths]).flatten()
    return orbit_cameras(turn, torch.zeros_like(turn))


def paired_differences(views: SurfaceViews, tolerance: float = TOLERANCE) -> Differences:
    """How the views of each pair differ, of views in pairs: [P / 2]."""
    one, other = (SurfaceViews(*(x[i::2].cpu() for x in vars(views).values())) for i in (0, 1))
    return differences(one, other, tolerance)


def joined(parts: Sequence[Differences]) -> Differences:
    """All pairs of several."""
    return Differences(
        *(torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0]))
    )


def recorded_views(subject: Subject) -> SurfaceViews:
    """The views of a subject whose depth is known. Raises ValueError for one without depth or
    masks."""
    if subject.depth is None or subject.masks is None:
        raise ValueError(
            f"subject {subject.id} has no depth or no masks: load it with geometry=['depth']"
        )
    whole = (subject.depth > 0) & (subject.masks == 255)
    return SurfaceViews(
        subject.views / 255, ray_distance(subject.depth, subject.cameras), whole, subject.cameras
    )


def view_disagreement(subject: Subject, tolerance: float = TOLERANCE) -> Differences:
    """How the views of a subject differ where two neighbours around the head see the same point of
    it: [V] pairs, each view with the next, the last with the first.

    Resampling, gloss and the shadows of hair make a difference between consistent views too, so
    compare it with that of the same subjects without `inconsistency`. Raises as `recorded_views`.
    """
    views = recorded_views(subject)
    order = orbit_angles(views.cameras)[:, 0].argsort()
    one, other = (
        SurfaceViews(*(x[i] for x in vars(views).values())) for i in (order, order.roll(-1))
    )
    return differences(one, other, tolerance)


def ray_distance(
    depth: Tensor, cameras: Tensor
) -> Tensor:  # [P, R, R] camera z, [P, 25] -> [P, R, R]
    """Distances along rays, from the camera z that datasets store."""
    _, directions = rays(cameras.to(depth.dtype), depth.shape[-1])
    forward = cameras[:, :16].reshape(-1, 4, 4)[:, :3, 2].to(depth.dtype)
    return depth / (directions @ forward[..., None])[..., 0].reshape(depth.shape)


def warp(
    one: SurfaceViews, other: SurfaceViews, tolerance: float = TOLERANCE
) -> tuple[Tensor, Tensor]:
    """The other views' images as the first cameras would see them, [P, 3, R, R], and where both
    see, [P, R, R] bool.

    Each surface point of the first view is projected into the second (inverse warping, bilinear).
    It is seen there when it falls between four pixels with a surface, and its distance from the
    second camera is theirs within `tolerance` (scene units).
    """
    side = one.mask.shape[-1]
    origins, directions = rays(one.cameras, side)
    points = origins + directions * one.distance.flatten(1)[..., None]
    uv, z = (torch.cat(x) for x in zip(*map(project, points, other.cameras[:, None]), strict=True))
    there = torch.cat(
        [other.images, (other.distance * other.mask)[:, None], other.mask[:, None].float()], dim=1
    )
    read = F.grid_sample(there, (uv * 2 - 1).reshape(-1, side, side, 2), align_corners=False)
    reach = (points - other.cameras[:, None, [3, 7, 11]]).norm(dim=-1).reshape(one.mask.shape)
    on_surface = read[:, 4] > 0.999
    near = (reach - read[:, 3]).abs() <= tolerance
    return read[:, :3], one.mask & on_surface & near & (z.reshape(one.mask.shape) > 0)


def differences(
    one: SurfaceViews, other: SurfaceViews, tolerance: float = TOLERANCE
) -> Differences:
    """How the images of P pairs of views differ where both see the same point."""
    warped, both = warp(one, other, tolerance)
    off = torch.where(
        both[:, None], warped - one.images, 0.0
    )  # off the surface there may be no number
    return Differences(
        squared=off.square().mean(1).sum((1, 2)).double(),
        absolute=off.abs().mean(1).sum((1, 2)).double(),
        pixels=both.sum((1, 2)).double(),
        surface=one.mask.sum((1, 2)).double(),
    )
