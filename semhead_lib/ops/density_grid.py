"""A coarse grid of the raw density of each head, which tells the renderer where along a ray to look."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.ops.layout import Layout
from semhead_lib.ops.render_rays import Ball, FieldNetwork
from semhead_lib.ops.sample_planes import sample_planes

_CHUNK = 1 << 16  # nodes at a time


@torch.no_grad()
def density_grid(
    map: Tensor,  # [B, rows, columns, channels] feature map, channels last
    network: FieldNetwork,
    layout: Layout,
    side: int,  # nodes a side, G
    ball: Ball = Ball(),  # noqa: B008 (frozen)
) -> Tensor:  # [B, G, G, G] float32 (float64 for such a map), indexed z, y, x
    """Raw density of each head at G^3 nodes: node (i, j, k) lies at p = 2 (k, j, i) / (G - 1) - 1, the outermost on the
    faces of the planes' box. Made once for all views of a head, and without gradient: see `render_rays`.

    Raises ValueError for fewer than 2 nodes a side, or a layout that does not fit the map.
    """
    if side < 2:
        raise ValueError(f"a density grid needs at least 2 nodes a side, got {side}")
    dtype = torch.promote_types(map.dtype, torch.float32)
    along = torch.linspace(-1, 1, side, dtype=dtype, device=map.device)
    z, y, x = torch.meshgrid(along, along, along, indexing="ij")
    nodes = torch.stack([x, y, z], -1).reshape(1, -1, 3).expand(len(map), -1, -1)
    w1, b1, w2, b2 = (t.to(dtype) for t in network)
    parts = []
    for points in nodes.split(_CHUNK, dim=1):
        hidden = F.softplus(F.linear(sample_planes(map.to(dtype), points, layout), w1, b1))
        raw = hidden @ w2[0] + b2[0]
        parts.append(raw + ball.slope * (ball.radius - points.norm(dim=-1)) if ball.slope else raw)
    return torch.cat(parts, 1).view(len(map), side, side, side)
