"""Multi-view consistency of a scene whose every ray is known: textured balls."""

import math
from dataclasses import replace

import pytest
import torch

from semhead_lib.cameras import orbit_cameras, rays
from semhead_lib.data.subjects import Subject
from semhead_lib.evaluation.generated_views import generated_views, head_consistency
from semhead_lib.metrics.consistency import (
    Differences,
    SurfaceViews,
    differences,
    ray_distance,
    recorded_views,
    warp,
)
from semhead_lib.models.config import preset
from semhead_lib.models.generator import Generator, Render
from semhead_lib.models.renderer import box_bounds

BALLS = [
    ((0.0, 0.0, 0.0), 0.2),
    ((0.05, 0.0, 0.25), 0.05),
]  # centre, radius: a head, and something before its face
SIDE = 64


def hit(origins, directions):
    """Distance to the nearest ball along unit directions, inf where there is none."""
    nearest = torch.full(directions.shape[:-1], torch.inf)
    for centre, radius in BALLS:
        to = torch.tensor(centre) - origins
        along = (to * directions).sum(-1)
        under = radius**2 - (to.square().sum(-1) - along.square())
        found = torch.where(under > 0, along - under.clamp_min(0).sqrt(), torch.inf)
        nearest = torch.minimum(nearest, found)
    return nearest


def view(azimuth: float, elevation: float = 0.0, offset: float = 0.0) -> SurfaceViews:
    cameras = orbit_cameras(torch.tensor([azimuth]), torch.tensor([elevation]))
    origins, directions = rays(cameras, SIDE)
    distance = hit(origins, directions)
    points = origins + directions * distance.nan_to_num(posinf=0.0)[..., None]
    colours = 0.5 + 0.3 * torch.sin(
        points @ torch.tensor([[20.0, 5.0, 0.0], [0.0, 20.0, 5.0], [5.0, 0.0, 20.0]])
    )
    mask = distance.isfinite().reshape(1, SIDE, SIDE)
    images = colours.transpose(1, 2).reshape(1, 3, SIDE, SIDE) * mask[:, None] + offset
    return SurfaceViews(
        images, distance.nan_to_num(posinf=0.0).reshape(1, SIDE, SIDE), mask, cameras
    )


def test_a_solid_scene_is_consistent():
    found = differences(view(0.0), view(15.0, 5.0))
    assert found.psnr() > 38 and found.l1() < 0.01 and found.seen_twice() > 0.75
    assert differences(view(30.0), view(30.0)).psnr() > 60


def test_what_is_hidden_is_left_out():
    """Points that the second camera cannot see, by its own ray to each of them."""
    one, other = view(0.0), view(25.0)
    _, both = warp(one, other)
    origins, directions = rays(one.cameras, SIDE)
    points = origins + directions * one.distance.flatten(1)[..., None]
    eye = other.cameras[:, None, [3, 7, 11]]
    reach = (points - eye).norm(dim=-1)
    visible = (
        (hit(eye.expand_as(points), (points - eye) / reach[..., None]) - reach).abs() < 1e-3
    ).reshape(both.shape)
    visible &= one.mask
    hidden = one.mask & ~visible
    assert hidden.sum() > 100 and (both & hidden).sum() <= 0.02 * hidden.sum()
    assert (both & visible).sum() > 0.85 * visible.sum(), "but for pixels at an edge"


def test_a_known_difference_of_colour():
    found = differences(view(0.0), view(15.0, offset=0.1))
    assert found.l1() == pytest.approx(0.1, abs=0.005) and found.psnr() == pytest.approx(
        20, abs=0.3
    )


def test_wrong_distances_show():
    one, other = view(0.0), view(15.0)
    right = differences(one, other)
    bumpy = replace(one, distance=one.distance + 0.015 * torch.sin(torch.arange(SIDE * 1.0)))
    flat = replace(one, distance=torch.where(one.mask, 2.6, 0.0))
    assert differences(bumpy, other).psnr() < right.psnr() - 8
    assert differences(flat, other).seen_twice() < 0.5 * right.seen_twice()


def test_camera_z_becomes_distance_along_rays():
    seen = view(40.0, 20.0)
    _, directions = rays(seen.cameras, SIDE)
    forward = seen.cameras[0, :16].reshape(4, 4)[:3, 2]
    z = seen.distance * (directions[0] @ forward).reshape(1, SIDE, SIDE)
    assert torch.allclose(ray_distance(z, seen.cameras), seen.distance, atol=1e-5)


