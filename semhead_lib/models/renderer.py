"""From a feature map and cameras to raw images: rays, the decoder, and the fused renderer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semhead_lib.cameras import rays
from semhead_lib.models.planes import Planes
from semhead_lib.ops import (
    Ball,
    Box,
    FieldNetwork,
    Rendered,
    density_grid,
    reference_render_rays,
    render_rays,
    sample_planes,
)
from semhead_lib.ops.field import network_of_features


@dataclass(frozen=True)
class RenderSettings:
    """Sampling of rays, and the box that the planes cover.

    A density grid saves samples on smooth heads: with those of `semhead-64`, images with grid,
    coarse and fine of 24, 32 and 10 were nearer to the converged ones than with 16 + 16 samples, at
    2 to 3 times the speed; with 48, 48 and 12 than with 24 + 24; with 64, 64 and 40 than with
    48 + 48 (`papermill_runs/benchmarks/render_cpu.json`). It misses structures that are thinner than
    its cells: with 24 nodes, pale rims appear around heads of `semhead-128`. For a trained generator,
    `semhead sample MODEL OUT grid=48 coarse=48 fine=24`, or in Python:

        settings = dataclasses.replace(generator.renderer.settings, grid=48, coarse=48, fine=24)
        generator.renderer.settings = settings
    """

    coarse: int = (
        48  # stratified samples of a ray; with a density grid: strata that are looked up in it
    )
    fine: int = 48  # samples drawn from their weights; with a density grid the only ones
    box: Box = Box()  # noqa: RUF009 (frozen); scene units: heads seen by the usual cameras lie inside
    ball: Ball = Ball()  # noqa: RUF009 (frozen)
    grid: int = (
        0  # nodes a side of each head's density grid (`semhead_lib.ops.density_grid`); 0: none
    )


def box_bounds(
    origins: Tensor,  # [B, N, 3]
    directions: Tensor,  # [B, N, 3]
    box: Box,
) -> tuple[Tensor, Tensor]:  # [B, N], [B, N]
    """Where rays enter and leave a box, in lengths of their direction; far <= near where they miss.

    >>> o, d = torch.tensor([[[0.0, 0.0, 2.7], [2.0, 0.0, 2.7]]]), torch.tensor([[[0.0, 0.0, -1.0]] * 2])
    >>> near, far = box_bounds(o, d, Box())
    >>> near[0, 0].item(), far[0, 0].item(), bool(far[0, 1] <= near[0, 1])
    (2.2..., 3.2..., True)
    """
    inverse = 1 / torch.where(directions == 0, torch.finfo(directions.dtype).tiny * 4, directions)
    entered, left = [], []
    for o, over, center, half in zip(
        origins.unbind(-1), inverse.unbind(-1), box.center, box.half, strict=True
    ):
        a, b = (center - half - o) * over, (center + half - o) * over
        entered.append(torch.minimum(a, b))
        left.append(torch.maximum(a, b))
    return torch.stack(entered).amax(0).clamp_min(0), torch.stack(left).amin(0)


def views_each(cameras: int, heads: int) -> int:
    """Number of cameras per head. Raises ValueError if they cannot be divided evenly."""
    if heads < 1 or cameras % heads:
        raise ValueError(f"{cameras} cameras cannot be shared out evenly among {heads} heads")
    return cameras // heads


class Renderer(nn.Module):
    """Renders the planes of a feature map; its weights are those of the small network from point
    features to density and colour features, with equalised learning rates (Karras et al., 2018)."""

    def __init__(
        self,
        planes: Planes,
        settings: RenderSettings,
        hidden: int = 64,
        outputs: int = 32,
        density_gain: float = 1.0,  # the raw density is that times what the weights say
    ) -> None:
        super().__init__()
        self.density_gain = density_gain
        self.planes, self.settings = planes, settings
        channels = planes.layout.channels
        self.w1 = nn.Parameter(torch.randn(hidden, channels))
        self.b1 = nn.Parameter(torch.zeros(hidden))
        self.w2 = nn.Parameter(torch.randn(1 + outputs, hidden))
        self.b2 = nn.Parameter(torch.zeros(1 + outputs))

    @property
    def network(self) -> FieldNetwork:
        """The weights as the ops take them."""
        w2, b2 = self.w2 * self.w2.shape[1] ** -0.5, self.b2
        if self.density_gain != 1:
            w2 = torch.cat([w2[:1] * self.density_gain, w2[1:]])
            b2 = torch.cat([b2[:1] * self.density_gain, b2[1:]])
        return FieldNetwork(self.w1 * self.w1.shape[1] ** -0.5, self.b1, w2, b2)

    def forward(
        self,
        features: Tensor,  # [H, map_channels, map_side, map_side] of H heads
        cameras: Tensor,  # [B, 25], the same number for each head, those of a head adjacent
        resolution: int,  # pixels a side
        seed: int
        | Tensor
        | None = None,  # of the samples (`render_rays`); None: the middle of every stratum
        reference: bool = False,  # with the reference implementation, to compare
        grid: Tensor
        # [H, G, G, G] of `density_grid`; None: made here where the settings have one
        | None = None,
    ) -> Rendered:  # features [B, O, R, R], depth [B, 1, R, R], opacity [B, 1, R, R]
        """Square images from the cameras."""
        s = self.settings
        of_a_head = (len(features), views_each(len(cameras), len(features)) * resolution**2, 3)
        origins, directions = (t.contiguous().reshape(of_a_head) for t in rays(cameras, resolution))
        near, far = box_bounds(origins, directions, s.box)
        grid = self.density_grid(features) if grid is None else grid
        render = reference_render_rays if reference else render_rays
        out = render(
            self.planes.map(features),
            origins,
            directions,
            near,
            far,
            self.network,
            self.planes.layout,
            coarse=s.coarse,
            fine=s.fine,
            box=s.box,
            ball=s.ball,
            grid=grid,
            seed=seed,
        )
        shape = (len(cameras), resolution, resolution, -1)
        return Rendered(*(t.reshape(shape).permute(0, 3, 1, 2) for t in out))

    def density_grid(self, features: Tensor) -> Tensor | None:  # [H, G, G, G]
        """Raw density of heads on a coarse grid, shared by all their views; None without a grid in
        the settings."""
        s = self.settings
        if not s.grid:
            return None
        return density_grid(
            self.planes.map(features), self.network, self.planes.layout, s.grid, s.ball
        )

    def field(self, features: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Raw density [B, N] and colour features [B, N, O] at world points [B, N, 3]."""
        points = self.settings.box.normalised(points)
        read = sample_planes(self.planes.map(features), points, self.planes.layout)
        return network_of_features(read, points, self.network, self.settings.ball)
