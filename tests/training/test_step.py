import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from small_training import make_noise, small

from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.training import losses
from semhead_lib.training.settings import R1_SCALE
from semhead_lib.training.step import Networks, Step


def one_step(data, settings, steps=1, reference=False, subjects=None):
    networks = Networks(settings, 16, "cpu")
    step = Step(settings, networks, settings.condition_mode(16), Accelerator(cpu=True))
    step.reference = reference
    logs = []
    for i in range(steps):
        batch = data.batch(
            i,
            subjects or settings.subjects_per_batch,
            settings.views_per_subject,
            seed=settings.seed,
        )
        logs.append(step(i, batch))
    return networks, logs


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(mode="none"),
        dict(mode="view", views_per_head=1),
        dict(mode="semantic+view", views_per_head=1),
        dict(views_per_subject=1, views_per_head=1, subjects_per_batch=4),
        dict(mode="none", views_per_subject=1, views_per_head=1, subjects_per_batch=4),
        dict(vicico_view=0.0, vicico_condition=0.0, density_weight=0.0, r1_gamma=0.0),
        dict(vicico_view=0.0, vicico_condition=0.0, vicico_joint=0.5),
        dict(masks=False),
        dict(condition_noise=0.5),
        dict(representation="triplane", background="plain"),
    ],
    ids=str,
)
def test_every_mode_and_switch_trains(data, changes):
    settings = small(**changes)
    before = Networks(settings, 16, "cpu")
    networks, (log, later) = one_step(data, settings, steps=2)
    assert all(value.isfinite() for value in (log | later).values())
    for name in ("generator", "discriminator", "average"):
        moved = [
            (a - b).abs().max()
            for a, b in zip(
                getattr(networks, name).parameters(),
                getattr(before, name).parameters(),
                strict=True,
            )
        ]
        assert max(moved) > 1e-4, name
    assert ("r1" in log) == (settings.r1_gamma != 0) and "r1" not in later
    assert (log["wrong_view"] > 0) == (settings.vicico_view > 0)
    has_term = "semantic" in settings.mode and settings.vicico_condition > 0
    assert (log["wrong_condition"] > 0) == has_term
    assert ("wrong_joint" in log) == (settings.vicico_joint > 0)


def test_the_raw_image_grows(tmp_path):
    data = SubjectsInMemory.load(make_noise(tmp_path / "noise", resolution=64))
    networks, logs = one_step(
        data, small(preset="semhead-64", raw_first=16, raw_kimg=0.008), steps=3
    )
    assert all(value.isfinite() for log in logs for value in log.values())
    assert networks.generator.super_resolution.blocks[0].first.bias.abs().max() > 0


def test_real_images_grow_with_the_generated_ones(tmp_path, monkeypatch):
    data = SubjectsInMemory.load(make_noise(tmp_path / "noise", resolution=64))
    asked, discriminator_input = [], losses.discriminator_input

    def recorded(discriminator, image, mask, raw=None, *others, **named):
        seen = discriminator_input(discriminator, image, mask, raw, *others, **named)
        asked.append((raw is None, seen.image_raw.detach()))
        return seen

    monkeypatch.setattr(losses, "discriminator_input", recorded)
    one_step(data, small(preset="semhead-64", raw_first=8, raw_kimg=1.0, blur_sigma=0.0))
    real = next(raw for is_real, raw in asked if is_real)
    coarse = torch.nn.functional.interpolate(
        torch.nn.functional.interpolate(real, size=8, mode="area"),
        size=32,
        mode="bilinear",
        align_corners=False,
    )
    assert real.std() < 0.15, "noise of 0.58, made as small as that, is nearly grey"
    assert (real - coarse).std() < 0.8 * real.std()


def test_points_are_a_texel_apart(data, monkeypatch):
    found, whole = [], losses.density_regularisation

    def recorded(generator, features, points, offsets):
        found.append(offsets)
        return whole(generator, features, points, offsets)

    monkeypatch.setattr(losses, "density_regularisation", recorded)
    for distance in (1.0, 3.0):
        networks, _ = one_step(data, small(density_distance=distance))
        texel = (
            2
            * max(networks.generator.renderer.settings.box.half)
            / networks.generator.config.plane_side
        )
        assert found[-1].std().item() == pytest.approx(distance * texel, rel=0.03)


def test_r1_has_the_weight_of_the_rule(data):
    """gamma in proportion to resolution^2 / batch, unless it is given; all processes count."""
    rule = 0.0002 * 32**2 / 4
    assert small().resolved().r1_gamma == pytest.approx(R1_SCALE * rule)
    assert small().resolved(processes=2).r1_gamma == pytest.approx(R1_SCALE * rule / 2)
    assert (
        small(r1_gamma=0.0).resolved(2).r1_gamma == 0.0
        and small(r1_gamma=0.1).resolved(2).r1_gamma == 0.1
    )
    networks, _ = one_step(data, small(r1_interval=1))
    same, _ = one_step(data, small(r1_interval=1, r1_gamma=R1_SCALE * rule))
    for a, b in zip(
        networks.discriminator.parameters(), same.discriminator.parameters(), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_equal_seeds_give_equal_networks(data):
    one, _ = one_step(data, small(), steps=2)
    same, _ = one_step(data, small(), steps=2)
    other, _ = one_step(data, small(seed=1), steps=2)
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.generator.parameters(), same.generator.parameters(), strict=True)
    )
    assert not torch.equal(one.generator.renderer.w1, other.generator.renderer.w1)


