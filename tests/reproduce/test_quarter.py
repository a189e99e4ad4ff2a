"""A quarter of an hour on a GPU, rehearsed on a processor, with what such a machine lacks hidden, and with failures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from semhead_lib.data.packing import pack_dataset
from semhead_lib.ops import compiled
from semhead_lib.reproduce.quarter import table, training
from semhead_lib.reproduce.quarter.job import Job
from semhead_lib.reproduce.quarter.lease import Lease, main
from semhead_lib.reproduce.quarter.plan import STEPS, Plan
from semhead_lib.reproduce.quarter.processes import Log, run
from semhead_lib.training.compact import restore_state
from semhead_lib.training.logs import read_log
from semhead_lib.training.snapshots import snapshots, unpack

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("training", "data")]
HIDDEN = ("webdataset", "hydra", "omegaconf", "open_clip", "anny", "warp", "k3d", "trimesh", "plotly", "papermill")
HIDE = f"""
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HIDDEN}:
            raise ModuleNotFoundError(f"No module named {{name!r}}: hidden, as on the machine that is lent", name=name)
sys.meta_path.insert(0, Hidden())
"""
SMALL = "subjects_per_batch=2 views_per_subject=2 views_per_head=2 log_every=1 blur_kimg=0.05"
needs_ops = pytest.mark.skipif("cpu" not in compiled.COMPILED.devices, reason=compiled.COMPILED.detail)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from small_training import make_noise

    folder = tmp_path_factory.mktemp("lease")
    pack_dataset(make_noise(folder / "noise"), folder / "heads.tar", 1.0, psnr=5, progress=False)
    return folder / "heads.tar"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The working tree as it is copied to the machine, with the ops that were built here."""
    tree = tmp_path_factory.mktemp("tree")
    ignore = shutil.ignore_patterns("__pycache__", "assets")
    shutil.copytree(ROOT / "semhead_lib", tree / "semhead_lib", ignore=ignore)
    (tree / "semhead_lib" / "assets").symlink_to(ROOT / "semhead_lib" / "assets")
    shutil.copytree(ROOT / "tests" / "ops", tree / "tests" / "ops", ignore=ignore)
    for name in ("csrc", "setup.py", "pyproject.toml", "environments/gpu_quarter.sh", "tests/conftest.py"):
        (tree / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, tree / name)
    (tree / "hide").mkdir()
    (tree / "hide" / "sitecustomize.py").write_text(HIDE)
    return tree


def start(tree, minutes, data, out, *state, **environment):
    environment = {"DEVICE": "cpu", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "SETTINGS": SMALL} | environment
    return subprocess.Popen(
        [tree / "environments" / "gpu_quarter.sh", str(minutes), data, out, *state], stdout=subprocess.PIPE, text=True,
        stderr=subprocess.STDOUT, env=os.environ | environment | {"PYTHONPATH": str(tree / "hide")}, cwd=tree,
    )  # fmt: skip


def lease(*arguments, **environment):
    process = start(*arguments, **environment)
    said, _ = process.communicate(timeout=600)
    out = Path(arguments[3])
    summary = json.loads((out / "summary.json").read_text()) if (out / "summary.json").exists() else {}
    return process.returncode, said, summary


@pytest.fixture(scope="module")
def whole(tree, data, tmp_path_factory):
    """A lease in which all goes well; it ends when its training does."""
    out = tmp_path_factory.mktemp("whole") / "out"
    settings = f"{SMALL} kimg=0.012"
    return out, *lease(tree, 20, data, out, SETTINGS=settings, TESTS="-k 'cpu and half_maps or cpu and odd_sizes'")


