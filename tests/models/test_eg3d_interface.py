"""Code written against EG3D's interface runs on our generators: a projector, its tuning of the
weights, a metric's loop and a grid of densities, each written here."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

import semhead_lib as sh
from semhead_lib.cameras import orbit_cameras
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.data.dataset.families import to_ours
from semhead_lib.heads import HeadGenerator
from semhead_lib.models.config import preset
from semhead_lib.models.generator import Generator


def made(mode="semantic", **changes):
    torch.manual_seed(0)
    condition = ConditionMode(mode, 16)
    few = dict(coarse=4, fine=4, raw_resolution=32) | changes
    config = preset("semhead-32", condition_dim=condition.generator_width, **few)
    features = torch.nn.functional.normalize(torch.randn(9, 16), dim=1)
    bank = ConditionBank(condition, None, features[: 9 * condition.uses_semantics])
    network = Generator(config).eval().requires_grad_(False)
    return HeadGenerator(network, bank, Path("toy"))


@pytest.fixture(scope="module")
def generator():
    return made()


def cameras(count):
    azimuths = torch.linspace(-60, 60, count)
    return orbit_cameras(azimuths, torch.zeros(count))


def project(G, target, c, steps=12):
    """A projector as they are: the mean of many styles, then Adam on w against an image."""
    G = copy.deepcopy(G).eval().requires_grad_(False).to("cpu")
    assert target.shape == (G.img_channels, G.img_resolution, G.img_resolution)
    z = torch.randn(200, G.z_dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ws = G.mapping(z, c.repeat(200, 1))
    w_avg = ws[:, :1].mean(0, keepdim=True)
    noise = {n: b for n, b in G.backbone.synthesis.named_buffers() if "noise_const" in n}
    assert noise == {}
    w = w_avg.repeat(1, G.backbone.mapping.num_ws, 1).requires_grad_()
    optimiser, errors = torch.optim.Adam([w], lr=0.05), []
    for _ in range(steps):
        image = G.synthesis(w, c=c, noise_mode="const")["image"]
        error = (image - target).square().mean()
        optimiser.zero_grad(set_to_none=True)
        error.backward()
        optimiser.step()
        errors.append(float(error.detach()))
    return w.detach(), errors


def tune(G, target, w, c, steps=4):
    """Pivotal tuning: the weights against the image."""
    G = copy.deepcopy(G).train().requires_grad_(True)
    optimiser, errors = torch.optim.Adam(G.parameters(), lr=1e-3), []
    for _ in range(steps):
        error = (G.synthesis(w, c=c, noise_mode="const")["image"] - target).square().mean()
        optimiser.zero_grad(set_to_none=True)
        error.backward()
        optimiser.step()
        errors.append(float(error.detach()))
    return errors


def test_a_projector_finds_a_head_and_tunes_the_weights(generator):
    G, c = generator.as_eg3d(like=3), cameras(1)
    z = torch.randn(1, G.z_dim, generator=torch.Generator().manual_seed(8))
    target = G(z, c)["image"][0]
    before = {name: p.clone() for name, p in generator.network.named_parameters()}
    w, errors = project(G, target, c)
    assert errors[-1] < 0.5 * errors[0]
    tuned = tune(G, target, w, c)
    assert tuned[-1] < tuned[0]
    for name, parameter in generator.network.named_parameters():  # only copies change
        assert torch.equal(parameter, before[name]) and not parameter.requires_grad


def test_a_metrics_loop_draws_images(generator):
    """Random latents and cameras in batches; the same latent is the same head in any batch."""
    G = copy.deepcopy(generator.as_eg3d()).eval().requires_grad_(False)
    z = torch.randn(6, G.z_dim, generator=torch.Generator().manual_seed(0))
    c, images = cameras(6), []
    for some, labels in zip(z.split(3), c.split(3), strict=True):
        found = G(z=some, c=labels, truncation_psi=0.7, noise_mode="const")
        images.append((found["image"] * 127.5 + 128).clamp(0, 255).to(torch.uint8))
    images = torch.cat(images)
    assert images.shape == (6, 3, G.img_resolution, G.img_resolution)
    assert set(found) == {"image", "image_raw", "image_depth", "image_mask"}
    side = G.neural_rendering_resolution
    assert found["image_raw"].shape == (3, 3, side, side)
    assert found["image_depth"].shape == found["image_mask"].shape == (3, 1, side, side)
    alone = (G(z[4:5], c[4:5], truncation_psi=0.7)["image"] * 127.5 + 128).clamp(0, 255)
    assert (alone - images[4].float()).abs().max() < 1.5
    held, own = generator.as_eg3d(like=0).mapping(z, None), G.mapping(z, None)
    assert not torch.allclose(own, held)
    same = torch.stack([G.mapping(latent[None], None)[0] for latent in z])
    assert torch.allclose(own, same, atol=1e-6)


def test_attributes_that_scripts_read(generator):
    G = generator.as_eg3d(like=1)
    assert (G.z_dim, G.c_dim, G.w_dim, G.img_resolution, G.img_channels) == (128, 25, 128, 32, 3)
    assert G.num_ws == G.mapping.num_ws == G.backbone.mapping.num_ws == G.backbone.num_ws
    assert G.mapping.w_avg is G.backbone.mapping.w_avg and G.mapping.w_avg.shape == (128,)
    assert G.rendering_kwargs["avg_camera_pivot"] == [0, 0, 0]
    z = torch.randn(2, 128, generator=torch.Generator().manual_seed(0))
    full, none = G.mapping(z, cameras(2)), G.mapping(z, cameras(2), truncation_psi=0)
    assert torch.allclose(none, G.mapping.w_avg.expand_as(none))
    part = G.mapping(z, cameras(2), truncation_psi=0, truncation_cutoff=2)
    assert torch.equal(part[:, :2], none[:, :2]) and torch.equal(part[:, 2:], full[:, 2:])
    condition = generator.bank.mapping_condition(generator.bank.features[[1, 1]], 2)
    assert torch.allclose(full[:, 0], generator.network.mapping(z, condition), atol=1e-6)
    mean = generator.network.mapping.mean(condition[:1])[0]
    assert torch.allclose(G.mapping.w_avg, mean, atol=1e-5)
    G.rendering_kwargs["depth_resolution"] *= 2
    G.synthesis(full, cameras(2))
    assert G.network.renderer.settings.coarse == 2 * generator.network.renderer.settings.coarse


def test_synthesis_is_the_generators_and_has_gradients(generator):
    G, c = generator.as_eg3d(like=2), cameras(2).requires_grad_()
    ws = G.mapping(torch.randn(2, 128), c).detach().requires_grad_()
    found = G.synthesis(ws, c, noise_mode="random")
    ours = generator.network.synthesize(ws, c)
    for name in ("image", "image_raw"):
        assert torch.allclose(found[name], getattr(ours, name), atol=1e-5)
    assert torch.allclose(found["image_depth"], ours.depth, atol=1e-4)
    found["image"].square().mean().backward()
    assert ws.grad.abs().sum() > 0 and c.grad.abs().sum() > 0
    cached = G.synthesis(ws, c, cache_backbone=True)["image"]
    again = G.synthesis(0 * ws, c, use_cached_backbone=True, cache_backbone=True)
    assert cached.shape == again["image"].shape
    assert torch.allclose(again["image_depth"], ours.depth, atol=1e-4)


def test_a_head_from_many_cameras_has_its_feature_map_made_once(generator, monkeypatch):
    G, c = generator.as_eg3d(), cameras(5)
    z = torch.randn(2, G.z_dim, generator=torch.Generator().manual_seed(0))
    ws = G.mapping(z, c[:2])[[0, 0, 1, 0, 1]].requires_grad_()
    made, real = [], G.network.feature_map
    monkeypatch.setattr(G.network, "feature_map", lambda w: made.append(len(w)) or real(w))
    together = G.synthesis(ws, c)["image"]
    apart = torch.cat([G.synthesis(w[None], x[None])["image"] for w, x in zip(ws, c, strict=True)])
    assert made == [2, 1, 1, 1, 1, 1]
    assert torch.allclose(together, apart, atol=1e-5)
    sums = [torch.autograd.grad(images.square().sum(), ws)[0] for images in (together, apart)]
    sums = [torch.stack([g[[0, 1, 3]].sum(0), g[[2, 4]].sum(0)]) for g in sums]  # of each head
    assert torch.allclose(*sums, rtol=1e-3, atol=1e-4)
    nothing = torch.full_like(ws[:2].detach(), float("nan"))
    assert len(G.synthesis(nothing, c[:2])["image"]) == 2 and made[-1] == 2, "no two are equal"


def test_cameras_of_a_family(generator):
    """A camera of EG3D's frames the head as EG3D does; depth is in its units."""
    ours, theirs = generator.as_eg3d(like=2), generator.as_eg3d(like=2, family="eg3d-ffhq")
    c, ws = cameras(2), ours.mapping(torch.zeros(2, 128), None)
    found, same = theirs.synthesis(ws, c), ours.synthesis(ws, to_ours(c, "eg3d-ffhq"))
    assert torch.allclose(found["image"], same["image"], atol=1e-5)
    scale = theirs.family.scale
    assert torch.allclose(scale * found["image_depth"], same["image_depth"], atol=1e-4)
    assert theirs.rendering_kwargs["avg_camera_pivot"] == [0, 0, 0.2]


