"""Which camera a generator with a view condition gets, and the styles that come of it."""

import pytest
import torch

from semhead_lib.cameras import orbit_cameras
from semhead_lib.conditioning.cameras import condition_camera_name, condition_cameras

CAMERAS = orbit_cameras(torch.linspace(-150, 150, 12), torch.linspace(-20, 20, 12)).view(4, 3, 25)


def test_one_camera_for_all_views():
    front = orbit_cameras(torch.zeros(1), torch.zeros(1))
    assert torch.equal(condition_cameras("front", CAMERAS), front.expand(4, 1, 25))
    assert torch.equal(condition_cameras(0.0, CAMERAS), front.expand(4, 1, 25))
    side = orbit_cameras(torch.tensor([90.0]), torch.zeros(1))
    assert torch.equal(condition_cameras("90", CAMERAS), side.expand(4, 1, 25))


def test_a_camera_for_each_view():
    assert torch.equal(condition_cameras("rendered", CAMERAS), CAMERAS)
    drawn = condition_cameras("random", CAMERAS, seed=1)
    assert torch.equal(drawn, condition_cameras("random", CAMERAS, seed=1))
    assert not torch.equal(drawn, condition_cameras("random", CAMERAS, seed=2))
    rows = [sorted(map(tuple, x.flatten(0, 1).tolist())) for x in (drawn, CAMERAS)]
    assert rows[0] == rows[1], "they are the cameras of the images, in another order"
    assert (drawn != CAMERAS).any(-1).float().mean() > 0.5


@pytest.mark.parametrize("other", ["side", "", "nan", float("inf"), None, "90°"])
def test_other_names_are_refused(other):
    with pytest.raises(ValueError, match="condition_camera must be front, rendered, random or an"):
        condition_camera_name(other)
