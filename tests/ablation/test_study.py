"""Whole studies whose notebook only pretends to train: queue, failures, interruptions, results,
clusters."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from semhead_lib.ablation import analysis, queue
from semhead_lib.ablation.plan import load_study
from semhead_lib.ablation.queue import cluster_overrides, devices, left_to_do
from semhead_lib.ablation.study import ablate
from semhead_lib.conf.compose import compose_config
from semhead_lib.conf.runs import Ablate
from semhead_lib.errors import UsageError

CPU = {"devices": "cpu"}


def wait_until(there, seconds=300):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_study_that_is_killed_and_then_fails_is_finished(prepared, capfd):
    """With the queue its jobs end, too, and what was measured before is kept. The others finish
    beside a failing run, the failure is told, and the same command executes only what is left."""
    folder = prepared / "papermill_runs/ablations/tiny"
    (prepared / "signs/wait-none-2").touch()
    command = [sys.executable, "-m", "semhead_lib", "ablate", "tiny", "launcher.devices=cpu"]
    queue = subprocess.Popen(
        command, cwd=prepared, stdout=subprocess.DEVNULL, start_new_session=True
    )
    wait_until((prepared / "signs/waiting-none").exists)
    (first,) = (folder / "none_seed-0/04_training/metrics").iterdir()
    before = first.stat().st_mtime_ns
    os.kill(queue.pid, signal.SIGKILL)
    queue.wait()
    study = load_study("tiny", prepared)
    assert left_to_do(study, ["semantic_seed-0", "none_seed-0", "semantic_seed-1"], prepared) == {
        "none_seed-0": "was interrupted",
        "semantic_seed-1": "not executed yet",
    }

    (prepared / "signs/wait-none-2").unlink()
    (prepared / "signs/fail-semantic").touch()
    assert not ablate("tiny", launcher=CPU, report=False, root=prepared)
    told = capfd.readouterr().out
    assert "3 runs, 2 to execute" in told and "semantic_seed-0:" not in told
    assert first.stat().st_mtime_ns == before, "not measured again"
    assert (
        "semantic_seed-1: failed after" in told
        and "ArithmeticError: the losses are not finite" in told
    )
    assert "1 of 3 runs are not finished: semantic_seed-1" in told
    known = analysis.load_results(folder / "results")
    assert known.runs.set_index("run")["state"].to_dict() == {
        "semantic_seed-0": "finished",
        "none_seed-0": "finished",
        "semantic_seed-1": "failed",
    }
    assert set(known.heads) == {"semantic_seed-0", "none_seed-0"}
    assert (
        known.study["command"] == "semhead ablate tiny"
        and known.study["protocols"]
        and known.study["versions"]
    )
    assert set(known.metrics["run"]) == set(known.heads) and set(known.metrics["kimg"]) == {
        0.1,
        0.2,
    }

    (prepared / "signs/fail-semantic").unlink()
    assert ablate("tiny", launcher=CPU, root=prepared)
    told = capfd.readouterr().out
    assert (
        "3 runs, 1 to execute" in told
        and "semantic_seed-1: finished" in told
        and "none_seed-0:" not in told
    )
    whole = analysis.load_results(folder / "results")
    assert len(whole.heads) == 3
    report = json.loads((folder / "report/metrics.json").read_text())
    assert report["05_ablations"]["rows"] == len(whole.metrics)
    assert (
        ablate("tiny", launcher=CPU, report=False, root=prepared)
        and "0 to execute" in capfd.readouterr().out
    )


@pytest.mark.slow
def test_jobs_of_a_cluster(prepared, capfd):
    """The path of a SLURM cluster with submitit's own executor: Hydra's multirun, a job a run, a
    failure among them."""
    (prepared / "signs/fail-semantic").touch()
    keys = [
        ("study", "tiny"),
        ("launcher", "slurm"),
        ("launcher.executor", "local"),
        ("launcher.gpus", "0"),
    ]
    launcher = vars(compose_config(Ablate, keys).launcher)
    assert not ablate("tiny", only="semantic", launcher=launcher, report=False, root=prepared)
    assert "1 of 2 runs are not finished: semantic_seed-1" in capfd.readouterr().out
    assert list((prepared / "papermill_runs/ablations/tiny/submitit").iterdir())


def test_what_slurm_is_asked_for(checkout):
    """Hydra composes the launcher with our keys."""
    from hydra import compose, initialize

    from semhead_lib.ablation import job  # noqa: F401 (registers the configuration)

    keys = [
        ("study", "tiny"),
        ("launcher", "slurm"),
        ("launcher.partition", "big"),
        ("launcher.hours", "3"),
    ]
    words = cluster_overrides(
        load_study("tiny", checkout), vars(compose_config(Ablate, keys).launcher)
    )
    with initialize(config_path=None, version_base="1.3"):
        whole = compose("job", overrides=[*words, "study=tiny", "run=x"], return_hydra_config=True)
    asked = whole.hydra.launcher
    assert asked._target_.endswith("SlurmLauncher") and (asked.partition, asked.timeout_min) == (
        "big",
        180,
    )
    assert (asked.gpus_per_node, asked.cpus_per_task, asked.mem_gb, asked.array_parallelism) == (
        1,
        8,
        32,
        16,
    )
    assert asked.submitit_folder == "papermill_runs/ablations/tiny/submitit/%j"


def test_a_dry_run_lists_what_is_left(checkout, capfd):
    assert not ablate("tiny", dry_run=True, only="semantic", root=checkout)
    told = capfd.readouterr().out
    assert "tiny: 2 runs, 2 to execute" in told and "semantic_seed-1: not executed yet" in told
    assert not (checkout / "papermill_runs/ablations").exists()
    with pytest.raises(UsageError, match=r"only=x: no run begins so"):
        ablate("tiny", dry_run=True, only="seman,x", root=checkout)


def test_devices():
    assert devices("cpu") == ["cpu"] and devices("0, 2") == ["0", "2"] and devices("auto")
    assert devices("cpu,cpu") == ["cpu", "cpu"]
    with pytest.raises(UsageError, match=r"launcher.devices must be auto, cpu, or numbers of GPUs"):
        devices("gpu")


@pytest.mark.parametrize(
    ("asked", "runs", "threads"), [("cpu,cpu", 3, "4"), ("cpu,cpu", 1, None), ("cpu", 3, None)]
)
def test_runs_that_share_the_cpu_share_its_cores(tmp_path, monkeypatch, asked, runs, threads):
    seen = []

    class Ended:
        returncode = 0

        def __init__(self, command, env, **more):
            seen.append(env.get("OMP_NUM_THREADS"))

        def poll(self):
            return 0

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(queue, "available_cores", lambda: 8)
    monkeypatch.setattr(queue.subprocess, "Popen", Ended)
    study = SimpleNamespace(folder=Path("study"), file="study.yaml")
    assert queue.execute_here(study, [f"run-{n}" for n in range(runs)], tmp_path, asked) == []
    assert seen == [threads] * runs


def test_a_report_needs_results(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"metrics.csv: not there; 'semhead ablate STUDY' writes it"
    ):
        analysis.load_results(tmp_path)
    for name in ("metrics.csv", "runs.csv", "study.json"):
        (tmp_path / name).write_text("a,b\n1,2\n")
    with pytest.raises(
        ValueError, match=r"metrics.csv: expected the columns run, mode, .*, got a, b"
    ):
        analysis.load_results(tmp_path)
