"""Outputs that are committed with notebooks: small, still, described, and those of the sources."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output, writes
from PIL import Image

from semhead_lib.reproduce import outputs
from semhead_lib.viz import plots

ROOT = Path(__file__).parents[2]
WIDGET = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "HeadExplorer()"}


def noise(side: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8))


def frames(count: int, side: int) -> list[Image.Image]:
    image = np.asarray(noise(side))
    return [Image.fromarray(np.roll(image, 7 * k, axis=1)) for k in range(count)]


@pytest.fixture
def executed(tmp_path):
    """A notebook, and the same executed: what it printed, a widget, a table and an image."""
    sources = ["print(1)", "explorer", "table", "image"]
    path = tmp_path / "01_made.ipynb"
    path.write_text(writes(new_notebook(cells=[new_code_cell(s) for s in sources])))
    ran = json.loads(path.read_text())
    page = plots.show(
        plots.image_grid([torch.zeros(2, 3, 32, 32, dtype=torch.uint8)]), "two <heads>"
    )
    made = [
        [new_output("stream", name=name, text=f"to {name}") for name in ("stdout", "stderr")],
        [new_output("display_data", WIDGET)],
        [new_output("display_data", {"text/html": "<table></table>", "text/plain": "table"})],
        [new_output("execute_result", {"text/html": page.data, "text/plain": "HTML"})],
    ]
    for cell, own in zip(ran["cells"], made, strict=True):
        cell["outputs"] = own
    return path, ran


@pytest.fixture
def committed(executed):
    path, ran = executed
    path.write_text(json.dumps(outputs.with_outputs(path, ran, browser=None)))
    return path


def test_what_is_kept(committed):
    assert outputs.problems(committed) == []
    cells = json.loads(committed.read_text())["cells"]
    printed, widget, table, image = (cell["outputs"] for cell in cells)
    assert [output["text"] for output in printed] == ["to stdout"] and widget == []
    assert set(table[0]["data"]) == {"text/html", "text/plain"}
    (shown,) = image
    assert shown["metadata"]["image/jpeg"] == {"alt": "two <heads>"}
    opened = Image.open(io.BytesIO(base64.b64decode(shown["data"]["image/jpeg"])))
    assert opened.width >= 500 and opened.width % 66 == 0, "a multiple of its pixels"
    assert [cell["execution_count"] for cell in cells] == [1, 2, 3, 4]


def test_scenes_say_where_they_can_be_turned(executed, monkeypatch):
    """Below the image is a link to what the repository says of pages, and the command that makes
    this one."""
    path, ran = executed
    frame = "<iframe title='a head' srcdoc='...'></iframe>"
    ran["cells"][3]["outputs"] = [new_output("display_data", {"text/html": frame})]
    monkeypatch.setattr(outputs, "_of_page", lambda page, browser: ("a head", "image/png", b"PNG"))
    cells = outputs.with_outputs(path, ran, browser=None)["cells"]
    image, words = cells[3]["outputs"]
    assert list(image["data"]) == ["image/png", "text/plain"]
    said = words["data"]["text/markdown"][0]
    file, heading = re.search(r"\(\.\./(.*\.md)#(.*?)\)", said).groups()
    headings = re.findall(r"^#+ (.*)$", (ROOT / file).read_text(), re.M)
    assert heading in [title.lower().replace(" ", "-") for title in headings]
    assert f"only={path.stem.partition('_')[0]}" in said and f"pages/{path.stem}.html" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda cells: cells[0].update(source="print(2)"), "not those of its sources"),
        (lambda cells: cells[0]["outputs"][0].update(name="stderr"), "has an output of stderr"),
        (lambda cells: cells[0]["outputs"][0].update(text="in /home/me/x.png"), "/home/me/x.png"),
        (lambda cells: cells[3]["outputs"][0].update(metadata={}), "without a description"),
        (lambda cells: cells[3].update(outputs=[]), "shows no image"),
        (lambda cells: cells[2]["outputs"][0].update(data=WIDGET), "not drawn by pages"),
        (
            lambda cells: cells[3]["outputs"][0]["data"].update({"image/jpeg": "A" * 120_000}),
            "an image of 90000 bytes",
        ),
    ],
)
def test_what_is_found(committed, change, words):
    notebook = json.loads(committed.read_text())
    change(notebook["cells"])
    committed.write_text(json.dumps(notebook))
    (problem,) = outputs.problems(committed)
    assert words in problem


def test_an_error_is_no_output(executed):
    path, ran = executed
    ran["cells"][0]["outputs"] = [new_output("error", ename="E", evalue="v", traceback=["a line"])]
    with pytest.raises(RuntimeError, match="a line"):
        outputs.with_outputs(path, ran, browser=None)


def test_images_are_made_small():
    drawing = Image.new("RGB", (800, 400), "white")
    assert outputs.stored(drawing, drawn=True)[0] == "image/png"
    for drawn in (True, False):
        mime, image = outputs.stored(noise(900), drawn)
        assert mime == "image/jpeg" and len(image) <= outputs.IMAGE
        assert Image.open(io.BytesIO(image)).width >= 200


def test_videos_become_looping_images():
    whole = Image.open(io.BytesIO(outputs.looping(frames(4, 32))))
    assert whole.format == "PNG" and whole.n_frames == 4 and whole.info["loop"] == 0
    large = outputs.looping(frames(24, 128))
    assert len(large) <= outputs.IMAGE and 1 < Image.open(io.BytesIO(large)).n_frames < 24
