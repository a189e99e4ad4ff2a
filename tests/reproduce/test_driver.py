"""Runs: executed, resumed, executed again for a reason, interrupted, failed. Papermill runs as few
times as will do."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
import yaml

from semhead_lib.reproduce import provenance, runs
from semhead_lib.reproduce.driver import reproduce
from semhead_lib.reproduce.execution import NotebookFailed
from semhead_lib.reproduce.profiles import load_profile
from semhead_lib.reproduce.todo import Todo

pytestmark = pytest.mark.notebooks


PARAMETERS = "out: str = 'outputs/01_make'\ncount: int = 3"  # of a notebook of one's own
LIBRARY_DIGEST = provenance.library_digest


@pytest.fixture(scope="module", autouse=True)
def unchanged_library():
    """Sources that are edited while the tests run are no reason to execute anything again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "library_digest", lambda: "of today")
        yield


@pytest.fixture(scope="module")
def executed(tmp_path_factory, write_checkout) -> Path:
    """The root of a checkout whose profile has been executed once; tests leave its run as they find
    it."""
    root = write_checkout(tmp_path_factory.mktemp("checkout"))
    reproduce("tiny", root=root, command=["/somewhere/bin/semhead", "reproduce", "tiny"])
    return root


def state(root: Path) -> dict:
    return json.loads((root / "papermill_runs" / "tiny" / "main" / "run.json").read_text())


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def plan(capsys, root: Path, **keys) -> str:
    """What a run would execute, and why."""
    capsys.readouterr()
    reproduce("tiny", root=root, dry_run=True, **keys)
    return capsys.readouterr().out


