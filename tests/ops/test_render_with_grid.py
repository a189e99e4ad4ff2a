"""Rendering by a density grid: the compiled renderer is the reference, and skips nothing that would
be seen."""

from dataclasses import replace

import pytest
import torch
from problems import BALL, NAMES, largest_difference, make_problem, upstream

from semhead_lib.models.planes import REPRESENTATIONS
from semhead_lib.ops import (
    Ball,
    Box,
    compiled,
    density_grid,
    reference_density_grid,
    reference_render,
    reference_render_rays,
    render_rays,
)
from semhead_lib.ops.field import network_of_features
from semhead_lib.ops.sample_planes import reference_sample_planes

needs_compiled = pytest.mark.skipif(not compiled.COMPILED.devices, reason=compiled.COMPILED.detail)
both = pytest.mark.parametrize(
    "render", [pytest.param(render_rays, marks=needs_compiled), reference_render_rays]
)
BOX = Box((0.03, -0.05, 0.02), (0.5, 0.4, 0.45))
SAMPLES = dict(coarse=17, fine=12, seed=5, ball=BALL, box=BOX)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-4}
SHARP = Ball(slope=3000.0, radius=0.5)  # opaque within a hundredth of the box, nothing around it


def grid_of(problem, side=9, ball=BALL):
    return density_grid(problem.feature_map, problem.network, problem.layout, side, ball)


def outputs_and_gradients(render, problem, **options) -> dict[str, torch.Tensor]:
    leaves = [leaf.clone().requires_grad_() for leaf in problem.leaves()]
    outputs = render(*problem.with_leaves(leaves).arguments(), **options)
    return dict(
        zip(
            NAMES, [*outputs, *torch.autograd.grad(outputs, leaves, upstream(outputs))], strict=True
        )
    )


def assert_same(ours, expected, tolerance):
    """The gradients of a hundredth of the rays may differ by more: rounding carries a sample into
    the next texel, where the slope of the interpolation is another."""
    for name in NAMES:
        a, b = ours[name], expected[name]
        if name in ("origins", "directions"):
            apart = (a - b).abs().amax(-1) > tolerance * b.abs().max()
            assert apart.sum() <= 1 + apart.numel() // 100 and largest_difference(a, b) < 0.01, name
        else:
            assert largest_difference(a, b) < tolerance, name


def towards_the_middle(problem):
    """The problem with a small network, so that a ball alone shapes its density."""
    network = problem.network._replace(w2=problem.network.w2 * 0.1, b2=problem.network.b2 * 0.1)
    return replace(problem, network=network)


@needs_compiled
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_values_and_gradients_are_the_reference(name, dtype):
    problem = make_problem(name, channels=16, dtype=dtype)
    ours, expected = (
        outputs_and_gradients(render, problem, grid=grid_of(problem), **SAMPLES)
        for render in (render_rays, reference_render_rays)
    )
    assert_same(ours, expected, TOLERANCE[dtype])


@needs_compiled
@pytest.mark.parametrize("samples", [(2, 2), (1 + 15, 3), (33, 17), (48, 48), (5, 70)])
@pytest.mark.parametrize("side", [2, 3, 24])
def test_odd_sizes(side, samples):
    problem = make_problem(
        "hyplane", side=7, channels=48, hidden=17, outputs=33, batch=3, rays=5, dtype=torch.float32
    )
    options = SAMPLES | dict(coarse=samples[0], fine=samples[1])
    ours, expected = (
        outputs_and_gradients(render, problem, grid=grid_of(problem, side), **options)
        for render in (render_rays, reference_render_rays)
    )
    assert_same(ours, expected, TOLERANCE[torch.float32])


@both
def test_derivatives_by_finite_differences(render):
    """Of the map and the network: where rays are sampled depends on the rays, and is held."""
    problem = make_problem("hyplane", side=4, channels=3, hidden=4, outputs=2, batch=2, rays=3)
    grid = grid_of(problem, 5)

    def function(feature_map, *network):
        made = problem.with_leaves([feature_map, problem.origins, problem.directions, *network])
        return tuple(render(*made.arguments(), grid=grid, coarse=7, fine=6, seed=1, ball=BALL))

    leaves = [leaf.clone().requires_grad_() for leaf in (problem.feature_map, *problem.network)]
    assert torch.autograd.gradcheck(function, leaves, eps=1e-7, atol=1e-5, rtol=1e-3)


