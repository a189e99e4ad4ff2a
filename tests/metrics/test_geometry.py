"""Reprojection and its inverse, on a plane at a known place."""

import pytest
import torch

from semhead_lib import cameras
from semhead_lib.metrics.geometry import reproject, unproject

FRONT = cameras.orbit_cameras(torch.tensor([0.0]), torch.tensor([0.0]))


def test_unproject_inverts_project():
    labels = cameras.orbit_cameras(torch.tensor([0.0, 130.0]), torch.tensor([0.0, -20.0]))
    depth = 2.7 + 0.1 * torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0))
    for label, image in zip(labels, depth, strict=True):
        points = unproject(image, label)
        uv, z = cameras.project(points, label[None])
        row, column = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
        assert torch.allclose(
            uv[0] * 16, torch.stack([column, row], -1).reshape(-1, 2) + 0.5, atol=1e-3
        )
        assert torch.allclose(z[0], image.reshape(-1), atol=1e-5)


def test_reproject_sorts_points():
    depth = torch.full((1, 32, 32), 2.7)  # the plane z = 0
    masks = torch.full((1, 32, 32), 255, dtype=torch.uint8)
    masks[:, :, 16:] = 0
    points = torch.tensor(
        [[-0.1, 0.0, 0.0], [-0.1, 0.0, 0.2], [-0.1, 0.0, -0.2], [0.1, 0.0, 0.0], [5.0, 0.0, 0.0]]
    )
    found = reproject(points, FRONT, depth, masks)
    assert found.visible.tolist() == [[True, False, False, True, False]]
    assert found.in_front == pytest.approx(1 / 4) and found.outside == pytest.approx(1 / 4)
    assert found.depth_error == pytest.approx(0.0, abs=1e-6)
