"""From an image to the latent of the head that it shows: half of what learns heads by
reconstruction."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semhead_lib.models.backbone import widths
from semhead_lib.models.discriminator import Block, EqualConv
from semhead_lib.models.layers import GAIN, SLOPE, EqualLinear, channels_last, leaky_relu


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
