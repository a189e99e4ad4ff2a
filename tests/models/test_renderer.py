"""Where the planes of a generator lie, and heads rendered by a density grid."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from semhead_lib.cameras import orbit_cameras
from semhead_lib.models.config import GeneratorConfig, preset
from semhead_lib.models.cost import cost
from semhead_lib.models.generator import Generator
from semhead_lib.models.mesh import mesh, surface
from semhead_lib.models.renderer import Renderer, box_bounds
from semhead_lib.ops import Box

LOW = Box((0.0, -0.08, 0.0), (0.38, 0.36, 0.28))
TINY = preset(
    "semhead-32",
    plane_side=16,
    plane_channels=4,
    backbone_base=256,
    backbone_most=16,
    z_dim=10,
    w_dim=12,
    ball_slope=400.0,
    background="plain",
)
LABELS = orbit_cameras(torch.tensor([0.0, 90.0, 180.0]), torch.zeros(3))


def make(**changes) -> tuple[Generator, torch.Tensor]:
    torch.manual_seed(0)
    generator = Generator(replace(TINY, **changes)).eval().requires_grad_(False)
    return generator, generator.mapping(torch.randn(1, 10), None)


def test_configs_without_a_box_have_the_usual_one():
    old = TINY.as_json()
    for name in ("box_center", "box_half", "grid"):
        del old[name]
    assert GeneratorConfig.from_json(json.loads(json.dumps(old))) == TINY
    with_box = replace(TINY, box_center=LOW.center, box_half=LOW.half, grid=24)
    assert GeneratorConfig.from_json(json.loads(json.dumps(with_box.as_json()))) == with_box
    assert Generator(with_box).renderer.settings.box == LOW


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"box_half": (0.5, -0.5, 0.5)}, "half-extents must be positive"),
        ({"box_center": (0.0,)}, "center must be three numbers"),
        ({"grid": 1}, "grid must be 0 or lie in 2...256, got 1"),
        ({"box_center": (float("nan"), 0.0, 0.0)}, "box_center must be finite"),
        ({"coarse": 1}, r"coarse must lie in 2\.\.\.512, got 1"),
        ({"fine": 513}, r"fine must lie in 0\.\.\.512, got 513"),
        ({"grid": 16, "fine": 1}, "fine must be at least 2 with a density grid, got 1"),
    ],
)
def test_boxes_and_grids_of_configs_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


def test_rays_meet_a_box_that_is_off_centre():
    origins = torch.tensor([[[0.0, 0.0, 2.7], [0.0, 0.3, 2.7]]])
    directions = torch.tensor([[[0.0, 0.0, -1.0], [0.0, 0.0, -1.0]]])
    near, far = box_bounds(origins, directions, LOW)
    assert near[0, 0].item() == pytest.approx(2.42) and far[0, 0].item() == pytest.approx(2.98)
    assert far[0, 1] <= near[0, 1], "above it"


def test_heads_lie_in_their_box():
    """A ball in the box's coordinates is an ellipsoid in the world: in images, in the mesh and in
    densities."""
    generator, w = make(
        box_center=LOW.center, box_half=LOW.half, coarse=48, fine=48, ball_slope=4000.0
    )
    made = mesh(generator, w[0], resolution=64)
    low, high = made.vertices.min(0), made.vertices.max(0)
    assert np.allclose((low + high) / 2, LOW.center, atol=0.02)
    assert np.allclose((high - low) / 2, np.array(LOW.half) / 2, atol=0.02), (
        "its radius is half the box"
    )
    seen = generator.synthesize(w, LABELS[:1])
    assert (2.7 - seen.depth[seen.opacity > 0.9].min()).item() == pytest.approx(high[2], abs=0.02)
    density = generator.sample_density(w, torch.tensor([[LOW.center, [0.0, 0.2, 0.0]]]))[0]
    assert density[0] > 10 > density[1]


def test_the_mesh_of_a_sphere_in_a_box_is_a_sphere():
    def ball(points):
        return 10 * (0.25 - (points - torch.tensor(LOW.center)).norm(dim=-1))

    vertices, _ = surface(ball, 64, LOW, level=0.0)
    assert abs(np.linalg.norm(vertices - np.array(LOW.center), axis=1) - 0.25).max() < 1e-3


def test_a_density_grid_is_made_once_for_all_views_and_shows_the_same(monkeypatch):
    made = []
    original = Renderer.density_grid

    def counted(self, features):
        made.append(original(self, features))
        return made[-1]

    monkeypatch.setattr(Renderer, "density_grid", counted)
    plain, w = make(coarse=64, fine=64)
    by_grid, _ = make(coarse=64, fine=48, grid=32)
    by_grid.load_state_dict(plain.state_dict())
    expected, found = plain.synthesize(w, LABELS), by_grid.synthesize(w, LABELS)
    assert [None if grid is None else tuple(grid.shape) for grid in made] == [None, (1, 32, 32, 32)]
    psnr = -10 * (found.image_raw / 2 - expected.image_raw / 2).square().mean().log10()
    assert psnr > 45 and (found.opacity == 0).float().mean() > 0.3, (
        "rays past the head are not sampled"
    )


def test_heads_are_trained_through_a_density_grid():
    generator, w = make(coarse=32, fine=12, grid=16, ball_slope=10.0)
    generator.requires_grad_(True)
    generator.synthesize(w, LABELS, seed=1).image.square().mean().backward()
    trained = [*generator.backbone.parameters(), *generator.renderer.parameters()]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert all((p.grad != 0).any() for p in generator.renderer.parameters())


def test_a_grid_takes_the_place_of_coarse_samples_in_the_cost():
    plain, by_grid = cost(TINY), cost(replace(TINY, grid=24))
    assert by_grid.renderer_flops == pytest.approx(plain.renderer_flops / 2)
