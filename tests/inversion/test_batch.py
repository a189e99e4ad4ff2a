"""`semhead invert`: folders that others can open, a batch that goes on, and photographs that cannot
be used."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from safetensors.torch import load_file
from skimage.data import astronaut
from torch.nn.functional import normalize

from semhead_lib.cameras import Camera
from semhead_lib.cli import main
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.inversion import batch, report
from semhead_lib.inversion.search import Inverted, Search
from semhead_lib.inversion.settings import Files
from semhead_lib.models.config import preset
from semhead_lib.models.generator import Generator
from semhead_lib.models.mesh import Mesh
from semhead_lib.viz.exports import write_mesh

pytest.importorskip("dlib")
QUICK = ["steps=4", "tuning_steps=2", "frames=4", "mesh=24", "texture=64", "splats=99"]
QUICK += ["candidates=2", "device=cpu"]
FILES = {
    "report.png",
    "report.html",
    "latent.safetensors",
    "generator",
    "turntable.mp4",
    "head.glb",
    "head_textured.glb",
    "head_splats.ply",
    "metrics.json",
}


def in_srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    Generator(preset("semhead-32", condition_dim=128, ball_slope=60.0)).save(folder)
    identity = str(SemanticEncoder.load("headclip-64", device="cpu").identity)
    ConditionBank(
        ConditionMode("semantic", 128), identity, normalize(torch.randn(16, 128), dim=1)
    ).save(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """One person with two photographs, one with one, and two files that are no use."""
    folder = tmp_path_factory.mktemp("photos")
    portrait = Image.fromarray(astronaut()).crop((60, 0, 390, 330))
    (folder / "eileen").mkdir()
    portrait.save(folder / "eileen" / "1.jpg")
    portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "eileen" / "2.png")
    portrait.save(folder / "other.webp")
    Image.new("RGB", (64, 64), "grey").save(folder / "nobody.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def inverted(model, photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, main(["invert", str(photos), f"out={out}", f"model={model}", *QUICK])


def test_every_person_gets_a_folder_and_the_rest_a_reason(inverted, capsys, photos, model):
    out, code = inverted
    assert code == 1, "two of four could not be used"
    assert {p.name for p in out.iterdir()} == {"eileen", "other"}
    assert all({p.name for p in (out / name).iterdir()} == FILES for name in ("eileen", "other"))
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    assert main(["invert", str(photos), f"out={out}", f"model={model}", *QUICK]) == 1
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == before, (
        "what is finished is left alone"
    )
    said = capsys.readouterr().err
    assert said.count("was finished already") == 2
    assert (
        "nobody.png: no face found" in said
        and "broken.jpg: no readable JPEG, PNG or WebP image" in said
    )


def test_what_is_written_can_be_opened_again(inverted):
    folder = inverted[0] / "eileen"
    latent, generator = (
        load_file(folder / "latent.safetensors"),
        Generator.load(folder / "generator"),
    )
    assert latent["w"].shape == (1, sum(generator.num_ws), 128) and latent["cameras"].shape == (
        2,
        25,
    )
    assert (
        latent["condition"].shape == (1, 128)
        and ConditionBank.load(folder / "generator").mode.name == "semantic"
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["steps"] == {"style": 4, "tuning": 2} and metrics["input"]["psnr"] > 5
    assert (
        set(metrics["identity"]) == {str(t) for t in range(-60, 61, 15)}
        and len(metrics["photographs"]) == 2
    )
    first, second = (p["azimuth and elevation"][0] for p in metrics["photographs"])
    assert first * second < 0 and abs(first + second) < 8, "the second is the first in a mirror"
    page = (folder / "report.html").read_text()
    assert "data:image/png;base64," in page and "http" not in page.replace("http://www.w3.org", "")
    assert str(inverted[0]) not in page + json.dumps(metrics)


def test_the_mesh_stands_upright_and_is_coloured(inverted):
    page = (inverted[0] / "other" / "report.html").read_text()
    assert '<a href="head_textured.glb">' in page and '<a href="head_splats.ply">' in page
    (head,) = trimesh.load(inverted[0] / "other" / "head.glb", process=False).geometry.values()
    assert len(head.faces) > 100 and np.abs(head.vertices).max() < 0.51
    assert head.visual.vertex_attributes["color"].shape == (len(head.vertices), 3)
    assert head.visual.material.metallicFactor == 0 and head.is_watertight


@pytest.mark.parametrize("kind", ["glb", "ply", "obj"])
def test_meshes_survive_the_round_trip(tmp_path, kind):
    vertices = np.array([[0, 0, 0], [0.5, 0, 0], [0, 0.25, 0], [0, 0, 0.125]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]], np.uint8)
    write_mesh(tmp_path / f"m.{kind}", Mesh(vertices, faces, colours))
    found = trimesh.load(tmp_path / f"m.{kind}", force="mesh", process=False)
    order = [int(np.abs(found.vertices - v).sum(1).argmin()) for v in vertices]
    assert found.vertices[order] == pytest.approx(vertices, abs=1e-6) and len(found.faces) == 4
    if kind == "glb":  # linear, as glTF has it: trimesh gives numbers as they are
        (part,) = trimesh.load(tmp_path / "m.glb", process=False).geometry.values()
        shown = 255 * in_srgb(part.visual.vertex_attributes["color"])[order]
    else:
        shown = np.asarray(found.visual.vertex_colors)[order, :3]
    assert np.abs(shown - colours).max() < 0.01
    with pytest.raises(ValueError, match=r"m\.stl: expected a suffix of glb, ply, obj"):
        write_mesh(tmp_path / "m.stl", Mesh(vertices, faces, colours))


def test_any_failure_of_one_is_a_line_and_the_rest_goes_on(
    inverted, capsys, photos, model, monkeypatch
):
    out, _ = inverted
    (out / "other" / "metrics.json").write_bytes(b'{"about": \xff')
    read = batch.read_portrait

    def hungry(path, **options):
        if path.name == "nobody.png":
            raise MemoryError("no room")
        return read(path, **options)

    monkeypatch.setattr(batch, "read_portrait", hungry)
    assert main(["invert", str(photos), f"out={out}", f"model={model}", *QUICK]) == 1
    said = capsys.readouterr().err
    assert "nobody: MemoryError: no room" in said and "eileen: was finished already" in said
    assert json.loads((out / "other" / "metrics.json").read_text())["about"]


def test_photographs_are_gathered_from_files_and_folders(photos, tmp_path):
    subjects = batch.gather([photos, photos / "eileen" / "1.jpg"])
    assert [len(paths) for paths in subjects.values()] == [1, 1, 1, 2, 1]
    assert list(subjects) == ["broken", "nobody", "other", "eileen", "1"]
    with pytest.raises(FileNotFoundError, match="no such photograph or folder"):
        batch.gather([tmp_path / "missing.png"])


@pytest.mark.parametrize("given", ["photos", "photos/1.jpg photos/2.jpg"])
def test_damaged_labels_above_photographs_are_said_once(tmp_path, capsys, model, given):
    (tmp_path / "dataset.json").write_text('{"labels": [["1.jpg", [1, 2')
    (tmp_path / "photos" / "3").mkdir(parents=True)
    for name in ("1.jpg", "2.jpg", "3/4.jpg"):
        Image.new("RGB", (64, 64), "grey").save(tmp_path / "photos" / name)
    paths = [str(tmp_path / path) for path in given.split()]
    assert main(["invert", *paths, f"out={tmp_path / 'out'}", f"model={model}", *QUICK]) == 1
    assert capsys.readouterr().err.count("dataset.json: is not JSON") == 1
    assert not (tmp_path / "out").exists()
    assert list(batch.gather([tmp_path / "photos" / "3" / ".." / "3"])) == ["4"], (
        "two folders above"
    )


def test_without_photographs_the_command_says_what_it_takes(capsys):
    assert main(["invert", "out=x"]) == 2
    assert "photos=... is needed: photographs (JPEG, PNG, WebP)" in capsys.readouterr().err
    assert main(["invert", "--help"]) == 0
    assert "usage: semhead invert PHOTOS... [key=value ...]" in capsys.readouterr().out


def test_a_head_without_a_surface_is_noted(inverted):
    with pytest.raises(ValueError, match="mesh must be 0 or an integer from 2 to 512, got 1"):
        Files(mesh=1)
    metrics = json.loads((inverted[0] / "eileen" / "metrics.json").read_text())
    metrics["mesh"] = "no surface: density lies in 0...1, the level is 10"
    result = SimpleNamespace(name="eileen", metrics=metrics, fitted=Inverted(*[None] * 3, Search()))
    assert "<li>No mesh: no surface: density lies in 0...1" in report.page(result, b"")


def test_a_pipe_in_the_place_of_what_was_found_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "metrics.json")
    assert batch._finished(tmp_path / "metrics.json") is None


@pytest.fixture
def labelled(tmp_path):
    """A photograph whose camera is given, and what takes another azimuth for it."""
    (tmp_path / "in").mkdir()
    Image.fromarray(astronaut()).crop((60, 0, 390, 330)).save(tmp_path / "in" / "one.png")

    def seen_from(azimuth):
        labels = [["one.png", Camera.orbit(azimuth, 0.0).label.tolist()]]
        (tmp_path / "in" / "dataset.json").write_text(json.dumps({"labels": labels}))

    seen_from(0.0)
    return seen_from


def test_other_labels_and_settings_give_another_result(
    tmp_path, model, labelled, monkeypatch, capsys
):
    few = [
        f"out={tmp_path / 'out'}",
        f"model={model}",
        "steps=0",
        "tuning_steps=0",
        "candidates=1",
    ]
    few += ["device=cpu", "mesh=0"]
    folder = tmp_path / "out" / "one"
    monkeypatch.setattr(batch, "identity_around", lambda *_: {})
    assert main(["invert", str(tmp_path / "in"), *few, "frames=2"]) == 0
    assert "turntable.mp4" in (folder / "report.html").read_text()
    labelled(40.0)
    assert main(["invert", str(tmp_path / "in"), *few, "frames=0"]) == 0
    metrics = (folder / "metrics.json").read_bytes()
    (photograph,) = json.loads(metrics)["photographs"]
    assert photograph["azimuth and elevation"] == [40.0, 0.0]
    assert not (folder / "turntable.mp4").exists(), "no video of the head that was there before"
    assert "turntable.mp4" not in (folder / "report.html").read_text()

    def interrupted(*args, **options):
        result = found(*args, **options)
        return replace(result, fitted=replace(result.fitted, style=Search(stopped="interrupted")))

    found = batch.invert_person
    monkeypatch.setattr(batch, "invert_person", interrupted)
    assert main(["invert", str(tmp_path / "in"), *few, "frames=0", "seed=1"]) == 130
    assert (folder / "metrics.json").read_bytes() == metrics, "what is finished outlives Ctrl-C"
    Image.new("RGB", (99, 99), "grey").save(tmp_path / "in" / "one.png")  # somebody else's
    assert main(["invert", str(tmp_path / "in"), *few, "frames=0"]) == 1
    said = "out/one holds the head of other photographs (one.png): delete it"
    assert said in capsys.readouterr().err
    assert (folder / "metrics.json").read_bytes() == metrics


def test_a_place_that_cannot_be_written_is_said_before_the_work(
    tmp_path, model, labelled, monkeypatch, capsys
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "one").write_text("a file")
    monkeypatch.setattr(batch, "invert_person", lambda *_: pytest.fail("inverted"))
    paths = [str(tmp_path / "in"), f"out={tmp_path / 'out'}", f"model={model}"]
    assert main(["invert", *paths, *QUICK]) == 1
    assert "out/one'" in (said := capsys.readouterr().err) and "is a file, expected a fold" in said


def test_names_of_photographs_become_folders_in_out(tmp_path):
    names = ["...png", "..png", os.fsdecode(b"\xe9.png"), "a.png", "a.PNG"]
    for name in names:
        (tmp_path / name).touch()
    paths = [tmp_path / name for name in [*names, *names]]
    subjects = batch.gather(paths)
    assert list(subjects) == ["...png", "..png", "\ufffd", "a", "a_png"]
    assert all(len(files) == 1 for files in subjects.values()), "each is taken once"
