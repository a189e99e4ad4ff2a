"""A condition that is removed in mid-training."""

import pytest
import torch
from small_training import small

from semhead_lib.models.generator import Generator
from semhead_lib.training.draws import Draws
from semhead_lib.training.logs import read_log
from semhead_lib.training.trainer import train

MODES = [
    dict(mode="semantic", vicico_joint=0.5),
    dict(mode="view", views_per_head=1),
    dict(mode="semantic+view", views_per_head=1, condition_noise=0.2),
]


def removed_after(steps: int, **changes):
    """Settings that remove the condition after so many steps."""
    batch = small(**changes).batch
    return small(condition_until_kimg=steps * batch / 1000, log_every=1, **changes)


def same_style(generator: Generator) -> bool:
    """Whether two conditions make the same style."""
    width = generator.config.condition_dim
    z = torch.randn(4, generator.config.z_dim)
    one, other = (generator.mapping(z, torch.randn(4, width)) for _ in range(2))
    return torch.equal(one, other)


@pytest.mark.parametrize("changes", [MODES[0], MODES[2]], ids=lambda changes: changes["mode"])
def test_it_is_removed_from_networks_and_terms(data, tmp_path, changes):
    settings = removed_after(3, **changes)
    out = tmp_path / "run"
    assert same_style(Generator.load(train(settings, data, out, device="cpu", progress=False)))
    terms = [line["wrong_condition"] for line in read_log(out)]
    if "semantic" in settings.mode:
        assert min(terms[:3]) > 0
    assert len(terms) == 6 and terms[3:] == [0, 0, 0]
    assert min(line["wrong_view"] for line in read_log(out)) > 0
    kept = train(small(**changes), data, tmp_path / "kept", device="cpu", progress=False)
    assert not same_style(Generator.load(kept))


@pytest.mark.parametrize("changes", MODES, ids=lambda changes: changes["mode"])
def test_steps_before_are_as_without(data, changes):
    """And those after see no feature, and the camera in the discriminator alone."""
    settings, usual = removed_after(2, **changes), small(**changes)
    mode = settings.condition_mode(16)
    both = [
        Draws(s, mode, s.generator_config(16), s.discriminator_config(16))
        for s in (settings, usual)
    ]
    for step in range(4):
        batch = data.batch(step, settings.subjects_per_batch, settings.views_per_subject)
        (_, found), (_, before) = (draws(step, batch) for draws in both)
        if step < 2:
            assert found.tensors.keys() == before.tensors.keys()
            assert all(torch.equal(found.tensors[k], before.tensors[k]) for k in found.tensors)
        else:
            assert not found.mapping.any() and before.mapping.any()
            assert not found.real[:, 25:].any() and not found.generated[:, 25:].any()
            assert torch.equal(found.real[:, :25], before.real[:, :25])
            assert found.wrong_semantics is None
            if settings.vicico_joint:
                assert found.wrong_joint.shape == before.wrong_joint.shape
                assert not found.wrong_joint[:, 25:].any()


@pytest.mark.parametrize("stop", [2, 4])
def test_an_interrupted_training_removes_it_as_well(data, tmp_path, stop):
    settings, out = removed_after(3), tmp_path / "run"

    def listen(line):
        if line["step"] == stop and not (out / "seen").exists():
            (out / "seen").touch()
            raise InterruptedError

    whole = train(settings, data, tmp_path / "whole", device="cpu", progress=False)
    with pytest.raises(InterruptedError):
        train(settings, data, out, device="cpu", progress=False, listen=listen)
    again = train(settings, data, out, device="cpu", progress=False)
    one, other = (Generator.load(folder).state_dict() for folder in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_there_must_be_one():
    with pytest.raises(ValueError, match="condition_until_kimg needs a mode with a condition"):
        small(mode="none", condition_until_kimg=1.0)
