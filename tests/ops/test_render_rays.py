"""The compiled renderer equals its reference, forward and backward; both are right where the answer
is known."""

from dataclasses import replace

import pytest
import torch
from problems import BALL, DEVICES, largest_difference, make_problem, upstream

from semhead_lib.models.planes import REPRESENTATIONS
from semhead_lib.ops import FieldNetwork, compiled, reference_render_rays, render_rays
from semhead_lib.ops.reference_render import uniform

needs_compiled = pytest.mark.skipif(not compiled.COMPILED.devices, reason=compiled.COMPILED.detail)
SAMPLES = dict(coarse=13, fine=11, seed=5, ball=BALL)
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 3e-5,
}  # of values and gradients; float32 sums in other orders


def outputs_and_gradients(render, problem, **options):
    leaves = [leaf.clone().requires_grad_() for leaf in problem.leaves()]
    outputs = render(*problem.with_leaves(leaves).arguments(), **options)
    return outputs, torch.autograd.grad(outputs, leaves, upstream(outputs))


def assert_same(problem, tolerance, **options):
    ours, our_gradients = outputs_and_gradients(render_rays, problem, **options)
    expected, expected_gradients = outputs_and_gradients(reference_render_rays, problem, **options)
    for name, a, b in zip(expected._fields, ours, expected, strict=True):
        assert largest_difference(a, b) < tolerance, name
    names = ("feature_map", "origins", "directions", "w1", "b1", "w2", "b2")
    for name, a, b in zip(names, our_gradients, expected_gradients, strict=True):
        assert largest_difference(a, b) < tolerance, name


@needs_compiled
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("channels", [5, 16, 32])  # a part of a register, one, more
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_values_and_gradients_are_the_twins(name, channels, dtype, device):
    assert_same(
        make_problem(name, channels=channels, dtype=dtype, device=device),
        TOLERANCE[dtype],
        **SAMPLES,
    )


@needs_compiled
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "sizes",
    [
        dict(side=1, channels=1, hidden=1, outputs=1, batch=1, rays=1),
        dict(side=2, channels=64, hidden=64, outputs=64, batch=1, rays=9),
        dict(side=7, channels=48, hidden=17, outputs=33, batch=3, rays=5),
        dict(side=12, channels=3, hidden=40, outputs=3, batch=9, rays=4),
    ],
)
@pytest.mark.parametrize("samples", [(2, 0), (2, 1), (31, 0), (48, 48), (5, 70)])
def test_odd_sizes(sizes, samples, device):
    problem = make_problem("hyplane", dtype=torch.float32, device=device, **sizes)
    assert_same(
        problem, TOLERANCE[torch.float32], coarse=samples[0], fine=samples[1], seed=0, ball=BALL
    )


@needs_compiled
def test_derivatives_by_finite_differences():
    """Without fine samples, whose distances depend on the weights and are held."""
    problem = make_problem("hyplane", side=4, channels=3, hidden=4, outputs=2, batch=2, rays=3)

    def function(*leaves):
        return tuple(
            render_rays(
                *problem.with_leaves(leaves).arguments(), coarse=7, fine=0, seed=1, ball=BALL
            )
        )

    leaves = [leaf.clone().requires_grad_() for leaf in problem.leaves()]
    assert torch.autograd.gradcheck(function, leaves, eps=1e-7, atol=1e-5, rtol=1e-3)


@needs_compiled
@pytest.mark.parametrize("device", DEVICES)
def test_the_op_is_registered_as_torch_asks(device):
    problem = make_problem(rays=5, dtype=torch.float32, device=device)
    leaves = [leaf.clone().requires_grad_() for leaf in problem.leaves()]
    made = problem.with_leaves(leaves)
    numbers = (made.layout.numbers(), [0.1, 0.0, 0.0, 0.5, 0.4, 0.6], 2.0, 0.6, 6, 5)
    tensors = (made.feature_map, made.origins, made.directions, made.near, made.far, *made.network)
    seed = torch.tensor(3, device=device)
    for grid in (None, torch.rand(2, 4, 4, 4)) if device == "cpu" else (None,):
        torch.library.opcheck(
            torch.ops.semhead.render_rays.default, (*tensors, grid, seed, *numbers)
        )


