"""What each notebook has to show, however it was executed: its outputs, its metrics and its files."""

import json
import re
from pathlib import Path

import pandas
import pytest
from PIL import Image

from semhead_lib import old_names
from semhead_lib.ablation.claim_list import CLAIMS
from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.inversion import comparison
from semhead_lib.models.planes import REPRESENTATIONS
from semhead_lib.reproduce.metrics import collect
from semhead_lib.reproduce.notebooks import read_notebook

FOLDER = Path(__file__).parents[2] / "notebooks"
REFERENCE = FOLDER.parent / "papermill_runs/reference/ablations"


def shown_by(path: Path, results: Path, /, **changes) -> None:
    """Look at an executed notebook and at what it wrote to `results`, with its defaults but for
    `changes`."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    parameters = read_notebook(FOLDER / path.name).parameters
    values = {name: parameter.default for name, parameter in parameters.items()} | changes
    outputs = outputs_of(notebook)
    _CHECKS[path.stem](collect(notebook), pages_of(outputs), results, values)
    assert plots_of(outputs) == _PLOTS[path.stem]


def outputs_of(notebook):
    """All outputs of a notebook that ran without an error or a warning."""
    outputs = [o for c in notebook["cells"] for o in c.get("outputs", [])]
    assert not [o for o in outputs if o["output_type"] == "error"]
    printed = "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")
    assert "Warning" not in printed and "Warp" not in printed
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


def plots_of(outputs):
    """How many plots by plotly there are."""
    return sum("application/vnd.plotly.v1+json" in o.get("data", {}) for o in outputs)


def counted(pages):
    """How many pages show images, 3-D scenes or hover plots, and videos."""
    return tuple(sum(word in page for page in pages) for word in ("<img", "srcdoc", "<video"))


def quickstart(metrics, pages, results, p):
    assert metrics["heads"] == p["heads"] and metrics["texts"] == 2
    assert metrics["texts_followed"] >= 1 and metrics["heads_found"] >= 1
    assert metrics["height"] > 0.35 and metrics["vertices"] > 500
    files = {path.name for path in results.iterdir()}
    assert files >= {"head.mp4", "head.glb", "head.ply", "head.obj"}
    assert counted(pages) == (3, 1, 1)


def dataset_synthesis(metrics, pages, results, p):
    count = p["subjects"], p["subjects"] * p["views_per_subject"], 0
    assert (metrics["subjects"], metrics["views"], metrics["findings"]) == count
    assert metrics["identity_auc"] > 0.8 and metrics["faces_found"] > 0.5
    assert metrics["depth_error"] < 0.01 and metrics["outside_mask"] < 0.02
    assert metrics["in_front"] < 0.05
    assert check(results / "dataset") == []
    assert (results / "turntable.png").stat().st_size > 20_000
    assert counted(pages) == (5, 1, 0)


def conditioning_analysis(metrics, pages, results, p):
    assert metrics["encoder"].startswith("headclip-64 [weights ")
    stored = Manifest.load(results / "dataset").layout.semantic
    assert stored == {"encoder": metrics["encoder"], "dimension": 128}
    parts = [metrics[f"variance_{part}"] for part in ("subject", "view", "rest")]
    assert sum(parts) == pytest.approx(1.0) and min(parts) > 0.05
    assert metrics["leak_camera"] < 10 and metrics["leak_per_view_feature"] < 40
    assert metrics["leak_frontal_feature"] > 60 and metrics["leak_mean_feature"] > 60
    assert metrics["frontal_knows_face"] > metrics["back_view_knows_face"] + 0.1
    assert metrics["recall_1_at_45"] > 0.6 and metrics["hair_colour"] > 0.8
    assert metrics["coverage_uniform"] < metrics["coverage_data"]
    assert 5 <= metrics["claims_held"] <= metrics["claims"] in (8, 9)
    assert counted(pages) == (5, 1, 0)


def engine(metrics, pages, results, p):
    """The renderer written out by hand is the generator's; the fused op is its reference."""
    assert metrics["by_hand_error"] < 1e-3
    assert metrics["fused_error"] < 1e-3 and metrics["fused_gradient_error"] < 1e-3
    assert metrics["fused_memory"] > 5
    learnt = [metrics[f"psnr_{name}"] for name in REPRESENTATIONS]
    assert min(learnt) > 12 and metrics["psnr_trigrid"] > metrics["psnr_triplane"]
    assert Image.open(results / "representations.png").width > 90
    assert counted(pages) == (4, 0, 0)


