"""The reference implementation of the fused ray renderer: its equations, in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.ops.field import Ball, Box, FieldNetwork, network_of_features
from semhead_lib.ops.layout import Layout
from semhead_lib.ops.sample_planes import reference_sample_planes

DARK = 1e-4  # light below which a ray ends
EMPTY = 1e-4  # opacity below which a ray that a density grid tells is not sampled
GRID_FLOOR = 0.02  # of all strata of a ray together, where their weights come from a density grid


class Rendered(NamedTuple):
    """What N rays of each of B items see."""

    features: Tensor  # [B, N, O] colour features in [0, 1], times opacity
    depth: Tensor  # [B, N] expected distance, in lengths of the ray's direction
    opacity: Tensor  # [B, N] in [0, 1]


def reference_render_rays(
    feature_map: Tensor,
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    network: FieldNetwork,
    layout: Layout,
    *,
    coarse: int = 48,
    fine: int = 48,
    box: Box = Box(),  # noqa: B008 (frozen)
    ball: Ball = Ball(),  # noqa: B008 (frozen)
    grid: Tensor | None = None,
    seed: int | Tensor | None = None,
) -> Rendered:
    """`render_rays` in plain torch, as the compiled op is defined (after NeRF, mip-NeRF and EG3D).

    Distances: t_i = near + (i + jitter) / coarse * (far - near); then `fine` more, drawn by
    inverting the cumulative sum of the coarse weights, blurred by (max(w_{i-1}, w_i) + max(w_i,
    w_{i+1})) / 2 + 0.01. All in ascending order:

        s_i, c_i = network_of_features of the feature at p_i = (o + t_i d - center) / half
        tau_i    = softplus((s_i + s_{i+1}) / 2 - 1) (t_{i+1} - t_i)
        T_i      = exp(-sum_{j<i} tau_j)                  the light that reaches sample i
        w_i      = L(T_i) - L(T_{i+1}),  L(T) = min(T, max(2 (T - e), 0))  with e = 0.0001
        features = sum_i w_i (c_i + c_{i+1}) / 2
        opacity  = sum_i w_i
        depth    = sum_i w_i (t_i + t_{i+1}) / 2 + (1 - opacity) far

    L is T but for the last ten-thousandth of the light, which it ends: samples that less than e
    reaches count for nothing, and are not computed by the compiled op.

    With a grid the coarse weights are those of `coarse` intervals between n + 1 even distances,
    where the raw density is interpolated in the grid, and the fine samples alone are rendered
    (`_grid_distances`).
    """
    finite = (origins.sum(-1) + directions.sum(-1) + near + far).isfinite()
    live = finite & (far > near)
    passing = -(origins * directions).sum(-1) / (directions * directions).sum(-1)
    origins = torch.where(live[..., None], origins, 0.0)
    directions = torch.where(live[..., None], directions, 1.0)
    near, far = torch.where(live, near, 0.0).detach(), torch.where(live, far, 1.0).detach()

    def points(t: Tensor) -> Tensor:  # [B, N, S] -> [B, N, S, 3] in [-1, 1]
        return box.normalised(origins[:, :, None] + t[..., None] * directions[:, :, None])

    def field(t: Tensor) -> tuple[Tensor, Tensor]:  # [B, N, S] -> [B, N, S], [B, N, S, O]
        at = points(t)
        read = reference_sample_planes(feature_map, at.flatten(1, 2), layout)
        return network_of_features(read.unflatten(1, t.shape[1:]), at, network, ball)

    empty: Tensor | None = None
    if grid is not None:
        with torch.no_grad():
            t, empty = _grid_distances(
                grid, points, near, far, coarse, _strata(seed, near, 0, fine)
            )
        raw, colours = field(t)
    else:
        t = near[..., None] + _strata(seed, near, 0, coarse) * (far - near)[..., None]
        raw, colours = field(t)
        if fine:
            with torch.no_grad():
                more = _fine_distances(t, _weights(t, raw)[0], _strata(seed, near, coarse, fine))
            more_raw, more_colours = field(more)
            t, order = torch.cat([t, more], -1).sort(dim=-1, stable=True)
            raw = torch.cat([raw, more_raw], -1).gather(-1, order)
            both = torch.cat([colours, more_colours], -2)
            colours = both.gather(-2, order[..., None].expand_as(both))
    w, dark = _weights(t, raw)
    colours = torch.where(dark[..., None], 0.0, colours)  # whatever they are
    middle = (t[..., 1:] + t[..., :-1]) / 2
    features = (w[..., None] * (colours[..., 1:, :] + colours[..., :-1, :]) / 2).sum(-2)
    opacity = w.sum(-1)
    if empty is not None:
        features, opacity = (
            torch.where(empty[..., None], 0.0, features),
            torch.where(empty, 0.0, opacity),
        )
        w = torch.where(empty[..., None], 0.0, w)
    depth = (w * middle).sum(-1) + (1 - opacity) * far
    nothing = torch.where(finite, 0.0, torch.nan).to(feature_map.dtype)
    empty_depth = torch.where(
        finite, passing.nan_to_num(0.0, 0.0, 0.0).clamp_min(0), torch.nan
    ).detach()
    return Rendered(
        torch.where(live[..., None], features, nothing[..., None]),
        torch.where(live, depth, empty_depth),
        torch.where(live, opacity, nothing),
    )


def _weights(
    t: Tensor, raw: Tensor
) -> tuple[Tensor, Tensor]:  # [..., S], [..., S] -> [..., S - 1], [..., S]
    """Weights of the intervals between samples, and which samples no light reaches
    (`reference_render_rays`)."""
    dark = _light_left(t, raw.detach())[..., :-1] <= DARK  # interval i begins in the dark
    dark = torch.cat(
        [torch.zeros_like(dark[..., :1]), dark.cummax(-1)[0]], -1
    )  # so does the sample at its end
    left = _light_left(t, torch.where(dark, 0.0, raw))
    light = torch.minimum(left, (2 * (left - DARK)).clamp_min(0))
    w = light[..., :-1] - light[..., 1:]
    return torch.where(dark[..., 1:], 0.0, w), dark


def _light_left(t: Tensor, raw: Tensor) -> Tensor:  # [..., S] light that reaches each sample
    tau = F.softplus((raw[..., 1:] + raw[..., :-1]) / 2 - 1) * (t[..., 1:] - t[..., :-1])
    left = torch.exp(-tau.cumsum(-1))
    return torch.cat([torch.ones_like(left[..., :1]), left], -1)


def _grid_distances(
    grid: Tensor,  # [B, G, G, G] raw density
    points: Callable[[Tensor], Tensor],  # distances [B, N, S] -> [B, N, S, 3] in [-1, 1]
    near: Tensor,  # [B, N]
    far: Tensor,
    strata: int,
    u: Tensor,  # [B, N, n] or [n]
) -> tuple[Tensor, Tensor]:  # [B, N, n] ascending, [B, N]
    """Distances of the samples of rays whose raw density a grid tells, and which rays meet nothing.

    At even distances e_0 = near ... e_strata = far the raw density is interpolated trilinearly in
    the grid. The weights of the intervals between them are blurred as those of coarse samples are,
    with GRID_FLOOR / strata in place of 0.01, and the samples drawn from them. A ray is empty where
    the sum of exp(s - 1) (e_{i+1} - e_i), which its opacity cannot exceed, is below EMPTY even if s
    is the largest of the nodes around both ends of an interval. Where a node around one of these
    places is not finite, the ray is not a number.
    """
    part = torch.arange(strata + 1, dtype=near.dtype, device=near.device) / strata
    t = near[..., None] + part * (far - near)[..., None]
    raw, largest = _grid_lookup(grid, points(t))
    most = torch.exp(torch.maximum(largest[..., 1:], largest[..., :-1]) - 1) * (
        t[..., 1:] - t[..., :-1]
    )
    whole = raw.isfinite().all(-1)
    w = torch.where(whole[..., None], _weights(t, raw)[0], torch.nan)
    return _fine_distances(t, w, u.expand(*t.shape[:-1], -1), GRID_FLOOR / strata), whole & (
        most.sum(-1) < EMPTY
    )


def _grid_lookup(
    grid: Tensor, points: Tensor
) -> tuple[Tensor, Tensor]:  # [B, G, G, G], [B, N, S, 3] -> [B, N, S] twice
    """The interpolated raw density at points, and the largest of the eight nodes around each: NaN
    where one of these is not finite, even one that has no weight."""
    side, grid = grid.shape[-1], torch.where(grid.isfinite(), grid, torch.nan)
    raw = F.grid_sample(
        grid[:, None],
        points[..., None, :],
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    low = ((points + 1) / 2 * (side - 1)).clamp(0, side - 1).nan_to_num().long().clamp_max(side - 2)
    cell = (low[..., 2] * (side - 1) + low[..., 1]) * (side - 1) + low[..., 0]
    largest = (
        F.max_pool3d(grid[:, None], 2, stride=1).flatten(1).gather(1, cell.flatten(1)).view_as(cell)
    )
    return torch.where(largest.isnan(), torch.nan, raw[:, 0, ..., 0]), largest


def _fine_distances(t: Tensor, w: Tensor, u: Tensor, floor: float = 0.01) -> Tensor:
    # [..., m], [..., m - 1], [..., n] -> [..., n]
    edge = torch.maximum(w[..., 1:], w[..., :-1])
    blurred = (torch.cat([w[..., :1], edge], -1) + torch.cat([edge, w[..., -1:]], -1)) / 2 + floor
    cumulative = blurred.cumsum(-1)
    target = u * cumulative[..., -1:]
    i = torch.searchsorted(cumulative, target.contiguous(), right=True).clamp_max(w.shape[-1] - 1)
    here = blurred.gather(-1, i)
    part = ((target - cumulative.gather(-1, i) + here) / here).clamp_max(1)
    start = t.gather(-1, i)
    return start + part * (t.gather(-1, i + 1) - start)


def seed_tensor(
    seed: int | Tensor | None, device: torch.device
) -> Tensor:  # [] int64; negative for None
    if isinstance(seed, Tensor):
        return seed
    return torch.full((), -1 if seed is None else seed, dtype=torch.int64, device=device)


def _strata(seed: int | Tensor | None, rays: Tensor, first: int, n: int) -> Tensor:
    # [B, N] -> [B, N, n] or [n], in [0, 1)
    """Where the n samples of each ray, numbered from `first`, lie between its ends: (i + jitter) /
    n."""
    i = torch.arange(n, dtype=rays.dtype, device=rays.device)
    if seed is None:
        return (i + 0.5) / n
    ray = torch.arange(rays.numel(), device=rays.device).view(*rays.shape, 1)
    sample = torch.arange(first, first + n, device=rays.device)
    seed = seed_tensor(seed, rays.device)
    jitter = torch.where(seed < 0, 0.5, uniform(seed, ray, sample))
    return (i + jitter.to(rays.dtype)) / n


def uniform(seed: int | Tensor, ray: Tensor, sample: Tensor) -> Tensor:
    # integers that broadcast -> float32 in [0, 1)
    """A number that is a function of three integers, the same on every device
    (`csrc/common/numbers.h`).

    >>> uniform(7, torch.tensor([0, 1]), torch.tensor([0, 0]))
    tensor([...])
    """
    mixed = _mix(_mix(_mix(seed_tensor(seed, ray.device)) + ray) + sample)
    return (mixed >> 8).float() * 2.0**-24


def _mix(x: Tensor) -> Tensor:
    """A 32-bit integer hash, in int64 arithmetic that wraps around."""
    low = 0xFFFFFFFF
    x = x & low
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & low
    x = ((x ^ (x >> 15)) * 0x846CA68B) & low
    return x ^ (x >> 16)
