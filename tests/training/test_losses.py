"""Each term on values worked out by hand."""

import math

import pytest
import torch

from semhead_lib.cameras import orbit_cameras
from semhead_lib.models.config import GeneratorConfig
from semhead_lib.models.discriminator import Discriminator, DiscriminatorInput
from semhead_lib.models.discriminator_config import DiscriminatorConfig
from semhead_lib.models.generator import Generator
from semhead_lib.training import losses

LOG2 = math.log(2)


def test_generator_loss():
    assert losses.generator_loss(torch.zeros(3)).item() == pytest.approx(LOG2)
    logits = torch.tensor([1.0, -2.0])
    assert losses.generator_loss(logits).item() == pytest.approx(
        (math.log1p(math.exp(-1)) + math.log1p(math.exp(2))) / 2
    )


def test_the_generator_loss_does_not_saturate():
    logits = torch.tensor([-50.0], requires_grad=True)
    losses.generator_loss(logits).backward()
    assert logits.grad.item() == pytest.approx(-1)


def test_discriminator_loss():
    assert losses.discriminator_loss(torch.zeros(2), torch.zeros(5)).item() == pytest.approx(
        2 * LOG2
    )
    value = losses.discriminator_loss(torch.tensor([2.0]), torch.tensor([1.0])).item()
    assert value == pytest.approx(math.log1p(math.exp(-2)) + math.log1p(math.exp(1)))


class ByHand(torch.nn.Module):
    """logit = sum of the image + its first feature times the first numbers of camera and semantic."""

    def logits(self, features, condition):
        return features * (condition[:, 0] + (condition[:, 25] if condition.shape[1] > 25 else 0))


def test_vicico_puts_one_wrong_part_at_a_time():
    condition = torch.zeros(2, 28)
    condition[:, 0], condition[:, 25] = 1.0, 10.0
    cameras, semantics = torch.zeros(2, 25), torch.zeros(2, 3)
    cameras[:, 0], semantics[:, 0] = 2.0, 20.0
    features = torch.tensor([1.0, -1.0])
    terms = losses.vicico(ByHand(), features, condition, cameras, semantics)

    def mean(a):  # of softplus over the features 1 and -1
        return (math.log1p(math.exp(a)) + math.log1p(math.exp(-a))) / 2

    assert terms.view.item() == pytest.approx(
        mean(12), rel=1e-6
    )  # wrong camera 2 + true semantic 10
    assert terms.condition.item() == pytest.approx(
        mean(21), rel=1e-6
    )  # true camera 1 + wrong semantic 20
    assert terms.joint.item() == 0
    both = torch.cat([cameras, semantics], dim=1)
    terms = losses.vicico(ByHand(), features, condition, None, None, both)
    assert terms.joint.item() == pytest.approx(mean(22), rel=1e-6)
    assert terms.view.item() == terms.condition.item() == 0


def test_vicico_leaves_out_what_is_not_wanted():
    features, condition = torch.ones(2), torch.ones(2, 28)
    terms = losses.vicico(ByHand(), features, condition, None, None)
    assert terms.view.item() == terms.condition.item() == 0
    terms = losses.vicico(
        ByHand(), features, condition[:, :25], torch.ones(2, 25), torch.ones(2, 0)
    )
    assert terms.view.item() > 0 and terms.condition.item() == 0


def test_r1_is_half_the_squared_gradient_of_all_that_is_seen():
    image = torch.randn(3, 3, 4, 4, requires_grad=True)
    raw = torch.randn(3, 3, 2, 2, requires_grad=True)
    mask = torch.randn(3, 1, 2, 2, requires_grad=True)
    logits = (
        (2 * image).sum((1, 2, 3)) + (3 * raw).sum((1, 2, 3)) + (0.5 * mask.square()).sum((1, 2, 3))
    )
    found = losses.r1_penalty(DiscriminatorInput(image, raw, mask), logits)
    by_hand = 0.5 * (4 * 48 + 9 * 12 + mask.square().sum((1, 2, 3)).mean())
    torch.testing.assert_close(found, by_hand)
    found.backward()  # a second derivative: of the mask's part alone
    torch.testing.assert_close(mask.grad, mask.detach() / 3)