def cli(root: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "semhead_lib.cli", "reproduce", *words, "ignore_code=true"]
    return subprocess.Popen(
        command, cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for(condition, seconds: float = 60.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def test_run_folder(executed):
    folder = executed / "papermill_runs" / "tiny" / "main"
    record = state(executed)
    assert record["command"] == "semhead reproduce tiny"
    assert (record["profile"], record["run"], record["commit"]) == ("tiny", "main", None)
    assert record["versions"]["torch"] and record["devices"]["cores"] >= 1
    for name in ("01_make", "02_read"):
        entry = record["notebooks"][name]
        assert entry["status"] == "finished"
        assert entry["seconds"] > 0
        assert entry["peak_memory_bytes"] > 20e6  # a kernel takes more than that
        notebook = read(folder / f"{name}.ipynb")
        nbformat.validate(notebook)
        assert str(executed) not in json.dumps(notebook)  # nothing of this machine inside
        parameters = yaml.safe_load((folder / "parameters" / f"{name}.yaml").read_text())
        assert (
            parameters
            == yaml.safe_load((folder / "config.yaml").read_text())[name]
            == entry["parameters"]
        )
    assert sorted(path.name for path in (folder / "01_make").glob("[0-9]*")) == [
        f"{i}.txt" for i in range(4)
    ]
    streams = [
        o["text"]
        for c in read(folder / "01_make.ipynb").cells
        for o in c.get("outputs", [])
        if "text" in o
    ]
    assert streams == ["2 of 2"]  # what a progress bar leaves
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == {"01_make": {"files": 4, "total": 6.0}, "02_read": {"mean": 1.5}}


def test_pages_need_no_network(executed):
    folder = executed / "papermill_runs" / "tiny" / "main"
    index = (folder / "index.html").read_text()
    for text in (
        "pages/01_make.html",
        "Making",
        "pages/02_read.html",
        "semhead reproduce tiny",
        "mean",
        "1.5",
    ):
        assert text in index
    page = (folder / "pages" / "01_make.html").read_text()
    assert "Plotly.newPlot" in page and 'src="plotly.min.js"' in page
    assert "Plotly" in (folder / "pages" / "plotly.min.js").read_text()
    for text in (index, page, (folder / "pages" / "02_read.html").read_text()):
        assert not re.search(r"(<script[^>]*src|<link[^>]*href|@import)\W+https?:", text)
    assert 'src="plotly.min.js"' not in (folder / "pages" / "02_read.html").read_text()


def test_the_same_command_executes_nothing_again(executed, capsys):
    before = state(executed)["notebooks"]
    reproduce("tiny", root=executed)
    assert state(executed)["notebooks"] == before
    assert capsys.readouterr().out.count("finished and unchanged") == 2


def test_reasons_to_execute_again(executed, capsys, monkeypatch):
    folder = executed / "papermill_runs" / "tiny" / "main"
    planned = plan(capsys, executed, overrides={"02_read.factor": "2"})
    assert "[1/2] 01_make: finished and unchanged" in planned
    assert "[2/2] 02_read: parameters changed (factor: None -> 2)" in planned
    assert plan(capsys, executed, force=True).count("forced") == 2
    assert "02_read" not in plan(capsys, executed, force=True, only="01")

    touched = folder / "01_make" / "0.txt"
    stat = touched.stat()
    os.utime(touched, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert "[2/2] 02_read: outputs of 01_make changed" in plan(capsys, executed)
    os.utime(touched, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (folder / "01_make").rename(folder / "away")
    assert "[1/2] 01_make: files of its outputs are gone" in plan(capsys, executed)
    (folder / "away").rename(folder / "01_make")

    source = executed / "notebooks" / "02_read.ipynb"
    text = source.read_text()
    source.write_text(text.replace("no such subject", "no such head"))
    assert "[2/2] 02_read: the notebook's source changed" in plan(capsys, executed)
    source.write_text(text)
    monkeypatch.setattr(provenance, "library_digest", lambda: "of tomorrow")
    assert plan(capsys, executed).count("sources of semhead_lib or csrc changed") == 2
    assert plan(capsys, executed, ignore_code=True).count("finished and unchanged") == 2


def test_library_digest_sees_sources_only(tmp_path):
    package = tmp_path / "package"
    (package / "__pycache__").mkdir(parents=True)
    (package / "a.py").write_text("1")
    before = LIBRARY_DIGEST(package)
    (package / "__pycache__" / "a.pyc").write_text("x")
    (package / "op.so").write_text("x")
    assert LIBRARY_DIGEST(package) == before
    (tmp_path / "csrc").mkdir()
    (tmp_path / "csrc" / "op.cpp").write_text("x")
    assert LIBRARY_DIGEST(package) != before


def test_a_changed_parameter_executes_it_and_what_reads_it(executed, tmp_path, capsys):
    """With a failing notebook in the same go: what was finished before it stays finished."""
    root = Path(shutil.copytree(executed, tmp_path / "copy"))
    assert plan(capsys, root).count("finished and unchanged") == 2
    process = cli(root, "tiny", "01_make.count=5", "02_read.wrong=true")
    out, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "[1/2] 01_make: parameters changed (count: 4 -> 5)" in out
    assert error.endswith(  # a library may have warned before
        "semhead: error: 02_read failed in cell 4 of 4 (In [3]), line 7:\n"
        '    raise KeyError("no such subject")\n'
        "KeyError: 'no such subject'\n"
        "executed notebook: papermill_runs/tiny/main/02_read.ipynb\n"
    )
    folder = root / "papermill_runs" / "tiny" / "main"
    assert len(list((folder / "01_make").glob("[0-9]*.txt"))) == 5
    assert len(list((folder / "01_make.previous").glob("[0-9]*.txt"))) == 4
    assert {name: entry["status"] for name, entry in state(root)["notebooks"].items()} == {
        "01_make": "finished",
        "02_read": "failed",
    }
    same = {"01_make.count": "5", "02_read.wrong": "true"}
    assert "02_read: failed last time" in plan(capsys, root, overrides=same, ignore_code=True)
    with pytest.raises(
        ValueError, match="02_read reads the outputs of 01_make, which has not finished"
    ):
        reproduce("tiny", "other", root=root, only="02")


def test_kill_and_interrupt_then_the_same_command_resumes(checkout, capsys):
    gate = checkout / "gate"
    folder = checkout / "papermill_runs" / "tiny" / "main"
    words = ("tiny", "only=01_make", f"01_make.wait_for={gate}")
    same = {"only": "01_make", "overrides": {"01_make.wait_for": str(gate)}, "ignore_code": True}

    def waiting() -> bool:  # the notebook has written its files and stands at the gate
        try:
            cells = json.loads((folder / "01_make.ipynb").read_text())["cells"]
        except (OSError, ValueError):
            return False
        return any(
            c["metadata"].get("papermill", {}).get("status") == "running"
            and "while" in "".join(c["source"])
            for c in cells
        )

    process = cli(checkout, *words)
    wait_for(waiting)
    kernels = psutil.Process(process.pid).children()
    with pytest.raises(RuntimeError, match="another process is executing this run"):
        reproduce("tiny", root=checkout, **same)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    wait_for(lambda: not any(kernel.is_running() for kernel in kernels))
    notebook = read(folder / "01_make.ipynb")
    assert notebook.metadata.papermill.end_time is None
    assert state(checkout)["notebooks"]["01_make"]["status"] == "running"
    (folder / "01_make" / "begun.txt").write_text("by the first")

    process = cli(checkout, *words)
    time.sleep(1.0)
    wait_for(lambda: psutil.Process(process.pid).children() and waiting())
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "[1/2] 01_make: was interrupted" in out
    assert error == "semhead: interrupted; the same command resumes\n"

    gate.touch()
    assert "was interrupted" in plan(capsys, checkout, **same)
    reproduce("tiny", root=checkout, **same)
    assert state(checkout)["notebooks"]["01_make"]["status"] == "finished"
    assert not (
        folder / "01_make.previous"
    ).exists()  # what the interrupted one wrote was there to go on with


def test_an_interruption_that_a_cell_catches_begins_no_other_cell(checkout, write_notebook):
    """As a training does, which saves its state and ends its cell well."""
    began, on = checkout / "began", checkout / "on"
    training = (
        f"import time\nfrom pathlib import Path\n\nPath({str(began)!r}).touch()\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('saved')"
    )
    path = checkout / "notebooks" / "01_make.ipynb"
    write_notebook(path, "Making", PARAMETERS, training, f"Path({str(on)!r}).touch()")
    process = cli(checkout, "tiny", "only=01")
    wait_for(began.exists)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "semhead: interrupted; the same command resumes\n")
    assert not on.exists()
    executed = read(checkout / "papermill_runs/tiny/main/01_make.ipynb").cells
    assert any("saved" in o.get("text", "") for c in executed for o in c.get("outputs", []))


def test_notebooks_that_do_not_wait_for_each_other_run_together(checkout, write_notebook, capsys):
    """The first waits for a file that the second writes before it fails; the first goes on."""
    gate = checkout / "gate"
    source = f"from pathlib import Path\n\nPath({str(gate)!r}).touch()\nassert names"
    path = checkout / "notebooks" / "02_read.ipynb"
    write_notebook(path, "Reading", "dataset: str = ''\nnames: list = []", source)
    profile = checkout / "papermill_runs" / "profiles" / "tiny.yaml"
    profile.write_text("01_make: {count: 2}\n02_read: {dataset: elsewhere}\n")
    same = dict(root=checkout, overrides={"01_make.wait_for": str(gate)}, workers=2)
    with pytest.raises(NotebookFailed, match=r"02_read failed in cell 4 of 4[^\0]*AssertionError"):
        reproduce("tiny", **same)
    entries = state(checkout)["notebooks"]
    assert {name: entry["status"] for name, entry in entries.items()} == {
        "01_make": "finished",
        "02_read": "failed",
    }
    assert entries["01_make"]["outputs"]["files"] == 3
    assert all(entry["peak_memory_bytes"] > 20e6 for entry in entries.values())
    shown = capsys.readouterr().out
    assert shown.index("[2/2] 02_read: not executed yet") < shown.index("01_make: finished in")


def test_order_of_notebooks_executed_together():
    """Of `smoke`, two at a time: heads first, then what others read, then the last ones."""
    root = Path(__file__).parents[2]
    profile = root / "papermill_runs" / "profiles" / "smoke.yaml"
    folder = root / "papermill_runs" / "smoke" / "order"
    steps = load_profile(profile, root / "notebooks", str(folder.relative_to(root)))
    names = [step.name[:2] for step in steps]

    def order(workers: int, ends: str) -> list[str]:
        todo = Todo(runs.Run(folder, root), steps, [step.name for step in steps])
        busy: list[str] = []
        begun: list[str] = []
        for end in ["", *ends.split()]:
            busy = [name for name in busy if name[:2] != end]
            while len(busy) < workers and (step := todo.next(busy, workers == 1)):
                busy.append(step.name)
                begun.append(step.name[:2])
        return begun

    assert order(1, " ".join(names)) == names
    assert order(2, "00 02 06 07") == ["00", "02", "06", "07", "05", "04"]


def test_plain_papermill_takes_the_parameter_files(checkout, write_notebook, monkeypatch):
    from click.testing import CliRunner
    from papermill.cli import papermill

    source = "assert (dataset, names) == ('given', ['p', 'q'])"
    write_notebook(
        checkout / "notebooks" / "02_read.ipynb",
        "Reading",
        "dataset: str = ''\nnames: list = []",
        source,
    )
    (checkout / "papermill_runs" / "profiles" / "tiny.yaml").write_text(
        "02_read: {dataset: given, names: [p, q]}"
    )
    reproduce("tiny", root=checkout, dry_run=True)
    parameters = "papermill_runs/tiny/main/parameters/02_read.yaml"
    command = [
        "notebooks/02_read.ipynb",
        "out.ipynb",
        "-f",
        parameters,
        "-k",
        "python3",
        "-l",
        "python",
    ]
    monkeypatch.chdir(checkout)
    done = CliRunner().invoke(papermill, command)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "content",
    ["[1]", "[", '{"notebooks": [1]}', '{"notebooks": {"01_make": {"parameters": [[]]}}}'],
)
def test_a_damaged_record_of_a_run_is_named(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json: holds no run"):
        runs.Run(tmp_path, tmp_path)
