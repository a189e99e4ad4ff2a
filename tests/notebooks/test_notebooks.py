"""Every notebook's shape, and what each one shows when Papermill executes it small."""

import ast
import itertools
import json
import re
import shutil
from pathlib import Path

import nbformat
import open_clip
import pandas
import papermill
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage.data import astronaut

from semhead_lib import old_names
from semhead_lib.ablation.results import read_results
from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.inversion import comparison
from semhead_lib.models.planes import REPRESENTATIONS
from semhead_lib.reproduce.metrics import collect
from semhead_lib.reproduce.outputs import ALL, problems

TEACHES = "03_engine"  # defines functions: each is a step of the renderer
FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SMALL = {
    "00_quickstart": dict(heads=3, frames=8, mesh=32),
    "01_dataset_synthesis": dict(
        subjects=5, views_per_subject=4, shard_size=3, identity_subjects=5, workers=2
    ),
    "02_conditioning_analysis": dict(subjects=64, views_per_subject=8, resolution=64, workers=1),
    "03_engine": dict(pixels=24, samples=16, fit_steps=40),
    "04_training": dict(subjects=16, repeats=3, kimg=0.2, heads=48),
    "05_ablations": {},
    "06_inversion": dict(results="", people=1, steps=12, pivotal_steps=5),
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
    tagged = [
        c for c in code if "parameters" in c.metadata.get("tags", [])
    ]  # a line for each: a table, not code
    assert all(len(c.source.splitlines()) <= 15 for c in code if c not in tagged)
    for cell in code:
        defined = [
            n
            for n in ast.walk(ast.parse(cell.source))
            if isinstance(n, (ast.FunctionDef, ast.ClassDef))
        ]
        classes = [n for n in defined if isinstance(n, ast.ClassDef)]
        assert not (classes if path.stem == TEACHES else defined), (
            f"{path.name} defines {[n.name for n in defined]}"
        )
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


@pytest.fixture(scope="module")
def executed(request, tmp_path_factory):
    """A notebook executed by plain Papermill: its JSON, its text as it would be committed, and its
    folder."""
    out = tmp_path_factory.mktemp(request.param)
    return execute(request.param, out)


def execute(name, out, **parameters):
    """Execute a notebook from the repository's root, or the one with its defaults from notebooks/,
    where JupyterLab's kernels begin."""
    target = out / "executed.ipynb"
    papermill.execute_notebook(
        FOLDER / f"{name}.ipynb",
        target,
        parameters={"out": str(out / "results"), **SMALL[name], **parameters},
        kernel_name="python3",
        cwd=FOLDER.parent if SMALL[name] or parameters else FOLDER,
        progress_bar=False,
    )
    return json.loads(target.read_text()), target, out / "results"


def test_all_go_to_the_root_before_anything_else():
    """JupyterLab's kernels begin in notebooks/; that this is enough, `test_ablations` shows."""
    for path in NOTEBOOKS:
        code = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        assert "start_at_root()" in code[1], path.name


def outputs_of(notebook):
    """All outputs of a notebook that ran without an error."""
    outputs = [o for c in notebook["cells"] for o in c.get("outputs", [])]
    assert not [o for o in outputs if o["output_type"] == "error"]
    return outputs


def pages_of(outputs):
    """The HTML of all outputs, after a look whether each says in words what it shows to those who
    do not see it."""
    pages = ["".join(o.get("data", {}).get("text/html", "")) for o in outputs]
    for page in pages:
        for tag, words in (("img", "alt"), ("iframe", "title"), ("video", "aria-label")):
            for found in re.findall(rf"<{tag} [^>]*>", page):
                assert re.search(rf'{words}="[^"]{{10,}}"', found), found[:200]
    return pages


@pytest.mark.notebooks
@pytest.mark.parametrize("executed", ["01_dataset_synthesis"], indirect=True)
def test_dataset_synthesis(executed):
    notebook, path, results = executed
    outputs = outputs_of(notebook)
    metrics = collect(notebook)
    assert metrics["subjects"] == 5 and metrics["views"] == 20 and metrics["findings"] == 0
    assert metrics["identity_auc"] > 0.8 and metrics["faces_found"] > 0.5
    assert (
        metrics["depth_error"] < 0.01
        and metrics["outside_mask"] < 0.02
        and metrics["in_front"] < 0.05
    )
    assert check(results / "dataset") == []
    assert (results / "turntable.png").stat().st_size > 20_000

    pages = pages_of(outputs)
    assert sum("<img" in p for p in pages) == 5
    assert sum("srcdoc" in p for p in pages) == 1
    assert sum("application/vnd.plotly.v1+json" in o.get("data", {}) for o in outputs) == 3
    assert path.stat().st_size < 5_000_000
    printed = "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")
    assert "wearing" in printed and "Warp" not in printed and "Warning" not in printed


