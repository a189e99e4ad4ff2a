"""Snapshots: whole or named as damaged, and then the one before; and what a begun folder holds a
training to."""

import json
import os
import shutil

import pytest
import torch
from small_training import make_noise, small

from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.models.generator import Generator
from semhead_lib.training.kept_settings import begun_settings
from semhead_lib.training.snapshots import (
    load_snapshot,
    pack,
    put_state,
    save_snapshot,
    snapshots,
    state_of,
    unpack,
)
from semhead_lib.training.step import Networks, Step
from semhead_lib.training.trainer import train


def run(settings, data, out, **options):
    return train(settings, data, out, device="cpu", progress=False, **options)


@pytest.fixture
def quick(monkeypatch):
    """Steps that take no time: each adds 0.01 to one weight of the generator."""

    def step(self, number, batch):
        with torch.no_grad():
            for network in (self.networks.generator, self.networks.average):
                network.renderer.w1.add_(0.01)
        return {"loss_g": torch.tensor(1.0), "loss_d": torch.tensor(float(number))}

    monkeypatch.setattr(Step, "__call__", step)


@pytest.fixture
def begun(data, quick, tmp_path):
    """Four steps, with snapshots after the second and the fourth."""
    run(small(kimg=0.016), data, tmp_path / "run")
    return tmp_path / "run"


def newest(out):
    return snapshots(out / "snapshots")[-1]


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


def weight(out):
    return Generator.load(out / "generator").renderer.w1


@pytest.fixture(scope="module")
def packed():
    return pack(state_of(Networks(small(), 16, "cpu"), 3))


def test_a_state_comes_back_whole(packed):
    settings = small(seed=5, discriminator_lr=0.5)
    networks = Networks(settings, 16, "cpu")
    put_state(unpack(packed), networks)
    for a, b in zip(
        networks.generator.parameters(),
        Networks(small(), 16, "cpu").generator.parameters(),
        strict=True,
    ):
        assert torch.equal(a, b)
    assert networks.d_optimiser.param_groups[0]["lr"] == 0.5, (
        "an optimiser's settings are not the snapshot's"
    )


