"""The mapping network: latent z and condition to the style w."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from semhead_lib.models.layers import EqualLinear, leaky_relu
from semhead_lib.models.prior import LatentPrior

_MEAN_SAMPLES = 1000  # latents that the mean style of a condition is measured with


def unit_variance(x: Tensor) -> Tensor:
    """Each vector divided by its root mean square."""
    return x * (x.square().mean(-1, keepdim=True) + 1e-8).rsqrt()


class MappingNetwork(nn.Module):
    """z [B, Z] and condition [B, K] to w [B, W]: both are normalised to unit variance, the
    condition after a linear layer; then `layers` layers at a hundredth of the learning rate (Karras
    et al., 2019 and 2020). K may be 0. With a `prior`, z is first mapped to the distribution of
    latents given the condition.
    """

    w_mean: Tensor  # [W]

    def __init__(
        self,
        z_dim: int,
        condition_dim: int,
        w_dim: int,
        layers: int = 2,
        rate: float = 0.01,
        prior: bool = False,
    ) -> None:
        super().__init__()
        self.prior = LatentPrior(z_dim, condition_dim) if prior else None
        self.z_dim, self.condition_dim, self.w_dim = z_dim, condition_dim, w_dim
        self.embed = EqualLinear(condition_dim, w_dim) if condition_dim else None
        widths = [z_dim + (w_dim if condition_dim else 0), *[w_dim] * layers]
        self.layers = nn.ModuleList(
            EqualLinear(a, b, rate=rate) for a, b in itertools.pairwise(widths)
        )
        self.register_buffer("w_mean", torch.zeros(w_dim))  # running mean over what was trained on

    def forward(
        self,
        z: Tensor,  # [B, Z]
        condition: Tensor | None,  # [B, K]; None where K is 0
        psi: float = 1.0,  # truncation: 1 none, 0 the mean
        towards: Tensor
        | None = None,  # [B, W] or [W]: the mean; None: the running mean of the training
        encoded: bool = False,  # z is what an encoder gave: no prior
    ) -> Tensor:  # [B, W]
        """Raises ValueError for shapes that do not fit."""
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise ValueError(f"z must be [B, {self.z_dim}], got {list(z.shape)}")
        if self.embed is None:
            condition = None
        elif condition is None or condition.shape != (len(z), self.condition_dim):
            came = None if condition is None else list(condition.shape)
            raise ValueError(f"condition must be {[len(z), self.condition_dim]}, got {came}")
        x = unit_variance(z if self.prior is None or encoded else self.prior(z, condition))
        if self.embed is not None:
            x = torch.cat([x, unit_variance(self.embed(condition))], dim=1)
        for layer in self.layers:
            x = leaky_relu(layer(x))
        if psi != 1:
            x = torch.lerp(self.w_mean if towards is None else towards, x, psi)
        return x

    @torch.no_grad()
    def mean(self, condition: Tensor | None, seed: int = 0) -> Tensor:  # [B, K] -> [B, W]
        """The mean style of each condition over latents: the centre of truncation that keeps the
        condition.

        With no condition, [1, W].
        """
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(_MEAN_SAMPLES, self.z_dim, generator=generator).to(self.w_mean)
        if condition is None or self.embed is None:
            return self(z, None).mean(0, keepdim=True)
        return torch.stack([self(z, one.expand(len(z), -1)).mean(0) for one in condition])

    @torch.no_grad()
    def track(self, w: Tensor, beta: float = 0.998) -> None:
        """Move the running mean towards the styles [B, W] of a training batch."""
        self.w_mean.lerp_(w.float().mean(0), 1 - beta)
