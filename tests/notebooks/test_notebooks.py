"""Every notebook's shape, and what each one shows when Papermill executes it small."""

import ast
import itertools
import json
import re
from pathlib import Path

import nbformat
import papermill
import pytest

from semhead_lib.data.check import check
from semhead_lib.reproduce.metrics import collect

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SMALL = {
    "01_dataset_synthesis": dict(subjects=5, views_per_subject=4, shard_size=3, identity_subjects=5, workers=2),
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_shape(path):
    """Prose and short cells; literals with a comment and a type in the parameters cell; nothing executed is
    committed."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    prose = [c for c in notebook.cells if c.cell_type == "markdown"]
    assert prose and prose[0].source.startswith("# ") and len(prose) >= 0.6 * len(code)
    assert all(c.execution_count is None and not c.outputs for c in code)
    assert all(len(c.source.splitlines()) <= 15 for c in code)
    for cell in code:
        defined = [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
        assert not defined, f"{path.name} defines {[n.name for n in defined]}"
    (parameters,) = [c for c in code if "parameters" in c.metadata.get("tags", [])]
    for line, statement in zip(parameters.source.splitlines(), ast.parse(parameters.source).body, strict=True):
        assert isinstance(statement, ast.AnnAssign) and isinstance(statement.value, (ast.Constant, ast.UnaryOp)), line
        assert "  # " in line, line
    headings = [len(m.group(1)) for c in prose for m in re.finditer(r"^(#+) ", c.source, re.M)]
    assert headings[0] == 1 and all(b - a <= 1 for a, b in itertools.pairwise(headings))


@pytest.fixture(scope="module")
def executed(request, tmp_path_factory):
    """A notebook executed by plain Papermill: its JSON, its text as it would be committed, and its folder."""
    name = request.param
    out = tmp_path_factory.mktemp(name)
    target = out / "executed.ipynb"
    papermill.execute_notebook(
        FOLDER / f"{name}.ipynb", target, parameters={"out": str(out / "results"), **SMALL[name]},
        kernel_name="python3", cwd=FOLDER.parent, progress_bar=False,
    )  # fmt: skip
    return json.loads(target.read_text()), target, out / "results"


@pytest.mark.notebooks
@pytest.mark.parametrize("executed", ["01_dataset_synthesis"], indirect=True)
def test_dataset_synthesis(executed):
    notebook, path, results = executed
    outputs = [o for c in notebook["cells"] for o in c.get("outputs", [])]
    assert not [o for o in outputs if o["output_type"] == "error"]
    metrics = collect(notebook)
    assert metrics["subjects"] == 5 and metrics["views"] == 20 and metrics["findings"] == 0
    assert metrics["identity_auc"] > 0.8 and metrics["faces_found"] > 0.5
    assert metrics["depth_error"] < 0.01 and metrics["outside_mask"] < 0.02 and metrics["in_front"] < 0.05
    assert check(results / "dataset") == []
    assert (results / "turntable.png").stat().st_size > 20_000

    pages = ["".join(o.get("data", {}).get("text/html", "")) for o in outputs]
    pictures = [p for p in pages if "<img" in p]
    assert len(pictures) == 4 and all(re.search(r'alt="[^"]{20,}"', p) for p in pictures)
    assert sum("srcdoc" in p for p in pages) == 1
    assert sum("application/vnd.plotly.v1+json" in o.get("data", {}) for o in outputs) == 3
    assert path.stat().st_size < 5_000_000
    printed = "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")
    assert "wearing" in printed and "Warp" not in printed and "Warning" not in printed
