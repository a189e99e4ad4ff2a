"""Images of the representations."""

import torch

from semhead_lib.models.planes import REPRESENTATIONS, make_planes
from semhead_lib.ops import Projection
from semhead_lib.viz.planes import VIEWS, contact_sheet, plane_rows, random_heads


def test_a_ball_wears_the_planes_that_it_is_read_from():
    front, left, back = (1 + k for k in range(3))
    triplane, spherical = make_planes("triplane", 8, 1), make_planes("spherical", 8, 1)
    xy = plane_rows(triplane, size=65)[0].int()
    assert xy.shape == (1 + len(VIEWS), 3, 65, 65)
    middle = xy[:, :, 32, 32]
    assert (middle[front] - middle[back]).abs().max() < 5, "XY does not tell front from back"
    assert (xy[left, 0, 32, 40] - xy[left, 0, 32, 24]).abs() < 5, (
        "nor near from far, seen from the side"
    )
    assert xy[front, 0, 32, 50] > xy[front, 0, 32, 14], (
        "the subject's left, red, is on the right of the image"
    )
    polar = plane_rows(spherical, size=65)[0]
    assert (polar[back, :, 32, 32] == 255).all() and (polar[front, :, 32, 32] < 255).any(), (
        "faded at the seam"
    )
    assert (polar[front, :, 0, 0] == 255).all(), "white beside the ball"


def test_one_row_a_projection():
    width, height = contact_sheet().size
    assert height == len(Projection) * 130 - 2 and width == (1 + len(VIEWS)) * 130 - 2


def test_random_heads_differ_between_representations_and_around_the_head():
    rows = random_heads(views=3)
    assert len(rows) == len(REPRESENTATIONS) and rows[0].shape == (3, 3, 64, 64)
    assert all((row < 250).any() and (row[:, :, 0, 0] > 240).all() for row in rows), (
        "something, on white"
    )
    assert not torch.equal(rows[0][0], rows[0][1]) and not torch.equal(rows[0], rows[1])
