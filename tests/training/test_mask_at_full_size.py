"""Trainings whose discriminator sees super-resolved masks, and those from before there were any."""

import json

import pytest
import torch
from accelerate import Accelerator
from small_training import Rerun, make_noise, small

from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.training import losses
from semhead_lib.training.compact import compact_state, restore_state
from semhead_lib.training.graphs import Graphs
from semhead_lib.training.kept_settings import FORMAT, begun_settings
from semhead_lib.training.reconstruction.batches import SubjectBatches
from semhead_lib.training.reconstruction.reconstructor import Reconstructor
from semhead_lib.training.reconstruction.settings import ReconstructionSettings
from semhead_lib.training.settings import TrainSettings
from semhead_lib.training.step import Networks, Step
from semhead_lib.training.trainer import train
from semhead_lib.viz.generated_source import GeneratedSource

SUPER = dict(preset="semhead-64", generator={"super_mask": True})
quiet = dict(device="cpu", progress=False)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = make_noise(tmp_path_factory.mktemp("noise-64") / "noise", resolution=64)
    return SubjectsInMemory.load(folder, geometry=("depth", "segmentation"))


def steps(data, settings, count=1, backend=None):
    networks = Networks(settings, 16, "cpu")
    step = Step(settings, networks, settings.condition_mode(16), Accelerator(cpu=True))
    if backend is not None:
        step.graphs = Graphs(backend)
    return networks, [step(i, data.batch(i, 2, 2)) for i in range(count)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict(precision="bf16", checkpoint=True),
        dict(raw_first=16, raw_kimg=0.008),
        dict(masks=False),
    ],
    ids=str,
)
def test_steps_change_the_mask(large, monkeypatch, changes):
    sizes, plain = [], losses.discriminator_input

    def recorded(discriminator, image, mask, *others):
        found = plain(discriminator, image, mask, *others)
        sizes.append(found.mask if found.mask is None else found.mask.shape[-1])
        return found

    monkeypatch.setattr(losses, "discriminator_input", recorded)
    networks, logs = steps(large, small(**SUPER, **changes), 2)
    assert all(value.isfinite() for log in logs for value in log.values())
    weights = networks.generator.super_resolution.blocks[0].to_features.conv.weight[3:]
    if changes.get("masks") is False:
        assert set(sizes) == {None} and not weights.any()
    else:
        assert set(sizes) == {64} and weights.all()


def test_captured_steps_are_the_eager_ones_to_the_bit(large):
    eager, captured = (
        steps(large, small(**SUPER, r1_interval=4), 5, backend)[1] for backend in (None, Rerun())
    )
    assert eager == captured


def test_a_training_is_compacted_goes_on_and_its_heads_have_masks_of_full_size(large, tmp_path):
    train(small(**SUPER, kimg=0.008), large, tmp_path / "run", **quiet)
    compact_state(tmp_path / "run", tmp_path / "state")
    restore_state(tmp_path / "state", tmp_path / "restored")
    made = [
        train(small(**SUPER, kimg=0.016), large, tmp_path / run, **quiet)
        for run in ("run", "restored")
    ]
    assert (
        made[0].joinpath("model.safetensors").read_bytes()
        == made[1].joinpath("model.safetensors").read_bytes()
    )
    source = GeneratedSource(str(made[0]), resolution=64, views_per_subject=2)
    masks = source.subject(0).masks
    with torch.no_grad():
        for block in source._made.generator.super_resolution.blocks:
            block.to_features.conv.weight[3:] = 0
            block.to_features.bias[3:] = -20.0
    assert masks.shape == (2, 64, 64) and masks.max() > 100
    assert source.subject(0).masks.max() == 0, "masks are the super-resolved ones"


def test_a_reconstruction_compares_masks_at_full_size(large):
    for generator in ({}, {"super_mask": True}):
        settings = ReconstructionSettings(
            preset="semhead-64",
            generator=generator,
            crop=0,
            subjects_per_batch=2,
            views_per_subject=2,
            rendered=2,
            pixels=0,
        )
        made = Reconstructor(settings, 16, "cpu")
        assert made.step(SubjectBatches(large, settings)(0), 0)["mask"] > 0.1


def test_trainings_of_before_say_how_to_go_on():
    """semhead-512 had no super-resolved masks before format 3 of settings.json."""
    now = TrainSettings(preset="semhead-512")
    assert now.generator_config(1).super_mask and now.discriminator_config(1).super_mask
    old = dict(format=2, settings=json.loads(json.dumps(now.as_json())))
    there = begun_settings(old)
    assert there["generator"] == {"super_mask": False}
    assert now.differences(there) == ["generator is {'super_mask': False} there, {} here"]
    same = TrainSettings(preset="semhead-512", generator={"super_mask": False})
    assert same.differences(there) == [] and not same.discriminator_config(1).super_mask
    assert begun_settings(old | {"format": FORMAT})["generator"] == {}


def test_presets_without_super_resolution_refuse_it():
    with pytest.raises(
        ValueError, match=r"super_mask needs a generator with super-resolution, .*-32"
    ):
        small(generator={"super_mask": True})
