"""Commands hold the place that they write: a second one says so and changes nothing."""

from __future__ import annotations

import errno
import fcntl
import re
import subprocess
import sys

import pytest
from noise_source import files_of

from semhead_lib.atomic import folder_lock, held_folder, place_lock
from semhead_lib.cli import main
from semhead_lib.data.dataset.eg3d_format import export_dataset

HOLD = "from semhead_lib.atomic import place_lock\nfrom pathlib import Path\nimport sys, time\n"
HOLD += "with place_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


@pytest.mark.parametrize(
    ("words", "lock"),
    [
        (["data", "export", "DATA", "OUT"], place_lock),
        (["data", "pack", "DATA", "OUT", "size=1"], place_lock),
        (["evaluate", "semhead-128", "DATA", "OUT"], place_lock),
        (["data", "portraits", "PHOTOS", "OUT"], folder_lock),
        (["data", "import", "PHOTOS", "OUT"], folder_lock),
        (["sample", "semhead-128", "OUT"], folder_lock),
    ],
    ids=lambda words: "-".join(words[:2]) if isinstance(words, list) else "",
)
def test_a_place_that_is_held_is_left_alone(dataset, tmp_path, capsys, words, lock):
    out, photos = tmp_path / "out", tmp_path / "photos"
    export_dataset(dataset, photos, progress=False)
    if lock is folder_lock:
        out.mkdir()
    before = files_of(tmp_path)
    places = {"DATA": str(dataset), "OUT": str(out), "PHOTOS": str(photos)}
    with lock(out):
        assert main([places.get(word, word) for word in words]) == 1
    assert f"{out}: another process is writing here" in capsys.readouterr().err
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "nowhere", "OUT"],
        ["inverter", "train", "nowhere", "OUT"],
        ["data", "portraits", "EMPTY", "OUT"],
        ["data", "portraits", "nowhere", "OUT"],
        ["evaluate", "nowhere", "nowhere", "OUT"],
        ["data", "pack", "DATA", "OUT/packed.tar", "psnr=60"],
    ],
    ids="-".join,
)
@pytest.mark.parametrize("there", [False, True])
def test_a_command_that_fails_leaves_nothing(dataset, tmp_path, capsys, words, there):
    out, empty = tmp_path / "new" / "out", tmp_path / "empty"
    empty.mkdir()
    if there:
        out.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    places = {"OUT": out, "EMPTY": empty, "DATA": dataset}
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert re.search("nowhere|no images in it|psnr asks", said)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_was_written_before_a_failure_stays(tmp_path):
    with pytest.raises(ValueError, match="no more"), held_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "first").touch()
        raise ValueError("no more")
    assert list(files_of(tmp_path)) == ["a/b/first"]
    with held_folder(tmp_path / "c" / "d"), place_lock(tmp_path / "e" / "f"):
        pass
    assert not (tmp_path / "c").exists() and not (tmp_path / "e").exists(), "nothing was written"


def test_a_lock_ends_with_its_process_and_leaves_no_file(tmp_path):
    place = tmp_path / "out.zip"
    other = subprocess.Popen([sys.executable, "-c", HOLD, place], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    with pytest.raises(BlockingIOError), place_lock(place):
        pass
    other.kill()
    other.wait()
    other.stdout.close()
    with place_lock(place):
        pass
    assert list(tmp_path.iterdir()) == []


def test_whoever_holds_a_folder_removes_what_a_killed_one_left(tmp_path, monkeypatch):
    left = tmp_path / ".weights.some-machine-7.partial"
    left.touch()
    with folder_lock(tmp_path):
        assert not left.exists()
    left.touch()
    with folder_lock(tmp_path):
        left.touch()
        with pytest.raises(BlockingIOError), folder_lock(tmp_path):
            pass
        assert left.exists(), "it is of whoever holds the folder"

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with folder_lock(tmp_path):
        assert left.exists(), "it may be of a process that lives"
