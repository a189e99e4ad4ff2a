"""Directional bias of known metrics; its behaviour on samples is tested with the reference
statistics."""

import math

import pytest
import torch

from semhead_lib.metrics.bias import directional_bias

VARIANCE = torch.tensor([2.0, 1.0, 0.5, 1.0])
FLOOR = torch.tensor([0.2, 0.1, 0.3, 0.1])  # noise need not go with what varies


def test_distortion_in_proportion_to_what_varies_is_even():
    for excess in (0.0, 0.02, 5.0):
        assert (
            directional_bias(
                FLOOR + excess * VARIANCE, FLOOR, VARIANCE, torch.full((4,), 0.4)
            ).value
            < 1e-7
        )
    assert directional_bias(FLOOR / 2, FLOOR, VARIANCE, torch.ones(4)).value < 1e-7, (
        "nearer than the floor is no merit"
    )


def test_a_factor_on_one_half_of_the_bins():
    """A distance that is e^(2 a) times as far on two of four sides has quality spread a; e^(-a) in
    diversity too."""
    factor = torch.tensor([1.0, 1.0, math.e**4, math.e**4])  # squared distances
    found = directional_bias(
        1e4 * factor * VARIANCE, FLOOR, VARIANCE, torch.tensor([1, 1, math.e**-2, math.e**-2])
    )
    assert found.quality == pytest.approx(1, rel=1e-3) and found.diversity == pytest.approx(
        1, rel=1e-6
    )
    assert found.value == pytest.approx(2**0.5, rel=1e-3) and found.worst in (2, 3)


def test_a_common_factor_changes_nothing():
    uneven, even = torch.tensor([1.0, 2.0, 4.0, 2.0]) * VARIANCE, torch.ones(4)
    far = [
        directional_bias(factor * uneven, FLOOR, VARIANCE, even).value for factor in (1e3, 1e4, 1e6)
    ]
    assert far == pytest.approx([far[0]] * 3, rel=1e-3) and far[0] > 0.2
    one, units = (
        directional_bias(s * uneven, s * FLOOR, s * VARIANCE, even).value for s in (1.0, 9.0)
    )
    assert one == pytest.approx(units, rel=1e-6), "features in other units"


def test_grows_with_a_drop_at_the_back():
    def at_back(quality, diversity):
        frechet = FLOOR + VARIANCE * torch.tensor([0.1, 0.1, 0.1 * quality, 0.1])
        return directional_bias(
            frechet, FLOOR, VARIANCE, torch.tensor([0.9, 0.9, 0.9 * diversity, 0.9])
        ).value

    for falling in ([(q, 1.0) for q in (1, 1.5, 3, 10)], [(1.0, d) for d in (1, 0.9, 0.5, 0.1)]):
        found = [at_back(*f) for f in falling]
        assert found[0] < 1e-7 and found == sorted(found) and len(set(found)) == 4


def test_phi_may_be_given():
    args = (FLOOR + torch.tensor([0.0, 0.0, 1.0, 0.0]), FLOOR, VARIANCE, torch.ones(4))
    assert directional_bias(*args, phi=0.225).value == pytest.approx(
        directional_bias(*args).value, rel=1e-6
    )
    assert directional_bias(*args, phi=1.0).value < directional_bias(*args).value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(floor=FLOOR[:3]), "the same bins"),
        (dict(floor=FLOOR * 0), "must be positive"),
        (dict(diversity=torch.tensor([1.0, 0.0, 1.0, 1.0])), "must be positive"),
        (dict(frechet=torch.tensor([1.0, torch.nan, 1.0, 1.0])), "finite"),
    ],
)
def test_errors(change, message):
    metrics = dict(frechet=2 * FLOOR, floor=FLOOR, variance=VARIANCE, diversity=torch.ones(4))
    with pytest.raises(ValueError, match=message):
        directional_bias(**(metrics | change))
    with pytest.raises(ValueError, match="two or more"):
        directional_bias(*(t[:1] for t in metrics.values()))
