"""Cutting a turned square out of a photograph, and making images smaller without aliasing."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur


def cut_square(
    image: Tensor,  # [C, H, W] uint8
    # [2, 3]: [u, v, 1] in the square, u and v in [0, 1], to x, y in pixels of the image
    similarity: np.ndarray,
    size: int,  # pixels a side
    *,
    # and blurred: the image beyond its edges; or "drawn on": its edges' colours
    beyond: str = "mirrored",
) -> tuple[Tensor, Tensor]:  # [C, size, size] uint8, [size, size] uint8
    """The square, and 255 where it lies in the image, else 0."""
    height, width = image.shape[1:]
    shrink = max(float(np.hypot(*similarity[:, 0])) / size, 1.0)
    if shrink > 1:  # first to the crop's scale, smoothly; then turned and cut
        image = resized(image, (max(round(height / shrink), 1), max(round(width / shrink), 1)))
    centres = (np.arange(size) + 0.5) / size
    crop = np.stack([*np.meshgrid(centres, centres), np.ones((size, size))], axis=-1)
    place = torch.from_numpy(crop @ similarity.T / (width, height) * 2 - 1).float()
    inside = (place.abs() <= 1).all(-1)
    layers = image.float()[None]
    padding = "reflection" if beyond == "mirrored" else "border"
    found = F.grid_sample(
        layers, place[None], mode="bicubic", padding_mode=padding, align_corners=False
    )[0]
    if beyond == "mirrored" and not inside.all():
        blur = size / 24
        spread = gaussian_blur(found, [2 * int(2 * blur) + 1] * 2, [blur] * 2)
        found = torch.where(inside, found, spread)
    return found.round().clamp(0, 255).byte(), inside.byte() * 255


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:  # [C, H, W] uint8 -> [C, *size] uint8
    """The whole image at `size` (height, width), without aliasing."""
    if tuple(image.shape[1:]) == tuple(size):
        return image
    height, width = size
    layers = [
        Image.fromarray(layer.numpy()).resize((width, height), Image.Resampling.BICUBIC)
        for layer in image
    ]
    return torch.from_numpy(np.stack([np.asarray(layer) for layer in layers]))
