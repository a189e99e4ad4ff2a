"""Intervals by half-samples of heads, without replacement.

The views of a head belong together, so heads are drawn, not images. The usual bootstrap draws with
replacement, and duplicates pull every distance between distributions up (a Frechet distance of n
drawn from n is that of fewer heads). Half of the heads drawn without replacement has no duplicates,
and spreads around its mean as the whole does around the truth: the variance of a mean over n/2 of n
is s^2 / (n/2) * (1 - 1/2) = s^2 / n. This is the delete-d jackknife with d = n/2 (Shao and Wu,
1989; for distributions: Politis and Romano, 1994). What a metric gains in size from fewer heads is
the same in all half-samples, so it goes with their mean.

For metrics that are second order where the distributions are equal (a Frechet distance at its
floor) the interval is wider than it need be; it is never too narrow for that reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LEVEL = 0.95


def orders(heads: int, count: int, seed: int) -> Tensor:  # [count, heads] int64
    """Random orders of the heads; the first half of each is a half-sample. A longer draw begins
    with the shorter one.

    >>> orders(4, 2, seed=0).sort(dim=1).values.tolist()
    [[0, 1, 2, 3], [0, 1, 2, 3]]
    """
    rng = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(heads, generator=rng) for _ in range(count)]
    return torch.stack(drawn) if drawn else torch.zeros(0, heads, dtype=torch.int64)


def half_sample_interval(
    value: float,  # of all heads
    halves: Sequence[float],  # of the half-samples
    level: float = LEVEL,
) -> tuple[float, float]:
    """The value plus the percentiles of the half-samples' deviations from their mean.

    >>> [round(x, 3) for x in half_sample_interval(10.0, [3.0, 4.0, 5.0], level=0.5)]
    [9.5, 10.5]
    """
    low, high = percentiles(halves, level)
    mean = sum(halves) / len(halves)
    return value + min(low - mean, 0.0), value + max(high - mean, 0.0)


def percentiles(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """What leaves out (1 - level) / 2 of the values on either side.

    >>> percentiles([0.0, 1.0, 2.0], level=0.5)
    (0.5, 1.5)

    Raises ValueError without values, or for a level outside (0, 1).
    """
    if not len(values) or not 0 < level < 1:
        raise ValueError(
            f"expected one value or more and a level in (0, 1), got {len(values)} and {level}"
        )
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(torch.tensor(values, dtype=torch.float64), tails).tolist()
    return low, high
