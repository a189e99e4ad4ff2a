"""A tiny checkout: two notebooks, the second reading what the first wrote, and a profile over
both."""

from __future__ import annotations

from pathlib import Path

import pytest

PARAMETERS_FIRST = """\
out: str = "outputs/01_make"  # folder to write
count: int = 3  # how many files
scale: float = 1.0  # what their numbers are multiplied with
wait_for: str = ""  # a path: go on when it exists; empty = at once
"""
MAKE = """\
from pathlib import Path

Path(out).mkdir(parents=True, exist_ok=True)
(Path(out) / "begun.txt").write_text("kept by an interruption")
for i in range(count):
    (Path(out) / f"{i}.txt").write_text(str(scale * i))
"""
WAIT = """\
import sys
import time

for i in range(3):
    print(f"\\r{i} of 2", end="", file=sys.stderr, flush=True)
    time.sleep(0.1)
while wait_for and not Path(wait_for).exists():
    time.sleep(0.05)
"""
FIGURE = """\
import plotly.graph_objects as go

go.Figure(go.Scatter(y=[1, 3, 2]))
"""
RECORD = """\
from semhead_lib.reproduce import record

record(files=count, total=sum(scale * i for i in range(count)))
"""
PARAMETERS_SECOND = """\
dataset: str = "outputs/01_make"  # folder to read
out: str = "outputs/02_read"  # folder to write
factor: float | None = None  # None = 1
names: list[str] = ["a"]
wrong: bool = False  # raise
"""
READ = """\
from pathlib import Path

from semhead_lib.reproduce import record

numbers = [float(path.read_text()) for path in sorted(Path(dataset).glob("[0-9]*.txt"))]
if wrong:
    raise KeyError("no such subject")
record(mean=(factor or 1.0) * sum(numbers) / len(numbers))
"""
PROFILE = """\
# tiny: two notebooks that do next to nothing
01_make:
  count: 4
02_read:
  dataset: ${01_make.out}
"""


def _write_notebook(path: Path, title: str, parameters: str, *cells: str) -> None:
    """A notebook with a heading, a `parameters` cell and code cells."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    tagged = new_code_cell(parameters.rstrip(), metadata={"tags": ["parameters"]})
    cells = [
        new_markdown_cell(f"# {title}"),
        tagged,
        *(new_code_cell(cell.rstrip()) for cell in cells),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)


def _write_checkout(root: Path) -> Path:
    """The tiny checkout in `root`."""
    _write_notebook(
        root / "notebooks" / "01_make.ipynb", "Making", PARAMETERS_FIRST, MAKE, WAIT, FIGURE, RECORD
    )
    _write_notebook(root / "notebooks" / "02_read.ipynb", "Reading", PARAMETERS_SECOND, READ)
    profiles = root / "papermill_runs" / "profiles"
    profiles.mkdir(parents=True)
    (profiles / "tiny.yaml").write_text(PROFILE)
    return root


@pytest.fixture(scope="session")
def write_notebook():
    """The function that writes a notebook: `write_notebook(path, title, parameters, *cells)`."""
    return _write_notebook


@pytest.fixture(scope="session")
def write_checkout():
    """The function that writes a tiny checkout: `write_checkout(root)`."""
    return _write_checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh tiny checkout."""
    return _write_checkout(tmp_path)
