"""The fused ray renderer: compiled op, fake, autograd and reference twin. The equations stand in the twin."""

from __future__ import annotations

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


class FieldNetwork(NamedTuple):
    """Weights of the small network from the feature of a point [C] to density and colour features [O]."""

    w1: Tensor  # [H, C]
    b1: Tensor  # [H]
    w2: Tensor  # [1 + O, H]; row 0 is the density
    b2: Tensor  # [1 + O]


@dataclass(frozen=True)
class Ball:
    """A soft ball that is added to the raw density: slope * (radius - |p|), p in [-1, 1]^3. Slope 0: none."""

    slope: float = 0.0
    radius: float = 0.5


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
    coarse: int = 48,  # stratified samples of a ray
    fine: int = 48,  # samples drawn from the coarse weights; 0: none
    half: float = 0.5,  # half the side of the cube that the planes cover, world
    ball: Ball = Ball(),
    seed: int | None = None,  # of the samples' distances in [0, 2^32); None: the middle of every stratum
) -> Rendered:
    """Render rays through a feature map; nothing of a single sample is kept, and the backward pass computes it again.

    Differentiable in the map, the network, origins and directions; samples move with their ray, while their distances
    along it are held, as in EG3D. A ray that misses has features and opacity 0, and as depth the distance at which it
    passes the origin; a ray with a number that is not finite gives NaN and no gradient.
    Equations: `reference_render_rays`. Raises ValueError for shapes, sizes or a seed out of range.
    """
    _check(map, origins, directions, near, far, network, layout, coarse, fine, half, seed)
    if map.dtype in (torch.float16, torch.bfloat16) and not map.is_cuda:
        map = map.to(origins.dtype)  # as mixed precision leaves it; on CUDA it is read as it is
    expected = torch.float32 if map.is_cuda else map.dtype
    if not compiled.usable(map) or any(t.dtype != expected for t in (origins, directions, near, far, *network)):
        return reference_render_rays(
            map,
            origins,
            directions,
            near,
            far,
            network,
            layout,
            coarse=coarse,
            fine=fine,
            half=half,
            ball=ball,
            seed=seed,
        )
    tensors = (t.contiguous() for t in (map, origins, directions, near, far, *network))
    numbers = (layout.numbers(), half, ball.slope, ball.radius, coarse, fine, -1 if seed is None else seed)
    return Rendered(*torch.ops.semhead.render_rays(*tensors, *numbers))


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
    half: float = 0.5,
    ball: Ball = Ball(),
    seed: int | None = None,
) -> Rendered:
    """`render_rays` in plain torch, as the compiled op is defined (after NeRF, mip-NeRF and EG3D).

    Distances: t_i = near + (i + jitter) / coarse * (far - near); then `fine` more, drawn by inverting the cumulative
    sum of the coarse weights, blurred by (max(w_{i-1}, w_i) + max(w_i, w_{i+1})) / 2 + 0.01. All in ascending order:

        s_i, c_i = network_of_features of the feature at p_i = (o + t_i d) / half
        tau_i    = softplus((s_i + s_{i+1}) / 2 - 1) (t_{i+1} - t_i)
        w_i      = exp(-sum_{j<i} tau_j) (1 - exp(-tau_i))
        features = sum_i w_i (c_i + c_{i+1}) / 2
        opacity  = sum_i w_i
        depth    = sum_i w_i (t_i + t_{i+1}) / 2 + (1 - opacity) far
    """
    finite = (origins.sum(-1) + directions.sum(-1) + near + far).isfinite()
    live = finite & (far > near)
    passing = -(origins * directions).sum(-1) / (directions * directions).sum(-1)
    origins = torch.where(live[..., None], origins, 0.0)
    directions = torch.where(live[..., None], directions, 1.0)
    near, far = torch.where(live, near, 0.0).detach(), torch.where(live, far, 1.0).detach()

    def field(t: Tensor) -> tuple[Tensor, Tensor]:  # [B, N, S] -> [B, N, S], [B, N, S, O]
        points = (origins[:, :, None] + t[..., None] * directions[:, :, None]) / half
        read = reference_sample_planes(map, points.flatten(1, 2), layout)
        return network_of_features(read.unflatten(1, t.shape[1:]), points, network, ball)

    t = near[..., None] + _strata(seed, near, 0, coarse) * (far - near)[..., None]
    raw, colours = field(t)
    if fine:
        with torch.no_grad():
            more = _fine_distances(t, _weights(t, raw), _strata(seed, near, coarse, fine))
        more_raw, more_colours = field(more)
        t, order = torch.cat([t, more], -1).sort(dim=-1, stable=True)
        raw = torch.cat([raw, more_raw], -1).gather(-1, order)
        both = torch.cat([colours, more_colours], -2)
        colours = both.gather(-2, order[..., None].expand_as(both))
    w = _weights(t, raw)
    middle = (t[..., 1:] + t[..., :-1]) / 2
    features = (w[..., None] * (colours[..., 1:, :] + colours[..., :-1, :]) / 2).sum(-2)
    opacity = w.sum(-1)
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


