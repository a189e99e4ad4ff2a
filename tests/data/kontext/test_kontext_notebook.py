"""Notebook 01 with source=kontext: the same notebook, from photographs to a checked dataset, by a
model of no skill."""

import json
from pathlib import Path

import papermill
import pytest
from PIL import Image
from skimage.data import astronaut, coffee
from stand_in import View, cast

from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.reading import infos
from semhead_lib.reproduce.metrics import collect

NOTEBOOK = Path(__file__).parents[3] / "notebooks/01_dataset_synthesis.ipynb"


@pytest.mark.notebooks
@pytest.mark.slow
def test_photographs_turned_around_by_the_tiny_model(tiny, tmp_path):
    """Noise passes no check: the notebook says so, view by view, and what is left is sound and
    balanced."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, image in (("astronaut", astronaut()), ("coffee", coffee())):
        Image.fromarray(image).save(photos / f"{name}.jpg")
    for person in range(2):
        front = cast(4000, person, 320, View(0, 0))[0]
        Image.fromarray(front.permute(1, 2, 0).numpy()).save(photos / f"person{person}.png")
    options = f"model={tiny} pixels=64 steps=1 dtype=float32 tries=1 attempts=2 input_terms=CC0-1.0"
    target = tmp_path / "executed.ipynb"
    parameters = dict(
        out=str(tmp_path / "out"), source="kontext", photos=str(photos), options=options
    )
    papermill.execute_notebook(
        NOTEBOOK,
        target,
        kernel_name="python3",
        cwd=NOTEBOOK.parents[1],
        progress_bar=False,
        parameters=parameters
        | dict(subjects=8, views_per_subject=4, resolution=64, shard_size=2, workers=1),
    )
    notebook = json.loads(target.read_text())
    outputs = [o for c in notebook["cells"] for o in c.get("outputs", [])]
    metrics = collect(notebook)
    kept = metrics["portraits"]
    assert (
        2 <= kept <= 3
        and metrics["subjects"] == metrics["views"] == kept
        and metrics["findings"] == 0
    )
    assert metrics["balanced"] and metrics["asked"] == 3 * kept and metrics["views_kept"] == 0
    assert "identity_auc" not in metrics and "depth_error" not in metrics, (
        "nothing is known of photographs"
    )
    assert check(tmp_path / "out/dataset") == []
    found = infos(tmp_path / "out/dataset")
    assert all(
        "CC0-1.0" in info.licence and len(info.provenance["rejected"]) == 3 for info in found
    )
    printed = "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")
    assert "no face" in printed and "licence of the data" in printed
    (table,) = [
        t
        for o in outputs
        if "| view | generated" in (t := "".join(o.get("data", {}).get("text/markdown", "")))
    ]
    assert table.count("\n") == 4 and "view: " in table
