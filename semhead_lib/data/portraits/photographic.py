"""Rendered heads made to look like photographs: what networks that read photographs are trained on.

Rendered heads have one background, one kind of light and no camera but an ideal one. `Photographer`
changes that, one step after another as light travels, each with a probability of its own:

    light        the head's colours times the ratio of two irradiances by its normals: that of a
                 random environment over that of an even one; second-order spherical harmonics
                 (Ramamoorthi and Hanrahan, 2001)
    background   gradients, clouds of noise, blurred boxes and stripes, in random colours
    occlusion    an ellipse or a bar in a random colour before the head
    lens         blur, colours of red and blue enlarged by a little, darker corners
    sensor       exposure, white balance, contrast, saturation, noise
    file         JPEG

Images in their place, their cameras and the true masks stay as they are, so that labels stay right.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Photographer:
    """How strong each step is at most, and how often it happens (0 to 1)."""

    light: float = 0.8
    background: float = 0.9
    occlusion: float = 0.2
    lens: float = 0.7
    sensor: float = 0.9
    file: float = 0.6

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in 0...1, got {value}")

    def __call__(
        self,
        images: Tensor,  # [B, 3, S, S] uint8, heads before a plain background
        masks: Tensor,  # [B, 1, S, S] uint8 coverage, or float in [0, 1]
        seed: int,
        normals: Tensor | None = None,  # [B, 3, S, S] unit, in the camera's axes; None: no light
        scenes: Tensor | None = None,  # [B, 3, S, S] in [0, 1]: backgrounds, in place of drawn ones
    ) -> Tensor:  # [B, 3, S, S] uint8
        """The same heads as photographs. Equal seeds give equal images.

        Raises ValueError for images that are not square uint8, or masks of another size.
        """
        b, _, s, _ = images.shape if images.ndim == 4 else (0, 0, 0, 0)
        if images.dtype != torch.uint8 or images.shape != (b, 3, s, s) or not b:
            raise ValueError(
                f"images must be uint8 [B, 3, S, S], got {images.dtype} {list(images.shape)}"
            )
        if masks.shape != (b, 1, s, s):
            raise ValueError(f"masks must be {[b, 1, s, s]}, got {list(masks.shape)}")
        rng = torch.Generator().manual_seed(seed)
        coverage = masks.float() / (255 if masks.dtype == torch.uint8 else 1)
        head = images.float() / 255
        behind = _plain_background(head, coverage)
        # colours of edges are mixtures: the head's alone are what is left without the background
        head = (head - (1 - coverage) * behind) / coverage.clamp_min(0.05)
        head = head.clamp(0, 1)
        if normals is not None:
            head = torch.where(_happens(self.light, b, rng), head * _light(normals, rng), head)
        drawn = backgrounds(b, s, rng) if scenes is None else scenes
        new = torch.where(_happens(self.background, b, rng), drawn, behind)
        whole = torch.lerp(new, head, coverage)
        shape, colours = _occluder(b, s, rng)
        shape = shape * _happens(self.occlusion, b, rng)
        whole = torch.lerp(whole, colours, shape)
        whole = torch.where(_happens(self.lens, b, rng), _lens(whole, rng), whole)
        whole = torch.where(_happens(self.sensor, b, rng), _sensor(whole, rng), whole)
        made = (whole.clamp(0, 1) * 255).round().to(torch.uint8)
        quality = torch.randint(30, 96, (b,), generator=rng)
        written = _happens(self.file, b, rng).flatten()
        return torch.stack(
            [_jpeg(m, int(q)) if w else m for m, q, w in zip(made, quality, written, strict=True)]
        )


def normals_of_depth(
    depth: Tensor,  # [B, 1, S, S] along the camera's axis, scene units; 0: nothing
    focal: float,  # image widths
) -> Tensor:  # [B, 3, S, S] unit, in the camera's axes: x right, y down, z away; 0 where nothing
    """Normals of surfaces, from differences of neighbouring points; they look at the camera."""
    side = depth.shape[-1]
    axis = (torch.arange(side, dtype=depth.dtype, device=depth.device) + 0.5) / side - 0.5
    x, y = axis[None, None, None] * depth / focal, axis[None, None, :, None] * depth / focal
    points = torch.cat([x, y, depth], dim=1)
    right = F.pad(points[..., 2:] - points[..., :-2], (1, 1, 0, 0))
    down = F.pad(points[..., 2:, :] - points[..., :-2, :], (0, 0, 1, 1))
    normals = F.normalize(torch.linalg.cross(down, right, dim=1), dim=1)
    seen = F.avg_pool2d((depth > 0).to(depth), 3, 1, 1) > 0.99
    return normals * seen


def backgrounds(count: int, side: int, rng: torch.Generator) -> Tensor:  # [count, 3, side, side]
    """Random backgrounds in [0, 1]: a gradient, clouds in two to five octaves, and boxes out of
    focus."""
    first, second, third = (_colours(count, rng) for _ in range(3))
    angle = torch.rand(count, 1, 1, generator=rng) * 2 * math.pi
    axis = torch.linspace(-1, 1, side)
    along = angle.cos() * axis[None, None] + angle.sin() * axis[None, :, None]
    whole = torch.lerp(first, second, ((along + 1) / 2).clamp(0, 1)[:, None])
    amount = torch.rand(count, 1, 1, 1, generator=rng)
    whole = torch.lerp(whole, third, amount * _clouds(count, side, rng))
    for _ in range(4):
        box, colours = _occluder(count, side, rng, largest=0.6)
        shown = (torch.rand(count, 1, 1, 1, generator=rng) < 0.5) * box
        whole = torch.lerp(whole, colours, shown)
    sigma = float(torch.rand((), generator=rng)) * side / 24
    return _blurred(whole, sigma)


def _clouds(count: int, side: int, rng: torch.Generator) -> Tensor:  # [count, 1, side, side]
    total, weight = torch.zeros(count, 1, side, side), 0.0
    for octave in range(1, 6):
        cells = min(2**octave, side)
        noise = torch.rand(count, 1, cells + 1, cells + 1, generator=rng)
        share = float(torch.rand((), generator=rng)) * 0.7 ** (octave - 1)
        total += share * F.interpolate(noise, size=side, mode="bicubic", align_corners=True)
        weight += share
    return (total / max(weight, 1e-6)).clamp(0, 1)


def _occluder(
    count: int, side: int, rng: torch.Generator, largest: float = 0.3
) -> tuple[Tensor, Tensor]:  # coverage [count, 1, side, side], colours [count, 3, 1, 1]
    """Turned boxes and ellipses, in one colour each."""
    place, turn = (
        torch.rand(count, 2, 1, 1, generator=rng) * 2 - 1,
        torch.rand(count, 1, 1, generator=rng),
    )
    half = (0.05 + largest * torch.rand(count, 2, 1, 1, generator=rng)) * (
        1 + 2 * (torch.rand(count, 2, 1, 1, generator=rng) < 0.2)
    )
    axis = torch.linspace(-1, 1, side)
    x, y = axis[None, None] - place[:, 0], axis[None, :, None] - place[:, 1]
    cosine, sine = (turn * math.pi).cos(), (turn * math.pi).sin()
    u, v = (cosine * x + sine * y) / half[:, 0], (cosine * y - sine * x) / half[:, 1]
    is_box = torch.rand(count, 1, 1, generator=rng) < 0.5
    outside = torch.where(is_box, torch.maximum(u.abs(), v.abs()), (u * u + v * v).sqrt())
    edge = ((1 - outside) * half.amin(1) * side / 2 + 0.5).clamp(0, 1)
    return edge[:, None], _colours(count, rng)


def _colours(count: int, rng: torch.Generator) -> Tensor:  # [count, 3, 1, 1]
    """More often pale than not, as what stands behind people is."""
    full = torch.rand(count, 3, 1, 1, generator=rng)
    grey = full.mean(1, keepdim=True)
    return torch.lerp(grey, full, torch.rand(count, 1, 1, 1, generator=rng).square())


def _plain_background(images: Tensor, coverage: Tensor) -> Tensor:  # [B, 3, 1, 1]
    """The mean colour where no head is; the whole image's where it is everywhere."""
    free = (coverage < 0.02).float()
    free = torch.where(free.sum((2, 3), keepdim=True) > 0, free, torch.ones_like(free))
    return (images * free).sum((2, 3), keepdim=True) / free.sum((2, 3), keepdim=True)


