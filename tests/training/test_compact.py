"""A compact state resumes: with the very numbers where all of it fits, near them where numbers are
halved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_training import small

from semhead_lib.models.generator import Generator
from semhead_lib.training import compact, compact_file
from semhead_lib.training.compact import compact_state, restore_state
from semhead_lib.training.logs import read_log
from semhead_lib.training.snapshots import snapshots, unpack
from semhead_lib.training.trainer import train

quiet = dict(device="cpu", progress=False)
HALF = dict(kimg=0.012)  # three of six steps


@pytest.fixture(scope="module")
def begun(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("compact") / "run"
    train(small(**HALF), data, run, **quiet)
    return run


@pytest.fixture(scope="module")
def whole(data, begun):
    run = begun.parent / "whole"
    shutil.copytree(begun, run)
    train(small(), data, run, **quiet)
    return run


def newest(run):
    return unpack(snapshots(run / "snapshots")[-1].read_bytes())


def test_a_state_that_fits_goes_on_with_the_very_numbers(data, begun, whole, tmp_path):
    report = compact_state(begun, tmp_path / "state")
    assert (report.step, report.parts, report.lost) == (3, 1, "nothing")
    assert report.bytes == sum(path.stat().st_size for path in (tmp_path / "state").iterdir())
    restored = tmp_path / "restored"
    assert restore_state(tmp_path / "state", restored) == 3
    assert (restored / "settings.json").read_bytes() == (begun / "settings.json").read_bytes()
    assert read_log(restored) == read_log(begun)
    train(small(), data, restored, **quiet)
    one, other = newest(whole), newest(restored)
    assert one["step"] == other["step"] == 6
    for network in ("generator", "average", "discriminator"):
        assert all(torch.equal(one[network][name], other[network][name]) for name in one[network])
    both = (whole / "generator", restored / "generator")
    weights = [load_file(folder / "model.safetensors") for folder in both]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_generator_can_be_used_at_once(begun, tmp_path):
    compact_state(begun, tmp_path / "state")
    restore_state(tmp_path / "state", tmp_path / "run")
    one, other = (
        Generator.load(folder / "generator").state_dict() for folder in (begun, tmp_path / "run")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (tmp_path / "run" / "generator" / "conditions.safetensors").is_file()


def test_halved_states_go_on_at_the_same_step(data, begun, whole, tmp_path):
    exact = compact_state(begun, tmp_path / "exact").bytes / 1e6
    before, after, sizes = newest(begun), newest(whole), [exact]
    for level, share in enumerate((0.75, 0.55, 0.25), 1):
        state, run = tmp_path / f"state-{level}", tmp_path / f"run-{level}"
        report = compact_state(begun, state, total=share * exact)
        assert report.lost == compact.LEVELS[level].lost
        assert report.bytes <= share * exact * 1e6
        sizes.append(report.bytes / 1e6)
        assert restore_state(state, run) == 3
        restored = newest(run)
        for network in ("generator", "discriminator"):
            for name, tensor in before[network].items():
                assert torch.allclose(restored[network][name], tensor, rtol=2**-10, atol=1e-6)
        moments, kept = (state["g_optimiser"]["state"] for state in (before, restored))
        for number, of_a_weight in moments.items():
            wanted = of_a_weight["exp_avg_sq"] * (level < 3)
            assert torch.allclose(kept[number]["exp_avg_sq"], wanted, rtol=2**-8, atol=0)
            assert float(kept[number]["step"]) == (3 if level < 3 else 0)
        if level == 1:
            continue  # what is lost here is lost at the next, too
        train(small(), data, run, **quiet)
        assert newest(run)["step"] == 6
        last, wanted = read_log(run)[-1], read_log(whole)[-1]
        if level < 3:
            assert last["loss_d"] == pytest.approx(wanted["loss_d"], rel=0.1)
        there, wanted = newest(run)["generator"], after["generator"]
        drift = sum(float((there[name] - tensor).abs().mean()) for name, tensor in wanted.items())
        assert drift < 0.2 * sum(float(tensor.abs().mean()) for tensor in wanted.values())
    assert sizes == sorted(sizes, reverse=True)


def test_parts_are_as_small_as_asked(begun, tmp_path):
    exact = compact_state(begun, tmp_path / "one").bytes / 1e6
    report = compact_state(begun, tmp_path / "five", part=exact / 4.5)
    files = sorted(path.name for path in (tmp_path / "five").iterdir())
    assert (
        files == [f"part-{i}.safetensors" for i in range(1, 6)] + ["state.json"]
        and report.lost == "nothing"
    )
    assert max(path.stat().st_size for path in (tmp_path / "five").iterdir()) <= exact / 4.5 * 1e6
    restore_state(tmp_path / "five", tmp_path / "run")
    compact_state(begun, tmp_path / "five")
    assert len(list((tmp_path / "five").iterdir())) == 2, "parts of the state before are removed"
    few = compact_state(begun, tmp_path / "few", files=4, part=exact / 4.5)
    assert few.parts == 3 and few.lost == compact.LEVELS[2].lost
    with pytest.raises(ValueError, match=r"not even the networks fit in 2 files of 0\.1 MB"):
        compact_state(begun, tmp_path / "none", files=2, part=0.1)


def test_on_a_full_disk_the_state_before_stays(begun, tmp_path, monkeypatch):
    compact_state(begun, tmp_path / "state")
    before = {path.name: path.read_bytes() for path in (tmp_path / "state").iterdir()}
    write = Path.write_bytes

    def full(path, data):
        write(path, data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"cannot write: No space left on device: .*state"):
        compact_state(begun, tmp_path / "state")
    assert {path.name: path.read_bytes() for path in (tmp_path / "state").iterdir()} == before


def damaged(state, what):
    index, part = state / "state.json", state / "part-1.safetensors"
    if what == "bit":
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    elif what == "short":
        part.write_bytes(part.read_bytes()[:-100])
    elif what == "missing":
        part.unlink()
    elif what == "index":
        index.write_text(index.read_text().replace('"step": 3', '"step": 4', 1))
    elif what == "not json":
        index.write_text(index.read_text()[:-40])
    elif what == "stranger":
        content = json.loads(index.read_text())
        content["tree"] = {"value": 1}
        content["sha256"] = compact_file.own_checksum(content)
        index.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("bit", r"part-1\.safetensors: damaged, or of another state"),
        ("short", r"part-1\.safetensors: damaged"),
        ("missing", r"part-1\.safetensors: missing"),
        ("index", r"state\.json: damaged: its checksum"),
        ("not json", r"state\.json: is not JSON"),
        ("stranger", r"state\.json: does not describe a training"),
    ],
)
def test_damage_is_named_and_nothing_is_written(begun, tmp_path, what, message):
    compact_state(begun, tmp_path / "state")
    damaged(tmp_path / "state", what)
    with pytest.raises(ValueError, match=message):
        restore_state(tmp_path / "state", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_where_there_is_nothing(begun, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no snapshot"):
        compact_state(tmp_path, tmp_path / "state")
    with pytest.raises(FileNotFoundError, match="is no compact state"):
        restore_state(tmp_path / "state", tmp_path / "run")
    compact_state(begun, tmp_path / "state")
    with pytest.raises(FileExistsError, match="is not empty"):
        restore_state(tmp_path / "state", begun)


def test_a_damaged_snapshot_is_passed_over(begun, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(begun, run)
    *_, older, last = snapshots(run / "snapshots")
    last.write_bytes(last.read_bytes()[:-1])
    assert compact_state(run, tmp_path / "state").step == unpack(older.read_bytes())["step"] < 3
    older.write_bytes(b"no")
    for path in snapshots(run / "snapshots"):
        path.write_bytes(b"no")
    with pytest.raises(ValueError, match="every snapshot is damaged"):
        compact_state(run, tmp_path / "none")
