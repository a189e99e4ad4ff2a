"""Frechet and kernel distance against known answers, SciPy, torchmetrics and plain loops."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from semhead_lib.metrics.frechet import (
    HeadKernel,
    frechet_distance,
    frechet_of_moments,
    kernel_distance,
)


def normal(n: int, d: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    mix = (
        torch.randn(d, d, generator=torch.Generator().manual_seed(d), dtype=torch.float64) / d**0.5
    )
    return torch.randn(n, d, generator=rng, dtype=torch.float64) @ mix * scale + shift


class Flat(nn.Module):
    """Features that are the image itself, as torchmetrics takes them."""

    num_features = 12

    def forward(self, images):
        return images.flatten(1).double() / 255


def images(n: int, seed: int, low: int = 0, high: int = 256) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (n, 3, 2, 2), generator=rng, dtype=torch.uint8)


def by_scipy(x: np.ndarray, y: np.ndarray) -> float:
    a, b = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(a @ b)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b) - 2 * np.trace(root).real)


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 8), (60, 60, 32), (500, 40, 3)])
def test_frechet_distance_is_that_of_scipy(n, m, d):
    x, y = normal(n, d, seed=1), normal(m, d, seed=2, scale=1.5, shift=0.3)
    assert frechet_distance(x, y) == pytest.approx(by_scipy(x.numpy(), y.numpy()), rel=1e-9)


def test_frechet_distance_is_that_of_torchmetrics():
    real, fake = images(80, 1), images(70, 2, 40, 200)
    metric = FrechetInceptionDistance(feature=Flat(), normalize=False).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    ours = frechet_distance(Flat()(real), Flat()(fake))
    assert ours == pytest.approx(float(metric.compute()), rel=1e-6) and ours > 0.05


@pytest.mark.parametrize(("n", "m"), [(5, 7), (7, 40), (40, 6)])
def test_fewer_features_than_dimensions(n, m):
    """SciPy's root of a singular product is only good to 1e-6; in the subspace of all features it
    is full."""
    x, y = normal(n, 30, seed=1), normal(m, 30, seed=2, scale=2.0)
    moments = [t for f in (x, y) for t in (f.mean(0), torch.cov(f.T))]
    assert frechet_distance(x, y) == pytest.approx(frechet_of_moments(*moments), rel=1e-6)
    assert frechet_distance(x, y) == pytest.approx(by_scipy(x.numpy(), y.numpy()), rel=1e-4)


def test_normal_distributions_with_known_moments():
    """Diagonal covariances: |m1 - m2|^2 + sum (sqrt s1 - sqrt s2)^2; turned together they keep
    their distance."""
    one, other = torch.tensor([4.0, 1.0, 0.0]), torch.tensor([1.0, 9.0, 2.0])
    turn = torch.linalg.qr(normal(3, 3, seed=3))[0].float()
    means = turn @ torch.tensor([1.0, 2.0, 3.0]), turn @ torch.tensor([1.0, 0.0, 3.0])
    covariances = [turn @ torch.diag(c) @ turn.T for c in (one, other)]
    expected = 4 + (2 - 1) ** 2 + (1 - 3) ** 2 + 2
    found = frechet_of_moments(means[0], covariances[0], means[1], covariances[1])
    assert found == pytest.approx(expected, rel=1e-5)
    one, other = (normal(20000, 3, seed=s) for s in (1, 2))
    assert frechet_distance(one, 2 * other + 1) == pytest.approx(
        3 + float(one.var(0).sum()), rel=0.03
    )


def test_frechet_distance_of_few_is_too_large_by_one_over_the_count():
    means = [
        np.mean([frechet_distance(normal(n, 6, s), normal(n, 6, s + 50)) for s in range(30)])
        for n in (50, 200)
    ]
    assert means[0] / means[1] == pytest.approx(4, rel=0.25)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_kernel_distance_is_that_of_torchmetrics():
    real, fake = images(50, 1), images(50, 2, 40, 200)
    metric = KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=50).set_dtype(
        torch.float64
    )
    metric.update(real, real=True)
    metric.update(fake, real=False)
    assert kernel_distance(Flat()(real), Flat()(fake)) == pytest.approx(
        float(metric.compute()[0]), rel=1e-6
    )


def test_kernel_distance_is_unbiased_at_unequal_counts():
    found = [kernel_distance(normal(20, 4, s), normal(35, 4, s + 1000)) for s in range(300)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 300**0.5
    assert kernel_distance(normal(20, 4, 0), normal(35, 4, 1, shift=2.0)) > 20 * np.std(found)


def test_head_kernel_counts_pairs_of_different_heads():
    x = normal(7 * 3, 4, seed=1).reshape(7, 3, 4)
    kernel, one, other = (
        HeadKernel(x, gamma=0.5),
        torch.tensor([0, 2, 5]),
        torch.tensor([1, 3, 4, 6]),
    )

    def mean(a, b):  # over views of different heads
        pairs = [
            (x[i, v] @ x[j, w] * 0.5 + 1) ** 3
            for i in a
            for j in b
            if i != j
            for v in range(3)
            for w in range(3)
        ]
        return float(sum(pairs) / len(pairs))

    expected = mean(one, one) + mean(other, other) - 2 * mean(one, other)
    assert kernel.distance(one, other) == pytest.approx(expected, rel=1e-9)
    single = HeadKernel(x[:, :1], gamma=0.5).distance(one, other)
    assert single == pytest.approx(kernel_distance(x[one, 0], x[other, 0], gamma=0.5), rel=1e-9)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_errors(distance):
    good = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for bad in (good[:1], good[:, :2], good[0]):
        with pytest.raises(ValueError, match="features must be"):
            distance(good, bad)
    with pytest.raises(ValueError, match="must be finite"):
        distance(good, good / 0 * 0)
