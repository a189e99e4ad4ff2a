"""The CUDA kernels without a GPU: equal to the reference in whatever order threads run, and no rule
of CUDA broken."""

from dataclasses import replace

import emulated
import pytest
import torch
from problems import BALL, NAMES, largest_difference, make_problem, upstream

from semhead_lib.models.config import PRESETS
from semhead_lib.models.planes import REPRESENTATIONS
from semhead_lib.ops import Ball, Box, FieldNetwork, density_grid, reference_render_rays

pytestmark = pytest.mark.skipif(emulated.COMPILER is None, reason="needs g++ on Linux")
SAMPLES = dict(coarse=13, fine=11, seed=5, ball=BALL)
# Warps that a multiprocessor holds at once, as csrc/README.md tells: forward and backward, with 99,
# 163 and 227 KB.
RESIDENT = {
    "semhead-32": [8, 6, 16, 9, 21, 12],
    "semhead-64": [8, 4, 14, 9, 20, 12],
    "semhead-128": [8, 4, 12, 8, 18, 12],
    "semhead-512": [3, 2, 5, 4, 8, 6],
}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return emulated.compile_library(tmp_path_factory.mktemp("emulated_cuda"))


@pytest.fixture
def gpu(library):
    return emulated.Emulator(library)


def problem_of(name="hyplane", *, rays=4, hidden=18, **sizes):
    return make_problem(name, rays=rays, hidden=hidden, dtype=torch.float32, **sizes)


def outputs_and_gradients(render, problem, **options) -> dict[str, torch.Tensor]:
    leaves = [leaf.detach().requires_grad_() for leaf in problem.leaves()]
    outputs = render(*problem.with_leaves(leaves).arguments(), **options)
    return dict(
        zip(
            NAMES, [*outputs, *torch.autograd.grad(outputs, leaves, upstream(outputs))], strict=True
        )
    )


def assert_twin(gpu, problem, **options):
    """Hardly further from the reference in float64 than the reference in float32 is, from the same
    numbers."""
    *tensors, network, layout = problem.arguments()
    exact = type(problem)(
        *[t.double() for t in tensors], FieldNetwork(*[t.double() for t in network]), layout
    )
    in_float64 = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    ours = outputs_and_gradients(gpu.render_rays, problem, **options)
    rounded = outputs_and_gradients(reference_render_rays, problem, **options)
    exact = outputs_and_gradients(reference_render_rays, exact, **in_float64)
    for name in NAMES:
        allowed = 2e-5 + 3 * largest_difference(rounded[name].double(), exact[name])
        assert largest_difference(ours[name].double(), exact[name]) < allowed < 1e-2, name


@pytest.mark.parametrize("channels", [5, 16, 40])  # one number a lane, four, four of wide features
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_values_and_gradients_are_the_twins(gpu, name, channels):
    assert_twin(gpu, problem_of(name, channels=channels), **SAMPLES)


@pytest.mark.parametrize(
    "sizes",
    [
        dict(side=1, channels=1, hidden=1, outputs=1, batch=1, rays=2),
        dict(side=2, channels=64, hidden=64, outputs=64, batch=1, rays=1),
        dict(side=7, channels=32, hidden=64, outputs=32, batch=2, rays=1),
        dict(side=12, channels=3, hidden=40, outputs=3, batch=1, rays=2),
    ],
)
@pytest.mark.parametrize("samples", [(2, 0), (2, 1), (33, 0), (32, 32), (48, 48), (5, 70)])
def test_odd_sizes(gpu, sizes, samples):
    assert_twin(gpu, problem_of(**sizes), coarse=samples[0], fine=samples[1], seed=0, ball=BALL)


@pytest.mark.parametrize("channels", [5, 16])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_maps_of_half_precision(gpu, dtype, channels):
    problem = problem_of("trigrid", channels=channels)
    rounded = replace(problem, feature_map=problem.feature_map.to(dtype))
    ours = outputs_and_gradients(gpu.render_rays, rounded, **SAMPLES)
    expected = outputs_and_gradients(
        gpu.render_rays, replace(problem, feature_map=rounded.feature_map.float()), **SAMPLES
    )
    assert ours["feature_map"].dtype == dtype
    for name in NAMES:
        assert torch.equal(ours[name], expected[name].to(ours[name].dtype)), name


def test_texels_that_cannot_be_read_four_at_a_time(gpu):
    """A map that begins at any number of its storage: the same numbers, one at a time."""
    problem = problem_of(channels=16)
    whole = (
        problem.feature_map.new_zeros(problem.feature_map.numel() + 1)[1:]
        .view_as(problem.feature_map)
        .copy_(problem.feature_map)
    )
    expected = outputs_and_gradients(gpu.render_rays, problem, **SAMPLES)
    ours = outputs_and_gradients(gpu.render_rays, replace(problem, feature_map=whole), **SAMPLES)
    for name in NAMES:
        assert largest_difference(ours[name], expected[name]) < 1e-6, name