@needs_compiled
@pytest.mark.parametrize("with_grid", [True, False])
def test_what_is_skipped_is_not_seen(with_grid, monkeypatch):
    """An opaque ball in empty space against the reference that skips nothing: images and
    gradients."""
    problem = towards_the_middle(
        make_problem("hyplane", channels=16, rays=200, dtype=torch.float32)
    )
    wide = replace(problem, directions=problem.directions + torch.tensor([0.1, 0.0, 0.0]))
    options = SAMPLES | dict(
        coarse=32, fine=24, ball=SHARP, grid=grid_of(wide, 24, SHARP) if with_grid else None
    )
    ours = outputs_and_gradients(render_rays, wide, **options)
    if with_grid:
        assert 0.1 < (ours["opacity"] == 0).float().mean() < 0.9, (
            "rays past the ball are not sampled"
        )
    assert (ours["opacity"] == 1).float().mean() > 0.05, "rays into the ball end there"
    monkeypatch.setattr(reference_render, "DARK", 0.0)
    monkeypatch.setattr(reference_render, "EMPTY", 0.0)
    assert_same(ours, outputs_and_gradients(reference_render_rays, wide, **options), 1e-3)


@both
def test_nothing_is_skipped_in_a_soft_ball(render):
    """As a training begins: whatever light a ray would lose, it loses."""
    problem = towards_the_middle(make_problem("hyplane", rays=300, dtype=torch.float32))
    ball = Ball(slope=10.0, radius=0.5)
    options = SAMPLES | dict(coarse=32, fine=32, ball=ball)
    with_grid = render(*problem.arguments(), **options, grid=grid_of(problem, 16, ball))
    plain = render(*problem.arguments(), **options)
    assert (with_grid.opacity[plain.opacity > 2e-4] > 0).all()
    # what a ray would lose behind its last sample is not counted, with a grid: less than the share
    # of two samples
    assert (with_grid.opacity - plain.opacity).abs().max() < 2 / 32


@both
def test_empty_rays_see_nothing(render):
    problem = make_problem("triplane", rays=6, dtype=torch.float32)
    grid = torch.full((2, 4, 4, 4), -50.0)
    grid[1] = 3.0
    found = outputs_and_gradients(render, problem, grid=grid, **SAMPLES)
    assert (found["features"][0] == 0).all() and (found["opacity"][0] == 0).all()
    assert torch.equal(found["depth"][0], problem.far[0]) and (found["opacity"][1] > 0).all()
    for name in ("feature_map", "origins", "directions"):
        assert (found[name][0] == 0).all() and (found[name][1] != 0).any(), name


@both
def test_rays_that_miss_see_nothing_and_broken_ones_say_so(render):
    problem = make_problem("spherical", batch=1, rays=5, dtype=torch.float32)
    far, origins, directions = (
        problem.far.clone(),
        problem.origins.clone(),
        problem.directions.clone(),
    )
    far[0, 1] = problem.near[0, 1]  # nothing between
    origins[0, 2, 0], directions[0, 3, 2] = torch.nan, torch.inf
    broken = replace(problem, far=far, origins=origins, directions=directions)
    grid = grid_of(problem)
    found = outputs_and_gradients(render, broken, grid=grid, **SAMPLES)
    whole = render(*problem.arguments(), grid=grid, **SAMPLES)
    for name, expected in zip(whole._fields, whole, strict=True):
        assert torch.allclose(found[name][0, [0, 4]], expected[0, [0, 4]], atol=1e-5)
        assert found[name][0, [2, 3]].isnan().all()
    assert found["opacity"][0, 1] == 0 and (found["features"][0, 1] == 0).all()
    assert all(found[name].isfinite().all() for name in NAMES[3:])


@both
def test_a_broken_grid_shows(render):
    problem = make_problem("triplane", batch=1, rays=60, dtype=torch.float32)
    grid = grid_of(problem)
    grid[0, 4, 4, 4] = torch.nan
    opacity = render(*problem.arguments(), grid=grid, **SAMPLES).opacity
    assert 0 < opacity.isnan().sum() < opacity.numel()


