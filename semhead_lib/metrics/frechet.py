"""Distances between two distributions of features: Frechet (FID's formula) and kernel (KID's), in
float64.

Both are 0 in expectation for equal distributions only in the limit of many features: the Frechet
distance of two samples of n is too large by about c / n, where c grows with the number of
dimensions that vary. So it is compared at equal counts only, beside the distance of real from real.
The kernel distance is unbiased at any count, so it may come out slightly negative.
"""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(real: Tensor, samples: Tensor) -> float:  # [N, D], [M, D]
    """Squared Wasserstein-2 distance of the normal distributions with the features' moments (Heusel
    et al., 2017):

        |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2),  S with N - 1 in its denominator.

    With S = A^T A the last trace is the sum of the singular values of A1 A2^T, whatever the rank. A
    has min(N, D) rows: the centred features, or their triangular factor.

    >>> x = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
    >>> round(frechet_distance(x, 3 * x + 1), 6)  # 2 of the means, (3 - 1)^2 tr S of the shapes, tr S = 4/3
    7.333333

    Raises ValueError for fewer than two features, other shapes, or numbers that are not finite.
    """
    real, samples = _checked(real, samples)
    return _distance(real.mean(0), _factor(real), samples.mean(0), _factor(samples))


def frechet_of_moments(
    mean: Tensor,  # [D]
    covariance: Tensor,  # [D, D]
    other_mean: Tensor,  # [D]
    other_covariance: Tensor,  # [D, D]
) -> float:
    """The same distance from known moments.

    >>> eye = torch.eye(3)
    >>> round(frechet_of_moments(torch.zeros(3), eye, torch.ones(3), 4 * eye), 6)
    6.0
    """
    return _distance(mean.double(), _root(covariance), other_mean.double(), _root(other_covariance))


def kernel_distance(
    real: Tensor,  # [N, D]
    samples: Tensor,  # [M, D]
    gamma: float
    | None = None,  # None: 1 / D, as published for Inception; 1 for features of unit length
) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel (gamma x.y + 1)^3 (Binkowski et
    al., 2018).

    On all features at once, where KID averages over subsets. Features of unit length with gamma = 1
    / D would leave little but the distance of the means.

    >>> x = torch.tensor([[0.0], [1.0], [2.0]])
    >>> round(kernel_distance(x, x + 1), 4)  # means of the kernel: 29/3 + 434/3 - 2 * 597/9
    21.6667

    Raises ValueError as `frechet_distance` does.
    """
    real, samples = _checked(real, samples)
    gamma = 1 / real.shape[1] if gamma is None else gamma
    within = [_off_diagonal_mean(_kernel(x, x, gamma)) for x in (real, samples)]
    return float(sum(within) - 2 * _kernel(real, samples, gamma).mean())


class HeadKernel:
    """The kernel distance over all views of heads, for any choice of the heads: sums over views are
    taken once.

    Views of one head are alike, so only pairs of different heads count within a set: that keeps it
    unbiased.
    """

    def __init__(self, features: Tensor, gamma: float) -> None:  # [N, V, D]
        x = features.double()
        heads, views, _ = x.shape
        rows = [
            _kernel(head, x.flatten(0, 1), gamma).sum(0).reshape(heads, views).sum(1) for head in x
        ]
        self._means = torch.stack(rows) / views**2  # [N, N] of the kernel of two heads' views

    def distance(self, one: Tensor, other: Tensor) -> float:  # [n], [m] int64 heads
        """Squared maximum mean discrepancy between the views of the one heads and of the others."""
        within = [_off_diagonal_mean(self._means[i][:, i]) for i in (one, other)]
        return float(sum(within) - 2 * self._means[one][:, other].mean())


def _checked(real: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    if (
        real.ndim != 2
        or samples.ndim != 2
        or real.shape[1] != samples.shape[1]
        or min(len(real), len(samples)) < 2
    ):
        raise ValueError(
            f"features must be [N >= 2, D] and [M >= 2, D], got {list(real.shape)} and "
            f"{list(samples.shape)}"
        )
    if not (real.isfinite().all() and samples.isfinite().all()):
        raise ValueError("features must be finite, got numbers that are not")
    return real.double(), samples.double()


def _factor(features: Tensor) -> Tensor:  # [N, D] -> [min(N, D), D], A with A^T A the covariance
    centred = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R if len(centred) > centred.shape[1] else centred


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance.double())
    return values.clamp_min(0).sqrt()[:, None] * vectors.T


def _distance(mean: Tensor, root: Tensor, other_mean: Tensor, other_root: Tensor) -> float:
    traces = root.square().sum() + other_root.square().sum()
    return float(
        (mean - other_mean).square().sum()
        + traces
        - 2 * torch.linalg.svdvals(root @ other_root.T).sum()
    )


def _kernel(x: Tensor, y: Tensor, gamma: float) -> Tensor:
    base = (x @ y.T).mul_(gamma).add_(1)
    return base.square().mul_(base)


def _off_diagonal_mean(kernel: Tensor) -> Tensor:  # [N, N]
    n = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))
