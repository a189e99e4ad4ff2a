"""A quarter of an hour on a GPU, rehearsed on a processor, with what such a machine lacks hidden,
and with failures."""

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

from semhead_lib.atomic import folder_lock
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.data.dataset.packing import pack_dataset
from semhead_lib.models.config import preset
from semhead_lib.models.generator import Generator
from semhead_lib.ops import compiled
from semhead_lib.reproduce.quarter import checks, finish, reconstruction, table, training
from semhead_lib.reproduce.quarter.job import Job
from semhead_lib.reproduce.quarter.lease import Lease, main
from semhead_lib.reproduce.quarter.measure import Measurements
from semhead_lib.reproduce.quarter.plan import STEPS, Plan
from semhead_lib.reproduce.quarter.processes import Ended, Log, run
from semhead_lib.reproduce.quarter.step_runner import remove_leftovers
from semhead_lib.training.compact import restore_state
from semhead_lib.training.logs import read_log
from semhead_lib.training.snapshots import snapshots, unpack

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("training", "data")]
HIDDEN = (
    "webdataset",
    "hydra",
    "omegaconf",
    "open_clip",
    "anny",
    "warp",
    "k3d",
    "trimesh",
    "plotly",
    "papermill",
)
HIDE = f"""
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HIDDEN}:
            raise ModuleNotFoundError(f"No module named {{name!r}}: hidden, as on the machine that is lent", name=name)
sys.meta_path.insert(0, Hidden())
"""
SMALL = "subjects_per_batch=2 views_per_subject=2 views_per_head=2 log_every=1 blur_kimg=0.05"
needs_ops = pytest.mark.skipif(
    "cpu" not in compiled.COMPILED.devices, reason=compiled.COMPILED.detail
)


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
    for name in (
        "csrc",
        "setup.py",
        "pyproject.toml",
        "environments/gpu_quarter.sh",
        "tests/conftest.py",
    ):
        (tree / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, tree / name)
    (tree / "hide").mkdir()
    (tree / "hide" / "sitecustomize.py").write_text(HIDE)
    return tree


def start(tree, minutes, data, out, *state, **environment):
    environment = {
        "DEVICE": "cpu",
        "PYTHON": sys.executable,
        "OMP_NUM_THREADS": "1",
        "SETTINGS": SMALL,
    } | environment
    return subprocess.Popen(
        [tree / "environments" / "gpu_quarter.sh", str(minutes), data, out, *state],
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.STDOUT,
        env=os.environ | environment | {"PYTHONPATH": str(tree / "hide")},
        cwd=tree,
    )


def lease(*arguments, **environment):
    process = start(*arguments, **environment)
    said, _ = process.communicate(timeout=600)
    out = Path(arguments[3])
    summary = (
        json.loads((out / "summary.json").read_text()) if (out / "summary.json").exists() else {}
    )
    return process.returncode, said, summary


@pytest.fixture(scope="module")
def whole(tree, data, tmp_path_factory):
    """A lease in which all goes well; it ends when its training does."""
    out = tmp_path_factory.mktemp("whole") / "out"
    settings = f"{SMALL} kimg=0.012"
    return out, *lease(
        tree, 20, data, out, SETTINGS=settings, TESTS="-k 'cpu and half_maps or cpu and odd_sizes'"
    )


@needs_ops
@pytest.mark.slow
def test_a_whole_lease(whole):
    out, code, said, summary = whole
    assert {name: step["status"] for name, step in summary["steps"].items()} == dict.fromkeys(
        STEPS, "done"
    ), said
    assert code == 0 and summary["training"] == {
        "ops": "compiled",
        "graphs": True,
        "fp32": False,
        "given_up": {},
    }
    names = sorted(path.name for path in out.iterdir())
    assert names == [
        "cpu_render.json",
        "cpu_step.json",
        "heads.png",
        "log.jsonl",
        "quarter.log",
        "state",
        "summary.json",
    ]
    tests = summary["steps"]["tests"]
    assert tests["passed"] > 10 and tests["failed"] == 0
    assert (
        "ops: right" in said and "bf16: right" in said and "graphs: there are none on a CPU" in said
    )
    assert (summary["steps"]["train"]["step"], summary["steps"]["train"]["preset"]) == (
        3,
        "semhead-32",
    )
    assert [line["step"] for line in read_log(out)] == [1, 2, 3]
    with Image.open(out / "heads.png") as heads:
        assert heads.size == (8 * 33 - 1, 8 * 33 - 1)
    log = (out / "quarter.log").read_text().splitlines()
    assert all(line[:7].strip().replace(".", "").isdigit() for line in log), (
        "each line has its second"
    )


