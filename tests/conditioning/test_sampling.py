"""Conditions for generation: unit vectors, near the data as the strategy says, the same for the
same seed."""

import pytest
import torch

from semhead_lib.conditioning.sampling import STRATEGIES, sample_conditions, slerp
from semhead_lib.metrics import probes
from semhead_lib.metrics.coverage import density_coverage

RNG = torch.Generator().manual_seed(1)
FEATURES = torch.nn.functional.normalize(
    torch.randn(120, 24, generator=RNG) * torch.linspace(2, 0.1, 24) + 1.5, dim=-1
)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_samples_are_unit_vectors_and_repeat(strategy):
    drawn = sample_conditions(FEATURES, 200, strategy, seed=3)
    assert drawn.shape == (200, 24) and drawn.dtype == torch.float32
    assert torch.allclose(drawn.norm(dim=-1), torch.ones(200), atol=1e-5)
    assert torch.equal(drawn, sample_conditions(FEATURES, 200, strategy, seed=3))
    assert not torch.equal(drawn, sample_conditions(FEATURES, 200, strategy, seed=4))
    assert sample_conditions(FEATURES, 0, strategy).shape == (0, 24)


def test_strategies_lie_at_their_distance_from_the_data():
    typical = probes.angles_to_nearest(FEATURES).median()
    off = {
        s: probes.angles_to_nearest(sample_conditions(FEATURES, 300, s), FEATURES).median()
        for s in STRATEGIES
    }
    assert off["data"] < 0.05
    assert 0.3 * typical < off["perturb"] <= 0.51 * typical
    assert off["interpolate"] < typical < off["uniform"]


def test_coverage_tells_likely_conditions_from_unlikely_ones():
    first, second = FEATURES[::2], FEATURES[1::2]
    assert density_coverage(second, first).coverage > 0.8
    assert density_coverage(second, sample_conditions(first, 60, "interpolate")).coverage > 0.5
    assert density_coverage(second, sample_conditions(first, 60, "uniform")).coverage < 0.2


def test_density_counts_neighbourhoods():
    real = torch.randn(400, 3, generator=RNG)
    same, far = torch.randn(400, 3, generator=RNG), torch.full((400, 3), 50.0)
    assert density_coverage(real, same).density == pytest.approx(1.0, abs=0.15)
    assert density_coverage(real, far) == type(density_coverage(real, far))(0.0, 0.0)


def test_slerp_goes_by_equal_angles():
    one, other = torch.nn.functional.normalize(FEATURES[:2].double(), dim=-1).split(1)
    whole = torch.acos((one * other).sum())
    for share in (0.0, 0.25, 1.0):
        point = slerp(one, other, torch.tensor([[share]], dtype=torch.float64))
        assert torch.acos((one * point).sum().clamp(-1, 1)).item() == pytest.approx(
            share * whole.item(), abs=1e-6
        )
    assert torch.allclose(slerp(one, one, torch.tensor([[0.5]])), one)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sample_conditions(FEATURES, 3, "nearest"), "must be one of data, perturb"),
        (lambda: sample_conditions(FEATURES[:2], 3, "gaussian"), "needs 3 features"),
        (lambda: sample_conditions(FEATURES[:0], 3), "need features"),
        (lambda: sample_conditions(FEATURES, -1), "count >= 0"),
        (lambda: density_coverage(FEATURES[:5], FEATURES, k=5), "below the number of points"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
