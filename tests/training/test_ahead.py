"""The thread that prepares batches: what it gives, what it forwards, and that it ends."""

import threading

import pytest
import torch
from accelerate import Accelerator
from small_training import small

from semhead_lib.training.ahead import Ahead
from semhead_lib.training.inputs import Inputs
from semhead_lib.training.step import Networks, Step


def step_of(settings):
    return Step(
        settings, Networks(settings, 16, "cpu"), settings.condition_mode(16), Accelerator(cpu=True)
    )


def test_it_gives_what_would_be_prepared_at_once(data):
    step = step_of(small())
    with step.ahead(data.batches(2, 2, start=3), 3) as ahead:
        for number in range(3, 12):  # more than there are slots
            prepared, expected = next(ahead), step.prepare(number, data.batch(number, 2, 2))
            assert (prepared.step, prepared.variant, prepared.packing) == (
                number,
                expected.variant,
                expected.packing,
            )
            assert_equal(prepared, expected)


@pytest.mark.gpu
def test_it_copies_to_a_gpu_while_that_computes(data):
    """A slot is not overwritten while the device still reads it, nor read before its copy has
    arrived."""
    settings = small()
    accelerator = Accelerator()
    networks = Networks(settings, 16, accelerator.device)
    step = Step(settings, networks, settings.condition_mode(16), accelerator)
    busy, copies = torch.randn(4096, 4096, device="cuda"), []
    with step.ahead(data.batches(2, 2), 0) as ahead:
        for _ in range(12):
            prepared = next(ahead)
            for _ in range(20):
                busy = (busy @ busy).clamp(-1, 1)
            copies.append((prepared, Inputs(**prepared.packing.read(prepared.buffer.clone()))))
    for number, (prepared, inputs) in enumerate(copies):
        expected = step.draws(number, data.batch(number, 2, 2))[1].tensors
        assert prepared.step == number and prepared.buffer.is_cuda
        assert all(
            torch.equal(tensor.cpu(), expected[name]) for name, tensor in inputs.tensors.items()
        )


def assert_equal(one, other):
    """The tensors; what lies between them in the buffers is not set."""
    a, b = (p.packing.read(p.buffer) for p in (one, other))
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_a_step_takes_what_was_prepared_for_it(data):
    settings = small()
    ahead, direct = step_of(settings), step_of(settings)
    with ahead.ahead(data.batches(2, 2), 0) as batches:
        for number in range(3):
            one, other = ahead(number, next(batches)), direct(number, data.batch(number, 2, 2))
            assert one.keys() == other.keys() and all(
                torch.equal(one[name], other[name]) for name in one
            )
        with pytest.raises(ValueError, match="prepared for step 3, this is step 4"):
            ahead(4, next(batches))


def test_what_goes_wrong_in_the_thread_is_raised_where_it_is_asked(data):
    def broken():
        yield data.batch(0, 2, 2)
        yield data.batch(1, 2, 2)
        raise ValueError("shard-000003.tar: damaged")

    with step_of(small()).ahead(broken(), 0) as batches:
        next(batches), next(batches)
        for _ in range(2):
            with pytest.raises(ValueError, match=r"shard-000003\.tar: damaged"):
                next(batches)


def test_batches_that_end_end_it(data):
    finite = (data.batch(number, 2, 2) for number in range(5))
    with step_of(small()).ahead(finite, 0) as batches:
        assert [prepared.step for prepared in batches] == [0, 1, 2, 3, 4]


def test_it_ends_its_thread_and_the_readers(data):
    closed = threading.Event()

    def endless():
        try:
            yield from data.batches(2, 2)
        finally:
            closed.set()

    with step_of(small()).ahead(endless(), 0) as batches:
        next(batches)
        (thread,) = (t for t in threading.enumerate() if t.name == "prepares batches")
    assert not thread.is_alive() and closed.is_set()


def test_every_process_draws_as_often(data):
    """So that none waits for what another no longer draws: two in use and ahead of three slots,
    however fast it is."""
    step, counts = step_of(small()), []
    for _ in range(5):
        drawn = []

        def draw(number, batch, drawn=drawn):
            drawn.append(number)
            return step.draws(number, batch)

        with Ahead(draw, data.batches(2, 2), 0, torch.device("cpu")) as batches:
            next(batches), next(batches)
        counts.append(drawn)
    assert counts == [[0, 1, 2, 3]] * 5
