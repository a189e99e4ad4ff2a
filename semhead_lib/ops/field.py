"""The field that is rendered: a small network on the features of planes, a soft ball, and the box
they cover."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SPILL = 0.001  # colour features reach this much beyond [0, 1], as in mip-NeRF and EG3D


class FieldNetwork(NamedTuple):
    """Weights of the small network from the feature of a point [C] to density and colour features
    [O]."""

    w1: Tensor  # [H, C]
    b1: Tensor  # [H]
    w2: Tensor  # [1 + O, H]; row 0 is the density
    b2: Tensor  # [1 + O]


@dataclass(frozen=True)
class Ball:
    """A soft ball that is added to the raw density: slope * (radius - |p|), p in the box's [-1,
    1]^3. Slope 0: none."""

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
                raise ValueError(
                    f"the box's {name} must be three numbers, got {getattr(self, name)}"
                )
            object.__setattr__(self, name, numbers)
        if not all(math.isfinite(x) for x in (*self.center, *self.half)):
            raise ValueError(
                f"the box must be finite, got center {self.center} and half {self.half}"
            )
        if not min(self.half) > 0:
            raise ValueError(f"the box's half-extents must be positive, got {self.half}")

    def normalised(
        self, points: Tensor
    ) -> Tensor:  # [..., 3] world -> [..., 3], [-1, 1] inside the box
        """Points in the coordinates of the planes. Numbers are passed by value: nothing is copied
        to a device.

        >>> Box((0.0, -0.1, 0.0), (0.4, 0.4, 0.2)).normalised(torch.tensor([0.2, 0.3, 0.2]))
        tensor([0.5000, 1.0000, 1.0000])
        """
        axes = zip(points.unbind(-1), self.center, self.half, strict=True)
        return torch.stack([(x - center) / half for x, center, half in axes], -1)

    def world(
        self, points: Tensor
    ) -> Tensor:  # [..., 3] in the coordinates of the planes -> [..., 3]
        """The inverse of `normalised`."""
        axes = zip(points.unbind(-1), self.center, self.half, strict=True)
        return torch.stack([x * half + center for x, center, half in axes], -1)


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