@needs_ops
@pytest.mark.slow
def test_figures_of_the_lease(whole):
    render, step = (
        json.loads((whole[0] / name).read_text()) for name in ("cpu_render.json", "cpu_step.json")
    )
    stored = json.loads((ROOT / "papermill_runs" / "benchmarks" / "render_cpu.json").read_text())
    for figures in (render, step):
        assert {"what", "ops", "machine", "versions", "date"} <= figures.keys() & stored.keys()
    assert {"hyplane", "triplane", "heads of semhead-128"} <= render["rows"].keys()
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
    render.write_text(
        "import subprocess, time\nsubprocess.Popen(['sleep', '900'])\ntime.sleep(900)\n"
    )
    settings = f"{SMALL} kimg=0.02"
    code, said, summary = lease(
        broken,
        20,
        data,
        out,
        whole[0] / "state",
        SETTINGS=settings,
        CXX="/bin/false",
        LIMITS="render=2 step=0",
    )
    steps = summary["steps"]
    assert code == 1 and (steps["build"]["status"], steps["render"]["status"]) == (
        "failed",
        "unfinished",
    )
    assert (
        "exit code 1" in steps["build"]["reason"]
        and steps["render"]["reason"] == "cut off after 2 s"
    )
    assert (steps["step"]["status"], steps["step"]["reason"]) == (
        "skipped",
        "left out: no time was given",
    )
    assert "no ops to test" in steps["tests"]["reason"]
    assert (
        summary["training"]["ops"] == "reference"
        and "ops are not built" in summary["training"]["given_up"]["reference"]
    )
    assert steps["checks"]["status"] == "done" and "bf16: right" in said
    assert (steps["train"]["status"], steps["train"]["state"]) == ("done", "goes on at step 3"), (
        said
    )
    assert [line["step"] for line in read_log(out)] == [1, 2, 3, 4, 5]
    assert steps["finish"]["state_step"] == 5
    assert restore_state(out / "state", tmp_path / "run") == 5


