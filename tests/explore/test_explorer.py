"""The explorer without a browser: what its controls do, what it says of mistakes, what it saves."""

import datetime
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from skimage.data import astronaut

from semhead_lib.cameras import RADIUS
from semhead_lib.explore import explorer as module
from semhead_lib.explore.controls import in_words
from semhead_lib.explore.explorer import HeadExplorer
from semhead_lib.ops import Box
from semhead_lib.viz import scenes
from semhead_lib.viz.heads import IMAGES, HeadModel, HeadRequest, normal_colours


@pytest.fixture(scope="module")
def model():
    return HeadModel("semhead-128", device="cpu")


@pytest.fixture(scope="module")
def explorer(tmp_path_factory):
    made = HeadExplorer(
        {"one": "semhead-128", "two": "semhead-128"},
        gallery=3,
        mesh=24,
        out=tmp_path_factory.mktemp("out"),
        device="cpu",
    )
    assert made.wait()
    yield made
    made.close()


def pixels(widget) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(widget.value)).convert("RGB"))


def moved(explorer, **values) -> np.ndarray:
    """Set controls and wait; the image then."""
    for name, value in values.items():
        getattr(explorer, name).value = value
    assert explorer.wait()
    return pixels(explorer.image)


CHANGES = (
    {"seed": 5},
    {"psi": 0.2},
    {"condition": "a bald man"},
    {"along": 0.6},
    {"mixed": 0.7},
    {"azimuth": 90},
)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_control_changes_the_image(explorer, change):
    before = moved(
        explorer, seed=0, psi=0.7, condition="subject 0", along=0.0, mixed=0.0, azimuth=20.0
    )
    assert np.abs(before.astype(float) - moved(explorer, **change)).mean() > 1
    again = moved(
        explorer, seed=0, psi=0.7, condition="subject 0", along=0.0, mixed=0.0, azimuth=20.0
    )
    assert np.array_equal(before, again), "the same controls show the same head"


def test_all_kinds_of_images_and_scenes(explorer):
    shown = {kind: moved(explorer, kind=kind).tobytes() for kind in IMAGES}
    assert shown.pop("raw") == shown["image"], "this generator renders images of full size"
    assert len(set(shown.values())) == len(shown)
    kinds = []
    for scene in ("surface", "points", "volume"):
        moved(explorer, kind="image", scene=scene)
        kinds.append([thing.type for thing in explorer._plot.objects])
    assert kinds == [["Mesh"], ["Points"], ["Volume"]]
    moved(explorer, scene="surface")


def test_the_image_follows_the_scene_and_the_scene_the_sliders(explorer):
    moved(explorer, azimuth=-45.0, elevation=10.0)
    assert scenes.angles(explorer._plot.camera[:3]) == pytest.approx((-45, 10), abs=1e-3)
    assert np.linalg.norm(explorer._plot.camera[:3]) == pytest.approx(RADIUS)
    elsewhere = scenes.new_plot()
    scenes.look(elsewhere, 120.0, 20.0, 3.3)
    before = pixels(explorer.image)
    explorer._plot.camera = elsewhere.camera  # as the browser does when the mouse is released
    assert explorer.wait() and (explorer.azimuth.value, explorer.elevation.value) == (120, 20)
    assert np.linalg.norm(explorer._plot.camera[:3]) == pytest.approx(3.3, abs=1e-3), (
        "it stays where the hand put it"
    )
    assert not np.array_equal(before, pixels(explorer.image))


def test_mistakes_are_said_and_end_nothing(explorer):
    moved(explorer, condition="subject 99999")
    assert 'role="alert"' in explorer.message.value and "below 1024" in explorer.message.value
    moved(explorer, condition="subject 1")
    assert "alert" not in explorer.message.value


def test_two_models_side_by_side(explorer):
    one = moved(explorer, beside="two", kind="image")
    assert explorer.other_image.layout.display != "none"
    assert np.array_equal(one, pixels(explorer.other_image)), "they are the same generator"
    moved(explorer, beside="")
    assert explorer.other_image.layout.display == "none"


