import json

import pytest
import torch
from small_training import small

from semhead_lib import old_names
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.evaluation.report import Evaluation
from semhead_lib.models.discriminator import Discriminator
from semhead_lib.models.generator import ASSETS, Generator
from semhead_lib.training.release import release
from semhead_lib.training.settings import TrainSettings
from semhead_lib.training.trainer import train


def test_what_is_shipped_is_what_was_trained(data, tmp_path):
    run = tmp_path / "run"
    train(small(r1_gamma=0.25), data, run, device="cpu", progress=False)
    words = dict(name="semhead-32", measured={"recall": 0.5}, limits="It is a test.")
    card = release([run], tmp_path / "out", metrics="| recall | 0.5 |", **words).read_text()
    assert "# semhead-32" in card and "| recall | 0.5 |" in card and "It is a test." in card
    assert (
        "0.0 thousand images in batches of 4: `preset=semhead-32" in card
        and "r1_gamma=0.25" in card
    )
    assert "8 subjects with 4 views" in card and "| 0 |" in card
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {
        "model.safetensors",
        "config.json",
        "conditions.safetensors",
        "discriminator.safetensors",
        "discriminator.json",
        "heads.png",
        "log.jsonl",
        "metrics.json",
        "card.md",
    }
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == {"recall": 0.5}

    shipped, trained = Generator.load(tmp_path / "out"), Generator.load(run / "generator")
    weights = zip(shipped.state_dict().values(), trained.state_dict().values(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-3, rtol=2e-3) for a, b in weights)
    half = (tmp_path / "out" / "model.safetensors").stat().st_size
    assert half < 0.55 * (run / "generator" / "model.safetensors").stat().st_size
    Discriminator.load(tmp_path / "out")
    assert (
        ConditionBank.load(tmp_path / "out").subjects
        == ConditionBank.load(run / "generator").subjects
    )
    train(
        small(kimg=0.004),
        data,
        tmp_path / "again",
        device="cpu",
        init=tmp_path / "out",
        progress=False,
    )


def test_stages_are_counted_through(data, tmp_path):
    first = tmp_path / "a"
    train(small(kimg=0.008), data, first, device="cpu", progress=False)
    train(
        small(kimg=0.012, seed=1),
        data,
        tmp_path / "b",
        device="cpu",
        init=first / "generator",
        progress=False,
    )
    words = dict(
        name="x", metrics="", measured={}, limits="", history="The second was begun in the rain."
    )
    card = release([first, tmp_path / "b"], tmp_path / "out", **words).read_text()
    assert "seed=1`\n\nThe second was begun in the rain.\n\n`log.jsonl`" in card
    assert "1. 0.0 thousand" in card and "2. 0.0 thousand" in card and "seed=1" in card
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5] and lines[-1]["kimg"] == 0.02


@pytest.mark.parametrize("folder", sorted(ASSETS.glob("semhead-*")), ids=lambda folder: folder.name)
def test_what_ships_with_the_package(folder):
    """It loads by its name, is small, and its card tells the metrics that were measured."""
    generator, bank = Generator.load(folder.name), ConditionBank.load(folder)
    assert generator.config.condition_dim == bank.mode.generator_width
    if (folder / "discriminator.json").is_file():
        assert Discriminator.load(folder).config == TrainSettings(
            preset=folder.name
        ).discriminator_config(bank.features.shape[1])
    assert (folder / "model.safetensors").stat().st_size <= 12e6
    found = Evaluation.from_json(
        json.loads(old_names.existing(folder / "metrics.json").read_text())
    )
    card = (folder / "card.md").read_text()
    for name in ("frechet", "directional_bias", "condition_recall_5"):
        assert f"| {name.replace('_', ' ')} | {found.generated['all'][name]} |" in card
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert f"{lines[-1]['kimg']:.0f} thousand real images" in card


def test_a_folder_without_a_training(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no trained generator"):
        release([tmp_path], tmp_path / "out", name="x", metrics="", measured={}, limits="")
