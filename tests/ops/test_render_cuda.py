"""The renderer on a GPU, beyond `test_render_rays.py`: in CUDA graphs, without waiting, in little
memory."""

import pytest
import torch
from problems import BALL, NAMES, largest_difference, make_problem, upstream

from semhead_lib.ops import compiled, density_grid, reference_render_rays, render_rays

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or "cuda" not in compiled.COMPILED.devices,
    reason="needs a GPU and the CUDA ops",
)


def step_of(render, *, with_grid=False, half=False, rays=64, **sizes):
    """A function of a seed that renders and differentiates: everything else stays where it is."""
    problem = make_problem(
        "hyplane", rays=rays, channels=16, dtype=torch.float32, device="cuda", **sizes
    )
    leaves = [leaf.requires_grad_() for leaf in problem.leaves()]
    if half:
        leaves[0] = leaves[0].detach().bfloat16().requires_grad_()
    made = problem.with_leaves(leaves)
    grid = (
        density_grid(made.feature_map, made.network, made.layout, 12, BALL) if with_grid else None
    )
    outer = upstream(render(*made.arguments(), coarse=12, fine=12, grid=grid, ball=BALL))

    def step(seed) -> dict[str, torch.Tensor]:
        outputs = render(*made.arguments(), coarse=12, fine=12, grid=grid, ball=BALL, seed=seed)
        return dict(
            zip(NAMES, [*outputs, *torch.autograd.grad(outputs, leaves, outer)], strict=True)
        )

    return step


def assert_same(ours, expected):
    for name in NAMES:  # those of the map are sums in no fixed order
        assert largest_difference(ours[name].float(), expected[name].float()) < (
            1e-2 if name == "feature_map" else 1e-5
        ), name


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("with_grid", [False, True])
def test_a_graph_replays_with_the_seed_of_the_moment(with_grid, half):
    step = step_of(render_rays, with_grid=with_grid, half=half)
    seed = torch.zeros((), dtype=torch.int64, device="cuda")
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(2):
            step(seed)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(seed)
    images = []
    for number in (3, 4):
        seed.fill_(number)
        graph.replay()
        assert_same(captured, step(number))
        images.append(captured["features"].clone())
    assert not torch.equal(*images)


@pytest.mark.parametrize("with_grid", [False, True])
def test_nothing_waits_for_the_gpu(with_grid):
    step = step_of(render_rays, with_grid=with_grid)
    seed = torch.zeros((), dtype=torch.int64, device="cuda")
    step(seed)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(seed)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_memory_is_a_tenth_of_the_reference():
    def most(render) -> int:
        step = step_of(render, rays=16384, batch=1, hidden=64, outputs=32)
        step(0)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(0)
        return torch.cuda.max_memory_allocated() - before

    assert most(render_rays) * 10 < most(reference_render_rays)
