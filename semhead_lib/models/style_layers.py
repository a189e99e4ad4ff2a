"""Layers that a style modulates (StyleGAN2, Karras et al., 2020), and the blocks made of them,
written for channels-last memory and few passes over it.

For one image, modulation scales the weights. For a batch, it equivalently scales the activations
before the convolution and the result after it, so that one ordinary convolution serves all images.
It also does so if only the style is optimised, as in inversion, where scaled weights would require
the gradient of every weight. Large tensors are changed in place where autograd allows it: on a CPU,
a new tensor costs ten times as much as writing to an old one, because its memory must first be
requested from the system.

Convolutions compute in the dtype of their input, which may be bfloat16; styles, demodulation and
weights stay float32.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semhead_lib.models.layers import GAIN, SLOPE, EqualLinear, upsample


class ModulatedConv(nn.Module):
    """A convolution whose input channels are scaled by an affine function of w, and its output
    brought back to unit variance (demodulation); with `up`, the image is made twice as large on the
    way.

    out = d * conv(x * s), s = affine(w), d_o = 1 / sqrt(sum over i and taps of (weight_oi s_i)^2):
    Karras et al. (2020), equations 1 to 3, with the factors taken out of the convolution.

    Doubling is a transposed convolution and a blur with [1, 3, 3, 1]; with `polyphase` it is one
    convolution with both kernels merged, four results a pixel: four times the multiplications, but
    no pass with one filter a channel. On a CPU it takes 1.5 to 3 times as long
    (tests/benchmarks/test_layer_speed.py); GPUs multiply fast and blur slowly.
    """

    polyphase = False
    blur: Tensor  # [outputs, 1, 4, 4]; with `up`

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        w_dim: int,
        up: bool = False,
        demodulate: bool = True,
    ) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.up, self.demodulate = up, demodulate
        if up:  # blurs what the transposed convolution leaves uneven
            taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
            self.register_buffer(
                "blur", torch.outer(taps, taps).expand(outputs, 1, 4, 4).clone(), persistent=False
            )

    def forward(
        self,
        x: Tensor,  # [B, I, H, W]
        w: Tensor,  # [B, w_dim]
        bias: Tensor | None = None,  # [O]
        gain: float = 1.0,  # of the result, without the bias
    ) -> Tensor:  # [B, O, H or 2H, W or 2W]
        style = self.affine(w) * self.scale
        after = torch.full_like(style[:, :1], gain)  # [B, O or 1]
        if self.demodulate:
            norms = self.weight.square().sum((2, 3))
            after = (F.linear(style.square(), norms) + 1e-8).rsqrt() * gain
        if len(w) == 1 and (self.weight.requires_grad or not style.requires_grad):
            weight = self.weight * style[:, :, None, None]
            after = after[0, :, None, None, None]
            return self._convolve(
                x, weight * after if weight.requires_grad else weight.mul_(after), bias
            )
        x = self._convolve(x * style[:, :, None, None].to(x.dtype), self.weight, None)
        after = after[:, :, None, None].to(x.dtype)
        bias = None if bias is None else bias[:, None, None].to(x.dtype)
        if x.requires_grad:
            return x * after if bias is None else torch.addcmul(bias, x, after)
        x = x.mul_(after)
        return x if bias is None else x.add_(bias)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        bias = None if bias is None else bias.to(x.dtype)
        if not self.up:
            return F.conv2d(x, weight.to(x.dtype), bias, padding=weight.shape[-1] // 2)
        if self.polyphase:
            return _four_phases(x, polyphase_weight(weight, self.blur).to(x.dtype), bias)
        weight = weight.to(x.dtype).transpose(0, 1)
        x = F.conv_transpose2d(x, weight, stride=2)  # [B, O, 2H + 1, 2W + 1]
        return F.conv2d(x, self.blur.to(x.dtype), bias, padding=1, groups=x.shape[1])


def polyphase_weight(
    weight: Tensor, blur: Tensor
) -> Tensor:  # [O, I, 3, 3], [O, 1, 4, 4] -> [4 O, I, 3, 3]
    """Kernels of the four output pixels per input pixel of a transposed convolution with stride 2
    and a blur.

    Their kernels merged are 6 x 6, of which each of the four (row, then column, even or odd) has
    every other tap.
    """
    o, i = weight.shape[:2]
    taps = blur[:1].flip(2, 3)
    merged = F.conv2d(weight.reshape(o * i, 1, 3, 3), taps, padding=3).flip(2, 3)  # [O I, 1, 6, 6]
    phases = merged.view(o, i, 3, 2, 3, 2).flip(3, 5).permute(3, 5, 0, 1, 2, 4)
    return phases.reshape(4 * o, i, 3, 3).contiguous(memory_format=torch.channels_last)


def _four_phases(
    x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:  # -> [B, O, 2H, 2W], channels last
    b, _, h, w = x.shape
    x = F.conv2d(x, weight, None if bias is None else bias.repeat(4), padding=1)
    x = x.permute(0, 2, 3, 1).reshape(b, h, w, 2, 2, -1).transpose(2, 3)
    return x.reshape(b, 2 * h, 2 * w, -1).permute(0, 3, 1, 2)


class BlendMaps(nn.Module):
    """Maps that are added up for each head by coefficients of its own, as the blend shapes of a face
    model are: sum over k of (affine_k(w) direction_k) map_k, where a direction is a vector of
    channels and a map has one number a pixel.

    A style only scales the channels of a whole layer, so convolutions have to learn how a chin gets
    longer. Here w directly changes features at a position. Maps start at zero.
    """

    def __init__(self, count: int, channels: int, w_dim: int, side: int, gain: float) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, count)
        self.directions = nn.Parameter(torch.randn(count, channels))
        self.maps = nn.Parameter(torch.zeros(side * side, count))
        self.scale = gain / math.sqrt(count)

    def added(self, x: Tensor, w: Tensor, gain: float) -> Tensor:
        """x, [B, C, S, S] channels last, with gain times the sum."""
        b, c, h, _ = x.shape
        directions = self.affine(w)[:, :, None] * (self.directions * (self.scale * gain))
        pixels = x.permute(0, 2, 3, 1).reshape(b, h * h, c)
        maps = self.maps.to(x.dtype).expand(b, -1, -1)
        pixels = torch.baddbmm(pixels, maps, directions.to(x.dtype))
        return pixels.view(b, h, h, c).permute(0, 3, 1, 2)


class StyleLayer(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias and leaky ReLU.

    With a `place_gain`, learnt maps are added to the noise, one per channel, the same for all
    heads. The next layer weights them by the style. Features with a fixed position, such as eyes
    and lips, become sharp long before convolutions have learnt their position from a smooth
    constant. CIPS calls such maps coordinate embeddings (Anokhin et al., 2021). With `blend`, maps
    whose coefficients depend on w are added (`BlendMaps`); they are learnt as fast.
    """

    noise: Tensor  # [side, side]

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        side: int,
        up: bool = False,
        place_gain: float = 0.0,
        blend: int = 0,
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, w_dim, up)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(side, side))
        # of what the optimiser learns: with Adam, the maps' rate over that of the others
        self.place_gain = place_gain
        self.places = nn.Parameter(torch.zeros(outputs, side, side)) if place_gain else None
        self.blend = BlendMaps(blend, outputs, w_dim, side, place_gain or 1.0) if blend else None

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = self.conv(
            x, w, self.bias * GAIN, GAIN
        )  # the leaky ReLU's gain goes through it: GAIN lrelu(x) = lrelu(GAIN x)
        x = x.add_((self.noise * (self.noise_strength * GAIN)).to(x.dtype))
        if self.places is not None:
            x = x.add_((self.places * (self.place_gain * GAIN)).to(x.dtype))
        if self.blend is not None:
            x = self.blend.added(x, w, GAIN)
        return F.leaky_relu_(x, SLOPE)


