from dataclasses import fields

import pytest

from semhead_lib.training.settings import FREE, R1_SCALE, TrainSettings


def test_the_command_says_what_r1_weighs_where_nothing_is_said():
    meaning = TrainSettings.__dataclass_fields__["r1_gamma"].metadata["help"]
    assert f"null = {R1_SCALE:g} times StyleGAN2's rule" in meaning


@pytest.mark.parametrize(
    "name", ["seed", "r1_gamma", "blur_sigma", "ema_kimg", "density_distance", "vicico_view"]
)
def test_what_would_be_negative_is_named(name):
    for value in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"{name} must be an? .* >=? 0, got {value}"):
            TrainSettings(**{name: value})


def test_what_may_change_is_a_setting():
    assert set(FREE) < {f.name for f in fields(TrainSettings)}


def test_numbers_of_the_preset_may_be_changed():
    settings = TrainSettings(
        preset="semhead-32", generator={"box_half": (0.4, 0.4, 0.3), "coarse": 8}
    )
    assert settings.generator_config(16).box_half == (0.4, 0.4, 0.3)
    assert settings.generator_config(16).coarse == 8
    assert not settings.differences(settings.as_json())
    for changes, named in (({"coarze": 8}, "no coarze"), ({"name": "x"}, "may not change name")):
        with pytest.raises(ValueError, match=named):
            TrainSettings(generator=changes)


@pytest.mark.parametrize(
    "preset, crop", [("semhead-64", 32), ("semhead-32", 24), ("semhead-32", 4)]
)
def test_parts_fit_the_image(preset, crop):
    with pytest.raises(ValueError, match="crop must be 0"):
        TrainSettings(preset=preset, crop=crop)