def _light(normals: Tensor, rng: torch.Generator) -> Tensor:  # [B, 3, S, S] factors
    """Irradiance of a random environment over that of an even one, by channel: a constant, three
    linear and five quadratic harmonics, clamped irradiance convolved (equation 13 of the paper)."""
    b = len(normals)
    x, y, z = normals.unbind(1)
    basis = torch.stack(
        [
            torch.ones_like(x),
            1.155 * x,
            1.155 * y,
            1.155 * z,
            0.56 * x * y,
            0.56 * y * z,
            0.56 * x * z,
            0.16 * (3 * z * z - 1),
            0.28 * (x * x - y * y),
        ],
        dim=1,
    )
    grey = (
        torch.randn(b, 9, 1, generator=rng) * torch.tensor([0.25] + [0.4] * 3 + [0.25] * 5)[:, None]
    )
    tint = torch.randn(b, 9, 3, generator=rng) * 0.04
    coefficients = grey + tint
    coefficients[:, 0] = coefficients[:, 0].clamp(-0.5, 0.6) + 1
    found = torch.einsum("bkhw,bkc->bchw", basis, coefficients).clamp(0.3, 2.5)
    known = normals.abs().sum(1, keepdim=True) > 0
    return torch.where(known, found, torch.ones_like(found))


