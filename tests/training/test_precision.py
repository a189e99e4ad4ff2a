"""bf16 where it is cheap and harmless, fp32 where it is not: what every module of both networks
gives out in a step."""

from collections import defaultdict

import pytest
import torch
from accelerate import Accelerator
from small_training import make_noise, small

from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.models.layers import compute
from semhead_lib.training.step import Networks, Step

HALF, SINGLE = {torch.bfloat16}, {torch.float32}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Noise of 64 pixels: for the preset with super-resolution."""
    return SubjectsInMemory.load(
        make_noise(tmp_path_factory.mktemp("noise-64") / "noise", resolution=64)
    )


def dtypes_of_a_step(data, **changes):
    """What each module gave out, the map that was rendered, and the networks and log after one
    step."""
    settings = small(preset="semhead-64", **changes)
    networks = Networks(settings, 16, "cpu")
    found = defaultdict(set)

    def watch(name):
        def hook(module, inputs, output):
            tensors = output if isinstance(output, tuple) else (output,)
            found[name] |= {t.dtype for t in tensors if isinstance(t, torch.Tensor)}

        return hook

    def map_given(module, inputs):
        found["map"].add(inputs[0].dtype)
        found["cameras"].add(inputs[1].dtype)

    networks.generator.renderer.register_forward_pre_hook(map_given)
    for part in ("generator", "discriminator"):
        for name, module in getattr(networks, part).named_modules():
            module.register_forward_hook(watch(f"{part}.{name}"))
    logits = networks.discriminator.logits

    def watched(features, condition):
        found["features"].add(features.dtype)
        result = logits(features, condition)
        found["logits"].add(result.dtype)
        return result

    networks.discriminator.logits = watched
    step = Step(settings, networks, settings.condition_mode(16), Accelerator(cpu=True))
    log = step(0, data.batch(0, 2, 2))
    return found, networks, log


def expected(name: str) -> set:
    """Of a module in a step with bf16."""
    part, _, inside = name.partition(".")
    if part == "generator":
        if (
            "affine" in inside
            or inside.startswith(("mapping", "renderer"))
            or inside == "background"
        ):
            return SINGLE
        if inside == "super_resolution":
            return SINGLE  # the image: raw colours and what the blocks add
        if inside == "super_resolution.blocks.0":
            return HALF | SINGLE  # activations and image
        return HALF
    return HALF if inside.startswith(("from_picture", "blocks")) else SINGLE


def test_activations_are_bf16_and_all_that_is_delicate_is_not(large):
    found, networks, log = dtypes_of_a_step(large, precision="bf16")
    for name in ("map", "cameras", "features", "logits"):
        assert found.pop(name) == (HALF if name == "map" else SINGLE), name
    wrong = {name: kinds for name, kinds in found.items() if kinds and kinds != expected(name)}
    assert wrong == {}
    silent = ("generator.", "discriminator.")
    called = {name for name, kinds in found.items() if kinds and name not in silent}
    for name in (
        "generator.backbone.blocks.3.second.conv",
        "generator.super_resolution.blocks.0.first",
        "generator.mapping.layers.1",
        "discriminator.blocks.2.conv",
        "discriminator.conv",
        "discriminator.flat",
        "discriminator.out",
        "discriminator.camera",
    ):
        assert name in called
    for network in (networks.generator, networks.discriminator, networks.average):
        assert all(p.dtype == torch.float32 for p in network.parameters())
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in network.parameters())
    assert all(value.dtype == torch.float32 and value.isfinite() for value in log.values())


def test_without_bf16_all_is_fp32(large):
    found, _, _ = dtypes_of_a_step(large)
    assert all(kinds <= SINGLE for kinds in found.values())


def test_bf16_takes_nearly_the_step_of_fp32(large):
    """Gradients point the same way: no part lost them."""
    _, single, log = dtypes_of_a_step(large, jitter=False)
    _, half, log_half = dtypes_of_a_step(large, jitter=False, precision="bf16")
    for name in ("loss_d", "loss_g", "r1", "density", "opacity"):
        assert log_half[name].item() == pytest.approx(log[name].item(), rel=0.05), name
    for gradients in ("g_gradients", "d_gradients"):
        a, b = (getattr(networks, gradients).vector for networks in (single, half))
        assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.98
    for name, p in half.generator.named_parameters():
        assert p.grad.abs().sum() > 0 or "noise_strength" in name, name


def test_the_average_draws_in_fp32(large):
    _, networks, _ = dtypes_of_a_step(large, precision="bf16")
    assert networks.average.backbone.precision is None
    assert networks.average.feature_map(torch.randn(1, 128)).dtype == torch.float32


def test_says_what_no_part_computes_with(large):
    with pytest.raises(
        ValueError, match="Discriminator has no part that computes with 'polyphase'"
    ):
        compute(Networks(small(), 16, "cpu").discriminator, polyphase=True)
