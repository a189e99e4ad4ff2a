"""Images of a renderer's steps: feature maps as false colours, rays from above, grey maps."""

from __future__ import annotations

import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.ops import Box
from semhead_lib.viz.planes import plane_rows
from semhead_lib.viz.plots import COLOURS, LAYOUT

__all__ = ["enlarged", "false_colours", "grey", "plane_rows", "rays_from_above"]


def false_colours(features: Tensor, size: int) -> Tensor:  # [C, H, W] -> [3, size, size] uint8
    """Three principal components of features as red, green and blue, texels enlarged to squares.

    The first component decides most of what is seen; each is scaled from its 2nd to its 98th
    percentile. With less than three channels the last colours are grey.
    """
    _, height, width = features.shape
    flat = features.float().flatten(1).T.cpu()
    flat = flat - flat.mean(0)
    directions = torch.linalg.eigh(flat.T @ flat / len(flat))[1].flip(1)[:, :3]
    signs = torch.where(directions.sum(0) < 0, -1.0, 1.0)  # the same colours every time
    parts = flat @ (directions * signs)
    low, high = (torch.quantile(parts[::7] if len(parts) > 999 else parts, q, 0) for q in _ENDS)
    parts = ((parts - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    parts = F.pad(parts, (0, 3 - parts.shape[1]), value=0.5)
    return enlarged((parts.T.reshape(3, height, width) * 255).round().to(torch.uint8), size)


def grey(values: Tensor, size: int, dark: float, light: float) -> Tensor:
    """A map [H, W] as grey [3, size, size] uint8: black at `dark`, white at `light`."""
    shades = ((values.float().cpu() - dark) / (light - dark)).clamp(0, 1) * 255
    return enlarged(shades.round().to(torch.uint8).expand(3, -1, -1), size)


def enlarged(image: Tensor, size: int) -> Tensor:  # [3, H, W] uint8 -> [3, size, size]
    """Pixels as squares."""
    return F.interpolate(image[None].float(), size=size, mode="nearest")[0].to(torch.uint8).cpu()


def rays_from_above(
    origins: Tensor,  # [N, 3] world
    directions: Tensor,  # [N, 3]
    distances: Tensor,  # [N, S] of the samples, in lengths of the direction
    box: Box,
    *,
    title: str,
) -> go.Figure:
    """Rays of a camera and their samples, looked at from above: x to the right, z, where the face
    looks, downwards."""
    points = (origins[:, None] + distances[..., None] * directions[:, None]).cpu()
    figure = go.Figure()
    for k, (o, ray) in enumerate(zip(origins.cpu(), points, strict=True)):
        line = dict(color=COLOURS[5], width=1)
        x, z = ([float(o[i]), float(ray[-1, i])] for i in (0, 2))
        figure.add_scatter(
            x=x, y=z, mode="lines", line=line, name="rays", showlegend=not k, legendgroup="rays"
        )
    dots = dict(size=3, color=COLOURS[0])
    x, z = (points[..., i].flatten().tolist() for i in (0, 2))
    figure.add_scatter(x=x, y=z, mode="markers", marker=dots, name="samples")
    (a, _, b), (p, _, q) = box.center, box.half
    edges = dict(x=[a - p, a + p, a + p, a - p, a - p], y=[b - q, b - q, b + q, b + q, b - q])
    figure.add_scatter(**edges, mode="lines", line=dict(color=COLOURS[3]), name="box of the planes")
    camera = [[float(origins[0, i])] for i in (0, 2)]
    mark = dict(size=12, symbol="square", color=COLOURS[7])
    figure.add_scatter(x=camera[0], y=camera[1], mode="markers", marker=mark, name="camera")
    figure.update_layout(**LAYOUT, title=title, height=460)
    figure.update_xaxes(title="x, the subject's left")
    return figure.update_yaxes(
        title="z, where the face looks", autorange="reversed", scaleanchor="x"
    )


_ENDS = (0.02, 0.98)
