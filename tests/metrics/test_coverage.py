"""Precision, recall, density and coverage against loops over points, and under known failures."""

import numpy as np
import pytest
import torch

from semhead_lib.metrics.coverage import density_coverage, precision_recall


def points(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_all_four_by_loops():
    real, samples, k = points(40, 1).numpy(), points(30, 2).numpy() * 1.3 + 0.4, 3

    def radius(of, i):
        return np.sort(np.linalg.norm(of - of[i], axis=1))[k]

    inside = np.array(
        [[np.linalg.norm(s - r) <= radius(real, i) for i, r in enumerate(real)] for s in samples]
    )
    reached = np.array(
        [[np.linalg.norm(s - r) <= radius(samples, j) for r in real] for j, s in enumerate(samples)]
    )
    both = torch.from_numpy(real), torch.from_numpy(samples)
    near, reach = density_coverage(*both, k), precision_recall(*both, k)
    assert near.density == pytest.approx(inside.sum() / (k * len(samples)))
    assert near.coverage == pytest.approx(inside.any(0).mean())
    assert reach.precision == pytest.approx(inside.any(1).mean()) and 0.3 < reach.precision < 1
    assert reach.recall == pytest.approx(reached.any(0).mean()) and 0.3 < reach.recall < 1


def test_noise_costs_precision_and_missing_modes_cost_recall():
    real, samples = points(300, 1), points(300, 2)
    noisy = [precision_recall(real, samples + s * points(300, 3)).precision for s in (0, 1, 3)]
    missing = [
        precision_recall(real, samples * torch.tensor([1, 1, s])).recall for s in (1, 0.3, 0)
    ]
    assert noisy[0] > 0.9 and noisy[0] > noisy[1] + 0.05 > noisy[2] + 0.2
    assert missing[0] > 0.9 and missing[0] > missing[1] + 0.1 > missing[2] + 0.2
    assert precision_recall(real, real + 100) == precision_recall(real + 100, real)


@pytest.mark.parametrize("measure", [density_coverage, precision_recall])
@pytest.mark.parametrize("k", [0, 4])
def test_errors(measure, k):
    with pytest.raises(ValueError, match=rf"number of points \(4\), got {k}"):
        measure(points(4, 1), points(9, 2), k)
