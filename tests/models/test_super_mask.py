"""The super-resolved mask: made with the image, seen by the discriminator at full size."""

import json
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from semhead_lib.cameras import orbit_cameras
from semhead_lib.models.backbone import SuperResolution
from semhead_lib.models.config import PRESETS, GeneratorConfig, preset
from semhead_lib.models.discriminator import Discriminator, DiscriminatorInput
from semhead_lib.models.discriminator_config import DiscriminatorConfig
from semhead_lib.models.generator import Generator
from semhead_lib.models.layers import compute
from semhead_lib.training import losses
from semhead_lib.training.blur import Blur

CAMERAS = orbit_cameras(torch.tensor([0.0, 120.0]), torch.tensor([0.0, 20.0]))
TINY = preset(
    "semhead-64",
    raw_resolution=16,
    plane_side=16,
    plane_channels=4,
    backbone_base=256,
    backbone_most=16,
    super_channels=(8, 8),
    coarse=6,
    fine=4,
    z_dim=10,
    w_dim=12,
    super_mask=True,
)


def make(config=TINY, moved=False) -> Generator:
    """A new generator; with `moved`, one whose masks are no longer the enlarged ones."""
    torch.manual_seed(0)
    generator = Generator(config)
    if moved:
        for block in generator.super_resolution.blocks:
            torch.nn.init.normal_(block.to_features.conv.weight[3:], std=5.0)
    return generator


def enlarged(opacity, side=64):
    return functional.interpolate(
        opacity.clamp(0, 1), size=side, mode="bilinear", align_corners=False
    )


@pytest.mark.parametrize("background", ["learnt", "plain"])
@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_at_first_it_is_the_enlarged_mask_and_learns_to_be_another(
    background, checkpoint, precision
):
    generator = make(replace(TINY, background=background))
    compute(generator, precision=precision, checkpoint=checkpoint)
    seen = generator(torch.randn(2, 10), None, CAMERAS, seed=0)
    assert seen.image.shape == (2, 3, 64, 64) and seen.opacity.shape == (2, 1, 16, 16)
    assert seen.mask is seen.super_mask and seen.mask.dtype == torch.float32
    torch.testing.assert_close(seen.mask, enlarged(seen.opacity), atol=1e-6, rtol=0)
    seen.mask[..., ::2].sum().backward()
    for block in generator.super_resolution.blocks:
        gradient = block.to_features.conv.weight.grad
        assert gradient[3:].abs().min() > 0 and gradient[:3].abs().max() == 0
    assert generator.backbone.constant.grad.abs().max() > 0, "what is rendered learns from it too"


def test_it_stays_a_mask_and_hands_gradients_on():
    generator = make(moved=True)
    with torch.no_grad():
        seen = generator(torch.randn(2, 10), None, CAMERAS, seed=0)
    assert (seen.mask - enlarged(seen.opacity)).abs().max() > 0.2
    assert seen.mask.min() >= 0 and seen.mask.max() <= 1
    refine = SuperResolution(12, 5, 16, 64, (8, 8), mask=True)
    for block in refine.blocks:
        torch.nn.init.normal_(block.to_features.conv.weight[3:], std=5.0)
    mask = (torch.rand(2, 1, 16, 16) > 0.5).float().requires_grad_()
    made = refine(torch.rand(2, 5, 16, 16), torch.zeros(2, 3, 16, 16), torch.randn(2, 12), mask)
    assert made.shape == (2, 4, 64, 64) and 0 <= made[:, 3:].min() <= made[:, 3:].max() <= 1
    (gradient,) = torch.autograd.grad(made[:, 3:].sum(), mask)
    assert gradient.abs().min() > 0


def test_the_mask_is_an_input_and_grows_with_the_raw_image():
    generator = make(moved=True)
    with torch.no_grad():
        w = generator.mapping(torch.randn(2, 10), None)
        drawn, opacity = torch.rand(2, 16, 16, 16), torch.rand(2, 1, 16, 16)
        one, other = (generator.refine(drawn, o, w) for o in (opacity, 1 - opacity))
        assert not torch.allclose(one[0], other[0], atol=1e-3)
        small = generator.synthesize(w, CAMERAS, raw_resolution=8)
    assert small.opacity.shape[-1] == 8 and small.mask.shape == (2, 1, 64, 64)


