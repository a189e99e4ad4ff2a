"""Layers of the discriminator: residual blocks, condition embeddings, bands of detail and the
minibatch statistic."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semhead_lib.models.layers import GAIN, SLOPE, Equalised, EqualLinear, leaky_relu, upsample
from semhead_lib.models.mapping import unit_variance

SKIP = 0.1  # share of a block's variance that comes past its convolution
BANDS = (
    8.0,
    6.0,
    4.0,
)  # amplification of each octave of detail, finest first: about to the variance of images


class EqualConv(Equalised):
    """A convolution with an equalised learning rate, whose output is multiplied by `gain`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        bias: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale, self.gain, self.stride = gain / math.sqrt(inputs * kernel**2), gain, stride

    def factors(self) -> tuple[float, float]:
        return self.scale, self.gain

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.scaled()
        bias, around = None if bias is None else bias.to(x.dtype), (weight.shape[-1] - 1) // 2
        return F.conv2d(x, weight.to(x.dtype), bias, stride=self.stride, padding=around)


class Block(nn.Module):
    """A residual block to half the size: x -> sqrt(1 - SKIP) f(x) + sqrt(SKIP) mean(x) W, f a 4 x 4
    convolution.

    f sees every pixel before any filtering. With StyleGAN2's blur before downsampling and its equal
    weights of both branches, fine patterns reach only the first layers: on the same images, this
    block separated generated from real images after 50 steps, StyleGAN2's not after 500. The gain
    of the leaky ReLU is folded into the convolution before it: GAIN lrelu(x) = lrelu(GAIN x).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = EqualConv(inputs, outputs, 4, stride=2, gain=GAIN * math.sqrt(1 - SKIP))
        self.skip = EqualConv(inputs, outputs, 1, bias=False, gain=math.sqrt(SKIP))

    def forward(self, x: Tensor) -> Tensor:  # [B, inputs, H, W] -> [B, outputs, H / 2, W / 2]
        return F.leaky_relu_(self.conv(x), SLOPE) + self.skip(F.avg_pool2d(x, 2))


class ConditionVector(nn.Module):
    """Embedding of a part of the condition: two layers, normalised to unit variance."""

    scale: Tensor  # [inputs]

    def __init__(self, inputs: int, outputs: int, scale: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer(
            "scale", torch.ones(inputs) if scale is None else scale, persistent=False
        )
        self.first, self.second = EqualLinear(inputs, outputs), EqualLinear(outputs, outputs)

    def forward(self, part: Tensor) -> Tensor:  # [B, inputs] -> [B, outputs]
        return unit_variance(self.second(leaky_relu(self.first(part * self.scale))))


def detail_bands(images: Tensor) -> Tensor:  # [B, 3, S, S] -> [B, 18, S / 2, S / 2]
    """Three amplified octaves of a Laplacian pyramid (Burt and Adelson, 1983): what each
    downsampling step removes. The finest one, of full size, is pixel-unshuffled by 2.

    Detail is only a few per cent of the variance of photographs, so a network that sees only the
    image learns colours first: on the same real images and blurred reconstructions, the
    discriminator's loss fell from 1.47 to 0.81 in 150 steps without bands, and to 0.22 with them.
    """
    found, larger = [], images
    for gain in BANDS:
        smaller = F.avg_pool2d(larger, 2)
        found.append((larger - upsample(smaller)) * gain)
        larger = smaller
    side = images.shape[-1] // 2
    same = [
        F.pixel_unshuffle(found[0], 2),
        *(F.interpolate(x, size=side, mode="nearest") for x in found[1:]),
    ]
    return torch.cat(same, dim=1)


def minibatch_stddev(
    x: Tensor,  # [B, C, H, W]
    group: int,  # subjects
    views: int = 1,  # adjacent images of a subject
    sets: int = 1,  # parts of the batch, one after the other and of one size, that are not mixed
) -> Tensor:  # [B, C + 1, H, W]
    """Append a channel with the variation among the images of a group, which reveals samples that
    are all alike.

    The mean over channels and pixels of the standard deviation over the group (Karras et al.,
    2018). A group has one image of each of `group` neighbouring subjects, which have `views`
    adjacent images each: it never mixes views of one subject, and a batch that is split over
    processes in whole groups keeps its groups. If the batch is not a multiple of the group, the
    group is the largest size that divides it.
    """
    b, c, h, w = x.shape
    each = b // sets
    subjects = each // views if each % views == 0 else each
    views = each // subjects
    group, subjects = math.gcd(group, subjects), sets * subjects
    y = x.reshape(subjects // group, group, views, c, h, w)
    y = y.float() if y.dtype != torch.float64 else y  # half precision would lose what differs
    spread = (y.var(dim=1, unbiased=False) + 1e-8).sqrt().mean(dim=(2, 3, 4))  # [blocks, views]
    channel = spread[:, None].expand(-1, group, -1).reshape(b, 1, 1, 1).expand(-1, 1, h, w)
    return torch.cat([x, channel.to(x.dtype)], dim=1).contiguous(memory_format=torch.channels_last)