@needs_compiled
@pytest.mark.parametrize("device", DEVICES)
def test_it_compiles_and_exports(device):
    problem = make_problem("hyplane", rays=6, dtype=torch.float32, device=device)

    class Render(torch.nn.Module):
        def forward(self, feature_map, origins):
            made = replace(problem, feature_map=feature_map * 2, origins=origins)
            return render_rays(*made.arguments(), coarse=6, fine=4, seed=2).features.sum(1)

    expected = Render()(problem.feature_map, problem.origins)
    compiled_module = torch.compile(Render(), fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled_module(problem.feature_map, problem.origins), expected)
    program = torch.export.export(Render(), (problem.feature_map, problem.origins))
    assert torch.allclose(program.module()(problem.feature_map, problem.origins), expected)


@pytest.mark.parametrize(
    "render", [pytest.param(render_rays, marks=needs_compiled), reference_render_rays]
)
@pytest.mark.parametrize("device", DEVICES)
def test_rays_that_miss_see_nothing_and_broken_ones_say_so(render, device):
    problem = make_problem("spherical", batch=1, rays=5, dtype=torch.float32, device=device)
    far, origins, directions = (
        problem.far.clone(),
        problem.origins.clone(),
        problem.directions.clone(),
    )
    far[0, 1] = problem.near[0, 1]  # nothing between
    origins[0, 2, 0] = torch.nan
    directions[0, 3, 2] = torch.inf
    broken = replace(problem, far=far, origins=origins, directions=directions)
    outputs, gradients = outputs_and_gradients(render, broken, **SAMPLES)
    whole = render(*problem.arguments(), **SAMPLES)
    for out, expected in zip(outputs, whole, strict=True):
        assert torch.allclose(out[0, [0, 4]], expected[0, [0, 4]], atol=1e-5)
        assert out[0, [2, 3]].isnan().all()
    assert (outputs.features[0, 1] == 0).all() and outputs.opacity[0, 1] == 0
    o, d = origins[0, 1], directions[0, 1]
    assert outputs.depth[0, 1].item() == pytest.approx((-(o @ d) / (d @ d)).item(), rel=1e-5)
    assert all(gradient.isfinite().all() for gradient in gradients), "broken rays teach nothing"
    assert (gradients[1][0, [1, 2, 3]] == 0).all() and (gradients[1][0, 0] != 0).any()


@pytest.mark.parametrize(
    "render", [pytest.param(render_rays, marks=needs_compiled), reference_render_rays]
)
def test_broken_texels_show_where_they_are_read(render):
    problem = make_problem("triplane", side=8, channels=16, batch=1, rays=60, dtype=torch.float32)
    feature_map = problem.feature_map.clone()
    feature_map[0, 4, 4, 0] = torch.nan  # XY, the middle
    out = render(*replace(problem, feature_map=feature_map).arguments(), coarse=8, fine=6, seed=0)
    broken = out.opacity.isnan()
    assert 0 < broken.sum() < broken.numel()
    assert (out.features.isnan().any(-1) == broken).all() and (out.depth.isnan() == broken).all()
    clean = render(*problem.arguments(), coarse=8, fine=6, seed=0)
    assert torch.equal(out.features[~broken], clean.features[~broken])


@needs_compiled
@pytest.mark.parametrize("batch", [1, 3])
def test_the_same_numbers_every_time_and_with_any_threads(batch):
    problem = make_problem("hyplane", batch=batch, rays=200, channels=16, dtype=torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 2, 3):
            torch.set_num_threads(threads)
            outputs, gradients = outputs_and_gradients(render_rays, problem, **SAMPLES)
            results.append([*outputs, *gradients])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_compiled
def test_empty_batches_and_no_rays():
    problem = make_problem("hyplane", batch=2, rays=4, dtype=torch.float32)
    none = replace(
        problem,
        **{
            name: getattr(problem, name)[:, :0] for name in ("origins", "directions", "near", "far")
        },
    )
    outputs, gradients = outputs_and_gradients(render_rays, none, **SAMPLES)
    assert outputs.features.shape == (2, 0, 7) and all(
        (gradient == 0).all() for gradient in gradients
    )
    nobody = replace(
        problem,
        **{
            name: getattr(problem, name)[:0]
            for name in ("feature_map", "origins", "directions", "near", "far")
        },
    )
    outputs, gradients = outputs_and_gradients(render_rays, nobody, **SAMPLES)
    assert outputs.depth.shape == (0, 4) and all((gradient == 0).all() for gradient in gradients)