def test_without_it_masks_are_as_rendered_and_files_from_before_it_load(tmp_path):
    plain = make(replace(TINY, super_mask=False)).eval()
    z = torch.randn(2, 10)
    with torch.no_grad():
        seen = plain(z, None, CAMERAS)
    assert seen.super_mask is None and seen.mask is seen.opacity
    plain.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert not config.pop("super_mask")
    config["fields"] -= 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    discriminator = Discriminator(DiscriminatorConfig.of(plain.config, 0))
    discriminator.save(tmp_path)
    known = json.loads((tmp_path / "discriminator.json").read_text())
    assert not known.pop("super_mask")
    known["fields"] -= 1
    (tmp_path / "discriminator.json").write_text(json.dumps(known))
    with torch.no_grad():
        again = Generator.load(tmp_path)(z, None, CAMERAS)
    assert torch.equal(again.image, seen.image)
    assert Discriminator.load(tmp_path).config == discriminator.config


def test_saved_and_loaded(tmp_path):
    generator = make(moved=True).eval()
    generator.save(tmp_path)
    with torch.no_grad():
        one, other = (
            g(torch.ones(2, 10), None, CAMERAS) for g in (generator, Generator.load(tmp_path))
        )
    assert torch.equal(one.super_mask, other.super_mask)


def test_it_needs_super_resolution():
    assert {name for name, c in PRESETS.items() if c.super_mask} == {"semhead-512"}
    with pytest.raises(ValueError, match="super_mask needs a generator with super-resolution, "):
        preset("semhead-128", super_mask=True)
    with pytest.raises(ValueError, match="super_mask must be bool, got 1"):
        preset("semhead-64", super_mask=1)
    assert GeneratorConfig.from_json(TINY.as_json()) == TINY


def test_the_discriminator_sees_it_at_full_size():
    torch.manual_seed(0)
    d = Discriminator(DiscriminatorConfig.of(TINY, 0))
    assert d.config.super_mask and d.config.channels == 7
    image, mask = torch.rand(2, 3, 64, 64), (torch.rand(2, 1, 64, 64) > 0.5).float()
    real = losses.discriminator_input(d, image, mask)
    assert torch.equal(real.mask, mask) and real.image_raw.shape[-1] == 16
    seen = make().train()(torch.randn(2, 10), None, CAMERAS)
    drawn = losses.discriminator_input(d, seen.image, seen.mask, seen.image_raw)
    assert torch.equal(drawn.mask, seen.mask)
    both = real.and_then(drawn.detach())
    logits = d(both, CAMERAS.repeat(2, 1))
    finer = mask.clone()
    finer[:, :, 20:24, 20:24] = 1 - finer[:, :, 20:24, 20:24]
    changed = DiscriminatorInput(real.image, real.image_raw, finer)
    assert (d(changed, CAMERAS) - d(real, CAMERAS)).abs().min() > 1e-5 and logits.shape == (4,)
    as_rendered = losses.discriminator_input(d, seen.image, seen.opacity, seen.image_raw)
    torch.testing.assert_close(as_rendered.mask, enlarged(seen.opacity), atol=2e-2, rtol=0)
    with pytest.raises(ValueError, match=r"mask must be \[2, 1, 64, 64\], got \[2, 1, 16, 16\]"):
        d(DiscriminatorInput(image, real.image_raw, seen.opacity), CAMERAS)


def test_it_is_blurred_as_the_final_image_is():
    d = Discriminator(DiscriminatorConfig.of(TINY, 0))
    image, mask = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    blurred = losses.discriminator_input(d, image, mask, sigma=2.0).mask
    torch.testing.assert_close(blurred, losses.blurred(mask, 2.0))
    assert Blur.of(2.0, d.config).small is not None
