"""Encoders of the reconstruction training: from an image, or from the attributes of a parametric
head, to a distribution of its latent."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semhead_lib.models.backbone import widths
from semhead_lib.models.discriminator_layers import Block, EqualConv
from semhead_lib.models.layers import GAIN, SLOPE, EqualLinear, channels_last, leaky_relu

_LEAST_DEVIATION = 0.05
_FIRST_LOG_VARIANCE = -2.0  # latents say something from the start


class ImageEncoder(nn.Module):
    """An image to mean and log-variance of its latent: the discriminator's trunk without
    conditions."""

    def __init__(self, resolution: int, z_dim: int, base: int = 3072, most: int = 192) -> None:
        super().__init__()
        sides = [resolution >> k for k in range(1, (resolution // 4).bit_length())]
        channels = [widths(side, base, most) for side in sides]
        self.from_image = EqualConv(12, channels[0], 3, gain=GAIN)
        self.blocks = nn.ModuleList(Block(a, b) for a, b in itertools.pairwise(channels))
        self.flat = EqualLinear(channels[-1] * 16, 2 * channels[-1])
        self.out = EqualLinear(2 * channels[-1], 2 * z_dim)
        channels_last(self)

    def forward(
        self, images: Tensor
    ) -> tuple[Tensor, Tensor]:  # [B, 3, S, S] in [-1, 1] -> [B, Z], [B, Z]
        x = F.pixel_unshuffle(images, 2).contiguous(memory_format=torch.channels_last)
        x = F.leaky_relu_(self.from_image(x), SLOPE)
        for block in self.blocks:
            x = block(x)
        mean, log_variance = self.out(leaky_relu(self.flat(x.flatten(1)))).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 2)


class AttributeEncoder(nn.Module):
    """Attributes of parametric heads to mean and log-variance of their latents: a linear map and a
    small network beside it.

    An image does not determine what it hides, and its encoder has to be learnt first. Attributes
    determine everything, so only the generator has to be learnt.
    """

    mean: Tensor  # [K] of the numbers of the training data
    scale: Tensor  # [K]

    def __init__(self, numbers: int, z_dim: int, width: int = 384) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("scale", torch.ones(numbers))
        self.linear = nn.Linear(numbers, z_dim)
        self.layers = nn.Sequential(
            nn.Linear(numbers, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 2 * z_dim),
        )

    def standardise_by(self, numbers: Tensor) -> None:  # [N, K] of the training data
        """Standardise each number to mean 0 and deviation 1; one that hardly varies stays small."""
        self.mean.copy_(numbers.mean(0))
        self.scale.copy_(numbers.std(0).clamp_min(_LEAST_DEVIATION))

    def forward(self, numbers: Tensor) -> tuple[Tensor, Tensor]:  # [B, K] -> [B, Z], [B, Z]
        x = (numbers - self.mean) / self.scale
        mean, log_variance = self.layers(x).chunk(2, dim=1)
        return mean + self.linear(x), (log_variance + _FIRST_LOG_VARIANCE).clamp(-10, 2)
