"""Multi-view consistency of heads that were rendered elsewhere, from the images and depth of a
render plan's part `depth`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import rays
from semhead_lib.data.dataset.archives import ImageArchive
from semhead_lib.data.dataset.entries import decode_npy
from semhead_lib.evaluation.planned_images import planned_names
from semhead_lib.evaluation.render_plan import DEPTH, PlanSummary, depth_cameras, depth_heads
from semhead_lib.metrics.consistency import (
    Differences,
    SurfaceViews,
    joined,
    paired_differences,
)

_REACH = 0.6  # scene units around the origin; a head is 0.4 high. What is further is background
_OPAQUE = 0.95  # coverage from which a ray has met a surface


def planned_differences(
    archive: ImageArchive,
    summary: PlanSummary,
    image: Callable[[str], Tensor],  # name -> [3, S, S] uint8
) -> Differences | None:
    """Of all pairs of views of the part `depth`, those of a head adjacent; None where the plan has no
    such part, or the generator gave no depth. Raises ValueError naming a file that is no depth."""
    cameras, parts = depth_cameras(), []
    for names in planned_names(summary, DEPTH):
        kept = [name.removesuffix(".png") + ".npy" for name in names]
        if not set(kept) <= archive.sizes.keys():
            return None
        images = torch.stack([image(name) for name in names]).float() / 255
        surfaces = torch.stack([_surface(archive, name) for name in kept])
        parts.append(paired_differences(_views(images, surfaces, cameras)))
    return joined(parts) if parts else None


def depths(archive: ImageArchive, summary: PlanSummary) -> str:
    """A digest of the depths of this part."""
    found = hashlib.sha256()
    for name in sorted(n for n in archive.sizes if n.startswith(DEPTH) and n.endswith(".npy")):
        found.update(name.encode() + archive.read(name))
    return found.hexdigest() if depth_heads(summary) else ""


def _surface(archive: ImageArchive, name: str) -> Tensor:  # [2, R, R]: depth along rays, coverage
    where = f"{archive.path}: {name}"
    found = decode_npy(archive.read(name), where, (2, None, None))
    if found.shape[1] != found.shape[2] or not bool(found.isfinite().all()):
        came = list(found.shape)
        raise ValueError(f"{where}: a depth must be finite numbers [2, R, R], got {came}")
    return found


def _views(images: Tensor, surfaces: Tensor, cameras: Tensor) -> SurfaceViews:
    """Surfaces at the size of the images."""
    side, (distance, coverage) = surfaces.shape[-1], surfaces.unbind(1)
    origins, directions = rays(cameras, side)
    points = origins + directions * distance.flatten(1)[..., None]
    near = points.norm(dim=-1).reshape(distance.shape) < _REACH
    surface = near & (coverage >= _OPAQUE)
    size = images.shape[-2:]
    distance, whole = (
        F.interpolate(x[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]
        for x in (distance, surface)
    )
    return SurfaceViews(images, distance, whole > 0.999, cameras)
