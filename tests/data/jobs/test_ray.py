"""A Ray cluster of this machine makes a dataset, and one of its workers is killed."""

import functools
import os
import threading
import time
from pathlib import Path

import psutil
import pytest
from noise_source import NoiseSource, files_of

from semhead_lib.data.dataset.check import check
from semhead_lib.data.jobs.ray import synthesize_on_ray
from semhead_lib.data.jobs.synthesis import SynthesisError, synthesize

if not os.environ.get("CI"):  # which installs it
    pytest.importorskip("ray")


@pytest.fixture(autouse=True)
def a_cluster_that_finds_the_source(monkeypatch):
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # of this machine alone: no key in the home
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "180")  # cores may have much to do


@pytest.mark.slow
def test_a_lost_worker_loses_nothing(tmp_path):
    alone, out, killed = tmp_path / "alone", tmp_path / "ray", []
    synthesize(
        functools.partial(NoiseSource, seed=7), alone, 41, shard_size=2, workers=0, progress=False
    )

    def kill():
        while len(list(out.glob("shard-*.tar"))) < 6:
            time.sleep(0.05)
        for process in psutil.process_iter(["cmdline"]):
            if "ray::_work" in " ".join(process.info["cmdline"] or []) and not killed:
                killed.append(process.pid)
                process.kill()

    threading.Thread(target=kill, daemon=True).start()
    source = functools.partial(NoiseSource, seed=7, delay=0.25)
    report = synthesize_on_ray(source, out, 41, workers=2, shard_size=2, lease=2.0)
    assert killed and report.manifest.subjects == 41
    assert files_of(out) == files_of(alone) and check(out) == []


@pytest.mark.slow
def test_a_subject_that_fails_ends_it(tmp_path):
    with pytest.raises(SynthesisError, match="subject 3: ArithmeticError: the noise ran out"):
        synthesize_on_ray(
            functools.partial(NoiseSource, fail_at=3),
            tmp_path / "ray",
            8,
            workers=1,
            shard_size=2,
        )