@pytest.mark.notebooks
@pytest.mark.parametrize("executed", ["02_conditioning_analysis"], indirect=True)
def test_conditioning_analysis(executed):
    notebook, path, results = executed
    outputs, metrics = outputs_of(notebook), collect(notebook)
    assert metrics["encoder"].startswith("headclip-64 [weights ")
    assert Manifest.load(results / "dataset").layout.semantic == {
        "encoder": metrics["encoder"],
        "dimension": 128,
    }
    parts = [metrics[f"variance_{part}"] for part in ("subject", "view", "rest")]
    assert sum(parts) == pytest.approx(1.0) and min(parts) > 0.05
    assert metrics["leak_camera_label"] < 10 and metrics["leak_per_view_feature"] < 40
    assert metrics["leak_frontal_feature"] > 60 and metrics["leak_mean_feature"] > 60
    assert metrics["frontal_knows_face"] > metrics["back_view_knows_face"] + 0.1
    assert metrics["recall_1_at_45"] > 0.6 and metrics["hair_colour"] > 0.8
    assert metrics["coverage_uniform"] < metrics["coverage_data"]

    pages = pages_of(outputs)
    assert sum("<img" in p for p in pages) == 5 and sum("srcdoc" in p for p in pages) == 1
    assert sum("application/vnd.plotly.v1+json" in o.get("data", {}) for o in outputs) == 7
    tables = ["".join(o.get("data", {}).get("text/markdown", "")) for o in outputs]
    assert tables[-1].count("\n") == 1 + metrics["claims"]
    assert path.stat().st_size < 5_000_000


@pytest.mark.notebooks
@pytest.mark.parametrize("executed", ["03_engine"], indirect=True)
def test_engine(executed):
    """The renderer written out by hand is the generator's; the fused op is its reference."""
    notebook, path, results = executed
    outputs, metrics = outputs_of(notebook), collect(notebook)
    assert metrics["by_hand_error"] < 1e-3
    assert metrics["fused_error"] < 1e-3 and metrics["fused_gradient_error"] < 1e-3
    assert metrics["fused_memory"] > 5
    learnt = [metrics[f"psnr_{name}"] for name in REPRESENTATIONS]
    assert min(learnt) > 12 and metrics["psnr_trigrid"] > metrics["psnr_triplane"]
    assert Image.open(results / "representations.png").width > 90

    pages = pages_of(outputs)
    assert sum("<img" in p for p in pages) == 4
    assert sum("application/vnd.plotly.v1+json" in o.get("data", {}) for o in outputs) == 5
    assert path.stat().st_size < 5_000_000


@pytest.mark.notebooks
@pytest.mark.parametrize("executed", ["04_training"], indirect=True)
def test_training(executed):
    notebook, path, results = executed
    outputs, metrics = outputs_of(notebook), collect(notebook)
    assert metrics["kimg_trained"] == pytest.approx(0.192) and metrics["images_per_second"] > 0
    assert (results / "run/generator/model.safetensors").exists() and list(
        (results / "run/grids").glob("*.png")
    )
    assert metrics["frechet"] > metrics["frechet_floor"] > 0 and metrics["directional_bias"] > 0
    assert metrics["features"].startswith("headjudge [weights "), "the default"
    assert metrics["frechet_of_faces"] > 0 and 0 < metrics["power_highest"] < 1, "it is blurred"
    assert metrics["condition_recall_5"] > 3 * 5 / 48, "the shipped generator follows its condition"
    assert (
        metrics["nearest_generated"] > 0 and 0 <= metrics["claims_held"] <= metrics["claims"] == 5
    )

    pages = pages_of(outputs)
    assert metrics["real_minus_generated"] > 0, "the discriminator tells them apart soon"
    assert sum("<img" in p for p in pages) == 8
    (panel,) = [
        c["outputs"]
        for c in notebook["cells"]
        if "TrainingPanel(" in "".join(c["source"]) and c["outputs"]
    ]
    assert sum("application/vnd.plotly.v1+json" in o.get("data", {}) for o in panel) == 1, (
        "replaced, not added"
    )
    assert any("0.2</b> of 0.2 kimg" in p for p in pages), "the panel shows the end"
    assert path.stat().st_size < 5_000_000


