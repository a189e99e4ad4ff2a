"""A residual of the feature map near one style, which an inversion fits to a photograph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_FALL = 4.0  # styles half a spread away get 0.37 of the map, independent ones less than 0.001


class Residual(nn.Module):
    """Adds a learnt map to the feature maps of heads whose style w is near the pivot w*:

        features + exp(-4 mean(((w - w*) / s)^2)) map,

    with the mean over layers and dimensions, and s the spread of styles. The head at the pivot gets
    all of it, similar heads most of it, and other heads stay unchanged.
    """

    pivot: Tensor  # [1, styles, W]
    spread: Tensor  # [W]

    def __init__(self, w_dim: int, styles: int, features: int, side: int) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.zeros(1, features, side, side))
        self.register_buffer("pivot", torch.zeros(1, styles, w_dim))
        self.register_buffer("spread", torch.ones(w_dim))

    def forward(self, features: Tensor, w: Tensor) -> Tensor:  # [B, F, S, S], w or [B, styles, W]
        return features + self.share(w)[:, None, None, None].to(features) * self.map.to(features)

    def share(self, w: Tensor) -> Tensor:  # [B, W] or [B, styles, W] -> [B]
        """Share of the map that is added for a style, 1 at the pivot."""
        w = w[:, None] if w.dim() == 2 else w
        return (-_FALL * ((w - self.pivot) / self.spread).square().mean((1, 2))).exp()

    @torch.no_grad()
    def move(self, pivot: Tensor, spread: Tensor) -> None:  # [1, W] or [1, styles, W], [W]
        """Move to another pivot without changing its feature map."""
        self.map.mul_(self.share(pivot)[:, None, None, None])
        self.pivot.copy_(pivot[:, None] if pivot.dim() == 2 else pivot)
        self.spread.copy_(spread.clamp_min(1e-6))
