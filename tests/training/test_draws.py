"""What a step is given: drawn ahead of it, alike for any number of processes, packed into one
buffer."""

from dataclasses import fields, replace

import pytest
import torch
from small_training import small

from semhead_lib.training.draws import Draws
from semhead_lib.training.inputs import Inputs, Packing


def draws(settings, rank=0, processes=1) -> Draws:
    settings = settings.resolved(processes)
    mode, sizes = (
        settings.condition_mode(16),
        (settings.generator_config(16), settings.discriminator_config(16)),
    )
    made = Draws(settings, mode, *sizes, rank=rank, processes=1)
    made.processes = processes
    return made


def drawn_by_each(settings, batches, step) -> list[Inputs]:
    """The inputs of several processes; what they exchange is looked up in their batches."""

    def together(tensor):
        (name,) = {
            f.name for f in fields(batches[0]) for b in batches if getattr(b, f.name) is tensor
        }
        return torch.cat([getattr(b, name) for b in batches])

    found = []
    for rank, batch in enumerate(batches):
        one = draws(settings, rank, len(batches))
        one._together = together
        found.append(one(step, batch)[1])
    return found


@pytest.mark.parametrize("mode", ["semantic+view", "semantic", "view", "none"])
def test_processes_draw_what_one_alone_would(data, mode):
    """Their rows, one after the other, are those of one process with all images: no two draw the
    same."""
    views = dict(views_per_subject=2, views_per_head=1 if "view" in mode else 2)
    changes = dict(mode=mode, swap_final=0.5, swap_kimg=0.0, condition_noise=0.3, **views)
    whole = draws(small(subjects_per_batch=8, **changes))(2, data.batch(2, 8, 2))[1]
    settings = small(subjects_per_batch=2, **changes)
    batches = [data.batch(2, 2, 2, rank=rank, world_size=4) for rank in range(4)]
    each = drawn_by_each(settings, batches, 2)
    for name, expected in whole.tensors.items():
        if name not in ("beta", "seed", "image_taps", "small_taps"):
            assert torch.equal(torch.cat([getattr(part, name) for part in each]), expected), name
    assert len({int(part.seed) for part in each}) == 4, (
        "the samples along rays are not shifted alike"
    )
    assert all(torch.equal(part.beta, whole.beta) for part in each)


def test_the_swaps_of_two_processes_differ(data):
    settings = small(mode="view", views_per_head=1, swap_final=0.5, swap_kimg=0.0)
    batches = [data.batch(0, 2, 2, rank=rank, world_size=2) for rank in range(2)]
    swapped = []
    for step in range(8):
        for part in drawn_by_each(settings, batches, step):
            swapped.append((part.mapping != part.cameras).any(1))
    first, second = torch.cat(swapped[::2]), torch.cat(swapped[1::2])
    assert 0.2 < first.float().mean() < 0.8 and not torch.equal(first, second)


def test_what_is_drawn_follows_from_seed_and_step(data):
    batch = data.batch(0, 2, 2)
    one, same = (draws(small())(0, batch)[1] for _ in range(2))
    others = [draws(small(seed=1))(0, batch)[1], draws(small())(2, batch)[1]]
    assert one.tensors.keys() == same.tensors.keys()
    assert all(torch.equal(t, same.tensors[name]) for name, t in one.tensors.items())
    for other in others:
        assert not any(
            torch.equal(getattr(one, n), getattr(other, n)) for n in ("z", "points", "seed")
        )


def test_the_lazy_terms_and_the_schedules(data):
    batch = data.batch(0, 2, 2)
    settings = small(r1_interval=2, density_interval=3, blur_sigma=1.0, blur_kimg=0.008)
    found = [draws(settings)(step, batch) for step in range(4)]
    assert [(v.r1, v.density) for v, _ in found] == [
        (True, True),
        (False, False),
        (True, False),
        (False, True),
    ]
    assert [i.points is not None for _, i in found] == [True, False, False, True]
    assert [None if i.image_taps is None else len(i.image_taps) for _, i in found] == [
        7,
        5,
        None,
        None,
    ]


def test_packed_and_read_is_the_same(data):
    batch = replace(data.batch(0, 2, 2), masks=None)
    for settings in (
        small(),
        small(mode="none", masks=False),
        small(jitter=False, vicico_view=0.0),
    ):
        _, inputs = draws(settings)(0, batch)
        packing = Packing.of(inputs.tensors)
        buffer = torch.full((packing.length + 9,), 77, dtype=torch.uint8)
        packing.write(inputs.tensors, buffer)
        again = Inputs(**packing.read(buffer[: packing.length]))
        assert again.tensors.keys() == inputs.tensors.keys()
        for name, tensor in inputs.tensors.items():
            assert (
                torch.equal(again.tensors[name], tensor)
                and again.tensors[name].dtype == tensor.dtype
            ), name
        assert Packing.of(again.tensors) == packing and (buffer[packing.length :] == 77).all()
        assert Packing.of(draws(settings)(1, batch)[1].tensors) != packing, (
            "a step without density points"
        )


def test_micro_batches_are_the_batch_in_order(data):
    _, inputs = draws(small(subjects_per_batch=8, accumulate=2))(0, data.batch(0, 8, 2))
    parts = inputs.split(2)
    assert [len(part.images) for part in parts] == [8, 8] and [len(part.z) for part in parts] == [
        4,
        4,
    ]
    for name, tensor in inputs.tensors.items():
        if name in ("beta", "image_taps", "small_taps"):
            assert all(getattr(part, name) is tensor for part in parts)
        else:
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), tensor)
