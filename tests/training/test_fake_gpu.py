"""A step on a GPU that is not there: torch's fake tensors say where tensors of two devices would
meet."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from small_training import small
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.ops import compiled
from semhead_lib.training import losses
from semhead_lib.training.blur import gaussian
from semhead_lib.training.inputs import Inputs, Packing
from semhead_lib.training.networks import Gradients, Networks, _adam
from semhead_lib.training.reconstruction.batches import SubjectBatches
from semhead_lib.training.reconstruction.draws import Variant, as_buffer, from_buffer
from semhead_lib.training.reconstruction.reconstructor import Reconstructor
from semhead_lib.training.reconstruction.settings import ReconstructionSettings
from semhead_lib.training.step import Step

SMALL = dict(preset="semhead-32", crop=0, subjects_per_batch=2, views_per_subject=2, pixels=32)


class Copies(TorchDispatchMode):
    """Notes copies between a GPU and the CPU: none can be part of a CUDA graph."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, result))
        devices = {x.device.type for x in leaves if isinstance(x, torch.Tensor)}
        if len(devices) > 1 and "copy" in str(func):
            self.found.append(str(func))
        return result


def modules_to_fake_gpu(*modules: nn.Module) -> None:
    """Give them memory of a GPU, within a fake mode."""
    for module in (part for whole in modules for part in whole.modules()):
        for key, p in module._parameters.items():
            if p is not None:
                there = torch.empty_strided(p.shape, p.stride(), device="cuda")
                module._parameters[key] = nn.Parameter(there, requires_grad=p.requires_grad)
        for key, buffer in module._buffers.items():
            module._buffers[key] = torch.empty_strided(buffer.shape, buffer.stride(), device="cuda")


def to_fake_gpu(networks: Networks) -> Networks:
    """The networks with memory of a GPU, made within a fake mode; their optimisers as on a GPU."""
    modules_to_fake_gpu(networks.generator, networks.discriminator, networks.average)
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
        with fake, Copies() as copies:
            buffer = torch.empty(packing.length, dtype=torch.uint8, device="cuda")
            result = step._run(variant, Inputs(**packing.read(buffer)))
        assert not copies.found
        assert result.values.device.type == "cuda" and ("r1" in result.names) == (number == 0)


@pytest.mark.parametrize(
    "changes",
    [{}, {"adversarial_weight": 0.1, "matching_weight": 0.5}, {"pixels": 0, "crop": 0}],
    ids=str,
)
def test_a_reconstruction_step_copies_nothing_from_the_cpu(noise_folder, monkeypatch, changes):
    """All that it computes from comes in its buffer."""
    data = SubjectsInMemory.load(noise_folder, geometry=("depth", "segmentation"))
    settings = ReconstructionSettings(**(SMALL | changes))
    networks = Reconstructor(settings, data[0].semantic.numel(), "cpu")
    sample = SubjectBatches(data, settings)(0)
    packing, buffer = as_buffer(sample, networks.draws(sample, 0))
    monkeypatch.setattr(
        losses, "r1_penalty", lambda seen, logits: sum(t.sum() for t in seen.tensors) + logits.sum()
    )
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: None)
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda of, most: of[0].sum())
    judged = networks.adversary is not None
    with FakeTensorMode():
        optimised = SimpleNamespace(
            param_groups=[{"lr": torch.empty((), device="cuda")} for _ in networks.highest],
            zero_grad=lambda set_to_none: None,
            step=lambda: None,
        )
        parts = [networks.generator, networks.average, networks.encoder, networks.classes]
        networks.optimiser = optimised
        if judged:
            networks.adversary.optimiser = optimised
            parts.append(networks.adversary.discriminator)
        modules_to_fake_gpu(*(part for part in parts if part is not None))
        there = torch.empty(buffer.shape, dtype=torch.uint8, device="cuda")
        with Copies() as copies:
            result = networks._run(Variant(judged, judged), *from_buffer(packing, there))
    assert result.values.device.type == "cuda" and not copies.found


def test_a_copy_from_the_cpu_is_found():
    with FakeTensorMode(), Copies() as copies:
        gaussian(1.0, 64).to("cuda")
    assert copies.found


def test_a_tensor_left_on_the_cpu_is_found():
    with FakeTensorMode(), pytest.raises(RuntimeError, match="device"):
        torch.ones(3, device="cuda") * torch.ones(3)
