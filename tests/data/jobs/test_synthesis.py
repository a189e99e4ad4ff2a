"""Datasets are the same to the byte however they were made, and nothing half-made is ever seen."""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import webdataset
from noise_source import NoiseSource, files_of, flipped, noise_subject, same_subject

from semhead_lib import atomic
from semhead_lib.data.dataset import shards
from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.manifest import LOG, Manifest
from semhead_lib.data.dataset.reading import load_subject, subjects
from semhead_lib.data.jobs.synthesis import SynthesisError, synthesize

quiet = functools.partial(synthesize, progress=False)


def test_the_bytes_do_not_depend_on_the_workers(tmp_path):
    source = functools.partial(NoiseSource, seed=7, varied=True)
    report = quiet(source, tmp_path / "none", 10, shard_size=3, workers=0)
    for workers in (1, 2):
        quiet(source, tmp_path / str(workers), 10, shard_size=3, workers=workers)
        assert files_of(tmp_path / str(workers)) == files_of(tmp_path / "none")
    assert sorted(files_of(tmp_path / "none")) == [
        "dataset.json",
        *(f"shard-00000{i}.tar" for i in range(4)),
    ]
    assert report.views_made == report.manifest.views == 35
    assert report.bytes_made == sum(
        (tmp_path / "none" / s.name).stat().st_size for s in report.manifest.shards
    )
    assert report.views_per_second > 0
    assert check(tmp_path / "none") == []
    quiet(
        functools.partial(NoiseSource, seed=8, varied=True),
        tmp_path / "other",
        10,
        shard_size=3,
        workers=0,
    )
    assert (
        files_of(tmp_path / "other")["shard-000000.tar"]
        != files_of(tmp_path / "none")["shard-000000.tar"]
    )


def test_what_was_made_is_what_is_read(shared_dataset):
    read = list(subjects(shared_dataset))
    assert len(read) == 11
    for index, subject in enumerate(read):
        assert same_subject(subject, noise_subject(index, views=3 + index % 2))
    assert same_subject(load_subject(shared_dataset, 7), read[7], but=())
    with pytest.raises(IndexError, match="has subjects 0 to 10, asked for 11"):
        load_subject(shared_dataset, 11)


def test_the_manifest_tells_what_there_is(shared_dataset):
    manifest = Manifest.load(shared_dataset)
    assert (manifest.subjects, manifest.views, manifest.licence) == (11, 38, "CC0-1.0")
    assert manifest.layout.views_per_subject == (3, 4)
    assert manifest.layout.fields == (
        "views",
        "cameras",
        "frontal",
        "masks",
        "depth",
        "normals",
        "segmentation",
    )
    assert manifest.layout.semantic is None
    assert manifest.plan.seed == 0
    assert manifest.plan.source["settings"] == {
        "seed": 0,
        "views": 3,
        "resolution": 16,
        "range": [0, 1],
    }
    content = json.loads((shared_dataset / "dataset.json").read_text())
    assert content["format"] == "semhead-subjects" and content["cameras"]["radius"] == 2.7
    assert manifest.dumps() == (shared_dataset / "dataset.json").read_bytes()