def training(metrics, pages, results, p):
    assert metrics["kimg_trained"] == pytest.approx(p["kimg"], abs=0.05)
    assert metrics["images_per_second"] > 0
    assert (results / "run/generator/model.safetensors").exists()
    assert list((results / "run/grids").glob("*.png"))
    assert metrics["frechet"] > metrics["frechet_floor"] > 0 and metrics["directional_bias"] > 0
    assert metrics["features"].startswith("headjudge [weights "), "the default"
    assert metrics["frechet_of_faces"] > 0 and 0 < metrics["power_highest"] < 1, "it is blurred"
    chance = 5 / p["heads"]
    assert metrics["condition_recall_5"] > 3 * chance, "the generator follows its condition"
    assert metrics["nearest_generated"] > 0
    assert 0 <= metrics["claims_held"] <= metrics["claims"] == 5
    assert metrics["real_minus_generated"] > 0, "the discriminator tells them apart soon"
    panel = f"{p['kimg']:g}</b> of {p['kimg']:g} kimg"
    assert any(panel in page for page in pages), "the panel shows the end"
    assert counted(pages)[0] == 8


def ablations(metrics, pages, results, p):
    """It only reads tables: what it says is what they hold."""
    for mode in ("none", "view", "semantic"):
        assert metrics[f"bias_{mode}"] == pytest.approx(last_bias("cpu", mode), rel=1e-4)
    assert metrics["finished"] >= 18 and metrics["kimg"] == 20
    found = pandas.read_csv(results / "claims.csv")
    counts = found["at this scale"].value_counts()
    assert len(found) == len(CLAIMS) and counts["supported"] == metrics["supported"] >= 4
    assert counts["not supported"] == metrics["not_supported"]

    (both,) = [p for p in pages if "difference, 60 kimg" in p]
    biased = next(
        row for row in both.split("<tr") if "biases the generator towards a direction" in row
    )
    results = biased.count("<td>not supported</td>"), biased.count("<td>supported</td>")
    assert results == (1, 1), "first not, later so"
    main, heads, *designs = [p for p in pages if "<img" in p]
    assert main.count("<img") == len(re.findall(r'alt="[^"]{10,}"', main)) >= 2, "of the table"
    assert heads.count("<img") == len(re.findall(r'alt="[^"]{10,}"', heads)) == 9
    assert len(designs) == 2 and all('alt="' in p for p in designs), "of the contest"


def inversion(metrics, pages, results, p):
    names = [Path(p["photos"]).stem] if p["photos"] else ["astronaut", "parametric", "photographer"]
    assert metrics["photographs"] == len(names) and metrics["failed"] == 0
    assert metrics[f"psnr_{names[0]}"] > 10
    assert p["photos"] or metrics["psnr_parametric"] > 15
    assert metrics["input_tuned"] > metrics["around_tuned"] > 10
    assert metrics["claims"] == (12 if p["results"] else 7)
    assert (results / "heads" / names[0] / "head.glb").stat().st_size > 10_000
    assert counted(pages) == (1 + len(names), 1, 0)
    if p["results"]:  # a comparison that is there is only read
        judged = comparison.read_table(FOLDER.parent / p["results"] / "judged.csv")
        assert metrics["subjects"] == judged["subject"].nunique() >= 20
        assert metrics["methods"] == judged["method"].nunique()
        assert not (results / "judged").exists()
        words = ("view", "semantic", "Chamfer")
        assert any(all(word in page for word in words) for page in pages)


def compare(metrics, pages, results, p):
    names = [
        path.parent.name for path in sorted((FOLDER.parent / p["generators"]).glob("*/*.json"))
    ]
    assert len(names) == 3
    assert metrics["images"] == p["heads"] * (3 * 8 + 1) + 8 * 16
    names += [p["good"], "stand-in"]
    for name in names:
        assert metrics[f"bias_{name}"] > metrics["bias_real"] > 0
        assert any(f"heads of {name}" in page or f"{name}: heads" in page for page in pages)
    assert metrics["view_gap_stand-in"] > 5 > metrics["view_gap_semantic"] == 0
    assert metrics["claims_held"] == metrics["claims"] == 3, "the fault that was put in is found"
    page = (results / "compared" / "index.html").read_text()
    assert all(name in page for name in names)
    labels = json.loads((results / "stand-in" / "dataset.json").read_text())
    assert len(labels["labels"]) == metrics["images"] == len(labels["condition_cameras"])


def last_bias(study, mode):
    """Directional bias of the last measurements of a mode's runs, all else as in the baseline."""
    table = pandas.read_csv(old_names.existing(REFERENCE / study / "metrics.csv")).rename(
        columns=old_names.COLUMNS
    )
    table = table[table["run"].str.fullmatch(rf"{mode}_seed-\d")]
    last = table[(table["kimg"] == table["kimg"].max()) & (table["metric"] == "directional_bias")]
    return last[last["condition_camera"].fillna(0).astype(float) == 0]["value"].mean()


_CHECKS = {
    "00_quickstart": quickstart,
    "01_dataset_synthesis": dataset_synthesis,
    "02_conditioning_analysis": conditioning_analysis,
    "03_engine": engine,
    "04_training": training,
    "05_ablations": ablations,
    "06_inversion": inversion,
    "07_compare": compare,
}
_PLOTS = {  # by plotly
    "00_quickstart": 0,
    "01_dataset_synthesis": 3,
    "02_conditioning_analysis": 7,
    "03_engine": 5,
    "04_training": 8,
    "05_ablations": 8,
    "06_inversion": 1,
    "07_compare": 2,
}