@needs_compiled
@pytest.mark.parametrize("with_grid", [True, False])
def test_what_is_broken_behind_a_wall_is_not_seen(with_grid):
    problem = towards_the_middle(
        make_problem("triplane", side=8, channels=16, batch=1, rays=60, dtype=torch.float32)
    )
    feature_map = problem.feature_map.clone()
    feature_map[0, 1, 3:5, 16] = torch.nan  # XZ, at the back
    broken = replace(problem, feature_map=feature_map)
    grid = grid_of(problem, 9, SHARP) if with_grid else None
    options = SAMPLES | dict(coarse=30, ball=SHARP, box=Box(), grid=grid)
    hit = render_rays(*problem.arguments(), **options).opacity == 1
    ours, expected = (
        render(*broken.arguments(), **options).opacity
        for render in (render_rays, reference_render_rays)
    )
    assert torch.equal(ours.isnan(), expected.isnan())
    assert hit.any() and (ours[hit] == 1).all() and ours.isnan().any()


@needs_compiled
def test_what_is_broken_right_behind_a_wall_is_not_seen():
    """Whichever sample is the last one that light reaches: they are computed in blocks."""
    problem = towards_the_middle(make_problem("triplane", side=64, channels=16, batch=1, rays=200))
    feature_map = problem.feature_map.clone()
    feature_map[0, :41, :, 16] = torch.nan  # XZ, all behind the first tenth of the ball
    broken = replace(problem, feature_map=feature_map)
    for coarse in range(20, 60, 2):
        options = dict(coarse=coarse, fine=0, seed=coarse, ball=SHARP)
        ours, expected = (
            render(*broken.arguments(), **options).opacity
            for render in (render_rays, reference_render_rays)
        )
        assert (
            torch.equal(ours.isnan(), expected.isnan()) and ours.isnan().any() and (ours == 1).any()
        )


@needs_compiled
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("with_grid", ["none", "clean", "broken"])
@pytest.mark.parametrize("name", ["triplane", "trigrid", "hyplane"])
def test_broken_maps_break_the_same_rays(name, with_grid, value):
    """In fog, behind soft and behind hard walls; numbers are the same, too."""
    broken_rays = torch.zeros(2, dtype=torch.long)
    for trial, ball in enumerate([BALL, Ball(300.0, 0.6), SHARP] * 6):
        problem = make_problem(name, side=8, channels=16, batch=1, rays=200, dtype=torch.float64)
        problem = problem if ball is BALL else towards_the_middle(problem)
        feature_map = problem.feature_map.clone()
        feature_map.view(-1)[
            torch.randint(
                feature_map.numel(), (1 + trial,), generator=torch.Generator().manual_seed(trial)
            )
        ] = value
        broken = replace(problem, feature_map=feature_map)
        grids = {
            "none": None,
            "clean": grid_of(problem, 9, ball),
            "broken": grid_of(broken, 9, ball),
        }
        options = dict(coarse=12, fine=6, seed=trial, ball=ball, box=BOX, grid=grids[with_grid])
        ours, expected = (
            render(*broken.arguments(), **options)
            for render in (render_rays, reference_render_rays)
        )
        for a, b in zip(ours, expected, strict=True):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-9, equal_nan=True)
        broken_rays += torch.stack([ours.opacity.isnan().sum(), ours.opacity.isfinite().sum()])
    assert (broken_rays > 100).all()


@both
@pytest.mark.parametrize("with_grid", [True, False])
def test_a_seed_may_be_a_tensor(render, with_grid):
    problem = make_problem("hyplane", rays=8)
    grid = grid_of(problem) if with_grid else None

    def features(seed):
        return render(*problem.arguments(), coarse=6, fine=6, seed=seed, grid=grid).features

    assert torch.equal(features(7), features(torch.tensor(7)))
    assert torch.equal(features(None), features(torch.tensor(-1)))
    assert not torch.equal(features(7), features(torch.tensor(8)))