def headlike(ball=Ball(60.0, 0.5), **sizes):  # noqa: B008 (frozen)
    """A solid ball among empty space, and a density grid of it: some rays end in it, others meet
    nothing."""
    problem = problem_of(**{"rays": 9, "channels": 16} | sizes)
    grid = density_grid(problem.feature_map, problem.network, problem.layout, 8, ball)
    return problem, dict(coarse=40, fine=20, seed=5, ball=ball, grid=grid)


@pytest.mark.parametrize("fine", [2, 20, 70])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_grid_of_densities_places_the_samples(gpu, name, fine):
    problem, options = headlike(name=name)
    out = gpu.render_rays(*problem.arguments(), **options | {"fine": fine})
    assert (out.opacity == 0).any() and (fine == 2 or (out.opacity > 0.9).any())
    assert torch.equal(out.depth[out.opacity == 0], problem.far[out.opacity == 0])
    assert_twin(gpu, problem, **options | {"fine": fine})


def test_a_grid_of_a_soft_ball_leaves_nothing_out(gpu):
    problem = problem_of()
    grid = density_grid(problem.feature_map, problem.network, problem.layout, 5, BALL)
    assert (gpu.render_rays(*problem.arguments(), **SAMPLES, grid=grid).opacity > 0.01).all()
    assert_twin(gpu, problem, **SAMPLES, grid=grid)


def test_a_broken_grid_shows_where_it_is_read(gpu):
    problem, options = headlike()
    options["grid"][0, :2] = torch.nan  # the back of the first head
    ours = gpu.render_rays(*problem.arguments(), **options).features
    expected = reference_render_rays(*problem.arguments(), **options).features
    assert ours[0].isnan().any() and not ours[1].isnan().any()
    assert torch.equal(ours.isnan(), expected.isnan())


def test_a_box_that_is_not_a_cube(gpu):
    box = Box((0.05, -0.08, 0.02), (0.38, 0.36, 0.28))
    assert_twin(gpu, problem_of(), **SAMPLES, box=box)
    problem, options = headlike()
    assert_twin(gpu, problem, **options, box=box)


@pytest.mark.parametrize("with_grid", [False, True])
def test_what_no_light_reaches_counts_for_nothing(gpu, with_grid):
    """Numbers behind a wall are not numbers: neither the image nor a gradient shows it."""
    problem, options = headlike(Ball(3000.0, 0.8), name="triplane", rays=6)
    straight = problem.directions.clone()
    straight[..., :2] *= 0.2
    problem = replace(problem, directions=straight)
    if not with_grid:
        options = options | {"grid": None}
    hidden = problem.feature_map.clone()
    hidden[:, :3, :, 16:32] = torch.nan  # XZ, where z < -1/3: behind the middle of the ball
    clean = outputs_and_gradients(gpu.render_rays, problem, **options)
    ours = outputs_and_gradients(gpu.render_rays, replace(problem, feature_map=hidden), **options)
    assert clean["opacity"].min() > 1 - 1e-6
    assert (
        gpu.render_rays(*replace(problem, feature_map=hidden).arguments(), coarse=40, fine=0)
        .opacity.isnan()
        .any()
    )
    for name in NAMES:
        assert largest_difference(ours[name], clean[name]) < 1e-6, name


@pytest.mark.parametrize(("order", "seed"), [("backwards", 0), ("shuffled", 1), ("shuffled", 2)])
@pytest.mark.parametrize("name", ["trigrid", "hyplane", "with a grid"])
def test_the_order_of_threads_changes_nothing(gpu, name, order, seed):
    problem, options = headlike() if name == "with a grid" else (problem_of(name), SAMPLES)
    forwards = outputs_and_gradients(gpu.render_rays, problem, **options)
    gpu.set(order=order, seed=seed)
    ours = outputs_and_gradients(gpu.render_rays, problem, **options)
    for name in NAMES:
        if name == "feature_map":  # sums of atomic additions
            assert largest_difference(ours[name], forwards[name]) < 1e-6
        else:
            assert torch.equal(ours[name], forwards[name]), name


@pytest.mark.parametrize(("processors", "shared"), [(1, 48), (1, 99), (3, 227)])
def test_every_device_gives_the_same(gpu, processors, shared):
    """Few warps that take many rays each, or one warp a ray; 99 KB are a consumer GPU's."""
    problem = problem_of(rays=20)
    usual = outputs_and_gradients(gpu.render_rays, problem, **SAMPLES)
    gpu.set(processors, shared)
    ours = outputs_and_gradients(gpu.render_rays, problem, **SAMPLES)
    for name in NAMES:
        exact = name in (
            "features",
            "depth",
            "opacity",
            "origins",
            "directions",
        )  # one ray's, whoever takes it
        assert largest_difference(ours[name], usual[name]) <= (0 if exact else 1e-6), name


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_every_device(gpu, name):
    config, found = PRESETS[name], []
    problem = problem_of(
        channels=config.plane_channels,
        hidden=config.hidden,
        outputs=config.features,
        batch=1,
        rays=1,
    )
    samples = dict(coarse=config.coarse, fine=config.fine)
    for shared in (99, 163, 227):  # RTX 30 and 40, A100, H100
        gpu.set(shared=shared)
        gpu.render_rays(*problem.arguments(), **samples)
        found.append(gpu.resident_warps())
        outputs_and_gradients(gpu.render_rays, problem, **samples)
        found.append(gpu.resident_warps())
    assert found == RESIDENT[name]