@needs_compiled
def test_only_the_gradients_that_are_asked_for():
    problem = make_problem("hyplane", rays=9, dtype=torch.float32)
    whole = outputs_and_gradients(render_rays, problem, **SAMPLES)[1]
    for wanted in ([0], [1], [2], [3], [5, 6], [0, 4]):
        leaves = [
            leaf.clone().requires_grad_(k in wanted) for k, leaf in enumerate(problem.leaves())
        ]
        out = render_rays(*problem.with_leaves(leaves).arguments(), **SAMPLES)
        found = torch.autograd.grad(out, [leaves[k] for k in wanted], upstream(out))
        assert all(torch.equal(a, whole[k]) for a, k in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    "render", [pytest.param(render_rays, marks=needs_compiled), reference_render_rays]
)
def test_a_uniform_fog_is_what_the_integral_says(render):
    """Constant density s and colour c over a length l: opacity 1 - exp(-softplus(s - 1) l'), where
    l' is the length between the first and last sample, and depth the mean of an exponential cut off
    at l'."""
    problem = make_problem("triplane", batch=1, rays=3)
    w1, b1, w2, b2 = (torch.zeros_like(t) for t in problem.network)
    b2[0], b2[1:] = 3.0, 0.7
    near, far = torch.full_like(problem.near, 2.2), torch.full_like(problem.far, 3.2)
    fog = replace(problem, network=FieldNetwork(w1, b1, w2, b2), near=near, far=far)
    out = render(*fog.arguments(), coarse=500, fine=0)
    rate = torch.nn.functional.softplus(torch.tensor(2.0, dtype=torch.float64))
    length = 1 - 1 / 500
    opacity = 1 - torch.exp(-rate * length)
    assert torch.allclose(out.opacity, opacity.expand_as(out.opacity), atol=1e-9)
    colour = torch.sigmoid(torch.tensor(0.7, dtype=torch.float64)) * 1.002 - 0.001
    assert torch.allclose(out.features, (opacity * colour).expand_as(out.features), atol=1e-9)
    start = 2.2 + 0.5 / 500
    mean = start * opacity + (1 - torch.exp(-rate * length) * (1 + rate * length)) / rate
    assert torch.allclose(out.depth, mean + (1 - opacity) * far, atol=1e-5)


@pytest.mark.parametrize(
    "render", [pytest.param(render_rays, marks=needs_compiled), reference_render_rays]
)
def test_fine_samples_find_a_thin_shell(render):
    """A hard ball on a ray: density grows by k = slope / half per unit behind its surface, so that
    light gets sqrt(pi / 2k) deep on average; with fine samples that is found far better than the
    coarse spacing allows."""
    problem = make_problem("triplane", batch=1, rays=1)
    network = FieldNetwork(*(torch.zeros_like(t) for t in problem.network))
    network.b2[0] = 1.0
    ball = replace(BALL, slope=2e5, radius=0.6)  # its surface is at distance 2.7 - 0.3
    straight = replace(
        problem,
        network=network,
        origins=torch.tensor([[[0.0, 0.0, 2.7]]], dtype=torch.float64),
        directions=torch.tensor([[[0.0, 0.0, -1.0]]], dtype=torch.float64),
        near=torch.full_like(problem.near, 2.2),
        far=torch.full_like(problem.far, 3.2),
    )
    truth = 2.4 + (torch.pi / 2 / 4e5) ** 0.5
    coarse, fine = (
        render(*straight.arguments(), coarse=24, fine=n, ball=ball).depth.item() for n in (0, 48)
    )
    assert abs(fine - truth) < 0.002 < abs(coarse - truth) < 1 / 24


@pytest.mark.parametrize("device", DEVICES)
def test_maps_of_half_precision_are_rendered_in_float32(device):
    """As mixed precision leaves them: the same as from the rounded map, and the gradient has the
    map's type."""
    problem = make_problem("hyplane", channels=16, dtype=torch.float32, device=device)
    half = problem.feature_map.bfloat16().requires_grad_()
    out = render_rays(*replace(problem, feature_map=half).arguments(), **SAMPLES)
    rounded = render_rays(
        *replace(problem, feature_map=half.detach().float()).arguments(), **SAMPLES
    )
    assert out.features.dtype == torch.float32 and torch.allclose(
        out.features, rounded.features, atol=1e-5
    )
    (gradient,) = torch.autograd.grad(out.features.sum(), half)
    assert gradient.dtype == torch.bfloat16 and gradient.isfinite().all() and (gradient != 0).any()