def _lens(images: Tensor, rng: torch.Generator) -> Tensor:
    """Blur of up to 1.2 pixels at 128, red and blue enlarged by up to 1 %, darker corners."""
    b, _, s, _ = images.shape
    images = _blurred(images, float(torch.rand((), generator=rng)) * 1.2 * s / 128)
    scale = 1 + 0.01 * (torch.rand(b, 2, generator=rng) * 2 - 1)
    red, green, blue = images.split(1, dim=1)
    red, blue = (_scaled(c, scale[:, k]) for k, c in enumerate((red, blue)))
    axis = torch.linspace(-1, 1, s)
    far = (axis.square()[None] + axis.square()[:, None]) / 2
    darker = 1 - 0.4 * torch.rand(b, 1, 1, 1, generator=rng) * far
    return torch.cat([red, green, blue], dim=1) * darker


def _scaled(channel: Tensor, scale: Tensor) -> Tensor:  # [B, 1, S, S], [B]
    theta = channel.new_zeros(len(channel), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale
    grid = F.affine_grid(theta, list(channel.shape), align_corners=False)
    return F.grid_sample(channel, grid, padding_mode="border", align_corners=False)


def _sensor(images: Tensor, rng: torch.Generator) -> Tensor:
    b = len(images)

    def uniform(low: float, high: float, channels: int = 1) -> Tensor:  # [B, channels, 1, 1]
        return low + (high - low) * torch.rand(b, channels, 1, 1, generator=rng)

    images = images * uniform(0.7, 1.3) * uniform(0.88, 1.12, 3)
    images = images.clamp(1e-4, 1) ** uniform(0.75, 1.3)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * uniform(0.75, 1.2)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * uniform(0.5, 1.3)
    noise = torch.randn(images.shape, generator=rng)
    return images + noise * uniform(0, 0.05) * (0.5 + images.clamp(0, 1))


def _blurred(images: Tensor, sigma: float) -> Tensor:
    from torchvision.transforms.functional import gaussian_blur

    radius = max(math.ceil(3 * sigma), 1)
    if sigma < 0.2 or radius >= images.shape[-1]:
        return images
    return gaussian_blur(images, [2 * radius + 1] * 2, [sigma] * 2)


def _jpeg(image: Tensor, quality: int) -> Tensor:  # [3, S, S] uint8
    content = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(content, "JPEG", quality=quality)
    again = np.asarray(Image.open(content).convert("RGB"))
    return torch.from_numpy(again.copy()).permute(2, 0, 1)


def _happens(probability: float, count: int, rng: torch.Generator) -> Tensor:  # [count, 1, 1, 1]
    return torch.rand(count, 1, 1, 1, generator=rng) < probability
