"""Meshes with a texture, and splats, against the surface that they were made of."""

import io

import numpy as np
import pytest
import torch
import trimesh

import semhead_lib as sh
from semhead_lib.models.mesh import Mesh, colours_at
from semhead_lib.models.textured import surface_of_texels, textured
from semhead_lib.viz.splats import splats, write_splats


@pytest.fixture(scope="module")
def head():
    torch.manual_seed(0)
    return sh.load("semhead-128", device="cpu").sample(seed=3, like=5)


@pytest.fixture(scope="module")
def made(head):
    return textured(head.network, head.w[0], resolution=24, side=256)


def test_texels_lie_on_their_triangles():
    vertices = np.array([[0, 0, 0], [4, 0, 0], [0, 4, 8.0]])
    places = np.array([[0, 0], [1, 0], [0, 1.0]])  # y up
    texels, points = surface_of_texels(vertices, np.array([[0, 1, 2]]), places, 8)
    assert 28 <= len(texels) <= 36, "half of 64"
    row, column = texels.T
    x, y = (column + 0.5) / 8 * 4, (8 - row - 0.5) / 8 * 4
    inside = x + y < 3.9
    expected = np.stack([x, y, 2 * y], axis=1)
    assert np.abs(points - expected)[inside].max() < 1e-5


def test_the_texture_has_the_fields_colours(head, made):
    opened = trimesh.load(io.BytesIO(made.as_glb()), file_type="glb", force="mesh", process=False)
    image = np.asarray(opened.visual.material.baseColorTexture.convert("RGB"))
    assert image.shape[:2] == (256, 256) and opened.visual.material.metallicFactor == 0
    points, faces = trimesh.sample.sample_surface(opened, 2000, seed=0)
    shares = trimesh.triangles.points_to_barycentric(opened.triangles[faces], points)
    places = np.einsum("nk,nkd->nd", shares, opened.visual.uv[opened.faces[faces]])
    column, row = (places * (256, -256) + (0, 256)).clip(0, 255).astype(int).T
    seen = image[row, column].astype(float)
    true = colours_at(head.network, head.w[0], points.astype(np.float32)).astype(float)
    assert np.abs(seen - true).mean() < 6, "levels of 255"
    assert np.abs(seen[:, ::-1] - true).mean() > 15, "other colours are told apart"


def test_heads_are_saved_into_new_folders(head, tmp_path):
    head.save_mesh(tmp_path / "new" / "head.glb", 16, texture=64)
    head.save_splats(tmp_path / "newer" / "head.ply", 50)
    assert (tmp_path / "new/head.glb").read_bytes()[:4] == b"glTF"
    assert (tmp_path / "newer/head.ply").read_bytes()[:4] == b"ply\n"


def test_bad_sizes_and_suffixes_are_refused(head, tmp_path):
    with pytest.raises(ValueError, match="16 to 8192 texels a side, got 8"):
        textured(head.network, head.w[0], 16, 8)
    with pytest.raises(ValueError, match=r"head\.ply: expected a suffix of glb"):
        head.save_mesh(tmp_path / "head.ply", 16, texture=64)
    with pytest.raises(ValueError, match="splats are written"):
        head.save_splats(tmp_path / "head.glb")


@pytest.fixture(scope="module")
def ball():
    sphere = trimesh.creation.icosphere(3, 0.3)
    colours = ((sphere.vertices / 0.6 + 0.5) * 255).round().astype(np.uint8)
    return Mesh(sphere.vertices.astype(np.float32), sphere.faces.astype(np.int32), colours)


def test_splats_are_flat_on_the_surface(ball, tmp_path):
    rows = splats(ball, 3000)
    points, normals, colours = rows[:, :3], rows[:, 3:6], rows[:, 6:9] * 0.28209479 + 0.5
    assert np.abs(np.linalg.norm(points, axis=1) - 0.3).max() < 0.01
    assert np.abs(colours - (points / 0.6 + 0.5)).max() < 0.01
    w, x, y, z = rows[:, 13:].T  # the third axis, turned by the quaternion
    axis = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], axis=1)
    assert np.abs(axis - normals).max() < 1e-3
    scales = np.exp(rows[:, 10:13])
    assert (scales[:, 2] < 0.3 * scales[:, 0]).all() and scales[0, 0] == pytest.approx(
        0.8 * np.sqrt(4 * np.pi * 0.09 / 3000), rel=0.05
    )
    write_splats(tmp_path / "ball.ply", ball, 3000)
    header, _, content = (tmp_path / "ball.ply").read_bytes().partition(b"end_header\n")
    assert b"element vertex 3000" in header and len(content) == 3000 * 17 * 4
    assert np.array_equal(np.frombuffer(content, "<f4").reshape(3000, 17), rows)
    with pytest.raises(ValueError, match="count must be at least 1"):
        write_splats(tmp_path / "none.ply", ball, 0)
