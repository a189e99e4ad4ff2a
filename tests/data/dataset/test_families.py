"""Cameras of EG3D's descendants and ours see the same."""

import pytest
import torch

from semhead_lib.cameras import FACE, Camera, check_cameras, orbit_cameras, project
from semhead_lib.data.dataset.families import (
    FAMILIES,
    family,
    from_ours,
    moved_cameras,
    to_ours,
)

POINTS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.2
CAMERAS = orbit_cameras(torch.tensor([0.0, 35.0, -120.0, 180.0]), torch.tensor([0.0, 20, -15, 5]))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_point_and_its_counterpart_are_seen_at_the_same_place(name):
    f, theirs = family(name), CAMERAS.double()
    ours = to_ours(theirs, name)
    check_cameras(ours)
    seen, depth = project(POINTS, theirs)
    again, our_depth = project(f.scale * POINTS + f.shift, ours)
    assert torch.allclose(again, seen, atol=1e-9)
    assert torch.allclose(our_depth, f.scale * depth, atol=1e-9)
    assert torch.allclose(from_ours(ours, name), theirs, atol=1e-9)
    assert torch.equal(ours[:, 16:], theirs[:, 16:])


def test_what_a_family_looks_at_lies_where_the_table_says():
    """EG3D's cameras look at a face, PanoHead's at the middle of a head; EG3D's face model has its
    middle 0.161 before the origin, some centimetres behind the skin."""
    eg3d = family("eg3d-ffhq")
    pivot = eg3d.scale * torch.tensor([0.0, 0.0, 0.2], dtype=torch.float64) + eg3d.shift
    assert torch.allclose(pivot, torch.tensor(FACE, dtype=torch.float64))
    middle = eg3d.scale * torch.tensor([0.0, 0.006, 0.161], dtype=torch.float64) + eg3d.shift
    assert torch.allclose(
        middle, torch.tensor([0.0, -0.056, 0.126], dtype=torch.float64), atol=2e-3
    )
    front = to_ours(Camera.orbit(0.0, 0.0).label[None], "panohead")
    assert project(torch.zeros(1, 3), front)[0].flatten().tolist() == [0.5, 0.5]
    # An image of EG3D's is 0.234 m wide at the head, one of PanoHead's 0.264 m, ours 0.38 m.
    widths = {name: 0.6 * f.scale * 2.7 / 4.2647 for name, f in FAMILIES.items()}
    assert widths == pytest.approx(
        {"eg3d-ffhq": 0.2345, "panohead": 0.264, "spherehead": 0.264}, 1e-3
    )


def test_gradients_reach_cameras_of_a_family():
    cameras = CAMERAS.clone().requires_grad_()
    project(POINTS.float(), to_ours(cameras, "eg3d-ffhq"))[0].sum().backward()
    assert cameras.grad is not None and bool((cameras.grad[:, [3, 7, 11]] != 0).any(1).all())


def test_a_rotated_world_and_bad_arguments():
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).double()).Q
    turn = turn * turn.det()
    shift = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    moved = moved_cameras(CAMERAS.double(), 2.0, shift, turn)
    seen = project(POINTS, CAMERAS.double())[0]
    assert torch.allclose(project(2 * POINTS @ turn.T + shift, moved)[0], seen, atol=1e-9)
    with pytest.raises(ValueError, match="did you mean 'panohead'"):
        to_ours(CAMERAS, "panohaed")
    with pytest.raises(ValueError, match="scale must be positive"):
        moved_cameras(CAMERAS, 0.0, shift)
