"""How well images, depth and geometry agree, where the true mesh is known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from semhead_lib.cameras import project, rays


@dataclass(frozen=True)
class Reprojection:
    """What `reproject` found. Shares are of points that fall inside an image, all views together."""

    visible: Tensor  # [V, N] bool: the point lies on the surface that the view shows at its pixel
    pixels: Tensor  # [V, N, 2] image coordinates in pixels, x right, y down
    depth_error: float  # median |camera z - depth| of visible points, scene units
    outside: float  # share that falls on pixels the mask leaves empty
    # share that lies in front of the recorded surface: seen by geometry, not by the image
    in_front: float


def reproject(
    points: Tensor,  # [N, 3] world, on the subject's surface
    cameras: Tensor,  # [V, 25]
    depth: Tensor,  # [V, R, R] camera z at pixel centres, 0 where nothing is hit
    masks: Tensor,  # [V, R, R] uint8 coverage
    tolerance: float = 0.01,  # scene units
) -> Reprojection:
    """Project known surface points into the views and compare with their masks and depth.

    On exact data no point falls outside the mask or in front of the recorded depth, but for points
    within a pixel of an edge, where the pixel's centre may see something else.
    """
    uv, z = project(points, cameras)
    resolution = depth.shape[-1]
    pixels = uv * resolution
    column, row = (pixels[..., i].floor().long() for i in (0, 1))
    inside = (column >= 0) & (column < resolution) & (row >= 0) & (row < resolution)
    view = torch.arange(len(cameras))[:, None].expand_as(row)
    at = (view, row.clamp(0, resolution - 1), column.clamp(0, resolution - 1))
    seen, coverage = depth[at], masks[at]
    error = z - seen
    visible = inside & (seen > 0) & (error.abs() <= tolerance)
    count = inside.sum().clamp_min(1)
    return Reprojection(
        visible=visible,
        pixels=pixels,
        depth_error=float(error[visible].abs().median()) if visible.any() else float("nan"),
        outside=float((inside & (coverage == 0)).sum() / count),
        in_front=float((inside & (seen > 0) & (error < -tolerance)).sum() / count),
    )


def unproject(depth: Tensor, label: Tensor) -> Tensor:  # [R, R], [25] -> [M, 3]
    """World points of the pixels with depth, row by row: the inverse of `project` at pixel
    centres."""
    origin, direction = rays(label[None].to(depth.dtype), depth.shape[-1])
    forward = label[:16].reshape(4, 4)[:3, 2].to(depth.dtype)
    along = depth.reshape(-1) / (direction[0] @ forward)
    return (origin[0] + direction[0] * along[:, None])[depth.reshape(-1) > 0]
