"""The fused ray renderer: compiled op, fake, autograd and reference twin. The equations stand in the twin."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.ops import compiled
from semhead_lib.ops.layout import Layout
from semhead_lib.ops.sample_planes import reference_sample_planes

SPILL = 0.001  # colour features reach this much beyond [0, 1], as in mip-NeRF and EG3D
WIDEST = 64  # of features, hidden layer and colour features
MOST_SAMPLES = 512  # of a ray, coarse or fine
DARK = 1e-4  # light below which a ray ends
EMPTY = 1e-4  # opacity below which a ray that a density grid tells is not sampled
LARGEST_GRID = 256  # nodes a side
GRID_FLOOR = 0.02  # of all strata of a ray together, where their weights come from a density grid


class FieldNetwork(NamedTuple):
    """Weights of the small network from the feature of a point [C] to density and colour features [O]."""

    w1: Tensor  # [H, C]
    b1: Tensor  # [H]
    w2: Tensor  # [1 + O, H]; row 0 is the density
    b2: Tensor  # [1 + O]


@dataclass(frozen=True)
class Ball:
    """A soft ball that is added to the raw density: slope * (radius - |p|), p in the box's [-1, 1]^3. Slope 0: none."""

    slope: float = 0.0
    radius: float = 0.5


@dataclass(frozen=True)
class Box:
    """The space that the planes cover, world: points p = (x - center) / half in [-1, 1]^3.

    Raises ValueError for a number that is not finite or a half-extent that is not positive.
    """

    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    half: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        for name in ("center", "half"):
            numbers = tuple(float(x) for x in getattr(self, name))
            if len(numbers) != 3:
                raise ValueError(f"the box's {name} must be three numbers, got {getattr(self, name)}")
            object.__setattr__(self, name, numbers)
        if not all(math.isfinite(x) for x in (*self.center, *self.half)):
            raise ValueError(f"the box must be finite, got center {self.center} and half {self.half}")
        if not min(self.half) > 0:
            raise ValueError(f"the box's half-extents must be positive, got {self.half}")

    def normalised(self, points: Tensor) -> Tensor:  # [..., 3] world -> [..., 3], [-1, 1] inside the box
        """Points in the coordinates of the planes. Numbers are passed by value: nothing is copied to a device.

        >>> Box((0.0, -0.1, 0.0), (0.4, 0.4, 0.2)).normalised(torch.tensor([0.2, 0.3, 0.2]))
        tensor([0.5000, 1.0000, 1.0000])
        """
        axes = zip(points.unbind(-1), self.center, self.half, strict=True)
        return torch.stack([(x - center) / half for x, center, half in axes], -1)

    def world(self, points: Tensor) -> Tensor:  # [..., 3] in the coordinates of the planes -> [..., 3]
        """The inverse of `normalised`."""
        axes = zip(points.unbind(-1), self.center, self.half, strict=True)
        return torch.stack([x * half + center for x, center, half in axes], -1)


class Rendered(NamedTuple):
    """What N rays of each of B items see."""

    features: Tensor  # [B, N, O] colour features in [0, 1], times opacity
    depth: Tensor  # [B, N] expected distance, in lengths of the ray's direction
    opacity: Tensor  # [B, N] in [0, 1]