@pytest.mark.parametrize("family", [None, "panohead"])
def test_densities_are_those_that_are_rendered(generator, family):
    G = generator.as_eg3d(like=2, family=family)
    points = torch.rand(1, 50, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    ws = G.mapping(torch.zeros(1, 128), None)
    found = G.sample_mixed(points, torch.zeros_like(points), ws, truncation_psi=1)
    scale = G.family.scale if G.family else 1.0
    density = torch.nn.functional.softplus(found["sigma"][..., 0] - 1)
    exact = scale * generator.network.sample_density(ws, scale * points)
    inside = G.network.renderer.settings.box.normalised(scale * points).abs().amax(-1) < 1
    assert torch.allclose(density[inside], exact[inside], rtol=1e-3, atol=1e-5)
    assert density[~inside].sum() == 0
    again = G.sample(points, None, torch.zeros(1, 128), cameras(1))
    assert torch.equal(again["sigma"], found["sigma"])
    assert found["rgb"].shape[:2] == (1, 50)


def test_modes_and_what_cannot_be(generator):
    none, view = made("none").as_eg3d(), made("view").as_eg3d()
    z, c = torch.randn(2, 128), cameras(2)
    assert torch.equal(none.mapping(z, c), none.mapping(z, None))
    assert not torch.allclose(view.mapping(z, c), view.mapping(z, c.flip(0)))
    with pytest.raises(ValueError, match=r"c must be cameras \[2, 25\], got None"):
        view.mapping(z, None)
    with pytest.raises(ValueError, match="like or text, not both"):
        generator.as_eg3d(like=0, text="a man")
    with pytest.raises(ValueError, match="family must be one of"):
        generator.as_eg3d(family="stylegan")
    G = generator.as_eg3d()
    with pytest.raises(ValueError, match=r"ws must be \[B, \d+, 128\], got \[2, 128\]"):
        G.synthesis(torch.zeros(2, 128), c)
    with pytest.raises(ValueError, match=r"c must be cameras \[B, 25\], got \[2, 16\]"):
        G.synthesis(torch.zeros(2, G.num_ws, 128), c[:, :16])
    with pytest.raises(ValueError, match="neural_rendering_resolution must be at least 1, got -3"):
        G.synthesis(torch.zeros(2, G.num_ws, 128), c, neural_rendering_resolution=-3)
    with pytest.raises(ValueError, match="text must hold a description, got ' '"):
        generator.as_eg3d(text=" ")


def test_a_text_is_held_by_the_generator_that_ships():
    generator = sh.load("semhead-128", device="cpu")
    red, dark = (generator.as_eg3d(text=f"a woman with {hair} hair") for hair in ("red", "black"))
    ws = [g.mapping(torch.zeros(1, g.z_dim), None) for g in (red, dark)]
    assert red.mapping.conditions.shape == (1, 128) and not torch.allclose(*ws)
