"""The fused ray renderer: compiled op, fake and autograd. The equations stand in
`reference_render`."""

from __future__ import annotations

import torch
from torch import Tensor

from semhead_lib.ops import compiled
from semhead_lib.ops.field import Ball, Box, FieldNetwork
from semhead_lib.ops.layout import Layout
from semhead_lib.ops.reference_render import Rendered, reference_render_rays, seed_tensor

WIDEST = 64  # of features, hidden layer and colour features
MOST_SAMPLES = 512  # of a ray, coarse or fine
LARGEST_GRID = 256  # nodes a side


def render_rays(
    feature_map: Tensor,  # [B, rows, columns, channels] feature map, channels last
    origins: Tensor,  # [B, N, 3] world
    directions: Tensor,  # [B, N, 3]
    near: Tensor,  # [B, N] distances between which the ray is sampled; far <= near: it misses
    far: Tensor,  # [B, N]
    network: FieldNetwork,
    layout: Layout,  # of the planes in the map
    *,
    coarse: int = 48,  # stratified samples of a ray; with a grid: strata that are looked up in it
    # samples drawn from the coarse weights; 0: none. With a grid: the only samples, at least 2
    fine: int = 48,
    box: Box = Box(),  # noqa: B008 (frozen)
    ball: Ball = Ball(),  # noqa: B008 (frozen)
    grid: Tensor
    # [B, G, G, G] raw density as `density_grid` makes it: no coarse samples are taken
    | None = None,
    seed: int
    | Tensor
    | None = None,  # of the distances, in [0, 2^32); None, or a tensor < 0: the middle of strata
) -> Rendered:
    """Render rays through a feature map; nothing of a single sample is kept, and the backward pass
    computes it again.

    Differentiable in the map, the network, origins and directions; samples move with their ray,
    while their distances along it are held, as in EG3D, and so is the grid. What lies behind an
    opaque surface is not computed, nor, with a grid, are rays through empty space. A ray that
    misses has features and opacity 0, and as depth the distance at which it passes the origin; a
    ray with a number that is not finite gives NaN and no gradient. A seed that is a tensor, one
    int64 on the map's device, is read when the op runs: a CUDA graph replays with the seed of the
    moment.
    Equations: `reference_render_rays`. Raises ValueError for shapes, sizes or a seed out of range.
    """
    _check(feature_map, origins, directions, near, far, network, layout, coarse, fine, grid, seed)
    if feature_map.dtype in (torch.float16, torch.bfloat16) and not feature_map.is_cuda:
        feature_map = feature_map.to(
            origins.dtype
        )  # as mixed precision leaves it; on CUDA it is read as it is
    grid = None if grid is None else grid.detach().to(origins.dtype)
    expected = torch.float32 if feature_map.is_cuda else feature_map.dtype
    if not compiled.usable(feature_map) or any(
        t.dtype != expected for t in (origins, directions, near, far, *network)
    ):
        return reference_render_rays(
            feature_map,
            origins,
            directions,
            near,
            far,
            network,
            layout,
            coarse=coarse,
            fine=fine,
            box=box,
            ball=ball,
            grid=grid,
            seed=seed,
        )
    tensors = [t.contiguous() for t in (feature_map, origins, directions, near, far, *network)]
    grid = None if grid is None else grid.contiguous()
    numbers = (layout.numbers(), [*box.center, *box.half], ball.slope, ball.radius, coarse, fine)
    return Rendered(
        *torch.ops.semhead.render_rays(
            *tensors, grid, seed_tensor(seed, feature_map.device), *numbers
        )
    )


def _check(
    feature_map, origins, directions, near, far, network, layout, coarse, fine, grid, seed
) -> None:
    layout.check(feature_map)
    b, n = feature_map.shape[0], origins.shape[1] if origins.ndim == 3 else "N"
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
        if tensor is not None and tensor.device != feature_map.device:
            raise ValueError(
                f"{name} must be on {feature_map.device} like the feature map, got {tensor.device}"
            )
    widths = {"channels": layout.channels, "the hidden layer": hidden, "colour features": outputs}
    for name, width in widths.items():
        if not 1 <= width <= WIDEST:
            raise ValueError(f"{name} must be 1 to {WIDEST} wide, got {width}")
    if not 2 <= coarse <= MOST_SAMPLES or not 0 <= fine <= MOST_SAMPLES:
        raise ValueError(
            f"coarse must lie in 2...{MOST_SAMPLES} and fine in 0...{MOST_SAMPLES}, got {coarse} "
            f"and {fine}"
        )
    if grid is not None:
        side = grid.shape[-1] if grid.ndim else 0
        if grid.shape != (b, side, side, side) or not 2 <= side <= LARGEST_GRID:
            raise ValueError(
                f"grid must be [{b}, G, G, G] with 2 <= G <= {LARGEST_GRID}, got {list(grid.shape)}"
            )
        if fine < 2:
            raise ValueError(f"fine must be at least 2 with a grid, got {fine}")
    if isinstance(seed, Tensor):
        if seed.dtype != torch.int64 or seed.numel() != 1 or seed.device != feature_map.device:
            raise ValueError(
                f"seed must be one int64 on {feature_map.device}, got {list(seed.shape)} {seed.dtype} on {seed.device}"
            )
    elif seed is not None and not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in [0, 2^32), got {seed}")


def _register() -> None:
    if not compiled.COMPILED.devices:
        return

    @torch.library.register_fake("semhead::render_rays")
    def _(
        feature_map,
        origins,
        directions,
        near,
        far,
        w1,
        b1,
        w2,
        b2,
        grid,
        seed,
        layout,
        box,
        slope,
        radius,
        coarse,
        fine,
    ):
        features = near.new_empty(*near.shape, b2.shape[0] - 1)
        return features, near.new_empty(near.shape), near.new_empty(near.shape)

    @torch.library.register_fake("semhead::render_rays_backward")
    def _(
        d_features,
        d_depth,
        d_opacity,
        feature_map,
        origins,
        directions,
        near,
        far,
        w1,
        b1,
        w2,
        b2,
        grid,
        seed,
        layout,
        box,
        slope,
        radius,
        coarse,
        fine,
        for_feature_map,
        for_rays,
        for_network,
    ):
        wanted = [(feature_map, for_feature_map), (origins, for_rays), (directions, for_rays)]
        wanted += [(t, for_network) for t in (w1, b1, w2, b2)]
        return tuple(t.new_empty(t.shape if want else 0) for t, want in wanted)

    def setup(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:11])
        ctx.numbers = inputs[11:]

    def backward(ctx, d_features, d_depth, d_opacity):
        need = ctx.needs_input_grad
        wanted = need[0], need[1] or need[2], any(need[5:9])
        upstream = (d.contiguous() for d in (d_features, d_depth, d_opacity))
        grads = torch.ops.semhead.render_rays_backward(
            *upstream, *ctx.saved_tensors, *ctx.numbers, *wanted
        )
        asked = (wanted[0], wanted[1], wanted[1], *[wanted[2]] * 4)
        feature_map, origins, directions, *network = (
            g if want else None for g, want in zip(grads, asked, strict=True)
        )
        return feature_map, origins, directions, None, None, *network, *[None] * 8

    torch.library.register_autograd("semhead::render_rays", backward, setup_context=setup)


_register()
