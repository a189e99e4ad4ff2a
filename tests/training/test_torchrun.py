"""`torchrun --nproc-per-node 2 -m semhead_lib COMMAND`: processes share the work of some commands,
and leave that of the others to the first."""

import json
import subprocess
import sys

import pytest
import torch
from noise_source import files_of
from small_training import SMALL, make_noise

from semhead_lib import cli
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.evaluation.report import Evaluation
from semhead_lib.models.config import preset
from semhead_lib.models.generator import Generator
from semhead_lib.training.logs import read_log

SETTINGS = [f"{key}={value}" for key, value in SMALL.items() if key != "kimg"]


def torchrun(*words) -> str:
    """What two processes said on stderr."""
    launch = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "semhead_lib",
    ]
    words = [sys.executable, *launch, *map(str, words)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


@pytest.mark.slow
def test_two_processes_train(tmp_path, noise_folder):
    """Both train on the same numbers, and the first one writes what one process would."""
    torchrun("train", noise_folder, tmp_path / "run", "kimg=0.016", "device=cpu", *SETTINGS)
    assert [line["kimg"] for line in read_log(tmp_path / "run")] == [0.008, 0.016]
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["processes"] == 2
    assert (tmp_path / "run" / "generator" / "model.safetensors").exists()


@pytest.mark.slow
def test_two_processes_synthesize_what_one_does(tmp_path):
    words = ("subjects=4", "shard_size=1", "resolution=32", "views_per_subject=1", "seed=3")
    words += ("samples_per_pixel=1", "device=cpu")
    torchrun("synthesize", f"out={tmp_path / 'two'}", *words)
    assert cli.main(["synthesize", f"out={tmp_path / 'one'}", "workers=1", *words]) == 0
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    assert check(tmp_path / "two") == []


@pytest.mark.slow
def test_the_first_of_two_processes_evaluates(tmp_path):
    """And images of the data may be larger than the generator's."""
    people = make_noise(tmp_path / "people", semantic=False, resolution=64, subjects=96, views=8)
    assert cli.main(["data", "encode", str(people), "device=cpu"]) == 0
    torch.manual_seed(0)
    sizes = dict(plane_side=16, plane_channels=8, backbone_base=512, backbone_most=32)
    Generator(preset("semhead-32", condition_dim=128, **sizes)).save(tmp_path / "model")
    names, features = SubjectsInMemory.load(people).semantics(8)
    encoder = Manifest.load(people).layout.semantic["encoder"]
    mode = ConditionMode("semantic", 128)
    ConditionBank(mode, encoder, features, names).save(tmp_path / "model")
    words = ("heads=48", "consistency_heads=0", "device=cpu")
    out = tmp_path / "metrics.json"
    said = torchrun("evaluate", tmp_path / "model", people, out, *words)
    assert "'evaluate' is done by the first process alone" in said
    found = Evaluation.from_json(json.loads(out.read_text()))
    assert found.generated["all"]["frechet"].protocol.resolution == 32