@needs_ops
@pytest.mark.slow
def test_a_whole_lease(whole):
    out, code, said, summary = whole
    assert {name: step["status"] for name, step in summary["steps"].items()} == dict.fromkeys(STEPS, "done"), said
    assert code == 0 and summary["training"] == {"ops": "compiled", "graphs": True, "fp32": False, "given_up": {}}
    names = sorted(path.name for path in out.iterdir())
    assert names == ["cpu_render.json", "cpu_step.json", "heads.png", "log.jsonl", "quarter.log", "state",
                     "summary.json"]  # fmt: skip
    tests = summary["steps"]["tests"]
    assert tests["passed"] > 10 and tests["failed"] == 0
    assert "ops: right" in said and "bf16: right" in said and "graphs: there are none on a CPU" in said
    assert (summary["steps"]["train"]["step"], summary["steps"]["train"]["preset"]) == (3, "semhead-32")
    assert [line["step"] for line in read_log(out)] == [1, 2, 3]
    with Image.open(out / "heads.png") as heads:
        assert heads.size == (8 * 33 - 1, 8 * 33 - 1)
    log = (out / "quarter.log").read_text().splitlines()
    assert all(line[:7].strip().replace(".", "").isdigit() for line in log), "each line has its second"


@needs_ops
@pytest.mark.slow
def test_figures_of_the_lease(whole):
    render, step = (json.loads((whole[0] / name).read_text()) for name in ("cpu_render.json", "cpu_step.json"))
    stored = json.loads((ROOT / "papermill_runs" / "benchmarks" / "render_cpu.json").read_text())
    for figures in (render, step):
        assert {"what", "ops", "machine", "versions", "date"} <= figures.keys() & stored.keys()
    assert {"hyplane", "triplane", "heads of semhead-64"} <= render["rows"].keys()
    for row in render["rows"].values():
        assert row["reference over ours, forward ms"] == pytest.approx(
            row["reference forward ms"] / row["ours forward ms"], rel=0.02
        )
    assert step["rows"]["semhead-32"]["eager fp32 images/s"] > 0


@needs_ops
@pytest.mark.slow
def test_a_failure_of_one_step_costs_no_other(whole, tree, data, tmp_path):
    """No compiler, a benchmark that hangs; the state of the lease before goes on all the same."""
    broken, out = tmp_path / "tree", tmp_path / "out"
    shutil.copytree(tree, broken, symlinks=True)
    for path in (broken / "semhead_lib").glob("_ops.*"):
        path.unlink()
    render = broken / "semhead_lib" / "reproduce" / "quarter" / "render_speed.py"
    render.write_text("import subprocess, time\nsubprocess.Popen(['sleep', '900'])\ntime.sleep(900)\n")
    settings = f"{SMALL} kimg=0.02"
    code, said, summary = lease(broken, 20, data, out, whole[0] / "state", SETTINGS=settings, CXX="/bin/false",
                                LIMITS="render=2 step=0")  # fmt: skip
    steps = summary["steps"]
    assert code == 1 and (steps["build"]["status"], steps["render"]["status"]) == ("failed", "failed")
    assert "exit code 1" in steps["build"]["reason"] and steps["render"]["reason"] == "cut off after 2 s"
    assert (steps["step"]["status"], steps["step"]["reason"]) == ("skipped", "left out: no time was given")
    assert "no ops to test" in steps["tests"]["reason"]
    assert (
        summary["training"]["ops"] == "reference"
        and "ops are not built" in summary["training"]["given_up"]["reference"]
    )
    assert steps["checks"]["status"] == "done" and "bf16: right" in said
    assert (steps["train"]["status"], steps["train"]["state"]) == ("done", "goes on at step 3"), said
    assert [line["step"] for line in read_log(out)] == [1, 2, 3, 4, 5]
    assert steps["finish"]["state_step"] == 5
    assert restore_state(out / "state", tmp_path / "run") == 5


