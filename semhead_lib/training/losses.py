"""The terms that the networks are trained with: each a function with its equation.

D(x, c) is the discriminator's logit of the image x under the condition c, positive where it holds x
for real; softplus(u) = log(1 + exp(u)).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.models.discriminator import Discriminator, DiscriminatorInput
from semhead_lib.models.generator import Generator
from semhead_lib.training.blur import Blur, convolved, gaussian


def generator_loss(generated: Tensor) -> Tensor:  # [B] logits -> []
    """Non-saturating logistic loss (Goodfellow et al., 2014): mean of softplus(-D(G(z, c), c)).

    >>> round(generator_loss(torch.tensor([0.0, 0.0])).item(), 4)  # log 2
    0.6931
    """
    return F.softplus(-generated).mean()


def relativistic_loss(better: Tensor, worse: Tensor) -> Tensor:  # [B], [B] logits -> []
    """RpGAN's loss of pairs (Jolicoeur-Martineau, 2019; Huang et al., 2024): mean of
    softplus(D(worse) - D(better)).

    The discriminator's has real images for the better ones, the generator's the generated ones.

    >>> round(relativistic_loss(torch.tensor([2.0]), torch.tensor([2.0])).item(), 4)  # log 2
    0.6931
    """
    return F.softplus(worse - better).mean()


def discriminator_loss(real: Tensor, generated: Tensor) -> Tensor:  # [B], [B] logits -> []
    """Logistic loss: mean of softplus(-D(x, c)) over real images plus mean of softplus(D(G(z, c),
    c)).

    >>> round(discriminator_loss(torch.tensor([100.0]), torch.tensor([-100.0])).item(), 4)
    0.0
    """
    return F.softplus(-real).mean() + F.softplus(generated).mean()


@dataclass(frozen=True)
class ViCiCo:
    """The terms of the view-condition-image consistency loss."""

    view: Tensor  # [] of real images under a wrong camera
    condition: Tensor  # [] of real images under another subject's semantic feature
    joint: Tensor  # [] of real images under a condition that is wrong in one part or in both


def vicico(
    discriminator: Discriminator,
    features: Tensor,  # [B, ...] of real images: what `discriminator.features` found
    condition: Tensor,  # [B, 25 + D] the true condition of each
    wrong_cameras: Tensor | None,  # [B, 25]; None: no such term
    wrong_semantics: Tensor | None,  # [B, D]; None: no such term
    joint: Tensor | None = None,  # [B, 25 + D] wrong in one part or in both; None: no such term
    against: Tensor | None = None,  # [B] logits under the true condition, for the relativistic loss
) -> ViCiCo:
    """Real images under a wrong condition are fakes too: mean of softplus(D(x, c')) for each kind
    of wrong c'.

    SphereHead (Li et al., 2024) shows the discriminator real images under wrong cameras; the method
    does so for wrong semantic conditions as well: here in a term each, or in one joint term. As the
    condition enters by projection, the images' features are computed once. A term that is not
    wanted, or that the condition has no part for, is 0.

    These fakes are real images: what they push down is all that speaks for an image being real,
    unless the condition is known well. With the weight of the generated ones they outnumber them
    and a discriminator of few steps tells real from generated hardly at all; with a quarter of it,
    it learns both.
    """
    nought = features.new_zeros(())
    camera, semantic = condition[:, :25], condition[:, 25:]

    def under(cameras: Tensor, semantics: Tensor) -> Tensor:
        logits = discriminator.logits(features, torch.cat([cameras, semantics], dim=1))
        return F.softplus(logits).mean() if against is None else relativistic_loss(against, logits)

    by_view = under(wrong_cameras, semantic) if wrong_cameras is not None else nought
    by_condition = (
        under(camera, wrong_semantics)
        if wrong_semantics is not None and semantic.shape[1]
        else nought
    )
    by_both = under(joint[:, :25], joint[:, 25:]) if joint is not None else nought
    return ViCiCo(by_view, by_condition, by_both)


def r1_penalty(
    seen: DiscriminatorInput, logits: Tensor
) -> Tensor:  # what was seen (with gradients), [B] -> []
    """R1 (Mescheder et al., 2018) on all that the discriminator sees of real images: final, raw and
    mask.

        mean over images of 1/2 |grad_x D(x, c)|^2, x = (image, raw, mask)

    to be weighted by gamma and, when it is lazy (Karras et al., 2020), by the steps between two
    uses.
    """
    gradients = torch.autograd.grad(logits.sum(), seen.tensors, create_graph=True)
    return (
        0.5 * sum((g.square().sum() for g in gradients), start=logits.new_zeros(())) / len(logits)
    )


def density_regularisation(
    generator: Generator,
    features: Tensor,  # [B, map_channels, map_side, map_side] feature maps of the backbone
    points: Tensor,  # [B, N, 3] world
    offsets: Tensor,  # [B, N, 3] scene units
) -> Tensor:
    """Neighbouring points should have similar densities (EG3D, supplement): mean of |sigma(p) -
    sigma(p + offset)|."""
    raw, _ = generator.renderer.field(features, torch.cat([points, points + offsets], dim=1))
    density, moved = F.softplus(raw - 1).chunk(2, dim=1)
    return (density - moved).abs().mean()


def blurred(images: Tensor, sigma: float) -> Tensor:  # [B, C, S, S]; pixels
    """Gaussian blur, separable, cut off at 3 sigma, edges mirrored; below 0.2 pixels nothing is
    done."""
    taps = gaussian(sigma, images.shape[-1], images.device)
    return convolved(images, taps)


def discriminator_input(
    discriminator: Discriminator,
    image: Tensor,  # [B, 3, S, S]
    mask: Tensor | None,  # [B, 1, S, S]; of generated images without `super_mask` as the raw image
    image_raw: Tensor
    | None = None,  # [B, 3, r, r] of generated images; None: made from the image, for real ones
    sigma: float | Blur = 0.0,  # pixels of the final image, or the blur itself
    side: int
    | None = None,  # pixels of the raw images that the generator makes by now; None: the config's
) -> DiscriminatorInput:
    """An image as the discriminator is shown it: blurred; its raw image and mask of the size that
    it expects.

    Of a real image the raw one is the image made smaller (area average), and so is its mask. While
    generated raw images have `side` pixels only, real ones are made as small and then enlarged as
    those are, as in EG3D: detail that only one kind can have would tell them apart. A
    super-resolved mask is seen at the final image's size, and so is that of real images. Raises
    ValueError when a mask is wanted and there is none.
    """
    c = discriminator.config
    if c.sees_mask and mask is None:
        raise ValueError(
            "the discriminator sees masks (sees_mask), and the dataset has none: train with "
            "masks=false"
        )

    def shown(x: Tensor) -> Tensor:
        return _resized(
            _resized(x, side or c.raw_resolution) if image_raw is None else x, c.raw_resolution
        )

    small = shown(image if image_raw is None else image_raw) if c.is_dual else None
    seen = None
    if c.sees_mask and mask is not None:
        seen = _resized(mask, c.resolution) if c.super_mask else shown(mask)
    blur = (
        sigma
        if isinstance(sigma, Blur)
        else Blur(*(t if t is None else t.to(image) for t in Blur.of(sigma, c)))
    )
    return DiscriminatorInput(
        convolved(image, blur.image),
        None if small is None else convolved(small, blur.small),
        None if seen is None else convolved(seen, blur.image if c.super_mask else blur.small),
    )


def _resized(x: Tensor, wanted: int) -> Tensor:  # [B, C, S, S] -> [B, C, wanted, wanted]
    """By the mean of areas where these are whole pixels, else bilinear, filtered when made
    smaller."""
    side = x.shape[-1]
    if side == wanted:
        return x
    if side % wanted == 0:
        return F.avg_pool2d(x, side // wanted)
    return F.interpolate(
        x, size=wanted, mode="bilinear", antialias=side > wanted, align_corners=False
    )
