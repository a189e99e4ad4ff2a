"""A coarse grid of the raw density of each head, which tells the renderer where along a ray to
look."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.ops import compiled
from semhead_lib.ops.field import Ball, FieldNetwork
from semhead_lib.ops.layout import Layout
from semhead_lib.ops.render_rays import LARGEST_GRID
from semhead_lib.ops.sample_planes import reference_sample_planes

_CHUNK = 1 << 16  # nodes at a time


@torch.no_grad()
def density_grid(
    feature_map: Tensor,  # [B, rows, columns, channels] feature map, channels last
    network: FieldNetwork,
    layout: Layout,  # of the planes in the map
    side: int,  # nodes a side, G
    ball: Ball = Ball(),  # noqa: B008 (frozen)
) -> Tensor:  # [B, G, G, G], indexed z, y, x; float32, or float64 for such a network
    """Raw density of each head at G^3 nodes: node (i, j, k) lies at p = 2 (k, j, i) / (G - 1) - 1,
    the outermost on the faces of the planes' box. Made once for all views of a head, without
    gradient: see `render_rays`.

    Raises ValueError for a number of nodes out of range, or a layout that does not fit the map.
    """
    layout.check(feature_map)
    if not 2 <= side <= LARGEST_GRID:
        raise ValueError(f"a density grid has 2 to {LARGEST_GRID} nodes a side, got {side}")
    feature_map = feature_map.to(network.w1.dtype)
    if (
        feature_map.is_cuda
        or not compiled.usable(feature_map)
        or any(t.dtype != feature_map.dtype for t in network)
    ):
        return reference_density_grid(feature_map, network, layout, side, ball)
    tensors = (t.contiguous() for t in (feature_map, *network))
    return torch.ops.semhead.density_grid(*tensors, layout.numbers(), ball.slope, ball.radius, side)


@torch.no_grad()
def reference_density_grid(
    feature_map: Tensor,
    network: FieldNetwork,
    layout: Layout,
    side: int,
    ball: Ball = Ball(),  # noqa: B008 (frozen)
) -> Tensor:
    """`density_grid` in plain torch: the field's raw density (`network_of_features`), without its
    colours."""
    along = torch.linspace(-1, 1, side, dtype=feature_map.dtype, device=feature_map.device)
    z, y, x = torch.meshgrid(along, along, along, indexing="ij")
    nodes = torch.stack([x, y, z], -1).reshape(1, -1, 3).expand(len(feature_map), -1, -1)
    parts = []
    for points in nodes.split(_CHUNK, dim=1):
        hidden = F.softplus(
            F.linear(reference_sample_planes(feature_map, points, layout), network.w1, network.b1)
        )
        raw = hidden @ network.w2[0] + network.b2[0]
        parts.append(raw + ball.slope * (ball.radius - points.norm(dim=-1)) if ball.slope else raw)
    return torch.cat(parts, 1).view(len(feature_map), side, side, side)


def _register() -> None:
    if not compiled.COMPILED.devices:
        return

    @torch.library.register_fake("semhead::density_grid")
    def _(feature_map, w1, b1, w2, b2, layout, slope, radius, side):
        return feature_map.new_empty(feature_map.shape[0], side, side, side)


_register()
