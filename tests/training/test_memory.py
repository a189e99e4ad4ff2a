"""Less memory by micro-batches and by computing blocks again: with the gradients of the step that
does neither."""

import pytest
import torch
from accelerate import Accelerator
from small_training import make_noise, small

from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.training.step import Networks, Step


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return SubjectsInMemory.load(
        make_noise(tmp_path_factory.mktemp("noise-64") / "noise", resolution=64)
    )


def gradients(data, number, **changes):
    """Of both networks after a step, and what it told."""
    settings = small(jitter=False, r1_interval=2, density_interval=1, **changes)
    networks = Networks(settings, 16, "cpu")
    step = Step(settings, networks, settings.condition_mode(16), Accelerator(cpu=True))
    log = step(number, data.batch(number, settings.subjects_per_batch, settings.views_per_subject))
    return log, networks


def same(one, other, tolerance):
    """Log, gradients and mean style."""
    (log, a), (log_of_other, b) = one, other
    for name, value in log.items():
        torch.testing.assert_close(log_of_other[name], value, rtol=1e-3, atol=1e-5, msg=name)
    for part in ("generator", "discriminator"):
        for (name, p), q in zip(
            getattr(a, part).named_parameters(), getattr(b, part).parameters(), strict=True
        ):
            error = (p.grad - q.grad).norm() / (p.grad.norm() + 1e-6)
            assert error < tolerance, (part, name, float(error))
    torch.testing.assert_close(a.generator.mapping.w_mean, b.generator.mapping.w_mean)


@pytest.mark.parametrize("number", [2, 3], ids=["with R1", "without"])
@pytest.mark.parametrize("changes", [dict(), dict(views_per_head=1, mode="semantic+view")], ids=str)
def test_micro_batches_add_up(data, number, changes):
    """Four subjects a group: 8 subjects are two micro-batches of a group each."""
    whole = gradients(data, number, subjects_per_batch=8, **changes)
    parts = gradients(data, number, subjects_per_batch=8, accumulate=2, **changes)
    same(whole, parts, 2e-3)


def test_micro_batches_are_whole_groups():
    with pytest.raises(ValueError, match="accumulate must be an integer >= 1, got 0"):
        small(accumulate=0)
    for subjects, parts in ((8, 4), (8, 3), (6, 2)):
        with pytest.raises(ValueError, match=rf"into whole groups of .* subjects, .* got {parts}"):
            small(subjects_per_batch=subjects, accumulate=parts)
    assert small(subjects_per_batch=6, accumulate=3).accumulate == 3


@pytest.mark.parametrize("number", [2, 3], ids=["with R1", "without"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_blocks_computed_again_learn_the_same(large, number, precision):
    usual = gradients(large, number, preset="semhead-64", precision=precision)
    again = gradients(large, number, preset="semhead-64", precision=precision, checkpoint=True)
    same(usual, again, 1e-5)


def kept(data, **changes) -> int:
    """Bytes that both networks keep for the backward pass at most, in a step without R1."""
    settings = small(preset="semhead-64", subjects_per_batch=3, **changes)
    step = Step(
        settings, Networks(settings, 16, "cpu"), settings.condition_mode(16), Accelerator(cpu=True)
    )
    prepared, most, alive = step.prepare(1, data.batch(1, 3, 2)), 0, {}

    def pack(tensor):
        nonlocal most
        storage = tensor.untyped_storage()
        count, size = alive.get(storage.data_ptr(), (0, storage.nbytes()))
        alive[storage.data_ptr()] = count + 1, size
        most = max(most, sum(size for count, size in alive.values() if count))
        return Kept(tensor, alive)

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        step(1, prepared)
    return most


class Kept:
    """A tensor that a graph keeps; counted until the graph lets it go."""

    def __init__(self, tensor, alive):
        self.tensor, self.alive, self.pointer = tensor, alive, tensor.untyped_storage().data_ptr()

    def __del__(self):
        count, size = self.alive[self.pointer]
        self.alive[self.pointer] = count - 1, size


def test_less_is_kept(large):
    usual = kept(large)
    assert kept(large, checkpoint=True) < 0.6 * usual
    assert kept(large, accumulate=3) < 0.6 * usual