def test_shards_are_plain_webdataset(shared_dataset):
    urls = [str(path) for path in sorted(shared_dataset.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    assert [sample["__key__"] for sample in samples] == [f"noise-0-{i:05d}" for i in range(11)]
    assert np.array_equal(samples[4]["view_002.png"], noise_subject(4).views[2].permute(1, 2, 0))
    assert np.array_equal(samples[4]["cameras.npy"], noise_subject(4).cameras)


def test_a_finished_dataset_is_left_alone(dataset):
    before = {path: path.stat().st_mtime_ns for path in dataset.iterdir()}
    report = quiet(
        functools.partial(NoiseSource, varied=True, fail_at=0), dataset, 11, shard_size=3, workers=2
    )
    assert report.views_made == 0 and report.views_per_second == 0 and report.seconds < 1
    assert {path: path.stat().st_mtime_ns for path in dataset.iterdir()} == before


def test_other_settings_are_an_error_that_names_them(dataset, tmp_path):
    source = functools.partial(NoiseSource, varied=True, resolution=32)
    with pytest.raises(
        ValueError,
        match=r"shard_size is 3 there, 4 here; source.settings.resolution is 16 there, 32",
    ):
        quiet(source, dataset, 11, shard_size=4, workers=0)
    with pytest.raises(SynthesisError):
        quiet(
            functools.partial(NoiseSource, fail_at=1),
            tmp_path / "begun",
            2,
            shard_size=1,
            workers=0,
        )
    with pytest.raises(ValueError, match=r"begun with other settings: seed is 0 there, 1 here"):
        quiet(
            functools.partial(NoiseSource, seed=1), tmp_path / "begun", 2, shard_size=1, workers=0
        )
    none = functools.partial(NoiseSource, fail_at=0)
    with pytest.raises(SynthesisError, match="0 of 1 shards"):
        quiet(none, tmp_path / "none", 2, workers=0)
    report = quiet(functools.partial(NoiseSource, seed=1), tmp_path / "none", 2, workers=0)
    assert report.views_made == 6, "nothing was finished: what was wrong may be mended"
    with pytest.raises(FileExistsError, match="already holds a dataset"):
        quiet(NoiseSource, tmp_path / "begun", 2, shard_size=1, workers=0, resume=False)
    with pytest.raises(ValueError, match="seed is 3, but the source was built with seed 0"):
        quiet(NoiseSource, tmp_path / "new", 2, seed=3, workers=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subjects": 0}, "subjects must be at least 1, got 0"),
        ({"workers": -1}, "workers must be at least 0, got -1"),
        ({"shard_size": 0}, "shard_size must be at least 1, got 0"),
        ({"image_format": "gif"}, "image_format must be one of png, jpg, webp, got 'gif'"),
    ],
)
def test_arguments_are_checked(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        quiet(NoiseSource, tmp_path / "x", **{"subjects": 2, "workers": 0} | change)
    assert not (tmp_path / "x").exists()


def test_foreign_folders_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    missing = r"is not empty and holds no dataset of ours; .*dataset\.json and synthesis\.jsonl"
    with pytest.raises(FileExistsError, match=missing):
        quiet(NoiseSource, tmp_path, 2, workers=0)
    assert sorted(files_of(tmp_path)) == ["notes.txt"]
    with pytest.raises(OSError, match=r"notes.txt"):
        quiet(NoiseSource, tmp_path / "notes.txt" / "out", 2, workers=0)


def test_two_processes_do_not_write_one_folder(tmp_path):
    with (
        atomic.folder_lock(tmp_path),
        pytest.raises(BlockingIOError, match="another process is writing here"),
    ):
        quiet(NoiseSource, tmp_path, 2, workers=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failing_subject_is_named_and_finished_shards_stay(tmp_path, workers):
    source = functools.partial(NoiseSource, fail_at=5)
    out = tmp_path / "out"
    with pytest.raises(
        SynthesisError, match=r"subject 5: ArithmeticError: the noise ran out; \d of 4 shards are"
    ):
        quiet(source, out, 8, shard_size=2, workers=workers)
    assert not list(atomic.leftovers(out)) and not (out / "dataset.json").exists()
    assert check(out) == [f"{out}: is not finished; start the same synthesis again to complete it"]
    with pytest.raises(FileNotFoundError, match="not finished"):
        Manifest.load(out)
    kept = {name: data for name, data in files_of(out).items() if name.endswith(".tar")}
    assert "shard-000002.tar" not in kept and (workers or len(kept) == 2)
    quiet(NoiseSource, out, 8, shard_size=2, workers=0)
    quiet(NoiseSource, tmp_path / "whole", 8, shard_size=2, workers=0)
    assert files_of(out) == files_of(tmp_path / "whole")


def test_a_killed_worker_is_an_error_not_a_hang(tmp_path):
    source = functools.partial(NoiseSource, die_at=3)
    with pytest.raises(
        SynthesisError,
        match="a worker process was killed by SIGKILL, often for want of memory, after",
    ):
        quiet(source, tmp_path / "out", 6, shard_size=2, workers=2)
    assert not list(atomic.leftovers(tmp_path / "out"))


def test_a_source_that_cannot_be_sent_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="make_source must be a function or class of a module"):
        quiet(lambda: NoiseSource(), tmp_path / "out", 2, workers=1)


def test_a_single_shard_is_made_in_this_process(tmp_path):
    """A function that no process could be sent makes it."""
    report = quiet(lambda: NoiseSource(), tmp_path / "out", 2, shard_size=2, workers=2)
    assert report.manifest.subjects == 2


def test_subjects_must_agree(tmp_path):
    class Growing(NoiseSource):
        def subject(self, index):
            return noise_subject(index, resolution=16 + 16 * (index > 2))

    with pytest.raises(
        ValueError, match="subject noise-0-00003: resolution is 32, the subjects before"
    ):
        quiet(Growing, tmp_path / "within", 4, shard_size=4, workers=0)
    with pytest.raises(
        ValueError, match=r"shard-000001\.tar: resolution is 32, the subjects before it have 16"
    ):
        quiet(Growing, tmp_path / "between", 6, shard_size=3, workers=0)

    class Same(NoiseSource):
        def subject(self, index):
            return noise_subject(0)

    with pytest.raises(ValueError, match="subject id 'noise-0-00000' appears twice"):
        quiet(Same, tmp_path / "same", 4, workers=0)


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*out.*'"):
        quiet(NoiseSource, tmp_path / "out", 2, workers=0)
    monkeypatch.undo()
    quiet(NoiseSource, tmp_path / "out", 2, workers=0)
    assert check(tmp_path / "out") == []


SCRIPT = """
import functools, sys
from noise_source import NoiseSource
from semhead_lib.data.jobs.synthesis import synthesize
if __name__ == "__main__":
    synthesize(functools.partial(NoiseSource, delay=0.05, hang=sys.argv[2]), sys.argv[1], 24, shard_size=4, workers=2)
"""


def start(tmp_path, out, hang=""):
    (tmp_path / "make.py").write_text(SCRIPT)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    }
    command = [sys.executable, str(tmp_path / "make.py"), str(out), str(hang)]
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_shards(out, count, process):
    deadline = time.monotonic() + 60
    while len(list(out.glob("shard-*.tar"))) < count:
        assert process.poll() is None and time.monotonic() < deadline, (
            "the synthesis did not get that far"
        )
        time.sleep(0.01)


def outlived(group):
    """Whether a process of the group is still there after a little while; ends it if so."""
    for _ in range(500):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.01)
    os.killpg(group, signal.SIGKILL)
    return True