@pytest.mark.notebooks
@pytest.mark.slow
@pytest.mark.parametrize("executed", ["04_training"], indirect=True)
def test_training_of_another_mode_judged_by_itself(executed, tmp_path):
    """On datasets that are there. Without semantics there is nothing to adhere to or to remember;
    the notebook leaves those parts out."""
    there = {"data": str(executed[2] / "dataset"), "unseen": str(executed[2] / "unseen")}
    other = dict(mode="view", options="r1_gamma=0.1", judged="", checks=2)
    notebook, _, results = execute("04_training", tmp_path, **there, **other)
    assert not (results / "dataset").exists() and not (results / "unseen").exists()
    metrics = collect(notebook)
    outputs_of(notebook)
    kept = [(r.kimg, r.condition_azimuth) for r in read_results(results / "metrics")]
    assert kept == [(0.1, 0.0), (0.2, 0.0), (0.2, 90.0), (0.2, 180.0)]
    assert {p.name for p in results.glob("heads*.png")} == {
        "heads.png",
        "heads-azimuth-90.png",
        "heads-azimuth-180.png",
    }
    assert "condition_recall_5" not in metrics and "nearest_generated" not in metrics
    assert metrics["claims"] == 3 and metrics["frechet"] > 0


REFERENCE = FOLDER.parent / "papermill_runs/reference/ablations"


def last_bias(study, mode):
    """Directional bias of the last measurements of a mode's runs, all else as in the baseline."""
    table = pandas.read_csv(old_names.existing(REFERENCE / study / "metrics.csv")).rename(
        columns=old_names.COLUMNS
    )
    table = table[table["run"].str.fullmatch(rf"{mode}_seed-\d")]
    last = table[(table["kimg"] == table["kimg"].max()) & (table["metric"] == "directional_bias")]
    return last[last["condition_azimuth"].fillna(0) == 0]["value"].mean()


@pytest.mark.notebooks
@pytest.mark.parametrize("executed", ["05_ablations"], indirect=True)
def test_ablations(executed):
    """It only reads tables: what it says is what they hold. Its defaults are found from
    notebooks/, too."""
    notebook, path, results = executed
    outputs, metrics = outputs_of(notebook), collect(notebook)
    for mode in ("none", "view", "semantic"):
        assert metrics[f"bias_{mode}"] == pytest.approx(last_bias("cpu", mode), rel=1e-4)
    assert metrics["finished"] >= 18 and metrics["kimg"] == 20
    found = pandas.read_csv(results / "claims.csv")
    counts = found["at this scale"].value_counts()
    assert len(found) == 20 and counts["supported"] == metrics["supported"] >= 4
    assert counts["not supported"] == metrics["not_supported"]

    pages = pages_of(outputs)
    (both,) = [p for p in pages if "difference, 60 kimg" in p]
    biased = next(row for row in both.split("<tr") if "biases the model towards a direction" in row)
    assert (
        biased.count("<td>not supported</td>") == 1 and biased.count("<td>supported</td>") == 1
    ), "first not, later so"
    (heads,) = [p for p in pages if "<img" in p]
    assert heads.count("<img") == len(re.findall(r'alt="[^"]{10,}"', heads)) == 9
    assert sum("application/vnd.plotly.v1+json" in o.get("data", {}) for o in outputs) == 8
    assert path.stat().st_size < 5_000_000


@pytest.mark.notebooks
@pytest.mark.slow
def test_ablations_of_two_short_runs(tmp_path):
    """Nothing of them is proven, and there is no longer study."""
    smoke = "papermill_runs/reference/ablations/smoke"
    notebook, _, results = execute("05_ablations", tmp_path, results=smoke, longer="")
    outputs, metrics = outputs_of(notebook), collect(notebook)
    for mode in ("view", "semantic"):
        assert metrics[f"bias_{mode}"] == pytest.approx(last_bias("smoke", mode), rel=1e-4)
    assert metrics["runs"] == metrics["finished"] == 2 and metrics["supported"] == 0
    assert (
        len(pandas.read_csv(results / "claims.csv"))
        == metrics["not_supported"] + metrics["not_run"]
        == 20
    )
    assert sum("application/vnd.plotly.v1+json" in o.get("data", {}) for o in outputs) == 6


