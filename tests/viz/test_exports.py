"""Heads as files: other programs open them again, upright and in their colours."""

import json
import resource

import imageio_ffmpeg
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from semhead_lib.atomic import leftovers, remove_leftovers
from semhead_lib.models.generator import Generator
from semhead_lib.models.mesh import Mesh, mesh
from semhead_lib.viz.exports import write_gif, write_mesh, write_mp4, write_viewer


@pytest.fixture(scope="module")
def head() -> Mesh:
    generator = Generator.load("semhead-128")
    return mesh(generator, generator.mapping.w_mean, resolution=32)


@pytest.mark.parametrize("kind", ["glb", "ply", "obj"])
def test_a_mesh_is_opened_again(head, tmp_path, kind):
    path = tmp_path / "deep/er" / f"head.{kind}"
    write_mesh(path, head)
    opened = trimesh.load(path, force="mesh", process=False)
    assert len(opened.faces) == len(head.faces)
    assert np.abs(opened.bounds - [head.vertices.min(0), head.vertices.max(0)]).max() < 1e-5, (
        "y up, in scene units"
    )
    if kind == "glb":  # linear, as glTF has it
        (part,) = trimesh.load(path, process=False).geometry.values()
        linear = part.visual.vertex_attributes["color"]
        curved = 1.055 * linear ** (1 / 2.4) - 0.055
        shown = (255 * np.where(linear <= 0.0031308, linear * 12.92, curved)).round()
    else:
        shown = opened.visual.vertex_colors[:, :3]
    order = np.lexsort(np.round(opened.vertices, 4).T), np.lexsort(np.round(head.vertices, 4).T)
    found, expected = (
        shown[order[0]].astype(int),
        head.colours[order[1]].astype(int),
    )
    assert np.abs(np.sort(found, 0) - np.sort(expected, 0)).max() <= 1
    outwards = (
        (opened.face_normals * (opened.triangles_center - opened.centroid)).sum(1) > 0
    ).mean()
    assert outwards > 0.7
    assert b"one unit about 0.6 m" in path.read_bytes()


def test_a_mesh_of_another_kind(head, tmp_path):
    with pytest.raises(ValueError, match=r"head\.stl: expected a suffix of glb, ply, obj"):
        write_mesh(tmp_path / "head.stl", head)
    assert not list(tmp_path.iterdir())


def test_moving_images(tmp_path):
    frames = torch.zeros(6, 3, 17, 20, dtype=torch.uint8)
    for i in range(6):
        frames[i, i % 3, :, 3 * i : 3 * i + 3] = 255
    write_gif(tmp_path / "turn.gif", frames, fps=10)
    with Image.open(tmp_path / "turn.gif") as opened:
        assert (opened.n_frames, opened.size, opened.info["duration"], opened.info["loop"]) == (
            6,
            (20, 17),
            100,
            0,
        )
    write_mp4(tmp_path / "turn.mp4", frames)
    assert (tmp_path / "turn.mp4").read_bytes()[4:8] == b"ftyp"
    for write in (write_gif, write_mp4):
        with pytest.raises(
            ValueError, match=r"frames must be uint8 \[T >= 1, 3, H, W\], got torch.float32 \[6"
        ):
            write(tmp_path / "other", frames.float())


def test_what_is_left_of_a_video_that_was_being_written_is_found(tmp_path, monkeypatch):
    def kill(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("semhead_lib.viz.exports.publish", kill)
    with pytest.raises(KeyboardInterrupt):
        write_mp4(tmp_path / "turn.mp4", torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    assert len(list(leftovers(tmp_path))) == len(list(tmp_path.iterdir())) == 1
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_video_that_a_full_disk_cuts_is_not_taken_for_whole(tmp_path):
    imageio_ffmpeg.get_ffmpeg_exe()
    frames = torch.randint(0, 255, (9, 3, 64, 64), dtype=torch.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write the video.*turn\.mp4"):
            write_mp4(tmp_path / "turn.mp4", frames)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_a_page_to_turn_a_head(head, tmp_path):
    write_viewer(tmp_path / "head.html", head, title="one <head>")
    page = (tmp_path / "head.html").read_text()
    assert "<title>one &lt;head&gt;</title>" in page and len(page) < 5_000_000
    assert 'src="http' not in page and "src='http" not in page, "it needs no network"


def test_a_viewers_title_is_shown_as_it_is(tmp_path):
    vertices = np.array([[0, 0, 0], [0.5, 0, 0], [0, 0.25, 0], [0, 0, 0.125]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    head = Mesh(vertices, faces, np.zeros((4, 3), np.uint8))
    write_viewer(tmp_path / "v.html", head, r"C:\1\<b>")
    assert r"<title>C:\1\&lt;b&gt;</title>" in (tmp_path / "v.html").read_text()


def test_a_glb_has_linear_colours_and_a_rough_material(tmp_path):
    vertices = np.array([[0, 0, 0], [0.5, 0, 0], [0, 0.25, 0], [0, 0, 0.125]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    colours = np.array([[255, 0, 0], [0, 188, 0], [0, 0, 10], [1, 2, 3]], np.uint8)
    write_mesh(tmp_path / "m.glb", Mesh(vertices, faces, colours))
    data = (tmp_path / "m.glb").read_bytes()
    length = int.from_bytes(data[12:16], "little")
    tree, binary = json.loads(data[20 : 20 + length]), data[20 + length + 8 :]
    (primitive,) = tree["meshes"][0]["primitives"]
    rough = tree["materials"][primitive["material"]]["pbrMetallicRoughness"]
    assert rough["metallicFactor"] == 0 and rough["roughnessFactor"] == 1
    accessor = tree["accessors"][primitive["attributes"]["COLOR_0"]]
    assert (accessor["componentType"], accessor["type"], accessor["count"]) == (5126, "VEC3", 4)
    start = tree["bufferViews"][accessor["bufferView"]].get("byteOffset", 0)
    start += accessor.get("byteOffset", 0)
    linear = np.frombuffer(binary[start : start + 48], "<f4").reshape(4, 3)
    known = [[1, 0, 0], [0, 0.5028865, 0], [0, 0, 0.0030353], [0.00030353, 0.00060705, 0.00091058]]
    assert np.abs(linear - known).max() < 1e-6


def test_every_mesh_is_closed():
    generator = Generator.load("semhead-128")
    for seed in range(4):
        z = torch.randn(1, 128, generator=torch.Generator().manual_seed(seed))
        w = generator.mapping(z, torch.zeros(1, generator.config.condition_dim))
        head = mesh(generator, w[0].detach(), 32).as_trimesh()
        assert head.is_watertight and head.is_winding_consistent and head.volume > 0
        center, half = generator.config.box_center, generator.config.box_half
        assert (np.abs(head.vertices - center) <= np.array(half) + 1e-6).all()
