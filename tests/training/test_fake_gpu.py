"""A step on a GPU that is not there: torch's fake tensors say where tensors of two devices would
meet."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from small_training import small
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from semhead_lib.ops import compiled
from semhead_lib.training import losses
from semhead_lib.training.inputs import Inputs, Packing
from semhead_lib.training.networks import Gradients, Networks, _adam
from semhead_lib.training.step import Step


def to_fake_gpu(networks: Networks) -> Networks:
    """The networks with memory of a GPU, made within a fake mode; their optimisers as on a GPU."""
    for name in ("generator", "discriminator", "average"):
        for module in getattr(networks, name).modules():
            for key, p in module._parameters.items():
                if p is not None:
                    there = torch.empty_strided(p.shape, p.stride(), device="cuda")
                    module._parameters[key] = nn.Parameter(there, requires_grad=p.requires_grad)
            for key, buffer in module._buffers.items():
                module._buffers[key] = torch.empty_strided(
                    buffer.shape, buffer.stride(), device="cuda"
                )
    networks.g_gradients = Gradients(networks.generator, 1 + networks.generator.config.w_dim)
    networks.d_gradients = Gradients(networks.discriminator, 1)
    networks.g_optimiser, networks.d_optimiser = (
        _adam(networks.generator, 1e-3),
        _adam(networks.discriminator, 1e-3),
    )
    networks._pair = list(networks.average.parameters()), list(networks.generator.parameters())
    return networks


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        dict(preset="semhead-32", mode="semantic+view", views_per_head=1),
        dict(preset="semhead-64", precision="bf16", checkpoint=True),
        dict(
            preset="semhead-64",
            representation="spherical",
            polyphase=True,
            accumulate=3,
            subjects_per_batch=3,
        ),
    ],
    ids=str,
)
def test_all_tensors_of_a_step_are_on_its_device(data, monkeypatch, changes, fused):
    """By the reference and by the compiled renderer. Derivatives need a real device: they are left
    out."""
    settings = small(r1_interval=4, **changes)
    processes = SimpleNamespace(device=torch.device("cpu"), num_processes=1, process_index=0)
    networks = Networks(settings, 16, "cpu")
    draws = Step(settings, networks, settings.condition_mode(16), processes).draws
    batch = data.batch(0, settings.subjects_per_batch, settings.views_per_subject)
    side = settings.generator_config(16).resolution
    batch = replace(
        batch,
        images=batch.images.new_zeros(len(batch), 3, side, side),
        masks=batch.masks.new_zeros(len(batch), 1, side, side),
    )
    monkeypatch.setattr(
        losses, "r1_penalty", lambda seen, logits: sum(t.sum() for t in seen.tensors) + logits.sum()
    )
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: None)
    if fused:
        if not compiled.COMPILED.devices:
            pytest.skip(compiled.COMPILED.detail)
        monkeypatch.setattr(
            compiled, "COMPILED", replace(compiled.COMPILED, devices=("cpu", "cuda"))
        )
    with FakeTensorMode() as fake:
        networks = to_fake_gpu(networks)
        step = Step(settings, networks, settings.condition_mode(16), processes)
    for number in (0, 1):
        variant, inputs = draws(number, batch)
        packing = Packing.of(inputs.tensors)
        with fake:
            buffer = torch.empty(packing.length, dtype=torch.uint8, device="cuda")
            result = step._run(variant, Inputs(**packing.read(buffer)))
        assert result.values.device.type == "cuda" and ("r1" in result.names) == (number == 0)


def test_a_tensor_left_on_the_cpu_is_found():
    with FakeTensorMode(), pytest.raises(RuntimeError, match="device"):
        torch.ones(3, device="cuda") * torch.ones(3)