def test_the_twins_take_the_same_step(data):
    fused, _ = one_step(data, small(jitter=False))
    references, _ = one_step(data, small(jitter=False), reference=True)
    a, b = (
        torch.cat([p.grad.flatten() for p in n.generator.parameters() if p.grad is not None])
        for n in (fused, references)
    )
    assert (a - b).norm() / b.norm() < 1e-3


def test_the_average_follows(data):
    settings = small(ema_kimg=0.004)
    networks, _ = one_step(
        data, settings, steps=1
    )  # nothing was seen before: the average is the generator
    for a, b in zip(networks.average.parameters(), networks.generator.parameters(), strict=True):
        assert torch.equal(a, b)
    networks.generator.renderer.w1.data.add_(1.0)
    networks.move_average(0.75)
    difference = networks.generator.renderer.w1 - networks.average.renderer.w1
    torch.testing.assert_close(difference, torch.full_like(difference, 0.75))
    assert torch.equal(networks.average.mapping.w_mean, networks.generator.mapping.w_mean)
    assert networks.generator.mapping.w_mean.abs().sum() > 0


def test_what_never_changes_is_not_copied_into_the_average(data):
    networks, _ = one_step(data, small(), steps=1)
    noise = networks.average.backbone.blocks[0].first.noise
    versions = {name: buffer._version for name, buffer in networks.average.named_buffers()}
    networks.move_average(0.5)
    changed = [
        name
        for name, buffer in networks.average.named_buffers()
        if buffer._version != versions[name]
    ]
    assert changed == ["mapping.w_mean"] and torch.equal(
        noise, networks.generator.backbone.blocks[0].first.noise
    )


def test_a_step_says_whether_its_losses_are_finite(data):
    settings = small()
    networks = Networks(settings, 16, "cpu")
    step = Step(settings, networks, settings.condition_mode(16), Accelerator(cpu=True))
    assert step(0, data.batch(0, 2, 2))["finite"] == 1
    with torch.no_grad():
        networks.discriminator.out.bias.fill_(float("inf"))
    log = step(1, data.batch(1, 2, 2))
    assert log["finite"] == 0 and not log["loss_d"].isfinite()


def test_gradients_that_are_not_finite_do_not_spoil_the_weights(data):
    settings = small()
    networks = Networks(settings, 16, "cpu")
    step = Step(settings, networks, settings.condition_mode(16), Accelerator(cpu=True))
    batch = data.batch(0, 2, 2)
    hook = networks.generator.renderer.w1.register_hook(lambda g: g * float("nan"))
    log = step(0, batch)
    hook.remove()
    assert not log["grad_g"].isfinite()
    assert all(p.isfinite().all() for p in networks.generator.parameters())


def test_two_processes_have_the_gradients_of_one(data, noise_folder, tmp_path):
    """Two gloo processes with half of the batch each against one with the whole batch."""
    settings = small(subjects_per_batch=8, jitter=False, r1_interval=1, density_interval=1)
    whole, _ = one_step(data, settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).with_name("two_processes.py")
    rest = [noise_folder, tmp_path, json.dumps(settings.as_json() | {"subjects_per_batch": 4})]
    known = os.environ | dict(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2", OMP_NUM_THREADS="1"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, script, *rest], env=known | dict(RANK=str(r), LOCAL_RANK=str(r))
        )
        for r in range(2)
    ]
    assert [p.wait(timeout=120) for p in processes] == [0, 0]
    for name in ("generator", "discriminator"):
        found = [load_file(tmp_path / f"{name}-{rank}.safetensors") for rank in range(2)]
        assert [found[rank].pop("finite").tolist() for rank in range(2)] == [[1, 0]] * 2, (
            "both know of the second's"
        )
        for key, p in getattr(whole, name).named_parameters():
            if p.grad is None:
                continue
            assert torch.equal(found[0][key], found[1][key]), key
            torch.testing.assert_close(found[0][key], p.grad, atol=2e-5, rtol=2e-3, msg=key)


def test_says_which_settings_do_not_go_together():
    for changes, message in (
        (dict(mode="all"), "mode must be one of none, view, semantic"),
        (dict(mode="view"), "views_per_head must be 1, got 2"),
        (dict(views_per_head=3), r"views_per_head must be 1 or views_per_subject \(2\), got 3"),
        (dict(subjects_per_batch=1), "vicico_condition needs subjects_per_batch >= 2"),
        (dict(kimg=0), "kimg must be a number > 0, got 0"),
        (
            dict(raw_first=16),
            "raw_first must be 0, or 8 to 32 for a preset with super-resolution; got 16",
        ),
        (dict(keep=0), "keep must be an integer >= 1, got 0"),
        (dict(precision="fp8"), "precision must be one of fp32, bf16"),
    ):
        with pytest.raises(ValueError, match=message):
            small(**changes)