def test_jitter_is_uniform_and_a_function_of_seed_ray_and_sample():
    rays, samples = torch.arange(300)[:, None], torch.arange(200)
    u = uniform(7, rays, samples)
    assert u.min() >= 0 and u.max() < 1
    counts = torch.histc(u, 20, 0, 1)
    assert ((counts - 3000).abs() < 5 * 3000**0.5).all()
    assert abs(torch.corrcoef(torch.stack([u[:-1].flatten(), u[1:].flatten()]))[0, 1]) < 0.02
    assert abs(torch.corrcoef(torch.stack([u[:, :-1].flatten(), u[:, 1:].flatten()]))[0, 1]) < 0.02
    assert torch.equal(u, uniform(7, rays, samples)) and not torch.equal(
        u, uniform(8, rays, samples)
    )
    assert uniform(2**32 - 1, torch.tensor(2**33), torch.tensor(0)).isfinite()


def test_seeds_move_samples_and_none_is_the_middle():
    problem = make_problem("hyplane", rays=8)
    outs = [
        render_rays(*problem.arguments(), coarse=6, fine=6, seed=seed).features
        for seed in (0, 0, 1, None)
    ]
    assert (
        torch.equal(outs[0], outs[1])
        and not torch.equal(outs[0], outs[2])
        and not torch.equal(outs[0], outs[3])
    )


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"near": torch.zeros(2, 3)}, {}, r"near must be \[2, 37\], got \[2, 3\]"),
        (
            {"feature_map": torch.zeros(2, 9, 9, 14)},
            {},
            r"plane YZ ends at \(9, 9, 15\), beyond a map of \(9, 9, 14\)",
        ),
        (
            {"feature_map": torch.zeros(2, 9, 9)},
            {},
            r"feature_map must be \[B, rows, columns, channels\], got \[2, 9, 9\]",
        ),
        ({}, {"coarse": 1}, "coarse must lie in 2...512 and fine in 0...512, got 1 and 48"),
        (
            {},
            {"grid": torch.zeros(2, 4, 4, 3)},
            r"grid must be \[2, G, G, G\] with 2 <= G <= 256, got \[2, 4, 4, 3\]",
        ),
        (
            {},
            {"grid": torch.zeros(2, 4, 4, 4), "fine": 1},
            "fine must be at least 2 with a grid, got 1",
        ),
        (
            {},
            {"seed": torch.zeros(2).long()},
            r"seed must be one int64 on cpu, got \[2\] torch.int64 on cpu",
        ),
        ({}, {"seed": -1}, r"seed must lie in \[0, 2\^32\), got -1"),
    ],
)
def test_arguments_are_checked(changes, options, message):
    problem = replace(make_problem(dtype=torch.float32), **changes)
    with pytest.raises(ValueError, match=message):
        render_rays(*problem.arguments(), **options)


@needs_compiled
def test_the_op_itself_checks_what_it_is_given():
    problem = make_problem(dtype=torch.float32)
    numbers = (
        None,
        torch.tensor(3),
        problem.layout.numbers(),
        [0, 0, 0, 0.5, 0.5, 0.5],
        0.0,
        0.5,
        6,
        5,
    )
    tensors = [
        problem.feature_map,
        problem.origins,
        problem.directions,
        problem.near,
        problem.far,
        *problem.network,
    ]

    def call(**changed):
        given = [
            changed.get(name, tensor) for name, tensor in zip("modnfwxyz", tensors, strict=True)
        ]
        torch.ops.semhead.render_rays(*given, *changed.get("numbers", numbers))

    with pytest.raises(RuntimeError, match="origins must be"):
        call(o=problem.origins[:, :5])
    with pytest.raises(RuntimeError, match="feature_map must be contiguous"):
        call(m=problem.feature_map.transpose(1, 2))
    with pytest.raises(
        RuntimeError, match="all inputs but the feature map must be Float, got Double"
    ):
        call(w=problem.network.w1.double())
    with pytest.raises(RuntimeError, match="no projection has the number 99"):
        call(numbers=(*numbers[:2], [9, 9, 1, 5, 99, 0, 0, 0], *numbers[3:]))
    with pytest.raises(RuntimeError, match="reaches beyond the feature map"):
        call(numbers=(*numbers[:2], [9, 9, 1, 5, 0, 1, 0, 0], *numbers[3:]))
    with pytest.raises(RuntimeError, match=r"grid must be \[2, 3, 3, 3\], got \[2, 4, 4, 3\]"):
        call(numbers=(torch.zeros(2, 4, 4, 3), *numbers[1:]))
    with pytest.raises(RuntimeError, match="seed must be one int64"):
        call(numbers=(None, torch.zeros(2).long(), *numbers[2:]))
    with pytest.raises(RuntimeError, match="half-extents must be positive"):
        call(numbers=(*numbers[:3], [0, 0, 0, 0.5, 0.0, 0.5], *numbers[4:]))
