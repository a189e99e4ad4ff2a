"""Density and coverage (Naeem et al., 2020): do samples lie where the real ones are, and do they reach all of them?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Coverage:
    """Both figures are near 1 when samples and reals come from one distribution."""

    density: float  # mean number of real neighbourhoods a sample lies in, divided by k: samples where reals are dense
    coverage: float  # share of real points with a sample in their neighbourhood


def density_coverage(
    real: Tensor,  # [N, D]
    samples: Tensor,  # [M, D]
    k: int = 5,
) -> Coverage:
    """A real point's neighbourhood is the ball that reaches to its k-th nearest other real point.

    For N = M drawn from one distribution coverage is about 1 - 2^-k: 0.97 for k = 5.

    >>> line = torch.arange(8.0)[:, None]
    >>> density_coverage(line, line + 0.25, k=2).coverage, density_coverage(line, line + 100, k=2).coverage
    (1.0, 0.0)

    Raises ValueError unless 1 <= k < N.
    """
    if not 1 <= k < len(real):
        raise ValueError(f"k must be at least 1 and below the number of real points ({len(real)}), got {k}")
    real, samples = real.double(), samples.double()
    radius = torch.cdist(real, real).kthvalue(k + 1, dim=1).values  # the nearest of all is the point itself
    inside = torch.cdist(samples, real) <= radius  # [M, N]
    return Coverage(float(inside.double().sum(1).mean() / k), float(inside.any(0).double().mean()))