def test_a_photograph_becomes_the_condition(explorer, monkeypatch):
    data = io.BytesIO()
    Image.fromarray(astronaut()).save(data, "PNG")
    before = moved(explorer, condition="subject 0")
    file = {
        "name": "astronaut.png",
        "type": "image/png",
        "size": 1,
        "content": data.getvalue(),
        "last_modified": datetime.datetime.now(),
    }
    explorer.upload.set_trait("value", (file,))
    assert explorer.wait() and explorer.condition.value == "image: astronaut.png"
    assert np.abs(before.astype(float) - pixels(explorer.image)).mean() > 1
    assert all(0 < m.certainty["astronaut.png"] < 1 for m in explorer._models.values())
    explorer.upload.set_trait("value", ({**file, "name": "text.png", "content": b"no image"},))
    assert "text.png" in explorer.message.value and "alert" in explorer.message.value
    assert explorer.condition.value == "image: astronaut.png"
    with monkeypatch.context() as patch:
        patch.setattr(module, "portrait_of", lambda *_: bytes(-1 + 2**62))
        explorer.upload.set_trait("value", ({**file, "name": "huge.png"},))
    assert "alert" in explorer.message.value and "huge.png" in explorer.message.value


def uploaded(widget, name: str, data: bytes):
    """As a browser's front end of ipywidgets 8 sends a file: its bytes in a buffer of the message."""
    file = {"name": name, "type": "image/png", "size": len(data), "last_modified": 1795827600000}
    content = {"method": "update", "state": {"value": [file]}}
    content["buffer_paths"] = [["value", 0, "content"]]
    widget._handle_msg({"content": {"data": content}, "buffers": [memoryview(data)]})


def test_a_file_is_taken_as_the_browser_sends_it(explorer):
    data = io.BytesIO()
    Image.fromarray(astronaut()).save(data, "PNG")
    uploaded(explorer.upload, "me & you.png", data.getvalue())
    assert isinstance(explorer.upload.value[0]["content"], memoryview)
    assert explorer.wait() and explorer.condition.value == "image: me & you.png"
    uploaded(explorer.upload, "broken.png", data.getvalue()[:5000])
    assert "alert" in explorer.message.value and "broken.png" in explorer.message.value
    uploaded(explorer.upload, "again.png", data.getvalue())
    assert explorer.wait() and explorer.condition.value == "image: again.png"


def test_a_snapshot(explorer):
    moved(explorer, condition="subject 2", seed=3, scene="surface", azimuth=30.0)
    folder = explorer.save()
    assert sorted(p.name for p in folder.iterdir()) == ["asked.json", "head.glb", "image.png"]
    about = json.loads((folder / "asked.json").read_text())
    assert about["seed"] == 3 and about["condition"] == "subject 2" and about["azimuth"] == 30
    assert len(trimesh.load(folder / "head.glb", force="mesh").vertices) > 50
    assert explorer.save().name == "002"


def test_it_stays_in_a_saved_notebook(explorer):
    page = explorer.still("a head to turn").data
    assert "<iframe" in page and 'alt="a head to turn"' in page and len(page) < 5_000_000


def test_what_is_typed_as_a_condition():
    assert (
        in_words("  subject 7 ") == "subject 7" and in_words("image: a b.png") == "image: a b.png"
    )
    assert in_words("red hair") == "text: red hair"


def test_mixing_ends_at_the_other(model):
    asked = HeadRequest(condition="subject 0", other_condition="subject 1")
    ends = [model.style(replace(asked, mixed=share)) for share in (0.0, 1.0)]
    alone = [model.style(replace(asked, condition=c)) for c in ("subject 0", "subject 1")]
    assert torch.allclose(ends[0], alone[0]) and torch.allclose(ends[1], alone[1], atol=1e-4)
    half = model.style(replace(asked, along=0.5, other_seed=9))
    assert torch.allclose(
        half, (model.style(asked) + model.style(replace(asked, seed=9))) / 2, atol=1e-5
    )


def test_normals_point_at_the_camera():
    depth = torch.full((16, 16), 2.7)
    colours = normal_colours(depth, 90.0, 0.0)  # from the subject's left: the wall looks towards +x
    assert colours[:, 8, 8].tolist() == pytest.approx([255, 128, 128], abs=3)
    assert (colours[:, 0] == 255).all(), "the edge has no neighbours"


def test_a_density_is_shown_upright(model):
    density = np.zeros((8, 8, 8), np.float32)
    density[1, 6, 4] = 1.0  # z low, y high, x in the middle
    shown = scenes.volume(density, Box()).volume
    assert np.argwhere(shown).tolist() == [[6, 6, 4]], "k3d's z is our y, its y our -z"