def render_rays(
    map: Tensor,  # [B, rows, columns, channels] feature map, channels last
    origins: Tensor,  # [B, N, 3] world
    directions: Tensor,  # [B, N, 3]
    near: Tensor,  # [B, N] distances between which the ray is sampled; far <= near: it misses
    far: Tensor,  # [B, N]
    network: FieldNetwork,
    layout: Layout,  # of the planes in the map
    *,
    coarse: int = 48,  # stratified samples of a ray; with a grid: strata that are looked up in it
    fine: int = 48,  # samples drawn from the coarse weights; 0: none. With a grid: the only samples, at least 2
    box: Box = Box(),
    ball: Ball = Ball(),
    grid: Tensor | None = None,  # [B, G, G, G] raw density as `density_grid` makes it: no coarse samples are taken
    seed: int | Tensor | None = None,  # of the distances, in [0, 2^32); None, or a tensor < 0: the middle of strata
) -> Rendered:
    """Render rays through a feature map; nothing of a single sample is kept, and the backward pass computes it again.

    Differentiable in the map, the network, origins and directions; samples move with their ray, while their distances
    along it are held, as in EG3D, and so is the grid. What lies behind an opaque surface is not computed, nor, with a
    grid, are rays through empty space. A ray that misses has features and opacity 0, and as depth the distance at
    which it passes the origin; a ray with a number that is not finite gives NaN and no gradient. A seed that is a
    tensor, one int64 on the map's device, is read when the op runs: a CUDA graph replays with the seed of the moment.
    Equations: `reference_render_rays`. Raises ValueError for shapes, sizes or a seed out of range.
    """
    _check(map, origins, directions, near, far, network, layout, coarse, fine, grid, seed)
    if map.dtype in (torch.float16, torch.bfloat16) and not map.is_cuda:
        map = map.to(origins.dtype)  # as mixed precision leaves it; on CUDA it is read as it is
    grid = None if grid is None else grid.detach().to(origins.dtype)
    expected = torch.float32 if map.is_cuda else map.dtype
    if not compiled.usable(map) or any(t.dtype != expected for t in (origins, directions, near, far, *network)):
        return reference_render_rays(
            map, origins, directions, near, far, network, layout,
            coarse=coarse, fine=fine, box=box, ball=ball, grid=grid, seed=seed,
        )  # fmt: skip
    tensors = [t.contiguous() for t in (map, origins, directions, near, far, *network)]
    grid = None if grid is None else grid.contiguous()
    numbers = (layout.numbers(), [*box.center, *box.half], ball.slope, ball.radius, coarse, fine)
    return Rendered(*torch.ops.semhead.render_rays(*tensors, grid, _seed_tensor(seed, map.device), *numbers))


def reference_render_rays(
    map: Tensor,
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    network: FieldNetwork,
    layout: Layout,
    *,
    coarse: int = 48,
    fine: int = 48,
    box: Box = Box(),
    ball: Ball = Ball(),
    grid: Tensor | None = None,
    seed: int | Tensor | None = None,
) -> Rendered:
    """`render_rays` in plain torch, as the compiled op is defined (after NeRF, mip-NeRF and EG3D).

    Distances: t_i = near + (i + jitter) / coarse * (far - near); then `fine` more, drawn by inverting the cumulative
    sum of the coarse weights, blurred by (max(w_{i-1}, w_i) + max(w_i, w_{i+1})) / 2 + 0.01. All in ascending order:

        s_i, c_i = network_of_features of the feature at p_i = (o + t_i d - center) / half
        tau_i    = softplus((s_i + s_{i+1}) / 2 - 1) (t_{i+1} - t_i)
        T_i      = exp(-sum_{j<i} tau_j)                  the light that reaches sample i
        w_i      = L(T_i) - L(T_{i+1}),  L(T) = min(T, max(2 (T - e), 0))  with e = 0.0001
        features = sum_i w_i (c_i + c_{i+1}) / 2
        opacity  = sum_i w_i
        depth    = sum_i w_i (t_i + t_{i+1}) / 2 + (1 - opacity) far

    L is T but for the last ten-thousandth of the light, which it ends: samples that less than e reaches count for
    nothing, and are not computed by the compiled op.

    With a grid the coarse weights are those of `coarse` intervals between n + 1 even distances, where the raw density
    is interpolated in the grid, and the fine samples alone are rendered (`_grid_distances`).
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
        read = reference_sample_planes(map, at.flatten(1, 2), layout)
        return network_of_features(read.unflatten(1, t.shape[1:]), at, network, ball)

    if grid is not None:
        with torch.no_grad():
            t, empty = _grid_distances(grid, points, near, far, coarse, _strata(seed, near, 0, fine))
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
    if grid is not None:
        features, opacity = torch.where(empty[..., None], 0.0, features), torch.where(empty, 0.0, opacity)
        w = torch.where(empty[..., None], 0.0, w)
    depth = (w * middle).sum(-1) + (1 - opacity) * far
    nothing = torch.where(finite, 0.0, torch.nan).to(map.dtype)
    empty_depth = torch.where(finite, passing.nan_to_num(0.0, 0.0, 0.0).clamp_min(0), torch.nan).detach()
    return Rendered(
        torch.where(live[..., None], features, nothing[..., None]),
        torch.where(live, depth, empty_depth),
        torch.where(live, opacity, nothing),
    )


def network_of_features(
    features: Tensor,  # [..., C] of points in the planes
    points: Tensor,  # [..., 3] in [-1, 1]
    network: FieldNetwork,
    ball: Ball,
) -> tuple[Tensor, Tensor]:  # raw density [...], colour features [..., O]
    """The field at points: h = softplus(W1 f + b1), s = w2_0 h + b2_0 + slope (radius - |p|),
    c = (1 + 2e) sigmoid(W2 h + b2) - e with e = 0.001."""
    hidden = F.softplus(F.linear(features, network.w1, network.b1))
    out = F.linear(hidden, network.w2, network.b2)
    raw, colours = out[..., 0], out[..., 1:].sigmoid() * (1 + 2 * SPILL) - SPILL
    if ball.slope:
        raw = raw + ball.slope * (ball.radius - points.norm(dim=-1))
    return raw, colours


def _weights(t: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:  # [..., S], [..., S] -> [..., S - 1], [..., S]
    """Weights of the intervals between samples, and which samples no light reaches (`reference_render_rays`)."""
    dark = _light_left(t, raw.detach())[..., :-1] <= DARK  # interval i begins in the dark
    dark = torch.cat([torch.zeros_like(dark[..., :1]), dark.cummax(-1)[0]], -1)  # so does the sample at its end
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

    At even distances e_0 = near ... e_strata = far the raw density is interpolated trilinearly in the grid. The weights
    of the intervals between them are blurred as those of coarse samples are, with GRID_FLOOR / strata in place of 0.01,
    and the samples drawn from them. A ray is empty where the sum of exp(s - 1) (e_{i+1} - e_i), which its opacity
    cannot exceed, is below EMPTY even if s is the largest of the nodes around both ends of an interval.
    """
    part = torch.arange(strata + 1, dtype=near.dtype, device=near.device) / strata
    t = near[..., None] + part * (far - near)[..., None]
    raw, largest = _grid_lookup(grid, points(t))
    most = torch.exp(torch.maximum(largest[..., 1:], largest[..., :-1]) - 1) * (t[..., 1:] - t[..., :-1])
    empty = (most.sum(-1) < EMPTY) & raw.sum(-1).isfinite()
    return _fine_distances(t, _weights(t, raw)[0], u.expand(*t.shape[:-1], -1), GRID_FLOOR / strata), empty


