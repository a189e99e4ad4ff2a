"""Effective heads: known counts, an independent formula, and less for less."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from semhead_lib.metrics.diversity import (
    diversity_ratio,
    effective_heads,
    mode_coverage,
    total_variance,
)


def heads(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("k", [1, 4, 25])
def test_k_heads_shown_over_and_over_count_k(k):
    assert effective_heads(heads(k).repeat(100 // k, 1) * 100, scale=1.0) == pytest.approx(
        k, rel=1e-6
    )


def test_entropy_of_the_kernel_by_numpy():
    x = heads(30).numpy()
    kernel = np.exp(-((x[:, None] - x[None]) ** 2).sum(-1) / 20) / 30
    shares = np.linalg.eigvals(kernel).real
    assert effective_heads(torch.from_numpy(x), 20) == pytest.approx(
        np.exp(-(shares * np.log(shares)).sum()), rel=1e-9
    )


def test_two_random_heads_are_twice_the_total_variance_apart():
    x = heads(400)
    assert float((torch.pdist(x).square() / total_variance(x)).mean()) == pytest.approx(2, rel=1e-9)


def test_the_ratio_falls_with_fewer_and_with_more_alike():
    real, scale = heads(128), total_variance(heads(128))
    few = [
        diversity_ratio(real, heads(128, 1)[torch.arange(128) % k], scale) for k in (128, 64, 16, 4)
    ]
    alike = [diversity_ratio(real, s * heads(128, 1), scale) for s in (1.0, 0.8, 0.5)]
    for falling in (few, alike):
        assert falling[0] == pytest.approx(1, abs=0.1)
        assert all(more > 1.15 * less for more, less in pairwise(falling))


def test_errors():
    with pytest.raises(ValueError, match="equal counts, got 5 real and 4 samples"):
        diversity_ratio(heads(5), heads(4), 1.0)
    for features, scale in ((heads(1), 1.0), (heads(3), 0.0), (heads(3)[0], 1.0)):
        with pytest.raises(ValueError, match="scale > 0"):
            effective_heads(features, scale)
    with pytest.raises(ValueError, match="N >= 2"):
        total_variance(heads(1))


def test_subjects_that_are_reached():
    subjects = heads(50)
    assert mode_coverage(subjects + 1e-6, subjects) == pytest.approx(50)
    assert mode_coverage(subjects[:10].repeat(5, 1), subjects) == pytest.approx(10)
    uneven = subjects[torch.tensor([0] * 3 + [1])]  # shares 3/4 and 1/4
    assert mode_coverage(uneven, subjects) == pytest.approx(4 / 3**0.75)
    far = subjects[:1] + 100 + 0.01 * heads(20, 1)
    assert mode_coverage(far, subjects) < 3, "far from all, but alike"
    with pytest.raises(ValueError, match=r"expected \[N, D\] and \[M, D\]"):
        mode_coverage(subjects[:, :3], subjects)
