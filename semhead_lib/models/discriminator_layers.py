"""What the discriminator is made of: residual blocks, condition vectors, bands of detail and the
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
    """A convolution with an equalised learning rate; the result is `gain` times what its weights
    and bias say."""

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

    Every pixel goes into f before anything is filtered away. With StyleGAN2's blur before the step
    down, and its even shares of both branches, fine patterns reach the first layers only: on the
    same images this one separated generated from real after 50 steps, that one not after 500. The
    leaky ReLU's gain is taken into the convolution before it: GAIN lrelu(x) = lrelu(GAIN x).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = EqualConv(inputs, outputs, 4, stride=2, gain=GAIN * math.sqrt(1 - SKIP))
        self.skip = EqualConv(inputs, outputs, 1, bias=False, gain=math.sqrt(SKIP))

    def forward(self, x: Tensor) -> Tensor:  # [B, inputs, H, W] -> [B, outputs, H / 2, W / 2]
        return F.leaky_relu_(self.conv(x), SLOPE) + self.skip(F.avg_pool2d(x, 2))


class ConditionVector(nn.Module):
    """A part of the condition to the vector that features are multiplied with: two layers, brought
    to unit variance."""

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
    """Three octaves of a Laplacian pyramid (Burt and Adelson, 1983), amplified: what each step to
    half the size takes away. The finest, of full size, is unshuffled: 2 x 2 pixels become one with
    four times the channels.

    Of the variance of photographs a few per cent are detail, so that a network whose input is the
    image alone sees colours first and for long: on the same images, real ones and blurred
    reconstructions, the discriminator's loss fell from 1.47 to 0.81 in 150 steps without bands, and
    to 0.22 with them.
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
    """One more channel: how much the images of a group differ, so that samples which are all alike
    show it.

    The mean over channels and pixels of the standard deviation over the group (Karras et al.,
    2018). A group holds the images at the same place of `group` neighbouring subjects, each of
    which has `views` adjacent images: it never mixes views of one subject, and a batch that is
    split over processes in whole groups keeps its groups. Where a batch has fewer or no whole
    number of groups, the group is the largest that divides it.
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