@pytest.mark.slow
def test_a_signal_in_the_training_and_a_damaged_state(tree, data, tmp_path):
    """Few files may go home: all but the state lies in one."""
    state, out = tmp_path / "state", tmp_path / "out"
    state.mkdir()
    (state / "state.json").write_text("{}")
    process = start(
        tree, 20, data, out, state, FILES="4", LIMITS="build=0 checks=0 tests=0 render=0 step=0"
    )
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
    ops = summary["steps"]["build"], summary["training"]["ops"]
    if "cpu" in compiled.COMPILED.devices:
        assert (ops[0]["status"], ops[1]) == (
            "skipped",
            "compiled",
        ) and "ops that are there" in ops[0]["reason"]
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
    code = (
        "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', "
        f"{child!r}])\nprint('so far')"
    )
    ended = run("test", [sys.executable, "-c", f"{code}\ntime.sleep(600)"], log, 3.0, grace=2)
    assert ended.reason == "cut off after 3 s" and ended.cut_off and 3 <= ended.seconds < 30
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
    assert (ended.reason, ended.well, ended.cut_off) == (reason, not reason, False)
    assert run("test", ["/no/such/program"], Log(tmp_path / "log"), 60).reason.startswith(
        "/no/such/program does not"
    )
    assert run("test", ["true"], Log(tmp_path / "log"), 0).reason == "no time was left"


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (["15"], {}, "expected MINUTES DATA.tar OUT"),
        (["soon", "d", "o"], {}, "must be numbers: could not convert string to float: 'soon'"),
        (["0.9", "d", "o"], {}, "MINUTES must be at least 1, got 0.9"),
        (["nan", "d", "o"], {}, "MINUTES must be at least 1, got nan"),
        (["inf", "d", "o"], {}, "MINUTES must be at least 1, got inf"),
        (["15", "nowhere.tar", "o"], {}, "there is none at nowhere.tar"),
        (["15", "d", "o"], {"DEVICE": "tpu"}, "DEVICE must be cuda or cpu, got 'tpu'"),
        (["15", "d", "o"], {"SETTINGS": "kimg"}, "SETTINGS must be key=value words, got 'kimg'"),
        (
            ["15", "d", "o"],
            {"LIMITS": "sleep=3"},
            "LIMITS may name build, checks, tests, render, step, got sleep",
        ),
        (["15", "d", "o"], {"FILES": "2"}, "FILES must be at least 3"),
        (["15", "d", "."], {}, "OUT must be new or empty, . is not"),
        (["15", "d", "d"], {}, "OUT must be a folder, d is a file"),
        (
            ["15", "d", "o", "lost"],
            {},
            "STATE must be the folder state/ of a lease before, there is none at lost",
        ),
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
    for step in ("_build", "_checks", "_tests", "_step", "_train", "_finish"):
        monkeypatch.setattr(Lease, step, lambda *_: None)
    assert lease.run() == 1 and not lease.work.exists()
    assert "o cannot be written: [Errno 28] No space left on device" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"PRESET": "semhead-64"},
            "preset semhead-64 makes images of 64 pixels, the dataset has 32",
        ),
        ({"PRESET": "semhead-99"}, "preset must be one of semhead-32, "),
        ({"SETTINGS": "subjects_per_batch=0"}, "subjects_per_batch must be an integer >= 1, got 0"),
        ({"SETTINGS": "seed=first"}, "seed cannot be 'first'"),
        ({"SETTINGS": "kimgs=3"}, "unexpected keyword argument 'kimgs'"),
        ({"SETTINGS": "views_per_subject=9 views_per_head=9"}, "views_per_subject must be 1 to 4"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_time_is_spent(
    data, tmp_path, monkeypatch, environment, message
):
    plan = Plan.read(["15", str(data), str(tmp_path / "o")], {"DEVICE": "cpu"} | environment)
    job = plan.as_json() | {
        "work": str(tmp_path),
        "graphs": True,
        "fp32": False,
        "result": str(tmp_path / "result"),
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert message in training.look(Job.read(["", str(tmp_path / "job.json")]), tmp_path / "run")
    assert message in json.loads((tmp_path / "result").read_text())["refused"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_machine_without_a_gpu_is_refused(data, tmp_path):
    plan = Plan.read(["15", str(data), str(tmp_path / "o")], {})
    job = plan.as_json() | {
        "work": str(tmp_path),
        "graphs": True,
        "fp32": False,
        "result": str(tmp_path / "result"),
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    job = Job.read(["", str(tmp_path / "job.json")])
    assert "finds no CUDA device; DEVICE=cpu" in training.look(job, tmp_path / "run")


@pytest.mark.slow
def test_a_lease_that_cannot_train_ends_at_once(tree, data, tmp_path):
    broken = tmp_path / "broken.tar"
    broken.write_bytes(data.read_bytes()[:-20000])
    code, said, summary = lease(tree, 20, broken, tmp_path / "out")
    assert code == 2 and "DATA or SETTINGS: " in said, said
    assert (
        summary["steps"]["train"]["status"] == "failed"
        and "broken.tar" in summary["steps"]["train"]["reason"]
    )
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
            raise ValueError(
                f"{out}/snapshots/step-00000001.pt is no snapshot of these networks (missing keys)"
            )

    monkeypatch.setattr(training, "train", train)
    job = Job(job | {"graphs": True, "fp32": False, "deadline": time.time() + 60})
    packed = training.load_packed(data)
    training._train(job, run, packed, training._settings(job, tmp_path / "none", packed), facts)
    assert calls == [True, False] and facts["state"].startswith(
        "not used, the training starts from the beginning: "
    )


def test_a_state_of_another_size_is_not_used(whole, tmp_path):
    from small_training import make_noise

    packed = tmp_path / "heads.tar"
    pack_dataset(make_noise(tmp_path / "noise", resolution=64), packed, 1.0, psnr=5, progress=False)
    words = ["20", str(packed), str(tmp_path / "out"), str(whole[0] / "state")]
    plan = Plan.read(words, {"DEVICE": "cpu", "SETTINGS": f"{SMALL} kimg=0.004"})
    of_lease = {"reference": False, "graphs": True, "fp32": False, "deadline": time.time() + 300}
    paths = {"work": str(tmp_path), "result": str(tmp_path / "result")}
    (tmp_path / "job.json").write_text(json.dumps(plan.as_json() | of_lease | paths))
    assert training.main(["", str(tmp_path / "job.json")]) is None
    train = json.loads((tmp_path / "result").read_text())
    assert (train["preset"], train["step"]) == ("semhead-64", 1)
    assert train["state"] == (
        "not used, the training starts from the beginning: preset semhead-32 makes images of "
        "32 pixels, the dataset has 64"
    )


def test_time_is_left_for_training(tmp_path):
    (tmp_path / "d").touch()
    for minutes in (1, 5, 15, 60):
        plan = Plan(minutes, str(tmp_path / "d"), str(tmp_path / "o"))
        before = sum(plan.limit(step) for step in STEPS[:5])
        assert before + plan.reserve <= 1.2 * plan.seconds
    assert plan.limit("render") + plan.limit("step") <= 120 and plan.reserve == 120
    short = Plan(2, str(tmp_path / "d"), str(tmp_path / "o"), limits={"render": 9.0})
    assert short.limit("tests", left=100) == 18 and short.limit("tests", left=70) == 10
    assert short.limit("tests", left=50) < 0 and short.limit("render", left=50) == 9, (
        "a quarter is for the training"
    )
    quarter = Plan(15, str(tmp_path / "d"), str(tmp_path / "o"))
    assert quarter.seconds - quarter.reserve - sum(quarter.limit(step) for step in STEPS[:5]) > 200


CUT = Ended(-15, 18.0, "cut off after 18 s", cut_off=True)


@pytest.mark.parametrize(
    ("ended", "checked", "quick", "ops", "why"),
    [
        (CUT, {}, "right", "compiled", None),
        (CUT, {}, None, "reference", "not checked: cut off after 18 s"),
        (CUT, {"ops": "image is off"}, "right", "reference", "image is off"),
        (CUT, {"ops": "right"}, "right", "compiled", None),
        (
            Ended(-11, 3.0, "it said nothing (signal 11)"),
            {},
            "right",
            "reference",
            "not checked: it said nothing",
        ),
    ],
)
def test_checks_that_did_not_finish_have_not_failed(
    tmp_path, monkeypatch, ended, checked, quick, ops, why
):
    (tmp_path / "d").touch()
    lease = Lease(Plan(2, str(tmp_path / "d"), str(tmp_path / "o"), device="cpu"))
    answers = {"checks": checked, "build": {"quick": quick}}
    monkeypatch.setattr(Lease, "_step", lambda *_, **__: ended)
    monkeypatch.setattr(Lease, "_result", lambda _, name: answers[name])
    lease._checks()
    assert lease.facts["reference"] == (ops == "reference")
    assert (why or "") in lease.facts.get("given_up", {}).get("reference", "")
    shutil.rmtree(lease.work)


@needs_ops
def test_a_quick_check_sees_ops_that_are_wrong(monkeypatch):
    from semhead_lib.models import renderer

    assert checks.quick("cpu") == "right"
    render = renderer.render_rays

    def wrong(*arguments, **options):
        found = render(*arguments, **options)
        return found._replace(features=found.features * 1.01)

    monkeypatch.setattr(renderer, "render_rays", wrong)
    assert "the compiled renderer is off the reference's by 0.0" in checks.quick("cpu")


def test_what_killed_leases_left_is_removed(tmp_path):
    for name in ("quarter-killed", "quarter-running", "quarter-new", "other"):
        (tmp_path / name / "run").mkdir(parents=True)
        if name != "quarter-new":
            os.utime(tmp_path / name, (0, 0))
    with folder_lock(tmp_path / "quarter-running"):
        remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "other",
        "quarter-new",
        "quarter-running",
    ]


def test_a_running_lease_holds_its_folder(tmp_path, monkeypatch):
    (tmp_path / "d").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lease = Lease(Plan(2, str(tmp_path / "d"), str(tmp_path / "o")))
    os.utime(lease.work, (0, 0))
    remove_leftovers(tmp_path)
    assert lease.work.is_dir() and lease.work.parent == tmp_path


def test_help_says_what_the_environment_may_set(capsys):
    assert main(["--help"]) == 0 and "LIMITS" in capsys.readouterr().out


def test_heads_are_drawn_in_a_part_of_the_time_before_the_state(tmp_path, monkeypatch):
    model, drawn = tmp_path / "run" / "generator", []
    model.mkdir(parents=True)
    Generator(preset("semhead-32")).save(model)
    ConditionBank(ConditionMode("none", 128), None, torch.zeros(0, 128)).save(model)
    assert finish.draw(model, tmp_path / "few.png", "cpu", until=0.0) == 1
    with Image.open(tmp_path / "few.png") as heads:
        assert heads.size == (8 * 33 - 1, 32)

    def slow(*_, **__):
        drawn.append((tmp_path / "heads.png").exists())
        raise OSError("too slow")

    monkeypatch.setattr(finish, "compact_state", slow)
    monkeypatch.setattr(finish, "snapshots", lambda _: [1])
    job = {
        "work": str(tmp_path),
        "out": str(tmp_path),
        "reference": False,
        "device": "cpu",
        "training": "adversarial",
        "files": None,
        "state_mb": 64.0,
        "deadline": time.time() + 60,
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert finish.main(["", str(tmp_path / "job.json")]) == "too slow" and drawn == [True]


def test_figures_say_what_was_cut_off_and_what_was_disturbed(tmp_path, monkeypatch):
    figures = Measurements(tmp_path / "figures.json", "renders", "cpu")

    def rows():
        return json.loads((tmp_path / "figures.json").read_text())["rows"]

    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0, 0))
    figures.begin("hyplane", "ours")
    assert rows() == {"hyplane": {"ours": "cut off"}}
    figures.add("hyplane", **{"ours forward ms": 2.0})
    assert rows() == {"hyplane": {"ours forward ms": 2.0}}
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 0, 0))
    figures.begin("triplane", "ours")
    figures.add("triplane", **{"ours forward ms": 3.0})
    assert (
        rows()["triplane"]["disturbed"].startswith("load 1000.0 on ")
        and "disturbed" not in rows()["hyplane"]
    )
    (tmp_path / "gpu_render.json").write_text(json.dumps(FIGURES | {"rows": rows()}))
    assert "| triplane (disturbed: load 1000.0 on " in table.section(tmp_path)


