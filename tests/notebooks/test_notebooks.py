"""Every notebook's shape and committed outputs, and what they show with other parameters than
theirs, executed by Papermill."""

import ast
import itertools
import json
import re
import sys

import nbformat
import open_clip
import pandas
import papermill
import pytest
import torch
from browsers import chromium
from checks import FOLDER, last_bias, outputs_of, plots_of, shown_by
from PIL import Image
from safetensors.torch import save_file
from skimage.data import astronaut

sys.path.insert(0, str(FOLDER.parent / "tests" / "training"))
from small_training import make_noise

from semhead_lib.ablation.claim_list import CLAIMS
from semhead_lib.ablation.results import read_results
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.data.dataset.semantics import fill_semantics
from semhead_lib.reproduce.metrics import collect
from semhead_lib.reproduce.outputs import ALL, problems

DEFINES = {  # what teaches: the steps of the renderer; a generator of EG3D's interface
    "03_engine": (ast.FunctionDef,),
    "07_compare": (ast.ClassDef, ast.FunctionDef),
}
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SMALL = {  # parameters that take little time
    "00_quickstart": dict(heads=3, frames=8, mesh=32),
    "01_dataset_synthesis": dict(
        subjects=5, views_per_subject=4, shard_size=3, identity_subjects=5, workers=2
    ),
    "02_conditioning_analysis": dict(subjects=64, views_per_subject=8, resolution=64, workers=1),
    "03_engine": dict(pixels=24, samples=16, fit_steps=40),
    "04_training": dict(subjects=16, repeats=3, kimg=0.2, heads=48),
    "05_ablations": {},
    "06_inversion": dict(steps=12, tuning_steps=5),
    "07_compare": {},
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_shape(path):
    """Prose and short cells; literals with a comment and a type in the parameters cell, a line
    each; few imports of the library."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    prose = [c for c in notebook.cells if c.cell_type == "markdown"]
    assert prose and prose[0].source.startswith("# ") and len(prose) >= 0.6 * len(code)
    tagged = [c for c in code if "parameters" in c.metadata.get("tags", [])]
    for cell in code:  # parameters have a line each: a table, not code
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert cell in tagged or 1 <= len(lines) <= 12, cell.source
    assert code[1].source.endswith("the repository, also in JupyterLab")
    assert "start_at_root()" in code[1].source, "before anything else"
    for cell in code:
        defined = [
            n
            for n in ast.walk(ast.parse(cell.source))
            if isinstance(n, (ast.FunctionDef, ast.ClassDef))
            and not isinstance(n, DEFINES.get(path.stem, ()))
        ]
        assert not defined, f"{path.name} defines {[n.name for n in defined]}"
    (parameters,) = tagged
    for line, statement in zip(
        parameters.source.splitlines(), ast.parse(parameters.source).body, strict=True
    ):
        assert isinstance(statement, ast.AnnAssign) and isinstance(
            statement.value, (ast.Constant, ast.UnaryOp)
        ), line
        assert "  # " in line, line
    library = [
        node
        for cell in code
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, (ast.Import, ast.ImportFrom)) and "semhead_lib" in ast.unparse(node)
    ]
    assert len(library) <= 5, [ast.unparse(node) for node in library]
    headings = [len(m.group(1)) for c in prose for m in re.finditer(r"^(#+) ", c.source, re.M)]
    assert headings[0] == 1 and all(b - a <= 1 for a, b in itertools.pairwise(headings))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_committed_outputs(path):
    """They belong to the sources, are small and without errors, and each image is described."""
    assert problems(path) == []


def test_committed_outputs_are_small_together():
    assert sum(path.stat().st_size for path in NOTEBOOKS) <= ALL


def execute(name, out, **parameters):
    target = out / f"{name}.ipynb"
    given = {"out": str(out / "results"), **SMALL.get(name, {}), **parameters}
    papermill.execute_notebook(
        FOLDER / target.name,
        target,
        parameters=given,
        kernel_name="python3",
        cwd=FOLDER.parent,
        progress_bar=False,
    )
    return json.loads(target.read_text()), target, out / "results"


@pytest.mark.notebooks
@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.skipif(
    chromium() is not None, reason="test_jupyterlab.py executes them with their defaults"
)
def test_small(name, tmp_path):
    """Where no browser is, Papermill executes the notebooks, smaller than by their defaults."""
    _, path, results = execute(name, tmp_path)
    shown_by(path, results, **SMALL[name])
    assert path.stat().st_size < 5_000_000


@pytest.mark.notebooks
@pytest.mark.slow
def test_training_of_another_mode_judged_by_itself(tmp_path):
    """Without semantics there is nothing to adhere to or to remember; the notebook leaves those
    parts out. Both datasets are one's own, here of noise, and the discriminator sees crops."""
    clip = SemanticEncoder.load(device="cpu")
    own = {"data": 16, "unseen": 48}
    for seed, (name, subjects) in enumerate(own.items()):
        make_noise(tmp_path / name, semantic=False, subjects=subjects, views=8, seed=seed)
        fill_semantics(tmp_path / name, clip.images, str(clip.identity), progress=False)
    own = {name: str(tmp_path / name) for name in own}
    options = "r1_gamma=0.1 crop=16 generator.raw_resolution=32 generator.super_channels=[]"
    changes = dict(mode="view", options=options, judged="", checks=2, heads=24)
    notebook, _, results = execute("04_training", tmp_path, **own, **changes)
    metrics = collect(notebook)
    outputs_of(notebook)
    kept = [(r.kimg, r.condition_camera) for r in read_results(results / "metrics")]
    cameras = ["180", "90", "front", "random", "rendered"]
    assert kept == [(0.1, "front"), *((0.2, camera) for camera in cameras)]
    assert not (results / "dataset").exists() and not (results / "unseen").exists()
    assert {p.name for p in results.glob("heads*.png")} == {
        "heads.png",
        "heads-azimuth-90.png",
        "heads-azimuth-180.png",
    }
    assert "condition_recall_5" not in metrics and "nearest_generated" not in metrics
    assert metrics["claims"] == 3 and metrics["frechet"] > 0


def test_a_comparison_with_a_dataset_of_ones_own_makes_its_folder(tmp_path, monkeypatch):
    """As in a profile that hands a dataset over: the cells until the plan is written."""
    make_noise(tmp_path / "data", semantic=False, subjects=48, views=8)
    monkeypatch.chdir(FOLDER.parent)
    cells = nbformat.read(FOLDER / "07_compare.ipynb", as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    last = next(i for i, source in enumerate(code) if "plan.save(" in source)
    given = dict(reference=str(tmp_path / "data"), out=str(tmp_path / "new"), heads=24)
    names: dict = {}
    for i, source in enumerate(code[: last + 1]):
        exec(source, names)
        names |= given if i == 0 else {}
    assert (tmp_path / "new/plan.json").is_file()


@pytest.mark.notebooks
@pytest.mark.slow
def test_ablations_of_two_short_runs(tmp_path):
    """Nothing of them is proven, and there is no longer study."""
    smoke = "papermill_runs/reference/ablations/smoke"
    notebook, _, results = execute("05_ablations", tmp_path, results=smoke, table="", longer="")
    outputs, metrics = outputs_of(notebook), collect(notebook)
    for mode in ("view", "semantic"):
        assert metrics[f"bias_{mode}"] == pytest.approx(last_bias("smoke", mode), rel=1e-4)
    assert metrics["runs"] == metrics["finished"] == 2 and metrics["supported"] == 0
    assert (
        len(pandas.read_csv(results / "claims.csv"))
        == metrics["not_supported"] + metrics["not_run"]
        == len(CLAIMS)
    )
    assert plots_of(outputs) == 6


@pytest.mark.notebooks
@pytest.mark.slow
def test_inversion_of_ones_own_photograph_and_methods_compared_anew(tmp_path):
    """Without results, the methods are compared here; with its defaults the notebook reads those
    of the repository, and takes two photographs of its own."""
    Image.fromarray(astronaut()).save(tmp_path / "me.png")
    photos = str(tmp_path / "me.png")
    small = "papermill_runs/reference/compare/semantic"  # 32 pixels: a generator of one's own
    few = dict(photos=photos, results="", subjects=1, steps=12, tuning_steps=5, model=small)
    _, path, results = execute("06_inversion", tmp_path, **few)
    shown_by(path, results, **few)
    found = pandas.read_csv(results / "judged.csv")
    assert set(found["stage"]) == {"start", "style", "tuned"} and found["subject"].nunique() == 1
    assert set(found["method"]) == {"start: mean", "start: best", "camera estimated"}


@pytest.mark.notebooks
@pytest.mark.slow
def test_conditioning_analysis_with_a_file_of_weights_and_photos(tmp_path):
    """The same notebook with another open_clip model from a file: random weights know nothing, and
    it says so."""
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32-alt")
    save_file(
        {k: v.half().contiguous() for k, v in model.state_dict().items()},
        tmp_path / "clip.safetensors",
    )
    (tmp_path / "photos/astronaut").mkdir(parents=True)
    image = Image.fromarray(astronaut())
    image.save(tmp_path / "photos/astronaut/1.png")
    image.crop((100, 0, 400, 300)).save(tmp_path / "photos/astronaut/2.jpg")
    encoder, photos = f"ViT-S-32-alt/{tmp_path}/clip.safetensors", str(tmp_path / "photos")
    own = dict(encoder=encoder, photos=photos, subjects=32)
    notebook, *_ = execute("02_conditioning_analysis", tmp_path, **own)
    outputs, metrics = outputs_of(notebook), collect(notebook)
    assert (
        metrics["encoder"].startswith("ViT-S-32-alt [weights ")
        and str(tmp_path) not in metrics["encoder"]
    )
    assert metrics["hair_colour"] < 0.5, "random weights cannot read"
    assert metrics["claims_held"] < metrics["claims"]
    assert plots_of(outputs) == 8
