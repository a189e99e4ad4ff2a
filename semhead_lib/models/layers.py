"""Layers of StyleGAN2 (Karras et al., 2020) that the generator and the discriminator share, with
equalised learning rates: weights are N(0, 1) and scaled by 1 / sqrt(fan-in) when used.

Tensors are channels-last. Convolutions compute in the dtype of their input, which may be bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE, GAIN = 0.2, math.sqrt(2)  # of the leaky ReLU, and what keeps its output at unit variance


def leaky_relu(x: Tensor) -> Tensor:
    """sqrt(2) * leaky ReLU with slope 0.2."""
    return F.leaky_relu(x, SLOPE) * GAIN


def compute(network: nn.Module, **how: Any) -> None:
    """Set how the parts of a network compute; the results differ only by rounding.

    Args:
        precision: dtype of the activations of backbone, super-resolution and discriminator blocks,
            or None for that of the weights. Mapping network, styles, demodulation, the
            discriminator's last block and its logits are not affected.
        checkpoint: whether blocks keep only their inputs for the backward pass and compute the rest
            again.
        polyphase: whether layers that double the size are one convolution instead of two
            (`ModulatedConv`).

    Raises ValueError for a name that no part knows.
    """
    for name, value in how.items():
        parts = [
            m
            for m in network.modules()
            if name in ("precision", "checkpoint", "polyphase") and hasattr(m, name)
        ]
        if not parts:
            raise ValueError(f"{type(network).__name__} has no part that computes with {name!r}")
        for part in parts:
            setattr(part, name, value)


def channels_last(network: nn.Module) -> None:
    """Keep the kernels of a network channels last in memory."""
    move: Any = network.to  # torch's overloads leave memory_format alone out
    move(memory_format=torch.channels_last)


def cast(x: Tensor, precision: torch.dtype | None) -> Tensor:
    """x in a given dtype; None: unchanged."""
    return x if precision is None else x.to(precision)


class Equalised(nn.Module):
    """A layer with an equalised learning rate: its weight and bias are multiplied by constants when
    they are used."""

    weight: Tensor
    bias: Tensor | None
    _made: tuple[Tensor, Tensor | None] | None = None

    def factors(self) -> tuple[float, float]:
        """Of the weight and of the bias."""
        raise NotImplementedError

    def scaled(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias as they are used."""
        if self._made is not None:
            return self._made
        weight, bias = self.factors()
        return self.weight * weight, None if self.bias is None else self.bias * bias


@contextmanager
def equalised(network: nn.Module) -> Iterator[None]:
    """A context in which the scaled weights of all layers of a network are computed once, together.

    With gradient checkpointing, the backward pass must be inside it as well.
    """
    layers = [m for m in network.modules() if isinstance(m, Equalised)]
    of_weights, of_biases = zip(*(layer.factors() for layer in layers), strict=True)
    with_bias = {k: layer.bias for k, layer in enumerate(layers) if layer.bias is not None}
    weights = torch._foreach_mul([layer.weight for layer in layers], list(of_weights))
    biases = dict(
        zip(
            with_bias,
            torch._foreach_mul(list(with_bias.values()), [of_biases[k] for k in with_bias]),
            strict=True,
        )
    )
    before = [layer._made for layer in layers]
    for k, layer in enumerate(layers):
        layer._made = weights[k], biases.get(k)
    try:
        yield
    finally:
        for layer, made in zip(layers, before, strict=True):
            layer._made = made


class EqualLinear(Equalised):
    """A linear layer with an equalised learning rate, times `rate`."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale, self.rate = rate / math.sqrt(max(inputs, 1)), rate

    def factors(self) -> tuple[float, float]:
        return self.scale, self.rate

    def forward(self, x: Tensor) -> Tensor:  # [..., inputs] -> [..., outputs]
        return F.linear(x, *self.scaled())


def upsample(x: Tensor) -> Tensor:  # [B, C, H, W] -> [B, C, 2H, 2W]
    """Upsample by 2 with the filter [1, 3, 3, 1], that is, bilinearly between pixel centres."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