FIGURES = {
    "what": "batch 8",
    "device": "NVIDIA H100 80GB HBM3",
    "rows": {
        "hyplane": {
            "ours forward ms": 1.234,
            "ours both ms": 4.0,
            "reference forward ms": 9.0,
            "ours both MB": 30.0,
            "share of fp32": 0.51,
            "compiled reference": "out of memory",
        }
    },
    "versions": {"torch": "2.11.0", "cuda": "13.0"},
    "date": "2026-12-01",
}


def repository(folder):
    (folder / "papermill_runs" / "benchmarks").mkdir(parents=True)
    (folder / table.PAGE).parent.mkdir()
    (folder / table.PAGE).write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    return folder


def test_the_page_says_that_no_gpu_was_measured(tmp_path):
    table.write_page(repository(tmp_path))
    text = (tmp_path / table.PAGE).read_text()
    assert text == f"before\n{table.BEGIN}\n{table.NONE}\n{table.END}\nafter\n"


def test_a_table_of_nothing_says_what_is_missing(tmp_path, capsys):
    before = (repository(tmp_path) / table.PAGE).read_text()
    assert table.main([], tmp_path) == 2
    assert (
        "OUT is missing: the folder of a lease, with gpu_render.json or gpu_step.json"
        in capsys.readouterr().err
    )
    assert (
        table.main(["one", "two"], tmp_path) == 2
        and "expected one OUT, got one two" in capsys.readouterr().err
    )
    assert main(["--table"]) == 2 and (tmp_path / table.PAGE).read_text() == before