@both
@pytest.mark.parametrize("with_grid", [True, False])
def test_a_box_is_a_matter_of_coordinates(render, with_grid):
    """Rays that are moved and stretched as the box is see the same."""
    problem = make_problem("hyplane")
    center, half = torch.tensor(BOX.center).double(), torch.tensor(BOX.half).double()
    moved = replace(
        problem,
        origins=problem.origins * half / 0.5 + center,
        directions=problem.directions * half / 0.5,
    )
    options = SAMPLES | dict(grid=grid_of(problem) if with_grid else None)
    usual = outputs_and_gradients(render, problem, **options | dict(box=Box()))
    found = outputs_and_gradients(render, moved, **options)
    for name in NAMES:
        scale = half / 0.5 if name in ("origins", "directions") else 1.0
        assert largest_difference(found[name] * scale, usual[name]) < 1e-5, name


def test_coordinates_of_a_box_and_back():
    corner = torch.tensor([[1.0, 1.0, -1.0]])
    assert torch.allclose(BOX.world(corner), torch.tensor([[0.53, 0.35, -0.43]]))
    assert torch.allclose(BOX.normalised(BOX.world(corner)), corner)


def test_boxes_are_checked():
    with pytest.raises(ValueError, match="half-extents must be positive, got"):
        Box(half=(0.5, 0.0, 0.5))
    with pytest.raises(ValueError, match="center must be three numbers, got"):
        Box(center=(0.0, 0.0))
    for wrong in (dict(center=(0.0, float("nan"), 0.0)), dict(half=(0.5, 0.5, float("inf")))):
        with pytest.raises(ValueError, match="the box must be finite, got center"):
            Box(**wrong)


def test_a_grid_on_another_device_or_without_sides_is_named():
    problem = make_problem()
    grid = grid_of(problem)
    with pytest.raises(ValueError, match="grid must be on cpu like the feature map, got meta"):
        render_rays(*problem.arguments(), grid=grid.to("meta"), **SAMPLES)
    with pytest.raises(ValueError, match=r"grid must be \[\d, G, G, G\] .* got \[\]"):
        render_rays(*problem.arguments(), grid=grid[0, 0, 0, 0], **SAMPLES)


@needs_compiled
@pytest.mark.parametrize("batch", [1, 3])
def test_the_same_numbers_with_any_threads(batch):
    problem = make_problem("hyplane", batch=batch, rays=200, channels=16, dtype=torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            grid = grid_of(problem)
            found = outputs_and_gradients(render_rays, problem, grid=grid, **SAMPLES)
            results.append([grid, *found.values()])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_compiled
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("channels", [5, 16, 32])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_density_grids_are_the_reference(name, channels, dtype):
    problem = make_problem(name, channels=channels, dtype=dtype)
    arguments = (problem.feature_map, problem.network, problem.layout, 9, BALL)
    found, expected = density_grid(*arguments), reference_density_grid(*arguments)
    assert found.dtype == dtype and largest_difference(found, expected) < TOLERANCE[dtype]


@pytest.mark.parametrize(
    "make", [pytest.param(density_grid, marks=needs_compiled), reference_density_grid]
)
def test_nodes_are_the_field_at_their_places(make):
    problem = make_problem("hyplane")
    grid = make(problem.feature_map, problem.network, problem.layout, 5, BALL)
    points = torch.tensor([[[-0.5, 1.0, 0.0]]] * 2, dtype=torch.float64)  # x, y, z
    read = reference_sample_planes(problem.feature_map, points, problem.layout)
    raw = network_of_features(read, points, problem.network, BALL)[0]
    assert torch.allclose(grid[:, 2, 4, 1], raw[:, 0])


def test_arguments_of_density_grids_are_checked():
    problem = make_problem()
    with pytest.raises(ValueError, match="a density grid has 2 to 256 nodes a side, got 1"):
        grid_of(problem, 1)
    with pytest.raises(ValueError, match="beyond a map of"):
        density_grid(problem.feature_map[..., :4], problem.network, problem.layout, 5)


@needs_compiled
def test_the_op_is_registered_as_torch_asks():
    problem = make_problem(dtype=torch.float32)
    arguments = (problem.feature_map, *problem.network, problem.layout.numbers(), 2.0, 0.6, 4)
    torch.library.opcheck(torch.ops.semhead.density_grid.default, arguments)