def test_views_with_recorded_depth():
    views = [view(0.0), view(15.0)]
    cameras, distance, mask = (
        torch.cat([getattr(v, n) for v in views]) for n in ("cameras", "distance", "mask")
    )
    along = rays(cameras, SIDE)[1] @ cameras[:, :16].reshape(2, 4, 4)[:, :3, 2:3]
    images = (torch.cat([v.images for v in views]) * 255).round().to(torch.uint8)
    whole, depth = mask.to(torch.uint8) * 255, distance * along.view_as(mask)
    subject = Subject("ball", images, cameras, images[0], whole, depth)
    one, other = (
        SurfaceViews(*(x[i : i + 1] for x in vars(recorded_views(subject)).values()))
        for i in (0, 1)
    )
    assert differences(one, other).psnr() == pytest.approx(differences(*views).psnr(), abs=1.5)
    with pytest.raises(
        ValueError, match=r"ball has no depth or no masks: load it with geometry=\['depth'\]"
    ):
        recorded_views(replace(subject, depth=None))


def test_pairs_add_up_and_nothing_seen_is_no_number():
    found = Differences(
        *(torch.tensor(x, dtype=torch.float64) for x in ([0.1, 0.9], [1, 3], [10, 90], [10, 190]))
    )
    assert (
        found.psnr() == pytest.approx(20)
        and found.l1() == pytest.approx(0.04)
        and found.seen_twice() == 0.5
    )
    assert found.l1(torch.tensor([0])) == pytest.approx(0.1)
    empty = Differences(*(torch.zeros(2, dtype=torch.float64) for _ in range(4)))
    assert math.isnan(empty.psnr()) and math.isnan(empty.l1()) and empty.seen_twice() == 0


@pytest.fixture(scope="module")
def ball() -> Generator:
    """An untrained generator: a ball of colours, dense enough to have a surface."""
    torch.manual_seed(0)
    config = preset(
        "semhead-32",
        plane_side=16,
        backbone_base=256,
        backbone_most=16,
        z_dim=8,
        w_dim=8,
        ball_slope=2000.0,
        ball_radius=0.4,
        coarse=64,
        fine=64,
    )
    return Generator(config).eval()


def test_distances_of_a_generator_are_those_of_its_surface(ball):
    cameras = orbit_cameras(torch.tensor([0.0, 90.0]), torch.zeros(2))
    with torch.no_grad():
        seen = generated_views(ball, ball.mapping(torch.randn(1, 8), None), cameras)
    origins, directions = rays(cameras, 32)
    radius = (
        (origins + directions * seen.distance.flatten(1)[..., None])
        .norm(dim=-1)
        .reshape(seen.mask.shape)
    )
    inner = radius[seen.mask]
    assert (
        seen.mask.float().mean() > 0.2
        and inner.mean() == pytest.approx(0.2, abs=0.02)
        and inner.std() < 0.01
    )


def test_what_shines_through_a_surface_is_taken_off_its_distance(ball, monkeypatch):
    """Rays that stop at 2.6 but for 5 %, which leave the box at the far end."""
    cameras = orbit_cameras(torch.tensor([20.0]), torch.zeros(1))
    _, far = box_bounds(*rays(cameras, 32), ball.renderer.settings.box)
    depth = (0.95 * 2.6 + 0.05 * far).reshape(1, 1, 32, 32)
    image = torch.zeros(1, 3, 32, 32)
    render = Render(image, image, image, depth, torch.full_like(depth, 0.95))
    monkeypatch.setattr(ball, "synthesize", lambda w, cameras: render)
    seen = generated_views(ball, torch.zeros(1, 8), cameras)
    assert seen.mask.all() and torch.allclose(seen.distance, torch.tensor(2.6), atol=1e-5)


def test_an_untrained_ball_is_seen_alike_from_everywhere(ball):
    with torch.no_grad():
        w = ball.mapping(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), None)
    found = head_consistency(ball, w, (0.0, 90.0, 180.0))
    assert found.pixels.shape == (9,) and found.seen_twice() > 0.5 and found.psnr() > 20
    one = head_consistency(ball, w[1:2], (90.0,))
    assert float(found.squared[4]) == pytest.approx(float(one.squared[0]), rel=1e-3), (
        "pairs of a head are adjacent"
    )


def test_errors():
    seen = view(0.0)
    with pytest.raises(ValueError, match="expected images"):
        replace(seen, mask=seen.mask.float())
    with pytest.raises(ValueError, match=r"got \[\[1, 3, 64, 64\], \[1, 32, 64\]"):
        replace(seen, distance=seen.distance[:, :32])
