"""A step never waits for its device: nothing in it depends on a number that was computed there."""

import pytest
import torch
from accelerate import Accelerator
from small_training import make_noise, small
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.ops import compiled
from semhead_lib.training.step import Networks, Step

# What a GPU has to finish before the program goes on: numbers read, shapes that depend on numbers,
# LAPACK's status
WAITING = (
    "_local_scalar_dense",
    "item",
    "is_nonzero",
    "equal",
    "nonzero",
    "nonzero_static",
    "masked_select",
    "unique",
    "_unique2",
    "unique_dim",
    "linalg_inv_ex",
    "linalg_solve_ex",
    "_linalg_check_errors",
    "bincount",
    "repeat_interleave.Tensor",
)
MASKED = ("index", "index_put", "index_put_", "_unsafe_index")  # so does a mask of bool as an index


# Numbers of the program as a tensor, which are copied to a GPU and waited for; and the way back
COPIES = (
    torch.tensor,
    torch.as_tensor,
    torch.from_numpy,
    torch.Tensor.new_tensor,
    torch.Tensor.cpu,
    torch.Tensor.numpy,
    torch.Tensor.tolist,
)


class NoCopies(TorchFunctionMode):
    """Raises AssertionError at what would copy from or to a GPU and wait."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        assert function not in COPIES, f"{function} waits for the device"
        return function(*args, **(kwargs or {}))


class NoWaiting(TorchDispatchMode):
    """Raises AssertionError at what would wait."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.__name__.removesuffix(".default")
        bare = name.partition(".")[0]
        masks = bare in MASKED and any(
            t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]
        )
        assert name not in WAITING and bare not in WAITING[:-1] and not masks, (
            f"{function} waits for the device"
        )
        return function(*args, **(kwargs or {}))


def steps_of(settings, data, device="cpu"):
    accelerator = Accelerator(cpu=device == "cpu")
    step = Step(
        settings,
        Networks(settings, 16, accelerator.device),
        settings.condition_mode(16),
        accelerator,
    )
    batch = data.batch(0, settings.subjects_per_batch, settings.views_per_subject)
    return step, [step.prepare(number, batch) for number in range(8)]


CASES = [
    dict(),
    dict(mode="semantic+view", views_per_head=1),
    dict(mode="none", masks=False, jitter=False),
    dict(precision="bf16"),
    dict(checkpoint=True),
    dict(accumulate=3, subjects_per_batch=3),
    dict(polyphase=True),
    dict(representation="spherical", background="plain"),
]


def test_the_watch_sees_what_waits():
    x = torch.ones(3)
    for waits in (
        lambda: bool(x[0]),
        lambda: x[x > 0],
        lambda: x.nonzero(),
        lambda: int(x[0]),
        lambda: x[0].item(),
        lambda: torch.linalg.inv(torch.eye(3)),
        lambda: x.new_tensor([1.0]),
        lambda: torch.tensor(2),
        lambda: x.tolist(),
    ):
        with pytest.raises(AssertionError, match="waits for the device"), NoCopies(), NoWaiting():
            waits()


@pytest.mark.parametrize("changes", CASES, ids=str)
def test_no_step_waits(data, changes):
    """With R1, with density, with both and with neither."""
    step, prepared = steps_of(small(r1_interval=3, density_interval=2, **changes), data)
    assert {(p.variant.r1, p.variant.density) for p in prepared[:4]} == {
        (True, True),
        (False, False),
        (False, True),
        (True, False),
    }
    with NoCopies(), NoWaiting():
        for number in range(4):
            step(number, prepared[number])


@pytest.mark.parametrize("reference", [False, True])
def test_no_step_by_the_reference_waits(data, monkeypatch, reference):
    """Points are read by the reference on a GPU; rays only where the ops are not compiled."""
    usable = compiled.usable
    monkeypatch.setattr(
        compiled, "usable", lambda tensor: not reference and tensor.ndim != 4 and usable(tensor)
    )
    step, prepared = steps_of(small(), data)
    step.reference = reference
    with NoCopies(), NoWaiting():
        for number in range(2):
            step(number, prepared[number])


def test_no_step_of_a_growing_raw_image_waits(tmp_path):
    data = SubjectsInMemory.load(make_noise(tmp_path / "noise", resolution=64))
    step, prepared = steps_of(small(preset="semhead-64", raw_first=16, raw_kimg=0.1), data)
    with NoCopies(), NoWaiting():
        step(0, prepared[0])


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("changes", CASES, ids=str)
def test_no_step_waits_for_a_gpu(data, changes, graphs):
    settings = small(r1_interval=3, density_interval=2, blur_sigma=0.0, graphs=graphs, **changes)
    step, prepared = steps_of(settings, data, "cuda")
    for number in (
        0,
        1,
        2,
        3,
        6,
        5,
        4,
        3,
    ):  # each kind twice: graphs are captured, algorithms chosen
        step(prepared[number].step, prepared[number])
    assert (step.eager is None) == graphs
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        logs = [step(number, prepared[number]) for number in range(4)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(value.isfinite() for log in logs for value in log.values())