def test_the_page_has_the_figures_of_a_gpu_and_no_others(tmp_path, capsys):
    root, out = repository(tmp_path / "root"), tmp_path / "out"
    out.mkdir()
    assert table.main([str(out)], root) == 1 and "has neither of" in capsys.readouterr().err
    (out / "gpu_render.json").write_text(json.dumps(FIGURES | {"device": "CPU, 2 threads"}))
    assert table.main([str(out)], root) == 1 and "no figures of a GPU" in capsys.readouterr().err
    assert not list((root / "papermill_runs" / "benchmarks").iterdir())
    (out / "gpu_render.json").write_text(json.dumps(FIGURES))
    step = {
        "semhead-64": {"graphed bf16 images/s": 3210.4, "graphed bf16 peak MB": 4321.0, "batch": 32}
    }
    (out / "gpu_step.json").write_text(json.dumps(FIGURES | {"rows": step}))
    assert table.main([str(out)], root) == 0
    text = (root / table.PAGE).read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "NVIDIA H100 80GB HBM3 (torch 2.11.0, 2026-12-01)" in text
    for name in table.NAMES:
        link = f"../papermill_runs/benchmarks/{name}"
        assert f"([benchmark]({link}))" in text and ((root / table.PAGE).parent / link).is_file()
    assert "| hyplane | 1.23 / 4.00 | – / – | 9.00 / – | – / – | 30 / – | 0.51 |" in text
    assert "| `semhead-64` | 32 | 3,210 | 4.3 |" in text
    table.write_page(root)
    assert (root / table.PAGE).read_text() == text, "written again from what was kept"
    (root / table.PAGE).write_text("no markers")
    assert table.main([str(out)], root) == 1 and "needs the lines" in capsys.readouterr().err


