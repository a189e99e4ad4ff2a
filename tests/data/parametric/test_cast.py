"""The caster's ground truth against worked geometry: a sphere seen from the orbit."""

import numpy as np
import pytest
import torch

from semhead_lib import cameras
from semhead_lib.data.parametric.appearance import neutral_light
from semhead_lib.data.parametric.cast import Caster
from semhead_lib.data.parametric.materials import CLASSES, MATERIALS, parameters
from semhead_lib.data.parametric.scene import Mesh, Scene
from semhead_lib.data.parametric.wearables import grid_faces

RADIUS = 0.2


@pytest.fixture(scope="module")
def ball():
    rings, sectors = 181, 360
    polar = np.linspace(1e-4, np.pi - 1e-4, rings)[:, None]
    turn = np.linspace(0, 2 * np.pi, sectors, endpoint=False)[None]
    unit = np.stack(
        [np.sin(polar) * np.sin(turn), np.cos(polar) + 0 * turn, np.sin(polar) * np.cos(turn)], -1
    ).reshape(-1, 3)
    mesh = Mesh.part(
        RADIUS * unit, grid_faces(rings, sectors), (0.5, 0.5, 0.5), "cloth", normals=unit
    )
    return Caster(Scene(mesh, parameters(), np.ones(3), (0.4, 0.2)))


@pytest.fixture(scope="module")
def views(ball):
    labels = cameras.orbit_cameras(
        torch.tensor([0.0, 70.0, 180.0]), torch.tensor([0.0, 30.0, -20.0])
    )
    return labels, ball.cast(labels, 65, neutral_light(), samples=16)


def test_depth_is_camera_z_at_pixel_centres(views):
    labels, seen = views
    for label, depth in zip(labels, seen.depth, strict=True):
        origin, direction = (x[0].double() for x in cameras.rays(label[None], 65))
        along = -(origin * direction).sum(-1)
        miss = (origin**2).sum(-1) - along**2  # squared distance of the ray from the centre
        hit = miss < RADIUS**2
        forward = label[:16].reshape(4, 4)[:3, 2].double()
        true = (along - (RADIUS**2 - miss).clamp_min(0).sqrt()) * (direction @ forward)
        found = depth.reshape(-1).double()
        inner = miss < (0.97 * RADIUS) ** 2
        assert (
            (found > 0) == hit
        ).float().mean() > 0.995  # the mesh is a polyhedron: a few edge pixels may differ
        assert (found[inner] - true[inner]).abs().max() < 2e-4


def test_mask_is_coverage(views):
    _, seen = views
    covered = (seen.masks.double() / 255).mean(dim=(1, 2))
    tangent = RADIUS / np.sqrt(
        cameras.RADIUS**2 - RADIUS**2
    )  # of the silhouette's cone, seen from the camera
    area = np.pi * (tangent * cameras.FOCAL) ** 2
    assert torch.allclose(covered, torch.full((3,), area).double(), rtol=0.01)
    edge = (seen.masks > 0) & (seen.masks < 255)
    assert edge.any() and edge.float().mean() < 0.1


def test_normals_and_classes(views):
    labels, seen = views
    for label, normals, classes, depth in zip(
        labels, seen.normals, seen.segmentation, seen.depth, strict=True
    ):
        centre = normals[:, 32, 32].double() / 127.5 - 1
        towards = torch.nn.functional.normalize(label[[3, 7, 11]].double(), dim=0)
        assert (centre - towards).abs().max() < 0.02
        assert ((classes > 0) == (depth > 0)).all()
        assert classes[32, 32] == CLASSES.index("cloth") and normals[:, 0, 0].sum() == 0


def test_same_bytes_again(ball, views):
    labels, first = views
    again = ball.cast(labels, 65, neutral_light(), samples=16)
    assert all(
        torch.equal(getattr(first, k), getattr(again, k))
        for k in ("images", "masks", "depth", "normals", "segmentation")
    )


def test_more_samples_converge(ball):
    label = cameras.orbit_cameras(torch.tensor([20.0]), torch.tensor([10.0]))
    images = {
        n: ball.cast(label, 48, neutral_light(), samples=n).images.float() for n in (1, 4, 64)
    }
    assert (images[4] - images[64]).abs().mean() < (images[1] - images[64]).abs().mean()


def test_bad_arguments(ball):
    with pytest.raises(ValueError, match="samples and resolution must be at least 1, got 0 and 8"):
        ball.cast(torch.zeros(1, 25), 8, neutral_light(), samples=0)


def test_materials_name_classes():
    table = parameters()
    assert len(table) == len(MATERIALS) and len(CLASSES) <= 255
    assert set(table[:, 1].astype(int)) == set(
        range(1, len(CLASSES))
    )  # every class but the background is made of something