def test_killed_and_started_again_equals_never_killed(tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    quiet(NoiseSource, whole, 24, shard_size=4, workers=0)
    process = start(tmp_path, out)
    wait_for_shards(out, 2, process)
    process.kill()
    process.wait()  # not communicate(): an orphan would hold the pipe open
    assert not outlived(process.pid), "a worker outlived its killed parent"
    kept = sorted(out.glob("shard-*.tar"))
    assert 2 <= len(kept) < 6 and not (out / "dataset.json").exists()
    for path in kept:
        assert path.read_bytes() == (whole / path.name).read_bytes(), (
            "a shard was visible before it was whole"
        )
    with open(out / LOG, "ab") as log:
        log.write(b'{"shard": {"na')  # as if killed within a write
    (out / ".shard-000005.tar.1.partial").write_bytes(b"left over")
    times = {path: path.stat().st_mtime_ns for path in kept}
    report = quiet(NoiseSource, out, 24, shard_size=4, workers=0)
    assert files_of(out) == files_of(whole)
    assert {path: path.stat().st_mtime_ns for path in kept} == times, (
        "finished shards were made again"
    )
    assert report.views_made == 3 * (24 - 4 * len(kept))


def test_workers_do_not_outlive_their_parent_even_within_a_subject(tmp_path):
    hanging = tmp_path / "hanging"
    process = start(tmp_path, tmp_path / "out", hanging)
    while not hanging.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()  # not communicate(): an orphan would hold the pipe open
    assert not outlived(process.pid)


def test_ctrl_c_ends_cleanly(tmp_path):
    process = start(tmp_path, tmp_path / "out")
    wait_for_shards(tmp_path / "out", 1, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    _, stderr = process.communicate(timeout=30)
    assert process.returncode != 0
    assert stderr.count("Traceback") == 1 and stderr.rstrip().endswith("KeyboardInterrupt")
    assert "views/s" in stderr and "subject" in stderr
    assert not list(atomic.leftovers(tmp_path / "out")) and not outlived(process.pid)


def test_a_shard_that_was_damaged_since_is_made_again(shared_dataset, tmp_path):
    out = tmp_path / "noise"
    with pytest.raises(SynthesisError):
        source = functools.partial(NoiseSource, varied=True, fail_at=7)
        synthesize(source, out, 11, shard_size=3, workers=0, progress=False)
    flipped(out / "shard-000001.tar")
    source = functools.partial(NoiseSource, varied=True)
    synthesize(source, out, 11, shard_size=3, workers=0, progress=False)
    assert files_of(out) == files_of(shared_dataset)


@pytest.mark.parametrize("what", ["layout", "shard"])
def test_a_log_that_describes_its_shard_wrongly_lets_it_be_made_again(tmp_path, what):
    with pytest.raises(SynthesisError):
        quiet(functools.partial(NoiseSource, fail_at=4), tmp_path / "a", 7, shard_size=3, workers=0)
    plan, line = (tmp_path / "a" / LOG).read_text().splitlines()
    content = json.loads(line)
    content[what] |= {"layout": {"resolution": 17}, "shard": {"views": 5}}[what]
    (tmp_path / "a" / LOG).write_text(f"{plan}\n{json.dumps(content)}\n")
    for name in ("a", "b"):
        quiet(NoiseSource, tmp_path / name, 7, shard_size=3, workers=0)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


@pytest.mark.parametrize("line", [1, 2])
def test_a_damaged_log_is_named(tmp_path, line):
    with pytest.raises(SynthesisError):
        source = functools.partial(NoiseSource, fail_at=7)
        synthesize(source, tmp_path, 11, shard_size=3, workers=0, progress=False)
    lines = (tmp_path / LOG).read_text().splitlines()
    content = json.loads(lines[line])
    content["layout"]["fields"] = ["views"]
    lines[line] = json.dumps(content)
    (tmp_path / LOG).write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=rf"{LOG}: damaged"):
        synthesize(NoiseSource, tmp_path, 11, shard_size=3, workers=0, progress=False)