def test_a_state_of_a_lease_is_a_snapshot(whole, tmp_path):
    restore_state(whole[0] / "state", tmp_path / "run")
    state = unpack(snapshots(tmp_path / "run" / "snapshots")[-1].read_bytes())
    assert state["step"] == 3 and bool(torch.isfinite(state["generator"]["renderer.w1"]).all())


@needs_ops
@pytest.mark.slow
def test_a_lease_that_reconstructs(tree, data, tmp_path):
    """Brings a generator home, which the next lease goes on with; errors that rise end a training."""
    environment = {
        "TRAINING": "reconstruct",
        "SETTINGS": "preset=semhead-32 crop=16 pixels=0 subjects_per_batch=2 views_per_subject=2 "
        "rendered=2 kimg=0.016",
        "LIMITS": "build=0 checks=0 tests=0 render=0 step=0",
        "FILES": "6",
    }
    for name, state in (("first", ()), ("second", (tmp_path / "first" / "state",))):
        out = tmp_path / name
        _, said, _ = lease(tree, 1, data, out, *state, **environment)
        with tarfile.open(out / "report.tar") as report:
            summary = json.loads(report.extractfile("summary.json").read())
        assert summary["steps"]["train"]["status"] == "done", said
        used = "its networks begin a new training" if state else "none"
        assert summary["steps"]["train"]["state"] == used
        assert summary["steps"]["finish"]["status"] == "done"
        assert Generator.load(out / "state").config.name == "semhead-32"
        assert len([path for path in out.rglob("*") if path.is_file()]) <= 6


def test_errors_that_rise_end_a_reconstruction():
    def lines(*images):
        return [dict(image=x, detail=0.1, mask=0.05, step=20 * k) for k, x in enumerate(images)]

    reconstruction.watch(lines(*[0.3] * 10, *[0.2] * 10, *[0.22] * 10))
    with pytest.raises(reconstruction.Worse, match=r"rose from 0.350 to 0.550 by step 580"):
        reconstruction.watch(lines(*[0.3] * 10, *[0.2] * 10, *[0.4] * 10))
    reconstruction.watch(lines(0.1, 0.9))