class ToFeatures(nn.Module):
    """Modulated 1 x 1 convolution without demodulation: from activations to the image or map that
    blocks add up."""

    def __init__(self, inputs: int, outputs: int, w_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 1, w_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return self.conv(x, w, self.bias)


class StyleBlock(nn.Module):
    """Two style layers, the first of which doubles the size (unless it is the first block), and the
    skip connection."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        side: int,
        features: int,
        up: bool = True,
        skip: bool = True,
        place_gain: float = 0.0,
        blend: int = 0,
    ) -> None:
        super().__init__()
        self.first = StyleLayer(inputs, outputs, w_dim, side, up)
        self.second = StyleLayer(outputs, outputs, w_dim, side, place_gain=place_gain, blend=blend)
        self.to_features = ToFeatures(outputs, features, w_dim) if skip else None
        self.up = up

    def forward(self, x: Tensor, total: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """Activations and the running sum of features [B, F, H, W], both at the new size.

        w is one style for the block, [B, w_dim], or one for each of its two layers, [B, 2, w_dim].
        """
        first, second = (w, w) if w.dim() == 2 else w.unbind(1)
        x = self.second(self.first(x, first), second)
        if self.to_features is None:
            return x, total
        own = self.to_features(x, second)
        if total is not None:  # the sum keeps the dtype that it begins with
            own = own.to(total.dtype).add_(upsample(total) if self.up else total)
        return x, own
