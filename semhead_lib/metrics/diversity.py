"""Diversity: how many heads' worth of difference there is among images of many heads from one side,
and how many real subjects they resemble.

The mean distance between images hardly sees the failure that matters, a few heads shown over and
over: with K of them it falls by 1/K. The Vendi score counts: it is K then.
"""

from __future__ import annotations

import torch
from torch import Tensor


def total_variance(features: Tensor) -> float:  # [N, D]
    """Trace of the covariance: half the mean squared distance of two features.

    >>> total_variance(torch.tensor([[0.0, 0.0], [2.0, 2.0]]))
    4.0
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must be [N >= 2, D], got shape {list(features.shape)}")
    return float(features.double().var(0).sum())


def effective_heads(features: Tensor, scale: float) -> float:  # [N, D], one feature a head
    """Vendi score (Friedman and Dieng, 2023): exp of the entropy of the eigenvalues of K / N, from
    1 (all alike) to N.

        K_ij = exp(-|x_i - x_j|^2 / scale)

    With `scale` the real data's `total_variance`, two real heads have K = e^-2 on average. The
    score grows with N: compare at equal counts.

    >>> round(effective_heads(torch.eye(4)[[0, 0, 1, 1]] * 100, scale=1.0), 4)
    2.0

    Raises ValueError for fewer than two features or a scale that is not positive.
    """
    if features.ndim != 2 or len(features) < 2 or not scale > 0:
        raise ValueError(
            f"expected features [N >= 2, D] and scale > 0, got {list(features.shape)} and {scale}"
        )
    x = features.double()
    kernel = torch.exp(-torch.cdist(x, x).square() / scale)
    shares = torch.linalg.eigvalsh(kernel / len(x)).clamp_min(0)
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


def diversity_ratio(real: Tensor, samples: Tensor, scale: float) -> float:  # [N, D], [N, D]
    """Effective heads of samples for each of the real data's: 1 is as diverse, less is less.

    Raises ValueError unless the counts are equal.
    """
    if len(real) != len(samples):
        raise ValueError(
            f"diversity is compared at equal counts, got {len(real)} real and {len(samples)} "
            "samples"
        )
    return effective_heads(samples, scale) / effective_heads(real, scale)


def mode_coverage(features: Tensor, subjects: Tensor) -> float:  # [N, D], [M, D]
    """Effective number of subjects that N images resemble: exp of the entropy of "who is nearest",
    from 1 to M.

    Each of M real subjects stands for a mode, its cell all features nearer to it than to others.
    Unlike coverage it asks for no fidelity: images far from all subjects still fall into cells,
    into one if they are all alike.

    >>> mode_coverage(torch.tensor([[0.1], [0.2], [5.1], [5.2]]), torch.tensor([[0.0], [5.0], [9.0]]))
    2.0

    Raises ValueError unless both are features of one dimension, and there are some.
    """
    if (
        features.ndim != 2
        or subjects.ndim != 2
        or features.shape[1] != subjects.shape[1]
        or not len(features)
    ):
        raise ValueError(
            f"expected [N, D] and [M, D], got {list(features.shape)} and {list(subjects.shape)}"
        )
    nearest = torch.cdist(features.double(), subjects.double()).argmin(1)
    shares = torch.bincount(nearest, minlength=len(subjects)).double() / len(features)
    return round(float(torch.exp(-torch.special.xlogy(shares, shares).sum())), 9)