def test_devices_are_asked_once(gpu):
    """Nor is one kind of device taken for another."""
    problem = problem_of(rays=1)
    outputs_and_gradients(gpu.render_rays, problem, **SAMPLES)
    asked = gpu.queries()
    outputs_and_gradients(gpu.render_rays, problem, **SAMPLES | {"seed": 6})
    assert gpu.queries() == asked
    gpu.set(shared=101)
    outputs_and_gradients(gpu.render_rays, problem, **SAMPLES)
    assert gpu.queries() > asked


def test_too_many_samples_are_refused(gpu):
    gpu.set(shared=99)
    with pytest.raises(
        RuntimeError,
        match=r"1000 samples of 64 colour features need \d+ bytes.*Take fewer samples a ray",
    ):
        gpu.render_rays(*problem_of(outputs=64).arguments(), coarse=500, fine=500)


def test_rays_that_miss_see_nothing_and_broken_ones_say_so(gpu):
    problem = problem_of("spherical", batch=1, rays=5)
    far, origins, directions = (
        problem.far.clone(),
        problem.origins.clone(),
        problem.directions.clone(),
    )
    far[0, 1] = problem.near[0, 1]  # nothing between
    origins[0, 2, 0] = torch.nan
    directions[0, 3, 2] = torch.inf
    broken = replace(problem, far=far, origins=origins, directions=directions)
    ours, expected = (
        outputs_and_gradients(render, broken, **SAMPLES)
        for render in (gpu.render_rays, reference_render_rays)
    )
    for name in NAMES:
        assert torch.allclose(ours[name], expected[name], rtol=1e-4, atol=1e-5, equal_nan=True), (
            name
        )
    assert ours["depth"].isnan().tolist() == [[False, False, True, True, False]]
    assert (ours["origins"][0, 1:4] == 0).all()


def test_broken_texels_show_where_they_are_read(gpu):
    problem = problem_of("triplane", side=8, channels=16, batch=1, rays=20)
    feature_map = problem.feature_map.clone()
    feature_map[0, 4, 4, 0] = torch.nan
    options = dict(coarse=8, fine=6, seed=0)
    out = gpu.render_rays(*replace(problem, feature_map=feature_map).arguments(), **options)
    clean = gpu.render_rays(*problem.arguments(), **options)
    broken = out.opacity.isnan()
    assert 0 < broken.sum() < broken.numel()
    assert (out.features.isnan().any(-1) == broken).all() and torch.equal(
        out.features[~broken], clean.features[~broken]
    )


def test_a_wall_hides_what_is_behind_it(gpu):
    """Density beyond what float32 holds: light ends there, and nothing becomes not a number."""
    problem, options = problem_of(), dict(coarse=20, fine=20, seed=1)
    out = gpu.render_rays(*problem.arguments(), **options, ball=Ball(3e38, 1.4))
    wall = reference_render_rays(*problem.arguments(), **options, ball=Ball(3e38, 1.4))
    for a, b in zip(out, wall, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)
    assert out.opacity.max() == 1
    assert_twin(gpu, problem, **options, ball=Ball(1e4, 0.9))


def test_only_the_gradients_that_are_asked_for(gpu):
    problem = problem_of()
    whole = [*outputs_and_gradients(gpu.render_rays, problem, **SAMPLES).values()][3:]
    for wanted in ([0], [1, 2], [3, 4, 5, 6]):
        leaves = [
            leaf.clone().requires_grad_(k in wanted) for k, leaf in enumerate(problem.leaves())
        ]
        out = gpu.render_rays(*problem.with_leaves(leaves).arguments(), **SAMPLES)
        found = torch.autograd.grad(out, [leaves[k] for k in wanted], upstream(out))
        assert all(torch.equal(a, whole[k]) for a, k in zip(found, wanted, strict=True))


def test_empty_batches_and_no_rays(gpu):
    for some in (problem_of(batch=0), problem_of(rays=0)):
        found = outputs_and_gradients(gpu.render_rays, some, **SAMPLES)
        assert found["depth"].numel() == 0 and (found["w1"] == 0).all()


@pytest.mark.parametrize("kernel", emulated.MISTAKES)
def test_mistakes_are_noticed(gpu, kernel):
    """The checks themselves; and a kernel without a mistake runs after each."""
    expected, number = emulated.MISTAKES[kernel], list(emulated.MISTAKES).index(kernel)
    said = gpu.mistake(number, shared=256)
    assert expected in said and bool(expected) == bool(said)
    for order in emulated.ORDERS:
        gpu.set(order=order)
        assert bool(gpu.mistake(number, shared=256)) == bool(said)
        assert (
            gpu.mistake(0, shared=256) == "" and gpu.mistake(0, shared=60000) == "invalid argument"
        )
