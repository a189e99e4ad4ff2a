"""The distribution of latents given the condition: maps z ~ N(0, I) to the latents of an
encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_RIDGE = 0.01  # of the features' variance: few subjects do not determine the mean's coefficients
_LEAST = 1e-4  # variance that every direction has at least


class LatentPrior(nn.Module):
    """z ~ N(0, I) and a condition c to a latent ~ N(A c + b, L L^T).

    When a generator is trained with an encoder (`semhead reconstruct`) and a small KL weight, the
    subjects' latents are far from N(0, I) and depend on the condition. Latents sampled
    independently contradict the condition, and heads look like averages. So the distribution of the
    encoder's latents is estimated afterwards (Ghosh et al., 2020), given the condition (a
    conditional prior: Sohn et al., 2015): the mean by ridge regression, the covariance from what
    remains and the encoder's own variances.

    Begins as the identity.
    """

    weight: Tensor  # [Z, K] A
    bias: Tensor  # [Z] b
    scale: Tensor  # [Z, Z] L, lower triangular

    def __init__(self, z_dim: int, condition_dim: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(z_dim, condition_dim))
        self.register_buffer("bias", torch.zeros(z_dim))
        self.register_buffer("scale", torch.eye(z_dim))

    def forward(
        self, z: Tensor, condition: Tensor | None
    ) -> Tensor:  # [B, Z], [B, K]; None where K is 0 -> [B, Z]
        mean = self.bias if condition is None else self.bias + condition @ self.weight.T
        return mean + z @ self.scale.T

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if self.scale.triu(1).any() or (self.scale.diagonal() <= 0).any():
            args[-1].append(
                f"{prefix}scale must be lower triangular, with a diagonal of positive numbers"
            )

    @torch.no_grad()
    def fit(
        self,
        means: Tensor,  # [N, Z] that an encoder gives N subjects
        log_variances: Tensor,  # [N, Z]
        conditions: Tensor,  # [N, K]
    ) -> None:
        """Estimate the distribution. Raises ValueError for fewer than two subjects.

        >>> prior, c = LatentPrior(2, 1), torch.linspace(-1, 1, 9)[:, None]
        >>> prior.fit(torch.cat([3 * c, 0 * c], 1) + 1, torch.full((9, 2), -2.0), c)
        >>> [round(x, 1) for x in prior.bias.tolist()], [round(x, 1) for x in prior.scale.diag().tolist()]
        ([1.0, 1.0], [0.4, 0.4])
        """
        if len(means) < 2:
            raise ValueError(f"the distribution of latents needs 2 subjects, got {len(means)}")
        m, c = means.double(), conditions.double()
        m_mean, c_mean = m.mean(0), c.mean(0)
        m, c = m - m_mean, c - c_mean
        ridge = _RIDGE * c.square().sum() / max(c.shape[1], 1)
        gram = c.T @ c + ridge.clamp_min(1e-9) * torch.eye(c.shape[1]).to(c)
        weight = torch.linalg.solve(gram, c.T @ m).T
        rest = m - c @ weight.T
        own = log_variances.double().exp().mean(0) + _LEAST
        covariance = rest.T @ rest / (len(m) - 1) + own.diag()
        self.weight.copy_(weight)
        self.bias.copy_(m_mean - weight @ c_mean)
        self.scale.copy_(torch.linalg.cholesky(covariance))
