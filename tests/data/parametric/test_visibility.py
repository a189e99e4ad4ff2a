"""What a sample sees by projection is what a ray through it hits: warp's own ray query is the
reference."""

import numpy as np
import pytest
import torch
import warp as wp

from semhead_lib import cameras
from semhead_lib.data.parametric.source import ParametricSource
from semhead_lib.data.parametric.visibility import (
    NOTHING,
    cover_kernel,
    project_kernel,
    sample_offsets,
)

SIZE = 48


@wp.kernel(enable_backward=False)
def reference_kernel(
    mesh: wp.uint64,
    origin: wp.array(dtype=wp.vec3),
    direction: wp.array(dtype=wp.vec3),
    t: wp.array(dtype=wp.float32),
):
    i = wp.tid()
    query = wp.mesh_query_ray(mesh, origin[i], direction[i], 100.0)
    t[i] = wp.where(query.result, query.t, 0.0)


def seen_by_rays(mesh, label):
    """Camera z along the ray through each pixel's centre, 0 where it hits nothing. [SIZE, SIZE]"""
    origin, direction = (x[0].contiguous() for x in cameras.rays(label[None], SIZE))
    t = wp.zeros(SIZE * SIZE, dtype=wp.float32, device="cpu")
    arrays = [wp.array(x.numpy(), dtype=wp.vec3, device="cpu") for x in (origin, direction)]
    wp.launch(
        reference_kernel, dim=SIZE * SIZE, inputs=[mesh.id, *arrays], outputs=[t], device="cpu"
    )
    forward = label[:16].reshape(4, 4)[:3, 2]
    return (t.numpy() * (direction @ forward).numpy()).reshape(SIZE, SIZE)


def seen_by_projection(vertices, faces, label, samples=1, order=None):
    """Camera z and triangle of each sample. [SIZE, SIZE, S] each, z 0 and triangle -1 where nothing
    is seen"""
    faces = faces if order is None else faces[order]
    points, flat = (
        wp.array(x, dtype=d, device="cpu")
        for x, d in ((vertices, wp.vec3), (faces.reshape(-1), wp.int32))
    )
    screen = wp.empty(len(vertices), dtype=wp.vec3, device="cpu")
    cameras = wp.array(label[None].numpy(), dtype=wp.float32, device="cpu")
    nearest = wp.full((SIZE, SIZE, samples), int(NOTHING), dtype=wp.int64, device="cpu")
    wp.launch(
        project_kernel,
        dim=len(vertices),
        inputs=[points, cameras, 0, float(SIZE)],
        outputs=[screen],
        device="cpu",
    )
    offsets = wp.array(sample_offsets(samples), dtype=wp.vec2, device="cpu")
    wp.launch(
        cover_kernel,
        dim=len(faces),
        inputs=[flat, screen, offsets],
        outputs=[nearest],
        device="cpu",
    )
    keys = nearest.numpy()
    hit = keys != int(NOTHING)
    z = (keys >> 32).astype(np.int32).view(np.float32)
    return np.where(hit, z, 0.0), np.where(hit, keys & 0x7FFFFFFF, -1)


@pytest.fixture(scope="module")
def head():
    mesh = ParametricSource(seed=2).scene(4).mesh
    points, flat = (
        wp.array(mesh.vertices, dtype=wp.vec3, device="cpu"),
        wp.array(mesh.faces.reshape(-1), dtype=wp.int32),
    )
    return mesh, wp.Mesh(points=points, indices=flat)


@pytest.mark.parametrize(("azimuth", "elevation"), [(0.0, 0.0), (75.0, 40.0), (-150.0, -25.0)])
def test_agrees_with_rays(head, azimuth, elevation):
    mesh, traced = head
    label = cameras.orbit_cameras(torch.tensor([azimuth]), torch.tensor([elevation]))[0]
    expected = seen_by_rays(traced, label)
    found, _ = seen_by_projection(mesh.vertices, mesh.faces, label)
    same = np.abs(found[..., 0] - expected) < 1e-4
    assert (expected > 0).mean() > 0.3
    assert same.mean() > 0.998  # what is left are samples within rounding of an edge


def test_no_cracks_between_triangles():
    """A wall of many triangles in front of nothing: no sample inside falls through, from an awkward
    camera."""
    steps = np.linspace(-0.5, 0.5, 38)
    x, y = np.meshgrid(steps, steps)
    vertices = np.stack([x, y, 0.05 * np.sin(9 * x + 5 * y)], -1).reshape(-1, 3).astype(np.float32)
    i = (np.arange(37)[:, None] * 38 + np.arange(37)).reshape(-1)
    faces = np.concatenate(
        [np.stack([i, i + 1, i + 39], -1), np.stack([i, i + 39, i + 38], -1)]
    ).astype(np.int32)
    label = cameras.orbit_cameras(torch.tensor([13.7]), torch.tensor([7.3]))[0]
    z, _ = seen_by_projection(vertices, faces, label, samples=16)
    assert (z > 0).all()


def test_nearest_wins_in_any_order():
    vertices = np.array(
        [(x, y, z) for z in (0.0, 0.1, -0.1) for x, y in ((-1, -1), (1, -1), (0, 1))], np.float32
    )
    faces = np.arange(9, dtype=np.int32).reshape(3, 3)
    label = cameras.orbit_cameras(torch.tensor([0.0]), torch.tensor([0.0]))[0]
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        z, triangle = seen_by_projection(vertices, faces, label, order=np.array(order))
        middle = z[24, 24, 0], order[triangle[24, 24, 0]]
        assert middle == (pytest.approx(2.6, abs=1e-5), 1)


def test_what_is_behind_the_camera_is_not_seen():
    vertices = np.array(
        [(-1, -1, 4.0), (1, -1, 4.0), (0, 1, 4.0), (0, 0, 2.7), (1, 0, 2.0), (0, 1, 2.0)],
        np.float32,
    )
    label = cameras.orbit_cameras(torch.tensor([0.0]), torch.tensor([0.0]))[0]
    z, _ = seen_by_projection(vertices, np.arange(6, dtype=np.int32).reshape(2, 3), label)
    assert (z == 0).all()


def test_offsets_start_at_the_centre():
    offsets = sample_offsets(16)
    assert offsets[0] == pytest.approx((0.5, 0.5)) and ((offsets >= 0) & (offsets < 1)).all()
    assert (
        len({(int(4 * x), int(4 * y)) for x, y in offsets}) >= 12
    )  # well spread over a 4 x 4 grid
