"""The blur of what the discriminator sees while a training starts: EG3D's, so that coarse structure
is learnt first.

Its taps come as tensors with a step's other inputs: a step that was captured once serves while the
blur shrinks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.models.discriminator_config import DiscriminatorConfig


class Blur(NamedTuple):
    """Taps of the two blurs; None: not blurred."""

    image: Tensor | None  # [2 radius + 1] for the final image
    # for the raw image, and the mask unless super-resolved, whose pixels are larger
    small: Tensor | None

    @classmethod
    def of(cls, sigma: float, config: DiscriminatorConfig) -> Blur:
        """The blur of `sigma` pixels of the final image."""
        scale = config.raw_resolution / config.resolution
        return cls(
            gaussian(sigma, config.resolution), gaussian(sigma * scale, config.raw_resolution)
        )


def gaussian(
    sigma: float, side: int, device: torch.device | str = "cpu"
) -> Tensor | None:  # [2 radius + 1]
    """A Gaussian of `sigma` pixels for images of `side` pixels, cut off at 3 sigma; None below 0.2
    pixels. Made on the device: a copy from the CPU could not be part of a CUDA graph.

    >>> gaussian(1.0, 64).shape, gaussian(0.1, 64)
    (torch.Size([7]), None)
    """
    radius = min(round(3 * sigma), side - 1)
    if sigma < 0.2 or radius < 1:
        return None
    x = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    taps = torch.exp(-0.5 * (x / sigma).square())
    return taps / taps.sum()


def convolved(images: Tensor, taps: Tensor | None) -> Tensor:  # [B, C, S, S], [2 radius + 1]
    """Rows, then columns convolved with the taps, edges mirrored."""
    if taps is None:
        return images
    channels, radius = images.shape[1], len(taps) // 2
    taps = taps.to(images.dtype).expand(channels, 1, -1)
    for shape, pad in (((1, -1), (radius, radius, 0, 0)), ((-1, 1), (0, 0, radius, radius))):
        kernel = taps.reshape(channels, 1, *shape)
        images = F.conv2d(F.pad(images, pad, mode="reflect"), kernel, groups=channels)
    return images
