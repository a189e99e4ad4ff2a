"""Conditions for generation: where in the semantic space to sample, given the features of a
dataset."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STRATEGIES = ("data", "perturb", "interpolate", "gaussian", "uniform")


def sample_conditions(
    features: Tensor,  # [N, D] unit features of a dataset's subjects
    count: int,
    strategy: str = "data",
    *,
    strength: float = 0.5,
    seed: int = 0,
) -> Tensor:  # [count, D] float32, unit length
    """Draw conditions.

    data: features of the dataset as they are. perturb: turned in a random direction by `strength`
    times the median angle between nearest neighbours. interpolate: a random point of the arc
    between a feature and one of its 1 + 9 * `strength` nearest. gaussian: from the normal
    distribution fitted to the features, brought back to the sphere. uniform: anywhere on the
    sphere, which no CLIP fills: the strategy to compare with.

    Raises ValueError for an unknown strategy, or too few features for it.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
    if len(features) < 3 and strategy in ("perturb", "interpolate", "gaussian"):
        raise ValueError(f"strategy {strategy} needs 3 features or more, got {len(features)}")
    if not len(features) or count < 0 or strength < 0:
        raise ValueError(
            f"need features, count >= 0, strength >= 0; got {len(features)}, {count}, {strength}"
        )
    rng = torch.Generator().manual_seed(seed)
    x = F.normalize(features.double().cpu(), dim=-1)
    if strategy == "uniform":
        drawn = torch.randn(count, x.shape[1], generator=rng, dtype=torch.float64)
    elif strategy == "gaussian":
        centred = x - x.mean(
            0
        )  # its rows span the covariance: random sums of them have that covariance
        weights = (
            torch.randn(count, len(x), generator=rng, dtype=torch.float64) / (len(x) - 1) ** 0.5
        )
        drawn = x.mean(0) + weights @ centred
    else:
        start = torch.randint(len(x), (count,), generator=rng)
        drawn = x[start]
        if strategy == "perturb":
            similarity = (x @ x.T).fill_diagonal_(-1.0)
            angle = strength * torch.acos(similarity.amax(1).clamp(-1, 1)).median()
            noise = torch.randn(drawn.shape, generator=rng, dtype=torch.float64)
            tangent = F.normalize(noise - (noise * drawn).sum(-1, keepdim=True) * drawn, dim=-1)
            drawn = torch.cos(angle) * drawn + torch.sin(angle) * tangent
        elif strategy == "interpolate":
            near = min(1 + round(9 * strength), len(x) - 1)
            begun, which = start.unique(return_inverse=True)  # each once, and no others
            similarity = (x[begun] @ x.T).scatter_(1, begun[:, None], -2.0)  # not to itself
            choice = torch.randint(near, (count,), generator=rng)
            other = x[similarity.topk(near, dim=1).indices[which, choice]]
            drawn = slerp(drawn, other, torch.rand(count, 1, generator=rng, dtype=torch.float64))
    return F.normalize(drawn, dim=-1).float()


def slerp(
    one: Tensor, other: Tensor, along: Tensor
) -> Tensor:  # [..., D] unit, [..., D] unit, [..., 1] in [0, 1]
    """Point of the arc between unit vectors, by equal angles (Shoemake, 1985).

    >>> slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.5]))
    tensor([0.7071, 0.7071])
    """
    angle = torch.acos((one * other).sum(-1, keepdim=True).clamp(-1, 1))
    small = angle < 1e-4  # an arc so short is straight
    whole = torch.where(small, torch.ones_like(angle), torch.sin(angle))
    a = torch.where(small, 1 - along, torch.sin((1 - along) * angle) / whole)
    b = torch.where(small, along, torch.sin(along * angle) / whole)
    return F.normalize(a * one + b * other, dim=-1)