@pytest.mark.notebooks
@pytest.mark.parametrize("executed", ["06_inversion"], indirect=True)
def test_inversion(executed):
    notebook, path, results = executed
    outputs, metrics = outputs_of(notebook), collect(notebook)
    assert metrics["photographs"] == 2 and metrics["failed"] == 0
    assert metrics["psnr_astronaut"] > 10 and metrics["psnr_parametric"] > 15
    assert metrics["input_tuned"] > metrics["around_tuned"] > 10 and metrics["claims"] == 7
    found = pandas.read_csv(results / "judged.csv")
    assert set(found["stage"]) == {"start", "style", "tuned"} and found["person"].nunique() == 1
    assert set(found["method"]) == {"start: mean", "start: best", "camera estimated"}
    assert (results / "heads/astronaut/head.glb").stat().st_size > 10_000

    pages = pages_of(outputs)
    assert sum("<img" in p for p in pages) == 3
    assert sum("srcdoc" in p for p in pages) == 1
    assert sum("application/vnd.plotly.v1+json" in o.get("data", {}) for o in outputs) == 1
    assert path.stat().st_size < 5_000_000


@pytest.mark.notebooks
@pytest.mark.slow
def test_inversion_of_ones_own_photograph_beside_the_judged_table(tmp_path):
    """The comparison that comes with the repository is only read."""
    Image.fromarray(astronaut()).save(tmp_path / "me.png")
    reference = "papermill_runs/reference/inversion"
    own = dict(photos=str(tmp_path / "me.png"), results=reference, steps=3, pivotal_steps=1)
    notebook, _, results = execute("06_inversion", tmp_path, **own)
    outputs, metrics = outputs_of(notebook), collect(notebook)
    judged = comparison.read_table(FOLDER.parent / reference / "judged.csv")
    assert metrics["photographs"] == 1 and metrics["failed"] == 0 and metrics["psnr_me"] > 5
    assert (
        metrics["people"] == judged["person"].nunique() >= 20
        and metrics["methods"] == judged["method"].nunique()
    )
    assert metrics["claims"] == 10 and not (results / "judged").exists()
    assert any("view" in p and "semantic" in p and "Chamfer" in p for p in pages_of(outputs))


@pytest.mark.notebooks
@pytest.mark.slow
@pytest.mark.parametrize("executed", ["00_quickstart"], indirect=True)
def test_quickstart(executed):
    notebook, path, results = executed
    outputs, metrics = outputs_of(notebook), collect(notebook)
    assert metrics["heads"] == 3 and metrics["texts"] == 2 and metrics["texts_followed"] >= 1
    assert metrics["height"] > 0.35 and metrics["vertices"] > 500
    assert {p.name for p in results.iterdir()} >= {"head.mp4", "head.glb", "head.ply", "head.obj"}
    pages = pages_of(outputs)
    assert sum("<img" in p for p in pages) == 3
    assert sum("srcdoc" in p for p in pages) == 1 and sum("<video" in p for p in pages) == 1
    assert path.stat().st_size < 5_000_000


@pytest.mark.notebooks
@pytest.mark.slow
@pytest.mark.parametrize("executed", ["02_conditioning_analysis"], indirect=True)
def test_conditioning_analysis_with_a_file_of_weights_and_photos(executed, tmp_path):
    """The same notebook with another open_clip model from a file, on the dataset that is there:
    random weights know nothing, and it says so."""
    shutil.copytree(executed[2] / "dataset", tmp_path / "results/dataset")
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
    notebook, *_ = execute("02_conditioning_analysis", tmp_path, encoder=encoder, photos=photos)
    outputs, metrics = outputs_of(notebook), collect(notebook)
    assert (
        metrics["encoder"].startswith("ViT-S-32-alt [weights ")
        and str(tmp_path) not in metrics["encoder"]
    )
    semantic = Manifest.load(tmp_path / "results/dataset").layout.semantic
    assert semantic == {"encoder": metrics["encoder"], "dimension": 256}, "encoded again"
    assert metrics["hair_colour"] < 0.5, "random weights cannot read"
    assert metrics["claims_held"] < metrics["claims"]
    assert sum("application/vnd.plotly.v1+json" in o.get("data", {}) for o in outputs) == 8
