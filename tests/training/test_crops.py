import pytest
import torch

from semhead_lib.cameras import FACE, crop_cameras, orbit_cameras, project, rays
from semhead_lib.models.config import preset
from semhead_lib.models.generator import Generator
from semhead_lib.training.crops import cut, draw_windows

LABELS = orbit_cameras(torch.linspace(-150, 150, 24), torch.linspace(-20, 20, 24))


def windows(**changes) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    given = dict(views=4, resolution=128, side=32, whole=0.3, face=0.6, rng=rng) | changes
    return draw_windows(LABELS, **given)


def test_parts_lie_inside_on_whole_pixels():
    found = windows()
    assert found.min() >= 0 and (found[:, :2] + found[:, 2:]).max() <= 1
    pixel = found[:, 2:] / 32
    assert torch.equal((found[:, :2] / pixel).round() * pixel, found[:, :2])
    assert set(found[:, 2].tolist()) <= {1.0, 0.5, 0.25}


def test_subjects_have_one_scale_at_one_place():
    scales = windows()[:, 2].view(6, 4)
    assert torch.equal(scales, scales[:1].expand(6, 4))


def test_parts_show_faces_that_are_seen():
    found = windows(whole=0.0, face=1.0, side=64)
    seen = LABELS[:, 11] > 0.5
    uv = project(torch.tensor([FACE]), LABELS)[0][:, 0]
    offset = (uv - found[:, :2] - found[:, 2:] / 2).abs()[seen]
    assert offset.mean() < 0.05
    assert not torch.equal(found[:, :2], windows(whole=0.0, face=0.0, side=64)[:, :2])


def test_a_share_of_parts_is_the_whole():
    assert torch.equal(windows(whole=1.0), torch.tensor([0.0, 0.0, 1.0]).expand(24, 3))
    assert windows(whole=0.0)[:, 2].max() < 1


def test_a_part_is_a_mean_over_pixels():
    images = torch.randint(
        256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    found = cut(images, torch.tensor([[0.25, 0.5, 0.5], [0.0, 0.0, 1.0]]), 8)
    assert torch.equal(found[0], images[0, :, 8:, 4:12])
    assert torch.equal(
        found[1],
        images[1].float().unflatten(1, (8, 2)).unflatten(3, (8, 2)).mean((2, 4)).round().byte(),
    )


def test_the_rays_of_a_part_are_those_of_its_pixels():
    part = torch.tensor([[0.25, 0.5, 0.5]]).expand(24, 3)
    whole, some = rays(LABELS, 16)[1], rays(crop_cameras(LABELS, part), 8)[1]
    assert torch.allclose(some.view(24, 8, 8, 3), whole.view(24, 16, 16, 3)[:, 8:, 4:12], atol=1e-6)


@torch.no_grad()
def test_a_part_is_rendered_as_the_whole_is():
    generator = Generator(preset("semhead-32", coarse=64, fine=64)).eval()
    w, part = torch.randn(2, 128), torch.tensor([[0.25, 0.5, 0.5]]).expand(4, 3)
    cameras = LABELS[::6]
    whole = generator.synthesize(w, cameras).image[:, :, 16:, 8:24]
    some = generator.synthesize(w, cameras, 16, windows=part).image
    assert torch.allclose(some, whole, atol=2e-3)


def test_super_resolution_makes_no_parts():
    generator = Generator(preset("semhead-64"))
    with pytest.raises(ValueError, match="super-resolution, which makes whole images only"):
        generator.synthesize(
            torch.randn(1, 128), LABELS[:1], windows=torch.tensor([[0.0, 0.0, 0.5]])
        )