@pytest.mark.parametrize("part", range(14))
def test_a_flipped_bit_is_found(packed, part):
    with pytest.raises(ValueError, match=r"checksum|does not begin"):
        unpack(flipped(packed, part * (len(packed) - 1) // 13))


@pytest.mark.parametrize("length", [0, 10, 90, 5000, -1])
def test_a_truncated_one_is_found(packed, length):
    with pytest.raises(ValueError, match=r"checksum|does not begin"):
        unpack(packed[:length])


def test_numbers_that_are_not_finite_are_found():
    networks = Networks(small(), 16, "cpu")
    networks.average.renderer.w2.data[0, 0] = float("inf")
    with pytest.raises(ValueError, match="numbers in it are not finite, after 7 steps"):
        unpack(pack(state_of(networks, 7)))


def test_a_gradient_that_was_not_finite_is_no_damage():
    networks = Networks(small(), 16, "cpu")
    log = {"sums": {"grad_g": torch.tensor(float("inf"))}, "counts": {"grad_g": 2}}
    assert unpack(pack(state_of(networks, 7, log)))["log"]["counts"] == {"grad_g": 2}


def test_older_files_load_and_are_checked_too(packed):
    old = packed[packed.index(b"\n") + 1 :]
    assert unpack(old)["step"] == 3
    with pytest.raises(ValueError, match="checksum"):
        unpack(flipped(old, len(old) // 2))


def test_a_damaged_one_is_named_and_the_one_before_is_used(data, begun):
    path = newest(begun)
    path.write_bytes(flipped(path.read_bytes(), 5000))
    with pytest.warns(
        UserWarning, match=r"step-00000004\.pt is damaged .* going on from step-00000002\.pt"
    ):
        run(small(keep=1), data, begun)
    fresh = begun.with_name("fresh")
    run(small(keep=1), data, fresh)
    assert torch.equal(weight(begun), weight(fresh))
    names = sorted(p.name for p in (begun / "snapshots").iterdir())
    assert names == ["step-00000004.pt.damaged", "step-00000006.pt"]


def test_one_that_is_put_aside_does_not_crowd_out_new_ones(data, begun):
    """Damaged at the end, with one to keep: what is saved before that step is reached again must
    stay."""
    newest(begun).write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged"):
        run(small(keep=1, snapshot_kimg=1.0), data, begun, stop_after=0)
    assert [p.name for p in snapshots(begun / "snapshots")] == ["step-00000003.pt"]


def test_where_all_are_damaged_nothing_is_touched(data, begun):
    for path in snapshots(begun / "snapshots"):
        path.write_bytes(path.read_bytes()[:-1])
    before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    with pytest.raises(
        ValueError,
        match=r"every snapshot .* damaged \(step-00000004.pt: .*; step-00000002.pt: .*Nothing",
    ):
        run(small(), data, begun)
    assert {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()} == before


def test_only_older_ones_are_deleted(tmp_path):
    networks = Networks(small(), 16, "cpu")
    for step in (1, 2, 9, 3):
        save_snapshot(tmp_path, state_of(networks, step), keep=1)
    assert [p.name for p in snapshots(tmp_path)] == ["step-00000003.pt", "step-00000009.pt"]
    assert load_snapshot(tmp_path, networks)["step"] == 9


def test_deleted_snapshots_are_not_begun_anew_over_a_trained_generator(data, begun):
    before = weight(begun)
    shutil.rmtree(begun / "snapshots")
    with pytest.raises(
        ValueError,
        match=r"no snapshot to go on from: .* init=.*generator to begin with its weights",
    ):
        run(small(), data, begun)
    assert torch.equal(weight(begun), before)


def test_other_subjects_of_the_same_number_are_refused(begun, tmp_path):
    other = SubjectsInMemory.load(make_noise(tmp_path / "other", seed=1))
    with pytest.raises(
        ValueError, match=r"its data are other subjects \(digest .* there, .* here\)"
    ):
        run(small(), other, begun)


def test_another_number_of_processes_is_refused(data, begun):
    content = json.loads((begun / "settings.json").read_text())
    (begun / "settings.json").write_text(json.dumps(content | {"processes": 2}))
    with pytest.raises(ValueError, match="the number of processes is 2 there, 1 here"):
        run(small(), data, begun)


def test_settings_of_before_go_on(data, begun):
    """Without a digest, settings that came later, and with the density's distance in widths of the
    cube."""
    content = json.loads((begun / "settings.json").read_text())
    assert content["settings"]["r1_gamma"] == 0.0512, "0.0002 x 32^2 / 4"
    del content["format"], content["data"]["digest"], content["settings"]["jitter"]
    content["settings"] |= {"density_distance": 1 / 32, "r1_gamma": 0.5}
    (begun / "settings.json").write_text(json.dumps(content))
    run(small(), data, begun)
    after = json.loads((begun / "settings.json").read_text())
    assert after["settings"]["r1_gamma"] == 0.5 and after["settings"]["density_distance"] == 1.0
    assert after["data"]["digest"] == data.digest and begun_settings(after) == after["settings"]

    content["settings"]["density_distance"] = 0.004
    (begun / "settings.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"density_distance is 0\.128 there, 1\.0 here"):
        run(small(), data, begun)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:200],
        lambda text: "[1]",
        lambda text: "null",
        lambda text: "[" * 100_000,
        lambda text: text.replace('"data"', '"date"'),
        lambda text: text.replace('"settings": {', '"settings": [], "x": {'),
        lambda text: text.replace('"format": 3', '"format": "3"'),
    ],
)
def test_damaged_settings_are_named(data, begun, change):
    path = begun / "settings.json"
    path.write_text(damaged := change(path.read_text()))
    with pytest.raises(
        ValueError,
        match=r"run/settings\.json is damaged .*: put back a copy, or use another folder",
    ):
        run(small(), data, begun)
    assert path.read_text() == damaged


@pytest.mark.parametrize(
    "line", [b"[1]", b"null", b'{"step": 1}', b'{"step": "x", "kimg": 1}', b'{"st\xff": 1}']
)
def test_a_damaged_log_is_named(data, begun, line):
    path = begun / "log.jsonl"
    path.write_bytes(line + b"\n" + path.read_bytes())
    with pytest.raises(ValueError, match=r"run/log\.jsonl, line 1 is no line of a log: "):
        run(small(), data, begun)


def in_its_place(path, kind):
    path.unlink()
    makers = {"pipe": os.mkfifo, "folder": os.mkdir, "endless": lambda p: p.symlink_to("/dev/zero")}
    makers[kind](path)


@pytest.mark.parametrize("kind", ["folder", "endless", "pipe"])
@pytest.mark.parametrize("name", ["log.jsonl", "settings.json"])
def test_what_has_no_end_is_not_read(data, begun, name, kind):
    in_its_place(begun / name, kind)
    with pytest.raises(ValueError, match=rf"{name}.*is no file that can be read to an end"):
        run(small(), data, begun)


@pytest.mark.parametrize("kind", ["folder", "endless", "pipe"])
def test_what_is_no_snapshot_is_put_aside(data, begun, kind):
    in_its_place(newest(begun), kind)
    with pytest.warns(UserWarning, match=r"step-.*is damaged .*is no file that can be read"):
        run(small(kimg=0.016), data, begun)
    assert newest(begun).is_file()


def test_a_start_that_fails_does_not_block_the_next(data, begun, tmp_path, monkeypatch):
    out = tmp_path / "new"
    with pytest.raises(ValueError, match=r"are not those of these settings: .* mapping\.layers"):
        run(small(mode="none"), data, out, init=begun / "generator")
    assert not list(out.iterdir())

    def no_memory(self, step, batch):
        raise MemoryError("a batch too large")

    with monkeypatch.context() as patch:
        patch.setattr(Step, "__call__", no_memory)
        with pytest.raises(MemoryError):
            run(small(subjects_per_batch=4), data, out)
    run(small(kimg=0.004), data, out)
    assert json.loads((out / "settings.json").read_text())["settings"]["subjects_per_batch"] == 2


def test_killed_between_snapshot_and_generator(data, begun):
    shutil.rmtree(begun / "generator")
    run(small(kimg=0.016), data, begun)
    state = unpack(newest(begun).read_bytes())
    assert torch.equal(weight(begun), state["average"]["renderer.w1"])


def test_weights_that_are_not_finite_are_never_saved(data, begun, monkeypatch):
    whole = Step.__call__

    def diverge(self, step, batch):
        self.networks.generator.renderer.w1.data[0, 0] = float("nan")
        return whole(self, step, batch)

    monkeypatch.setattr(Step, "__call__", diverge)
    before = weight(begun)
    with pytest.raises(
        FloatingPointError, match=r"step 6: weights .*step-00000004\.pt, is finite and is kept"
    ):
        run(small(log_every=100), data, begun)
    assert torch.equal(weight(begun), before) and newest(begun).name == "step-00000004.pt"


def test_speed_is_that_of_steps(data, quick, tmp_path, monkeypatch):
    import time

    from semhead_lib.models import sampling

    monkeypatch.setattr(sampling, "save_grid", lambda *_: time.sleep(1.0))
    heard = []
    run(small(kimg=0.02, tick_kimg=0.004), data, tmp_path / "run", listen=heard.append)
    assert max(4 / line["images_per_second"] for line in heard[1:]) < 0.9