@pytest.mark.slow
def test_a_signal_in_the_training_and_a_damaged_state(tree, data, tmp_path):
    """Few files may go home: all but the state lies in one."""
    state, out = tmp_path / "state", tmp_path / "out"
    state.mkdir()
    (state / "state.json").write_text("{}")
    process = start(tree, 20, data, out, state, FILES="4", LIMITS="build=0 checks=0 tests=0 render=0 step=0")
    for line in process.stdout:
        if '"step": 2' in line:
            process.send_signal(signal.SIGTERM)
            break
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 143, said
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert files == ["report.tar", "state/part-1.safetensors", "state/state.json"]
    with tarfile.open(out / "report.tar") as tar:
        assert sorted(tar.getnames()) == ["heads.png", "log.jsonl", "quarter.log", "summary.json"]
        summary = json.load(tar.extractfile("summary.json"))
    train = summary["steps"]["train"]
    assert summary["signalled"] and train["stopped_by"] == "a signal; its state was saved"
    assert train["state"].startswith("not used, the training starts from the beginning: ")
    assert "state.json: expected format" in train["state"]
    assert restore_state(out / "state", tmp_path / "run") == train["step"] >= 2


def test_a_process_is_cut_off_with_its_children(tmp_path):
    log, marker = Log(tmp_path / "log"), tmp_path / "alive"
    child = f"""
import pathlib, time
while True:
    pathlib.Path({str(marker)!r}).write_text(str(time.time()))
    time.sleep(0.05)
"""
    code = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\nprint('so far')"
    ended = run("test", [sys.executable, "-c", f"{code}\ntime.sleep(600)"], log, 3.0, grace=2)
    assert ended.reason == "cut off after 3 s" and 3 <= ended.seconds < 30
    last = marker.read_text()
    time.sleep(0.3)
    assert marker.read_text() == last, "its child is gone, too"
    assert "test    so far" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('fine')", ""),
        ("raise ValueError('the card is warm')", "ValueError: the card is warm (exit code 1)"),
        ("import os; os.abort()", "it said nothing (signal 6)"),
        ("import sys; sys.exit('out of coffee')", "out of coffee (exit code 1)"),
    ],
)
def test_why_a_process_failed(tmp_path, code, reason):
    ended = run("test", [sys.executable, "-c", code], Log(tmp_path / "log"), 60)
    assert (ended.reason, ended.well) == (reason, not reason)
    assert run("test", ["/no/such/program"], Log(tmp_path / "log"), 60).reason.startswith("/no/such/program does not")
    assert run("test", ["true"], Log(tmp_path / "log"), 0).reason == "no time was left"


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (["15"], {}, "expected MINUTES DATA.tar OUT"),
        (["soon", "d", "o"], {}, "must be numbers: could not convert string to float: 'soon'"),
        (["0", "d", "o"], {}, "MINUTES must be positive, got 0"),
        (["15", "nowhere.tar", "o"], {}, "there is none at nowhere.tar"),
        (["15", "d", "o"], {"DEVICE": "tpu"}, "DEVICE must be cuda or cpu, got 'tpu'"),
        (["15", "d", "o"], {"SETTINGS": "kimg"}, "SETTINGS must be key=value words, got 'kimg'"),
        (["15", "d", "o"], {"LIMITS": "sleep=3"}, "LIMITS may name build, checks, tests, render, step, got sleep"),
        (["15", "d", "o"], {"FILES": "2"}, "FILES must be at least 3"),
        (["15", "d", "."], {}, "OUT must be new or empty, . is not"),
        (["15", "d", "d"], {}, "OUT must be a folder, d is a file"),
        (["15", "d", "o", "lost"], {}, "STATE must be the folder state/ of a lease before, there is none at lost"),
        (["15", "d", "o"], {"STATE_MB": "-1"}, "STATE_MB must be positive, got -1"),
        (["15", "d", "o"], {"STATE_MB": "nan"}, "STATE_MB must be positive, got nan"),
    ],
)
def test_a_wrong_command_line_is_named(tmp_path, monkeypatch, words, environment, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").touch()
    with pytest.raises(ValueError, match=message):
        Plan.read(words, environment)


def test_out_that_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / "d").touch()
    assert main(["15", str(tmp_path / "d"), str(tmp_path / "d" / "out")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and f"Not a directory: '{tmp_path}/d/out'" in said[0]


def test_a_full_disk_stops_no_process(tmp_path):
    """What is said then goes to standard output alone."""
    log = Log(Path("/dev/full"))
    ended = run("test", [sys.executable, "-c", "for i in range(100_000): print(i)"], log, 60)
    assert ended.well


def test_a_summary_that_cannot_be_written_is_said(tmp_path, capsys, monkeypatch):
    (tmp_path / "d").touch()
    lease = Lease(Plan(1, str(tmp_path / "d"), str(tmp_path / "o")))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Lease, "_write", full)
    for step in ("_refused", "_build", "_checks", "_tests", "_step", "_train", "_finish"):
        monkeypatch.setattr(Lease, step, lambda *_: None)
    assert lease.run() == 1 and not lease.work.exists()
    assert "o cannot be written: [Errno 28] No space left on device" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PRESET": "semhead-64"}, "preset semhead-64 makes pictures of 64 pixels, the dataset has 32"),
        ({"PRESET": "semhead-99"}, "preset must be one of semhead-32, "),
        ({"SETTINGS": "subjects_per_batch=0"}, "subjects_per_batch must be at least 1, got 0"),
        ({"SETTINGS": "seed=first"}, "seed cannot be 'first'"),
        ({"SETTINGS": "kimgs=3"}, "unexpected keyword argument 'kimgs'"),
        ({"SETTINGS": "views_per_subject=9 views_per_head=9"}, "views_per_subject must be 1 to 4"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_time_is_spent(data, tmp_path, monkeypatch, environment, message):
    plan = Plan.read(["15", str(data), str(tmp_path / "o")], {"DEVICE": "cpu"} | environment)
    job = plan.as_json() | {"work": str(tmp_path), "graphs": True, "fp32": False, "result": str(tmp_path / "result")}
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert message in training.main(["", str(tmp_path / "job.json"), "look"])
    assert message in json.loads((tmp_path / "result").read_text())["refused"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_machine_without_a_gpu_is_refused(data, tmp_path):
    plan = Plan.read(["15", str(data), str(tmp_path / "o")], {})
    job = plan.as_json() | {"work": str(tmp_path), "graphs": True, "fp32": False, "result": str(tmp_path / "result")}
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert "finds no CUDA device; DEVICE=cpu" in training.main(["", str(tmp_path / "job.json"), "look"])


@pytest.mark.slow
def test_a_lease_that_cannot_train_ends_at_once(tree, data, tmp_path):
    broken = tmp_path / "broken.tar"
    broken.write_bytes(data.read_bytes()[:-20000])
    code, said, summary = lease(tree, 20, broken, tmp_path / "out")
    assert code == 2 and "DATA or SETTINGS: " in said, said
    assert summary["steps"]["train"]["status"] == "failed" and "broken.tar" in summary["steps"]["train"]["reason"]
    assert summary["steps"]["build"]["status"] == "skipped"


def test_a_state_of_other_networks_is_not_used(data, tmp_path, monkeypatch):
    """As those of an older version may be."""
    words = ["15", str(data), str(tmp_path / "o"), str(tmp_path)]
    job = Plan.read(words, {"DEVICE": "cpu", "SETTINGS": SMALL}).as_json()
    run, facts, calls = tmp_path / "run", {}, []
    run.mkdir()

    def train(settings, data, out, **_):
        calls.append(out.exists())
        if out.exists():
            raise ValueError(f"{out}/snapshots/step-00000001.pt is no snapshot of these networks (missing keys)")

    monkeypatch.setattr(training, "train", train)
    job = Job(job | {"graphs": True, "fp32": False, "deadline": time.time() + 60})
    packed = training.load_packed(data)
    training._train(job, run, packed, training._settings(job, tmp_path / "none", packed), facts)
    assert calls == [True, False] and facts["state"].startswith("not used, the training starts from the beginning: ")


@pytest.mark.slow
def test_a_state_of_another_size_is_not_used(whole, tree, tmp_path):
    from small_training import make_noise

    pack_dataset(make_noise(tmp_path / "noise", resolution=64), tmp_path / "heads.tar", 1.0, psnr=5, progress=False)
    options = dict(SETTINGS=f"{SMALL} kimg=0.004", LIMITS="build=0 checks=0 tests=0 render=0 step=0")
    _, said, summary = lease(tree, 20, tmp_path / "heads.tar", tmp_path / "out", whole[0] / "state", **options)
    train = summary["steps"]["train"]
    assert (train["status"], train["preset"], train["step"]) == ("done", "semhead-64", 1), said
    assert train["state"] == ("not used, the training starts from the beginning: preset semhead-32 makes pictures of "
                              "32 pixels, the dataset has 64")  # fmt: skip


def test_time_is_left_for_training(tmp_path):
    (tmp_path / "d").touch()
    for minutes in (1, 5, 15, 60):
        plan = Plan(minutes, str(tmp_path / "d"), str(tmp_path / "o"))
        before = sum(plan.limit(step) for step in STEPS[:5])
        assert before + plan.reserve <= 1.2 * plan.seconds
    assert plan.limit("render") + plan.limit("step") <= 120 and plan.reserve == 120
    quarter = Plan(15, str(tmp_path / "d"), str(tmp_path / "o"))
    assert quarter.seconds - quarter.reserve - sum(quarter.limit(step) for step in STEPS[:5]) > 200


FIGURES = {
    "what": "batch 8",
    "device": "NVIDIA H100 80GB HBM3",
    "rows": {"hyplane": {"ours forward ms": 1.234, "ours both ms": 4.0, "reference forward ms": 9.0,
                         "ours both MB": 30.0, "share of fp32": 0.51, "compiled reference": "out of memory"}},
    "versions": {"torch": "2.11.0", "cuda": "13.0"},
    "date": "2026-12-01",
}  # fmt: skip


def repository(folder):
    (folder / "papermill_runs" / "benchmarks").mkdir(parents=True)
    (folder / "README.md").write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    return folder


def test_readme_says_that_no_gpu_was_measured(tmp_path):
    assert table.main([], repository(tmp_path)) == 0
    text = (tmp_path / "README.md").read_text()
    assert text == f"before\n{table.BEGIN}\n{table.NONE}\n{table.END}\nafter\n"


def test_readme_has_the_figures_of_a_gpu_and_no_others(tmp_path, capsys):
    root, out = repository(tmp_path / "root"), tmp_path / "out"
    out.mkdir()
    assert table.main([str(out)], root) == 1 and "has neither of" in capsys.readouterr().err
    (out / "gpu_render.json").write_text(json.dumps(FIGURES | {"device": "CPU, 2 threads"}))
    assert table.main([str(out)], root) == 1 and "no figures of a GPU" in capsys.readouterr().err
    assert not list((root / "papermill_runs" / "benchmarks").iterdir())
    (out / "gpu_render.json").write_text(json.dumps(FIGURES))
    step = {"semhead-64": {"graphed bf16 images/s": 3210.4, "graphed bf16 peak MB": 4321.0, "batch": 32}}
    (out / "gpu_step.json").write_text(json.dumps(FIGURES | {"rows": step}))
    assert table.main([str(out)], root) == 0
    text = (root / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "NVIDIA H100 80GB HBM3 (torch 2.11.0, 2026-12-01)" in text
    assert "| hyplane | 1.23 / 4.00 | 9.00 / – | – / – | 30 / – | 0.51 |" in text
    assert "| `semhead-64` | 32 | 3,210 | 4.3 |" in text
    table.main([], root)
    assert (root / "README.md").read_text() == text, "written again from what was kept"
    (root / "README.md").write_text("no markers")
    assert table.main([], root) == 1 and "needs the lines" in capsys.readouterr().err


def test_a_state_of_a_lease_is_a_snapshot(whole, tmp_path):
    restore_state(whole[0] / "state", tmp_path / "run")
    state = unpack(snapshots(tmp_path / "run" / "snapshots")[-1].read_bytes())
    assert state["step"] == 3 and bool(torch.isfinite(state["generator"]["renderer.w1"]).all())
