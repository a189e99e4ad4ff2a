"""Captured steps: the same code with a stand-in for CUDA's graphs, and with CUDA's where there is a
GPU."""

import pytest
import torch
from accelerate import Accelerator
from small_training import Rerun, make_noise, small

from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.training.graphs import Graphs, Result
from semhead_lib.training.step import Networks, Step


def doubled(buffer) -> Result:
    return Result(("sum",), 2 * buffer.float().sum()[None])


def test_eager_once_then_captured_then_replayed():
    graphs = Graphs(Rerun())
    buffers = [torch.full((3,), k, dtype=torch.uint8) for k in range(4)]
    found = [graphs("era", "kind", doubled, buffer) for buffer in buffers]
    assert [result.values.item() for result in found] == [0, 6, 12, 18], (
        "results that were given are not overwritten"
    )
    assert graphs.backend.ran == ["eager", "capture", "replay", "replay", "replay"]
    graphs("era", "other", doubled, buffers[0])
    assert graphs.backend.ran[5:] == ["eager"]


def test_another_era_is_captured_anew():
    graphs, buffer = Graphs(Rerun()), torch.ones(3, dtype=torch.uint8)
    for era in (1, 1, 1, 2, 2, 1):
        graphs(era, "kind", doubled, buffer)
    first, second = ["eager", "capture", "replay", "replay"], ["eager", "capture", "replay"]
    assert graphs.backend.ran == [*first, "finish", *second, "finish", "eager"]


def test_what_cannot_be_captured_is_run_eagerly_and_says_why():
    graphs, buffer = Graphs(Rerun(fails=True)), torch.ones(3, dtype=torch.uint8)
    graphs("era", "kind", doubled, buffer)
    with pytest.warns(
        UserWarning,
        match="without CUDA graphs: a step cannot be captured: CUDA error: operation not",
    ):
        assert graphs("era", "kind", doubled, buffer).values.item() == 6
    for kind in ("kind", "other", "other"):
        assert graphs("era", kind, doubled, buffer).values.item() == 6
    assert graphs.backend.ran == ["eager", "capture", "eager", "eager", "eager", "eager"]
    assert "\n" not in graphs.failure


def steps(data, settings, count, backend=None, device="cpu"):
    """Logs and networks after some steps."""
    accelerator = Accelerator(cpu=device == "cpu")
    networks = Networks(settings, 16, accelerator.device)
    step = Step(settings, networks, settings.condition_mode(16), accelerator)
    if backend is not None:
        step.graphs = Graphs(backend)
    logs = [
        step(i, data.batch(i, settings.subjects_per_batch, settings.views_per_subject))
        for i in range(count)
    ]
    return logs, networks, step


@pytest.mark.parametrize("changes", [dict(), dict(accumulate=3, subjects_per_batch=3)], ids=str)
def test_captured_steps_are_the_eager_ones_to_the_bit(data, changes):
    """Through every lazy variant and the blur's end: inputs come through a fixed buffer, gradients
    stay in place."""
    settings = small(r1_interval=4, density_interval=2, blur_sigma=0.5, blur_kimg=0.02, **changes)
    backend = Rerun()
    eager, a, _ = steps(data, settings, 14)
    captured, b, _ = steps(data, settings, 14, backend)
    assert backend.ran.count("capture") >= 3 and backend.ran.count("replay") > backend.ran.count(
        "eager"
    )
    for one, other in zip(eager, captured, strict=True):
        assert one.keys() == other.keys() and all(
            torch.equal(one[name], other[name]) for name in one
        )
    for name in ("generator", "average", "discriminator"):
        one, other = (getattr(networks, name).state_dict() for networks in (a, b))
        assert all(torch.equal(one[key], other[key]) for key in one), name


def test_a_growing_raw_image_is_captured_anew(tmp_path):
    data = SubjectsInMemory.load(make_noise(tmp_path / "noise", resolution=64))
    settings = small(
        preset="semhead-64",
        raw_first=24,
        raw_kimg=0.012,
        r1_gamma=0.0,
        density_weight=0.0,
        blur_sigma=0.0,
    )
    backend = Rerun()
    logs, *_ = steps(data, settings, 6, backend)
    of_24, of_28, of_32 = (
        ["eager"],
        ["eager", "capture", "replay", "finish"],
        ["eager", "capture", "replay", "replay"],
    )
    assert backend.ran == of_24 + of_28 + of_32
    assert all(value.isfinite() for log in logs for value in log.values())


def test_says_why_there_are_no_graphs(data):
    assert steps(data, small(), 0)[2].eager == "the device is cpu, and graphs are CUDA's"
    assert steps(data, small(graphs=False), 0)[2].eager == "graphs=false"
    step = steps(data, small(), 0, Rerun(fails=True))[2]
    assert step.eager is None
    for number in (1, 3):
        batch = data.batch(number, 2, 2)
        if number == 1:
            step(number, batch)
        else:
            with pytest.warns(UserWarning, match="without CUDA graphs"):
                step(number, batch)
    assert step.eager.startswith("a step cannot be captured: CUDA error")


def state(networks) -> list[torch.Tensor]:
    """All that a step changes."""
    parts = [networks.generator, networks.discriminator, networks.average]
    found = [t.detach() for part in parts for t in (*part.parameters(), *part.buffers())]
    for optimiser in (networks.g_optimiser, networks.d_optimiser):
        found += [t for of_one in optimiser.state.values() for t in of_one.values()]
    return found


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cuda_graphs_take_the_eager_steps(data, precision):
    """Each from the same weights: what differs is the order in which gradients of the map are
    summed."""
    settings = small(r1_interval=4, density_interval=2, blur_sigma=0.0, precision=precision)
    _, networks, step = steps(data, settings, 10, device="cuda")
    assert step.eager is None and len(step.graphs._captured) == 3
    backend = step.graphs
    for number in (12, 14, 15):
        prepared = step.prepare(number, data.batch(number, 2, 2))
        before = [tensor.clone() for tensor in state(networks)]
        captured, gradients = step(number, prepared), networks.g_gradients.vector.clone()
        for tensor, former in zip(
            state(networks), before, strict=True
        ):  # in place: graphs know where they are
            tensor.copy_(former)
        step.graphs = None
        eager = step(number, prepared)
        step.graphs = backend
        tolerance = 1e-3 if precision == "fp32" else 3e-2
        for name, value in eager.items():
            torch.testing.assert_close(
                captured[name], value, rtol=tolerance, atol=tolerance, msg=f"{number}: {name}"
            )
        difference = (gradients - networks.g_gradients.vector).norm() / gradients.norm()
        assert difference < (2e-2 if precision == "fp32" else 0.3)
