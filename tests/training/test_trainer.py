import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from small_training import ENCODER, SMALL, make_noise, small

from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.streaming_dataset import SubjectsOnDisk
from semhead_lib.models.discriminator import Discriminator
from semhead_lib.models.generator import Generator
from semhead_lib.training.logs import TrainingLog, read_log
from semhead_lib.training.snapshots import snapshots
from semhead_lib.training.step import Step
from semhead_lib.training.trainer import train

_TIMES = ("images_per_second",)


def digest(folder):
    """Of the trained weights: equal where every bit is."""
    names = (
        "model.safetensors",
        "discriminator.safetensors",
        "config.json",
        "conditions.safetensors",
    )
    return [
        hashlib.sha256((folder / "generator" / name).read_bytes()).hexdigest() for name in names
    ]


def lines(folder):
    return [{k: v for k, v in line.items() if k not in _TIMES} for line in read_log(folder)]


@pytest.fixture(scope="module")
def uninterrupted(noise_folder, tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    train(small(), SubjectsInMemory.load(noise_folder), out, device="cpu", progress=False)
    return out


def test_what_a_training_leaves(uninterrupted):
    out = uninterrupted
    assert [line["step"] for line in read_log(out)] == [1, 2, 3, 4, 5, 6]
    assert [p.name for p in snapshots(out / "snapshots")] == [
        "step-00000004.pt",
        "step-00000006.pt",
    ]
    assert [p.name for p in sorted((out / "grids").iterdir())] == ["kimg-000000.0.png"]
    assert list((out / "tensorboard").glob("events.*"))
    content = json.loads((out / "settings.json").read_text())
    assert content["settings"]["preset"] == "semhead-32" and content["data"]["encoder"] == ENCODER
    generator, bank = Generator.load(out / "generator"), ConditionBank.load(out / "generator")
    assert (
        bank.mode.name == "semantic" and bank.encoder == ENCODER and bank.features.shape == (8, 16)
    )
    assert generator.config.condition_dim == bank.mode.generator_width == 16
    Discriminator.load(out / "generator")


def test_interrupted_and_resumed_is_uninterrupted(data, uninterrupted, tmp_path):
    out = tmp_path / "run"
    for _ in range(3):  # a time limit of nought stops after one step
        train(small(), data, out, device="cpu", progress=False, stop_after=0)
    assert len(read_log(out)) == 3
    train(small(), data, out, device="cpu", progress=False)
    assert digest(out) == digest(uninterrupted) and lines(out) == lines(uninterrupted)


def test_streamed_interrupted_and_resumed_is_uninterrupted(noise_folder, uninterrupted, tmp_path):
    def streamed(out, **options):
        train(
            small(),
            SubjectsOnDisk(noise_folder, shuffle=4),
            out,
            device="cpu",
            progress=False,
            **options,
        )

    streamed(tmp_path / "whole")
    for _ in range(2):
        streamed(tmp_path / "parts", stop_after=0)
    streamed(tmp_path / "parts")
    assert (
        digest(tmp_path / "parts") == digest(tmp_path / "whole")
        and len(read_log(tmp_path / "parts")) == 6
    )
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole") != lines(uninterrupted)
    with pytest.raises(ValueError, match="the data's stream_workers is 2 there, 1 here"):
        other = SubjectsOnDisk(noise_folder, workers=1, shuffle=4)
        train(small(), other, tmp_path / "whole", device="cpu", progress=False)


def test_killed_and_resumed_is_uninterrupted(noise_folder, uninterrupted, tmp_path):
    out = tmp_path / "run"
    free = {k: v for k, v in SMALL.items() if k != "kimg"}
    command = [
        sys.executable,
        "-m",
        "semhead_lib",
        "train",
        str(noise_folder),
        str(out),
        "kimg=0.024",
        "device=cpu",
    ]
    command += [f"{key}={value}" for key, value in free.items()]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "snapshots" / "step-00000002.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    steps = [p.name for p in snapshots(out / "snapshots")]
    assert steps and steps[-1] < "step-00000006.pt", "killed too late to show anything"
    subprocess.run(
        command, env=environment, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    assert digest(out) == digest(uninterrupted) and lines(out) == lines(uninterrupted)


def test_ctrl_c_saves_the_step_it_is_in(data, uninterrupted, tmp_path, monkeypatch):
    out, whole = tmp_path / "run", Step.__call__

    def interrupt(self, step, batch):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(self, step, batch)

    monkeypatch.setattr(Step, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(small(snapshot_kimg=1.0), data, out, device="cpu", progress=False)
    assert [p.name for p in snapshots(out / "snapshots")] == ["step-00000004.pt"]
    monkeypatch.undo()
    train(small(), data, out, device="cpu", progress=False)
    assert digest(out) == digest(uninterrupted)


def test_a_finished_training_is_left_alone_and_can_be_prolonged(data, uninterrupted, tmp_path):
    out = tmp_path / "run"
    train(small(kimg=0.012), data, out, device="cpu", progress=False)
    before = digest(out)
    train(small(kimg=0.012), data, out, device="cpu", progress=False)
    assert digest(out) == before and len(read_log(out)) == 3
    train(small(), data, out, device="cpu", progress=False)
    assert digest(out) == digest(uninterrupted)


def test_a_loss_that_is_not_finite_stops_it(data, tmp_path, monkeypatch):
    whole = Step.__call__

    def diverge(self, step, batch):
        values = whole(self, step, batch)
        return values | {"loss_d": values["loss_d"] * float("nan")} if step == 3 else values

    monkeypatch.setattr(Step, "__call__", diverge)
    with pytest.raises(
        FloatingPointError, match=r"step 4: the losses are .* and nan; the last snapshot"
    ):
        train(small(log_every=2), data, tmp_path / "run", device="cpu", progress=False)
    assert [p.name for p in snapshots(tmp_path / "run" / "snapshots")] == ["step-00000002.pt"]


def test_begins_with_saved_networks(data, uninterrupted, tmp_path):
    first = train(
        small(kimg=0.004),
        data,
        tmp_path / "a",
        device="cpu",
        init=uninterrupted / "generator",
        progress=False,
    )
    new = train(small(kimg=0.004), data, tmp_path / "b", device="cpu", progress=False)
    old = Generator.load(uninterrupted / "generator").renderer.w2
    assert (Generator.load(first).renderer.w2 - old).abs().max() < (
        Generator.load(new).renderer.w2 - old
    ).abs().max()
    with pytest.raises(ValueError, match="its networks are not those of these settings"):
        train(
            small(mode="none"),
            data,
            tmp_path / "c",
            init=uninterrupted / "generator",
            progress=False,
        )


def test_says_what_does_not_suit(data, uninterrupted, tmp_path):
    def attempt(message, settings, of=data, out=tmp_path / "new", error=ValueError):
        with pytest.raises(error, match=message):
            train(settings, of, out, device="cpu", progress=False)

    attempt(
        "begun with other settings: r1_gamma is 0.0512 there, 2.0 here",
        small(r1_gamma=2.0),
        out=uninterrupted,
    )
    attempt("makes images of 64 pixels, the dataset has 32", small(preset="semhead-64"))
    bare = SubjectsInMemory.load(make_noise(tmp_path / "bare", semantic=False, geometry=False))
    attempt("run 'semhead data encode'", small(), bare)
    attempt("the dataset has no masks: train with masks=false", small(mode="none"), bare)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    attempt(
        "holds no training; use another folder",
        small(),
        out=tmp_path / "full",
        error=FileExistsError,
    )
    other = SubjectsInMemory.load(make_noise(tmp_path / "other"), limit=4)
    attempt("the data's subjects is 8 there, 4 here", small(), other, uninterrupted)


def test_every_term_is_logged_as_its_mean_though_the_process_dies(data, tmp_path, monkeypatch):
    """R1 fires in the steps 0 and 4 and the density in every second one: lines are of three steps."""
    settings = small(log_every=3, r1_interval=4, density_interval=2)
    whole, values = Step.__call__, []

    def kept(self, step, batch):
        if step == 4 and len(values) == 10:
            values.append({})  # once
            raise SystemError("killed")
        values.append(whole(self, step, batch))
        return values[-1]

    monkeypatch.setattr(Step, "__call__", kept)
    train(settings, data, tmp_path / "whole", device="cpu", progress=False)
    found = lines(tmp_path / "whole")
    assert [line["step"] for line in found] == [3, 6]
    for line, steps in zip(found, (values[:3], values[3:]), strict=True):
        for name in ("r1", "density", "loss_g", "loss_d", "opacity", "grad_g"):
            each = [step[name].item() for step in steps if name in step]
            assert each and line[name] == pytest.approx(
                sum(each) / len(each), abs=2e-5, rel=1e-5
            ), name

    with pytest.raises(SystemError):  # after the snapshot of step 4, within an interval
        train(settings, data, tmp_path / "parts", device="cpu", progress=False)
    train(settings, data, tmp_path / "parts", device="cpu", progress=False)
    assert lines(tmp_path / "parts") == found


def test_the_listener_hears_every_line(data, tmp_path):
    heard = []
    train(
        small(kimg=0.008), data, tmp_path / "run", device="cpu", progress=False, listen=heard.append
    )
    assert heard == read_log(tmp_path / "run")


def test_the_log_is_closed_when_the_model_cannot_be_saved(
    data, uninterrupted, tmp_path, monkeypatch
):
    """Before the error is said: no bar of progress is drawn after it."""
    out, closed = tmp_path / "run", []
    shutil.copytree(uninterrupted, out)
    config = out / "generator" / "config.json"
    config.unlink()
    config.mkdir()
    close = TrainingLog.close
    monkeypatch.setattr(TrainingLog, "close", lambda log: closed.append(close(log)))
    with pytest.raises(OSError, match=r"config\.json"):
        train(small(), data, out, device="cpu", progress=False)
    assert len(closed) == 1
