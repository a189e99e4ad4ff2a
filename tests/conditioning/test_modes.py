"""What each condition mode tells both networks, and EG3D's swapping."""

import pytest
import torch

from semhead_lib.cameras import LABEL_LENGTH, orbit_cameras
from semhead_lib.conditioning.modes import MODES, ConditionMode, swap_probability

CAMERAS = orbit_cameras(torch.tensor([0.0, 40.0, 120.0, -90.0]), torch.zeros(4))
SEMANTICS = torch.nn.functional.normalize(torch.arange(24.0).reshape(4, 6), dim=-1)


@pytest.mark.parametrize("name", MODES)
def test_widths_are_what_is_given(name):
    mode = ConditionMode(name, 6)
    condition = mode.generated(CAMERAS, SEMANTICS)
    assert condition.generator.shape == (4, mode.generator_width)
    assert condition.discriminator.shape == (4, mode.discriminator_width)
    assert torch.equal(mode.real(CAMERAS, SEMANTICS), condition.discriminator), (
        "real and generated are judged alike"
    )


def test_parts_by_mode():
    conditions = {name: ConditionMode(name, 6).generated(CAMERAS, SEMANTICS) for name in MODES}
    assert conditions["none"].generator.shape == (4, 0)
    assert torch.equal(conditions["view"].generator, CAMERAS)
    assert torch.equal(conditions["semantic"].generator, SEMANTICS)
    assert torch.equal(
        conditions["semantic+view"].generator, torch.cat([SEMANTICS, CAMERAS], dim=-1)
    )
    for name in ("none", "view"):
        assert torch.equal(conditions[name].discriminator, CAMERAS)
    for name in ("semantic", "semantic+view"):
        assert torch.equal(conditions[name].discriminator, torch.cat([CAMERAS, SEMANTICS], dim=-1))


@pytest.mark.parametrize("name", ["none", "semantic"])
def test_the_generator_cannot_tell_the_view(name):
    """Whatever the cameras are, these modes tell the generator the same."""
    mode = ConditionMode(name, 6)
    other = orbit_cameras(torch.tensor([10.0, -70.0, 180.0, 5.0]), torch.full((4,), 20.0))
    assert torch.equal(
        mode.generated(CAMERAS, SEMANTICS).generator, mode.generated(other, SEMANTICS).generator
    )


def test_swapping_tells_another_camera_of_the_batch_to_the_generator_only():
    mode = ConditionMode("semantic+view", 6)
    always = mode.generated(CAMERAS, SEMANTICS, swap_probability=1.0)
    assert torch.equal(always.generator[:, 6:], CAMERAS.roll(1, dims=0))
    assert torch.equal(always.generator[:, :6], SEMANTICS), "the semantic feature is never swapped"
    assert torch.equal(always.discriminator[:, :LABEL_LENGTH], CAMERAS)


def test_swapping_follows_its_probability_and_its_seed():
    cameras = orbit_cameras(torch.linspace(-180, 179, 4000), torch.zeros(4000))
    mode, draw = ConditionMode("view", 0), torch.Generator()
    conditions = [
        mode.generated(cameras, None, 0.3, draw.manual_seed(seed)).generator for seed in (5, 5, 6)
    ]
    assert torch.equal(conditions[0], conditions[1]) and not torch.equal(
        conditions[0], conditions[2]
    )
    share = (conditions[0] != cameras).any(dim=1).float().mean()
    assert 0.26 < share < 0.34


def test_a_mode_without_semantics_ignores_them():
    assert torch.equal(ConditionMode("view", 0).real(CAMERAS, None), CAMERAS)
    assert torch.equal(ConditionMode("view", 6).real(CAMERAS, SEMANTICS), CAMERAS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConditionMode("semantics", 6), "must be one of none, view, semantic"),
        (lambda: ConditionMode("semantic", 0), "semantic_dimension >= 1, got 0"),
        (lambda: ConditionMode("semantic", 6).real(CAMERAS), r"shape \[4, 6\], got none"),
        (
            lambda: ConditionMode("semantic", 6).real(CAMERAS, SEMANTICS[:, :5]),
            r"got shape \[4, 5\]",
        ),
        (
            lambda: ConditionMode("view", 6).generated(CAMERAS, swap_probability=1.5),
            r"\[0, 1\], got 1.5",
        ),
        (lambda: swap_probability(-1), "images_seen >= 0"),
        (lambda: swap_probability(0, final=2.0), "final <= 1"),
    ],
)
def test_errors_say_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_swap_probability_with_no_ramp():
    assert swap_probability(0, final=0.7, until=0) == 0.7
