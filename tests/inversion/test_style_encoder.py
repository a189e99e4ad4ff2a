"""The style encoder: it learns styles, is saved and loaded, and its training goes on where it
stopped."""

import json

import pytest
import torch
from own_heads import photographs
from safetensors.torch import save_file

from semhead_lib.inversion import encoder_training
from semhead_lib.inversion.encoder import EncoderConfig, StyleEncoder
from semhead_lib.inversion.encoder_training import error, make_pairs, train_encoder
from semhead_lib.inversion.inverter import Inverter
from semhead_lib.inversion.losses import Objective
from semhead_lib.inversion.settings import EncoderRecipe
from semhead_lib.inversion.start import condition_of, encoded

RECIPE = EncoderRecipe(steps=6, batch=4, snapshot_every=3)


def test_pairs_are_of_the_generator(generator, bank, clip):
    pairs = make_pairs(generator, bank, clip, RECIPE, 5, seed=1)
    assert pairs.images.shape == (5, 3, 32, 32) and pairs.w.shape == (5, 16)
    again = generator.synthesize(pairs.w, pairs.cameras).image.clamp(-1, 1)
    torch.testing.assert_close(again, pairs.images)
    torch.testing.assert_close(clip.encode(pairs.images), pairs.conditions)
    assert torch.equal(make_pairs(generator, bank, clip, RECIPE, 5, seed=1).images, pairs.images)


@pytest.mark.slow
def test_it_learns_styles(folder, generator, bank, clip, others, tmp_path):
    """On a generator with random weights a few hundred steps are enough to be nearer than the
    condition alone."""
    recipe = EncoderRecipe(steps=120, batch=16, lr=1e-3, snapshot_every=60)
    train_encoder(folder, tmp_path, recipe, clip=clip, device="cpu", progress=False)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["error"] < 0.8 * log[-1]["of_the_condition_alone"]
    kept = StyleEncoder.load(tmp_path)
    held_out = make_pairs(generator, bank, clip, recipe, 64, seed=99)
    assert error(kept, generator, held_out) < 0.8 * log[-1]["of_the_condition_alone"]
    objective = Objective(photographs(generator, others[:1]), clip)
    assert encoded(generator, kept, objective, condition_of(bank, objective)).shape == (1, 16)


def test_its_training_goes_on_where_it_stopped(folder, clip, tmp_path, monkeypatch):
    whole = train_encoder(
        folder, tmp_path / "whole", RECIPE, clip=clip, device="cpu", progress=False
    )
    make, calls = encoder_training.make_pairs, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 6:  # one is for the held-out heads
            raise KeyboardInterrupt
        return make(*arguments)

    monkeypatch.setattr(encoder_training, "make_pairs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_encoder(folder, tmp_path / "parts", RECIPE, clip=clip, device="cpu", progress=False)
    monkeypatch.setattr(encoder_training, "make_pairs", make)
    parts = train_encoder(
        folder, tmp_path / "parts", RECIPE, clip=clip, device="cpu", progress=False
    )
    assert parts.read_bytes() == whole.read_bytes()
    with pytest.raises(ValueError, match="was begun by another command"):
        train_encoder(folder, tmp_path / "parts", EncoderRecipe(steps=7), clip=clip, device="cpu")


def test_one_that_is_not_there_or_no_encoder(folder, tmp_path, clip):
    with pytest.raises(
        FileNotFoundError,
        match=r"style_encoder.safetensors is missing: no style encoder was trained",
    ):
        Inverter(folder, start_at="encoder", encoder=clip, device="cpu")
    (tmp_path / "style_encoder.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="holds no style encoder"):
        StyleEncoder.load(tmp_path)
    metadata = {
        "semhead": '{"side": 32, "condition_dim": 8, "w_dim": 16, "patch": 8, "width": 192}'
    }
    save_file({"spread": torch.ones(16)}, tmp_path / "style_encoder.safetensors", metadata)
    with pytest.raises(ValueError, match="its config has no depth, heads"):
        StyleEncoder.load(tmp_path)
    with pytest.raises(ValueError, match="attention must be one of sdpa, xformers, got 'flash'"):
        StyleEncoder(EncoderConfig(32, 8, 16), "flash")
    with pytest.raises(
        ValueError, match="attention=xformers needs the extra 'gpu' and a CUDA device, got cpu"
    ):
        StyleEncoder.load(tmp_path, "xformers")
    with pytest.raises(ValueError, match="start must be one of mean, best, encoder, got 'random'"):
        Inverter(folder, start_at="random", encoder=clip, device="cpu")
