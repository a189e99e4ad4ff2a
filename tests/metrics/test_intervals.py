"""Half-sample intervals hold what they should as often as they say."""

import numpy as np
import pytest
import torch

from semhead_lib.metrics.frechet import frechet_distance
from semhead_lib.metrics.intervals import half_sample_interval, orders, percentiles


def test_half_samples_spread_as_the_whole_does_around_the_truth():
    """Over 200 sets of 60: the interval of a mean holds the truth in about 95 of 100."""
    rng, held, widths = torch.Generator().manual_seed(0), [], []
    for seed in range(200):
        x = torch.randn(60, generator=rng).exp()
        halves = [float(x[order[:30]].mean()) for order in orders(60, 100, seed)]
        low, high = half_sample_interval(float(x.mean()), halves)
        held.append(low <= np.exp(0.5) <= high)
        widths.append(np.std(halves) / (x.std() / 60**0.5))
    assert 0.87 < np.mean(held) < 0.98 and np.mean(widths) == pytest.approx(1, abs=0.05)


def test_what_fewer_heads_add_to_a_distance_stays_out_of_the_interval():
    """A Frechet distance has its interval around it; resampled with replacement it is off to one
    side."""
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(80, 20, generator=rng), torch.randn(80, 20, generator=rng) + 0.5
    value = frechet_distance(x, y)
    halves = [
        frechet_distance(x[a[:40]], y[b[:40]])
        for a, b in orders(80, 120, seed=1).reshape(60, 2, 80)
    ]
    low, high = half_sample_interval(value, halves)
    assert min(halves) > value, (
        "each half-sample is farther than the whole: only deviations from their mean count"
    )
    assert low < value < high and high - low < value
    drawn = [torch.randint(80, (2, 80), generator=rng) for _ in range(60)]
    assert min(frechet_distance(x[a], y[b]) for a, b in drawn) > value


def test_orders_are_permutations_and_begin_alike():
    few, many = orders(10, 2, seed=3), orders(10, 5, seed=3)
    assert torch.equal(few, many[:2]) and not torch.equal(few, orders(10, 2, seed=4))
    assert torch.equal(many.sort(dim=1).values, torch.arange(10).expand(5, 10)) and orders(
        4, 0, seed=0
    ).shape == (0, 4)


def test_errors():
    for values, level in (([], 0.9), ([1.0], 1.0)):
        with pytest.raises(ValueError, match="level in"):
            percentiles(values, level)
