"""Do samples lie where the real ones are, and do they reach all of them? By neighbourhoods of
nearest features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Coverage:
    """Both metrics are near 1 when samples and reals come from one distribution."""

    # mean number of real neighbourhoods a sample lies in, divided by k: samples where reals are
    # dense
    density: float
    coverage: float  # share of real points with a sample in their neighbourhood


@dataclass(frozen=True)
class PrecisionRecall:
    """Shares in [0, 1]. For samples of the real distribution they are equal, and below 1."""

    precision: float  # share of samples that lie in the neighbourhood of a real point
    recall: float  # share of real points that lie in the neighbourhood of a sample


def density_coverage(
    real: Tensor,  # [N, D]
    samples: Tensor,  # [M, D]
    k: int = 5,
) -> Coverage:
    """Density and coverage (Naeem et al., 2020): a real point's neighbourhood is the ball that
    reaches to its k-th nearest other real point.

    For N = M drawn from one distribution coverage is about 1 - 2^-k: 0.97 for k = 5.

    >>> line = torch.arange(8.0)[:, None]
    >>> density_coverage(line, line + 0.25, k=2).coverage, density_coverage(line, line + 100, k=2).coverage
    (1.0, 0.0)

    Raises ValueError unless 1 <= k < N.
    """
    return Neighbourhoods(real, samples).density_coverage(k)


def precision_recall(
    real: Tensor,  # [N, D]
    samples: Tensor,  # [M, D]
    k: int = 3,
) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al., 2019): a neighbourhood is the ball that
    reaches to the k-th nearest other point of the same set. They grow with the counts: compare at
    equal N and M.

    >>> line = torch.arange(8.0)[:, None]
    >>> precision_recall(line, line[:4] + 0.25, k=1)  # the samples are real, but only half of what there is
    PrecisionRecall(precision=1.0, recall=0.625)

    Raises ValueError unless 1 <= k < N and k < M.
    """
    return Neighbourhoods(real, samples).precision_recall(k)


class Neighbourhoods:
    """Distances of two sets of points, among and between, from which both pairs of metrics are
    read."""

    def __init__(self, real: Tensor, samples: Tensor) -> None:  # [N, D], [M, D]
        self._points, self._samples = real.double(), samples.double()
        self._across = torch.cdist(self._samples, self._points)  # [M, N]

    def density_coverage(self, k: int = 5) -> Coverage:
        """As the function of that name."""
        inside = self._across <= _radii(self._among_real, k)
        return Coverage(
            float(inside.double().sum(1).mean() / k), float(inside.any(0).double().mean())
        )

    def precision_recall(self, k: int = 3) -> PrecisionRecall:
        """As the function of that name."""
        precise = (self._across <= _radii(self._among_real, k)).any(1)
        recalled = (
            self._across <= _radii(torch.cdist(self._samples, self._samples), k)[:, None]
        ).any(0)
        return PrecisionRecall(float(precise.double().mean()), float(recalled.double().mean()))

    @cached_property
    def _among_real(self) -> Tensor:
        return torch.cdist(self._points, self._points)


def _radii(distances: Tensor, k: int) -> Tensor:  # [N, N] -> [N]
    if not 1 <= k < len(distances):
        raise ValueError(
            f"k must be at least 1 and below the number of points ({len(distances)}), got {k}"
        )
    return distances.kthvalue(k + 1, dim=1).values  # the nearest of all is the point itself
