"""Heads as files: other programs open them again, upright and in their colours."""

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from semhead_lib.models.generator import Generator
from semhead_lib.models.mesh import Mesh, mesh
from semhead_lib.viz.exports import write_gif, write_mesh, write_mp4, write_viewer


@pytest.fixture(scope="module")
def head() -> Mesh:
    generator = Generator.load("semhead-64")
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
    order = np.lexsort(np.round(opened.vertices, 4).T), np.lexsort(np.round(head.vertices, 4).T)
    found, expected = (
        opened.visual.vertex_colors[order[0], :3].astype(int),
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