def _grid_lookup(
    grid: Tensor, points: Tensor
) -> tuple[Tensor, Tensor]:  # [B, G, G, G], [B, N, S, 3] -> [B, N, S] twice
    """The interpolated raw density at points, and the largest of the eight nodes around each."""
    side = grid.shape[-1]
    raw = F.grid_sample(grid[:, None], points[..., None, :], mode="bilinear", padding_mode="border", align_corners=True)
    low = ((points + 1) / 2 * (side - 1)).clamp(0, side - 1).nan_to_num().long().clamp_max(side - 2)
    cell = (low[..., 2] * (side - 1) + low[..., 1]) * (side - 1) + low[..., 0]
    largest = F.max_pool3d(grid[:, None], 2, stride=1).flatten(1).gather(1, cell.flatten(1)).view_as(cell)
    return raw[:, 0, ..., 0], largest


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


def _seed_tensor(seed: int | Tensor | None, device: torch.device) -> Tensor:  # [] int64; negative for None
    if isinstance(seed, Tensor):
        return seed
    return torch.full((), -1 if seed is None else seed, dtype=torch.int64, device=device)


def _strata(seed: int | Tensor | None, rays: Tensor, first: int, n: int) -> Tensor:
    # [B, N] -> [B, N, n] or [n], in [0, 1)
    """Where the n samples of each ray, numbered from `first`, lie between its ends: (i + jitter) / n."""
    i = torch.arange(n, dtype=rays.dtype, device=rays.device)
    if seed is None:
        return (i + 0.5) / n
    ray = torch.arange(rays.numel(), device=rays.device).view(*rays.shape, 1)
    sample = torch.arange(first, first + n, device=rays.device)
    seed = _seed_tensor(seed, rays.device)
    jitter = torch.where(seed < 0, 0.5, uniform(seed, ray, sample))
    return (i + jitter.to(rays.dtype)) / n


def uniform(seed: int | Tensor, ray: Tensor, sample: Tensor) -> Tensor:
    # integers that broadcast -> float32 in [0, 1)
    """A number that is a function of three integers, the same on every device (`csrc/common/numbers.h`).

    >>> uniform(7, torch.tensor([0, 1]), torch.tensor([0, 0]))
    tensor([...])
    """
    mixed = _mix(_mix(_mix(_seed_tensor(seed, ray.device)) + ray) + sample)
    return (mixed >> 8).float() * 2.0**-24


