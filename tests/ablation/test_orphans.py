"""Jobs whose parents were killed, and those that come after them."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from semhead_lib.ablation import job, orphans
from semhead_lib.ablation.plan import load_study
from semhead_lib.atomic import folder_lock, held_folder
from semhead_lib.data.dataset import subset  # noqa: F401 (loaded before the clock runs)
from semhead_lib.data.parametric import source  # noqa: F401

HOLD = """
import os, subprocess, sys, time
from pathlib import Path
from semhead_lib.ablation.orphans import end_with
from semhead_lib.atomic import folder_lock

if sys.argv[2:]:
    end_with(int(sys.argv[2]))
    with folder_lock(Path(sys.argv[1])):
        Path(sys.argv[1], "held").touch()
        time.sleep(60)
else:
    subprocess.Popen([sys.executable, __file__, sys.argv[1], str(os.getpid())])
    time.sleep(60)
"""


def test_a_job_ends_with_its_parent_and_leaves_what_it_held(tmp_path: Path):
    place, script = tmp_path / "data", tmp_path / "hold.py"
    place.mkdir()
    script.write_text(HOLD)
    parent = subprocess.Popen([sys.executable, str(script), str(place)])
    while not (place / "held").exists():
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    with pytest.raises(BlockingIOError), folder_lock(place):
        pass
    began = time.monotonic()
    orphans.wait_for(lambda: folder_lock(place))
    assert time.monotonic() - began < 30
    with folder_lock(place):
        pass


def test_datasets_wait_for_a_job_that_is_about_to_end(checkout, monkeypatch):
    study, held = load_study("tiny", checkout), threading.Event()
    folder = checkout / study.dataset("balanced")
    made = []

    def hold():
        with held_folder(folder):
            held.set()
            time.sleep(1.5)

    def synthesize(_, out, subjects, **__):
        with held_folder(out):
            made.append(out.name)

    encoder = SimpleNamespace(images=None, identity="toy", batch=1)
    load = "semhead_lib.conditioning.semantic.SemanticEncoder.load"
    monkeypatch.setattr(load, lambda *_: encoder)
    monkeypatch.setattr("semhead_lib.data.jobs.synthesis.synthesize", synthesize)
    monkeypatch.setattr("semhead_lib.data.dataset.semantics.fill_semantics", lambda *_, **__: None)
    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    job.make_datasets(study, checkout)
    other.join()
    assert sorted(made) == ["balanced", "unseen"]
