"""Features of points in planes: compiled op, fake, autograd and reference implementation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.ops import compiled
from semhead_lib.ops.layout import Layout, project


def sample_planes(
    feature_map: Tensor,  # [B, rows, columns, channels], channels last
    points: Tensor,  # [B, N, 3] in [-1, 1]
    layout: Layout,
) -> Tensor:  # [B, N, C]
    """The feature of each point: the weighted mean over planes of what it reads there
    (`reference_sample_planes`).

    Differentiable in `feature_map` and `points`. A point that is not three finite numbers gives NaN
    and no gradient.
    Raises ValueError when `layout` does not fit `feature_map`, or shapes differ.
    """
    layout.check(feature_map)
    if points.ndim != 3 or points.shape[0] != feature_map.shape[0] or points.shape[2] != 3:
        raise ValueError(f"points must be [{feature_map.shape[0]}, N, 3], got {list(points.shape)}")
    if feature_map.dtype in (torch.float16, torch.bfloat16):
        feature_map = feature_map.to(points.dtype)
    if (
        feature_map.is_cuda or not compiled.usable(feature_map) or points.dtype != feature_map.dtype
    ):  # on CUDA grid_sample is good enough
        return reference_sample_planes(feature_map, points, layout)
    return torch.ops.semhead.sample_planes(
        feature_map.contiguous(), points.contiguous(), layout.numbers()
    )


def reference_sample_planes(feature_map: Tensor, points: Tensor, layout: Layout) -> Tensor:
    """`sample_planes` in plain torch: grid_sample of every plane, border repeated, texel centres as
    sample points."""
    feature_map = feature_map.to(points.dtype)
    whole = points.sum(-1, keepdim=True).isfinite()
    points = torch.where(whole, points, 0.0)
    total = 0.0
    for window in layout.windows:
        at, weight = project(points, window.projection)
        plane = layout.plane(feature_map, window)  # [B, D, C, H, W]
        if layout.depth > 1:
            grid, plane = at[:, :, None, None], plane.transpose(1, 2)
        else:
            grid, plane = at[:, :, None, :2], plane[:, 0]
        read = F.grid_sample(
            plane, grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        total = total + read.flatten(2).transpose(1, 2) * weight[..., None]
    return torch.where(whole, total / len(layout.windows), torch.nan)


def _register() -> None:
    if not compiled.COMPILED.devices:
        return

    @torch.library.register_fake("semhead::sample_planes")
    def _(feature_map, points, layout):
        return feature_map.new_empty(feature_map.shape[0], points.shape[1], layout[3])

    @torch.library.register_fake("semhead::sample_planes_backward")
    def _(d_features, feature_map, points, layout, for_feature_map, for_points):
        return feature_map.new_empty(feature_map.shape if for_feature_map else 0), points.new_empty(
            points.shape if for_points else 0
        )

    def setup(ctx, inputs, output):
        feature_map, points, ctx.layout = inputs
        ctx.save_for_backward(feature_map, points)

    def backward(ctx, d_features):
        wanted = ctx.needs_input_grad[:2]
        grads = torch.ops.semhead.sample_planes_backward(
            d_features.contiguous(), *ctx.saved_tensors, ctx.layout, *wanted
        )
        return *(grad if want else None for grad, want in zip(grads, wanted, strict=True)), None

    torch.library.register_autograd("semhead::sample_planes", backward, setup_context=setup)


_register()