def _mix(x: Tensor) -> Tensor:
    """A 32-bit integer hash, in int64 arithmetic that wraps around."""
    low = 0xFFFFFFFF
    x = x & low
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & low
    x = ((x ^ (x >> 15)) * 0x846CA68B) & low
    return x ^ (x >> 16)


def _check(map, origins, directions, near, far, network, layout, coarse, fine, grid, seed) -> None:
    layout.check(map)
    b, n = map.shape[0], origins.shape[1] if origins.ndim == 3 else "N"
    hidden, outputs = len(network.b1), len(network.b2) - 1
    shapes = {
        "origins": (origins, (b, n, 3)),
        "directions": (directions, (b, n, 3)),
        "near": (near, (b, n)),
        "far": (far, (b, n)),
        "w1": (network.w1, (hidden, layout.channels)),
        "w2": (network.w2, (1 + outputs, hidden)),
    }
    for name, (tensor, shape) in shapes.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must be {list(shape)}, got {list(tensor.shape)}")
    for name, tensor in (("grid", grid), *((name, tensor) for name, (tensor, _) in shapes.items())):
        if tensor is not None and tensor.device != map.device:
            raise ValueError(f"{name} must be on {map.device} like the map, got {tensor.device}")
    widths = {"channels": layout.channels, "the hidden layer": hidden, "colour features": outputs}
    for name, width in widths.items():
        if not 1 <= width <= WIDEST:
            raise ValueError(f"{name} must be 1 to {WIDEST} wide, got {width}")
    if not 2 <= coarse <= MOST_SAMPLES or not 0 <= fine <= MOST_SAMPLES:
        raise ValueError(
            f"coarse must lie in 2...{MOST_SAMPLES} and fine in 0...{MOST_SAMPLES}, got {coarse} and {fine}"
        )
    if grid is not None:
        side = grid.shape[-1] if grid.ndim else 0
        if grid.shape != (b, side, side, side) or not 2 <= side <= LARGEST_GRID:
            raise ValueError(f"grid must be [{b}, G, G, G] with 2 <= G <= {LARGEST_GRID}, got {list(grid.shape)}")
        if fine < 2:
            raise ValueError(f"fine must be at least 2 with a grid, got {fine}")
    if isinstance(seed, Tensor):
        if seed.dtype != torch.int64 or seed.numel() != 1 or seed.device != map.device:
            raise ValueError(
                f"seed must be one int64 on {map.device}, got {list(seed.shape)} {seed.dtype} on {seed.device}"
            )
    elif seed is not None and not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in [0, 2^32), got {seed}")


def _register() -> None:
    if not compiled.COMPILED.devices:
        return

    @torch.library.register_fake("semhead::render_rays")
    def _(map, origins, directions, near, far, w1, b1, w2, b2, grid, seed, layout, box, slope, radius, coarse, fine):
        features = near.new_empty(*near.shape, b2.shape[0] - 1)
        return features, near.new_empty(near.shape), near.new_empty(near.shape)

    @torch.library.register_fake("semhead::render_rays_backward")
    def _(d_features, d_depth, d_opacity, map, origins, directions, near, far, w1, b1, w2, b2, grid, seed, layout, box,
          slope, radius, coarse, fine, for_map, for_rays, for_network):  # fmt: skip
        wanted = [(map, for_map), (origins, for_rays), (directions, for_rays)]
        wanted += [(t, for_network) for t in (w1, b1, w2, b2)]
        return tuple(t.new_empty(t.shape if want else 0) for t, want in wanted)

    def setup(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:11])
        ctx.numbers = inputs[11:]

    def backward(ctx, d_features, d_depth, d_opacity):
        need = ctx.needs_input_grad
        wanted = need[0], need[1] or need[2], any(need[5:9])
        upstream = (d.contiguous() for d in (d_features, d_depth, d_opacity))
        grads = torch.ops.semhead.render_rays_backward(*upstream, *ctx.saved_tensors, *ctx.numbers, *wanted)
        asked = (wanted[0], wanted[1], wanted[1], *[wanted[2]] * 4)
        map, origins, directions, *network = (g if want else None for g, want in zip(grads, asked, strict=True))
        return map, origins, directions, None, None, *network, *[None] * 8

    torch.library.register_autograd("semhead::render_rays", backward, setup_context=setup)


_register()
