"""Small rendering problems of every representation, shared by the tests of the ops."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from semhead_lib.models.planes import REPRESENTATIONS, make_planes
from semhead_lib.ops import Ball, FieldNetwork, Layout

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
BALL = Ball(slope=2.0, radius=0.6)
# what rendering gives, and then what it can be differentiated by (`Problem.leaves`)
NAMES = (
    "features",
    "depth",
    "opacity",
    "feature_map",
    "origins",
    "directions",
    "w1",
    "b1",
    "w2",
    "b2",
)


@dataclass(frozen=True)
class Problem:
    feature_map: Tensor
    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor
    network: FieldNetwork
    layout: Layout

    def arguments(self) -> tuple:
        return (
            self.feature_map,
            self.origins,
            self.directions,
            self.near,
            self.far,
            self.network,
            self.layout,
        )

    def leaves(self) -> list[Tensor]:
        """What can be differentiated by."""
        return [self.feature_map, self.origins, self.directions, *self.network]

    def with_leaves(self, leaves) -> "Problem":
        feature_map, origins, directions, *network = leaves
        return replace(
            self,
            feature_map=feature_map,
            origins=origins,
            directions=directions,
            network=FieldNetwork(*network),
        )


def make_problem(
    name=REPRESENTATIONS[0],
    *,
    side=9,
    channels=5,
    hidden=24,
    outputs=7,
    batch=2,
    rays=37,
    dtype=torch.float64,
    device="cpu",
) -> Problem:
    """Rays that look through the middle of random planes; made in float64, so that all types have
    the same numbers."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale

    planes = make_planes(name, side, channels)
    made = [
        normal(batch, planes.map_side, planes.map_side, planes.map_channels),
        torch.tensor([0.0, 0.0, 2.7], dtype=torch.float64) + normal(batch, rays, 3, scale=0.05),
        torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64) + normal(batch, rays, 3, scale=0.1),
        2.2 + normal(batch, rays, scale=0.05),
        3.2 + normal(batch, rays, scale=0.05),
        normal(hidden, channels, scale=0.5),
        normal(hidden, scale=0.1),
        normal(1 + outputs, hidden, scale=0.5),
        normal(1 + outputs, scale=0.1),
    ]
    feature_map, origins, directions, near, far, *network = (t.to(device, dtype) for t in made)
    return Problem(
        feature_map, origins, directions, near, far, FieldNetwork(*network), planes.layout
    )


def upstream(outputs, seed: int = 3) -> list[Tensor]:
    """Gradients of a loss with respect to outputs."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o) for o in outputs]


def largest_difference(a: Tensor, b: Tensor) -> float:
    """Largest |a - b|, in units of the largest |b|."""
    return ((a - b).abs().max() / b.abs().max().clamp_min(1e-30)).item()