def _weights(t: Tensor, raw: Tensor) -> Tensor:  # [..., S], [..., S] -> [..., S - 1]
    tau = F.softplus((raw[..., 1:] + raw[..., :-1]) / 2 - 1) * (t[..., 1:] - t[..., :-1])
    left = torch.exp(-tau.cumsum(-1))  # light left behind each interval
    return torch.cat([torch.ones_like(left[..., :1]), left[..., :-1]], -1) - left


def _fine_distances(t: Tensor, w: Tensor, u: Tensor) -> Tensor:  # [..., m], [..., m - 1], [..., n] -> [..., n]
    edge = torch.maximum(w[..., 1:], w[..., :-1])
    blurred = (torch.cat([w[..., :1], edge], -1) + torch.cat([edge, w[..., -1:]], -1)) / 2 + 0.01
    cumulative = blurred.cumsum(-1)
    target = u * cumulative[..., -1:]
    i = torch.searchsorted(cumulative, target.contiguous(), right=True).clamp_max(w.shape[-1] - 1)
    here = blurred.gather(-1, i)
    part = ((target - cumulative.gather(-1, i) + here) / here).clamp_max(1)
    start = t.gather(-1, i)
    return start + part * (t.gather(-1, i + 1) - start)


def _strata(seed: int | None, rays: Tensor, first: int, n: int) -> Tensor:  # [B, N] -> [B, N, n] or [n], in [0, 1)
    """Where the n samples of each ray, numbered from `first`, lie between its ends: (i + jitter) / n."""
    i = torch.arange(n, dtype=rays.dtype, device=rays.device)
    if seed is None:
        return (i + 0.5) / n
    ray = torch.arange(rays.numel(), device=rays.device).view(*rays.shape, 1)
    sample = torch.arange(first, first + n, device=rays.device)
    return (i + uniform(seed, ray, sample).to(rays.dtype)) / n


def uniform(seed: int, ray: Tensor, sample: Tensor) -> Tensor:  # integers that broadcast -> float32 in [0, 1)
    """A number that is a function of three integers, the same on every device (`csrc/common/numbers.h`).

    >>> uniform(7, torch.tensor([0, 1]), torch.tensor([0, 0]))
    tensor([...])
    """
    mixed = _mix(_mix(_mix(torch.tensor(seed, device=ray.device)) + ray) + sample)
    return (mixed >> 8).float() * 2.0**-24


def _mix(x: Tensor) -> Tensor:
    """A 32-bit integer hash, in int64 arithmetic that wraps around."""
    low = 0xFFFFFFFF
    x = x & low
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & low
    x = ((x ^ (x >> 15)) * 0x846CA68B) & low
    return x ^ (x >> 16)


def _check(map, origins, directions, near, far, network, layout, coarse, fine, half, seed) -> None:
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
    widths = {"channels": layout.channels, "the hidden layer": hidden, "colour features": outputs}
    for name, width in widths.items():
        if not 1 <= width <= WIDEST:
            raise ValueError(f"{name} must be 1 to {WIDEST} wide, got {width}")
    if not 2 <= coarse <= MOST_SAMPLES or not 0 <= fine <= MOST_SAMPLES:
        raise ValueError(
            f"coarse must lie in 2...{MOST_SAMPLES} and fine in 0...{MOST_SAMPLES}, got {coarse} and {fine}"
        )
    if not half > 0:
        raise ValueError(f"half must be positive, got {half}")
    if seed is not None and not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in [0, 2^32), got {seed}")


def _register() -> None:
    if not compiled.COMPILED.devices:
        return

    @torch.library.register_fake("semhead::render_rays")
    def _(map, origins, directions, near, far, w1, b1, w2, b2, layout, half, slope, radius, coarse, fine, seed):
        features = near.new_empty(*near.shape, b2.shape[0] - 1)
        return features, near.new_empty(near.shape), near.new_empty(near.shape)

    @torch.library.register_fake("semhead::render_rays_backward")
    def _(d_features, d_depth, d_opacity, map, origins, directions, near, far, w1, b1, w2, b2, layout, half, slope,
          radius, coarse, fine, seed, for_map, for_rays, for_network):  # fmt: skip
        wanted = [(map, for_map), (origins, for_rays), (directions, for_rays)]
        wanted += [(t, for_network) for t in (w1, b1, w2, b2)]
        return tuple(t.new_empty(t.shape if want else 0) for t, want in wanted)

    def setup(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:9])
        ctx.numbers = inputs[9:]

    def backward(ctx, d_features, d_depth, d_opacity):
        need = ctx.needs_input_grad
        wanted = need[0], need[1] or need[2], any(need[5:9])
        upstream = (d.contiguous() for d in (d_features, d_depth, d_opacity))
        grads = torch.ops.semhead.render_rays_backward(*upstream, *ctx.saved_tensors, *ctx.numbers, *wanted)
        asked = (wanted[0], wanted[1], wanted[1], *[wanted[2]] * 4)
        map, origins, directions, *network = (g if want else None for g, want in zip(grads, asked, strict=True))
        return map, origins, directions, None, None, *network, *[None] * 7

    torch.library.register_autograd("semhead::render_rays", backward, setup_context=setup)


_register()