def tiny():
    torch.manual_seed(0)
    sizes = dict(z_dim=8, w_dim=8, hidden=8, features=3)
    return Generator(GeneratorConfig("tiny", 8, 8, 8, 4, 64, 8, (), 4, 4, ball_slope=10.0, **sizes))


def test_density_regularisation_is_the_mean_difference():
    generator = tiny()
    w = torch.randn(2, 8)
    features = generator.backbone(w)
    points, offsets = torch.rand(2, 50, 3) - 0.5, torch.randn(2, 50, 3) * 0.05
    by_hand = (
        (generator.sample_density(w, points) - generator.sample_density(w, points + offsets))
        .abs()
        .mean()
    )
    found = losses.density_regularisation(generator, features, points, offsets)
    torch.testing.assert_close(found, by_hand)
    assert losses.density_regularisation(generator, features, points, 0 * offsets).item() == 0
    found.backward()
    assert generator.renderer.w1.grad.abs().sum() > 0


def test_blur_is_a_gaussian():
    image = torch.zeros(1, 2, 33, 33)
    image[:, :, 16, 16] = 1
    blurred = losses.blurred(image, 2.0)
    x = torch.arange(-6, 7.0)
    taps = torch.exp(-(x**2) / 8)
    taps /= taps.sum()
    torch.testing.assert_close(blurred[0, 1, 10:23, 10:23], torch.outer(taps, taps))
    torch.testing.assert_close(losses.blurred(torch.ones(1, 3, 9, 9), 20.0), torch.ones(1, 3, 9, 9))
    assert losses.blurred(image, 0.1) is image


def test_real_images_are_seen_as_generated_ones_are():
    torch.manual_seed(0)
    d = Discriminator(DiscriminatorConfig(16, 8, 64, 8))
    image, mask = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 1, 16, 16)
    real = losses.discriminator_input(d, image, mask)
    torch.testing.assert_close(real.image_raw, torch.nn.functional.avg_pool2d(image, 2))
    torch.testing.assert_close(real.mask, torch.nn.functional.avg_pool2d(mask, 2))
    drawn = losses.discriminator_input(d, image, real.mask, real.image_raw)
    assert all(torch.equal(a, b) for a, b in zip(real.tensors, drawn.tensors, strict=True))
    grown = losses.discriminator_input(d, image, mask[:, :, :4, :4], real.image_raw[:, :, :4, :4])
    assert grown.image_raw.shape == (2, 3, 8, 8) and grown.mask.shape == (2, 1, 8, 8)
    d(drawn, orbit_cameras(torch.tensor([0.0, 90]), torch.zeros(2)))


@pytest.mark.parametrize("side", [4, 6])  # of areas that are whole pixels of 16, and that are not
def test_real_images_are_as_coarse_as_generated_ones_while_these_grow(side):
    torch.manual_seed(0)
    d = Discriminator(DiscriminatorConfig(16, 8, 64, 8))
    image, mask = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 1, 16, 16)
    real = losses.discriminator_input(d, image, mask, side=side)
    small, small_mask = losses.discriminator_input(
        Discriminator(DiscriminatorConfig(16, side, 64, 8)), image, mask
    ).tensors[1:]  # as a generator of that raw size has them
    drawn = losses.discriminator_input(d, image, small_mask, small)
    for a, b in zip(real.tensors, drawn.tensors, strict=True):
        torch.testing.assert_close(a, b)

    def high(x):  # share of energy above the small image's limit
        spectrum = torch.fft.fft2(x).abs().square()
        frequency = torch.fft.fftfreq(8).abs()
        above = torch.maximum(frequency[:, None], frequency[None]) > side / 16
        return (spectrum[..., above].sum() / spectrum.sum()).item()

    assert high(real.image_raw) < 0.6 * high(losses.discriminator_input(d, image, mask).image_raw)
    assert torch.equal(real.image, image), "the final image stays sharp"


def test_a_mask_is_asked_for():
    d = Discriminator(DiscriminatorConfig(16, 8, 64, 8))
    with pytest.raises(ValueError, match=r"sees masks .* the dataset has none"):
        losses.discriminator_input(d, torch.zeros(1, 3, 16, 16), None)
    blind = Discriminator(DiscriminatorConfig(16, 16, 64, 8, sees_mask=False))
    assert losses.discriminator_input(blind, torch.zeros(1, 3, 16, 16), None).tensors[0].shape == (
        1,
        3,
        16,
        16,
    )
