"""All that a step computes from, in one buffer of bytes: one copy takes it to a GPU, or into a
captured graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from semhead_lib.training.blur import Blur

_ALIGNMENT = 256  # bytes between the beginnings of tensors, at least
_SHARED = ("beta", "image_taps", "small_taps")  # not divided among micro-batches


class Variant(NamedTuple):
    """Which lazy terms a step has, and how large its raw image is: all that decides what is
    computed."""

    r1: bool
    density: bool
    side: int  # pixels of the raw image
    convinces: bool = True  # whether the generator learns


@dataclass(frozen=True)
class Inputs:
    """Of one process: B real images and as many generated ones, of H heads, those of a head
    adjacent."""

    images: Tensor  # [B, 3, S, S] uint8
    cameras: Tensor  # [B, 25] of real and generated images alike
    real: Tensor  # [B, 25 + D] the discriminator's condition of the real images
    generated: Tensor  # [B, 25 + D] of the generated ones
    z: Tensor  # [H, Z]
    mapping: Tensor  # [H, K] the mapping network's condition; K may be 0
    beta: Tensor  # [] of the averaged generator
    masks: Tensor | None = None  # [B, 1, S, S] uint8
    windows: Tensor | None = (
        None  # [B, 3] the parts that are seen (`crops`); images and masks are those parts
    )
    seed: Tensor | None = None  # [micro-batches] int64, of the samples along rays; None: no jitter
    wrong_cameras: Tensor | None = None  # [B, 25]
    wrong_semantics: Tensor | None = None  # [B, D]
    wrong_joint: Tensor | None = None  # [B, 25 + D] conditions that are wrong in one part or both
    points: Tensor | None = None  # [H, N, 3] in [-1, 1], of the density regularisation
    offsets: Tensor | None = None  # [H, N, 3] standard normal
    image_taps: Tensor | None = None  # of the blur (`Blur`)
    small_taps: Tensor | None = None

    @property
    def blur(self) -> Blur:
        return Blur(self.image_taps, self.small_taps)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Those that are there, by name."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def split(self, parts: int) -> list[Inputs]:
        """Micro-batches: equal parts, in order."""
        if parts == 1:
            return [self]
        divided = {name: t.chunk(parts) for name, t in self.tensors.items() if name not in _SHARED}
        return [
            replace(self, **{name: pieces[k] for name, pieces in divided.items()})
            for k in range(parts)
        ]


class Entry(NamedTuple):
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int  # byte

    @property
    def length(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Packing:
    """Where each of some tensors lies in a buffer of bytes. Equal packings have tensors of equal
    names, types and shapes."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Packing:
        entries, start = [], 0
        for name, tensor in tensors.items():
            entries.append(Entry(name, tensor.dtype, tuple(tensor.shape), start))
            start += -(-entries[-1].length // _ALIGNMENT) * _ALIGNMENT
        return cls(tuple(entries))

    @property
    def length(self) -> int:
        """Of the buffer, bytes."""
        last = self.entries[-1]
        return last.start + last.length

    def write(self, tensors: Mapping[str, Tensor], buffer: Tensor) -> None:
        """Copy the tensors into a buffer (uint8 [at least `length`])."""
        there = self.read(buffer)
        for name, tensor in tensors.items():
            there[name].copy_(tensor)

    def read(self, buffer: Tensor) -> dict[str, Tensor]:
        """The tensors in a buffer, as views of it."""
        return {
            e.name: buffer[e.start : e.start + e.length].view(e.dtype).view(e.shape)
            for e in self.entries
        }


@dataclass(frozen=True)
class Prepared:
    """A step's inputs where they are needed, and what is to be done with them."""

    step: int
    variant: Variant
    packing: Packing
    buffer: Tensor  # uint8, on the training's device

    @classmethod
    def of(cls, step: int, variant: Variant, inputs: Inputs, device: torch.device) -> Prepared:
        """Packed and taken to the device in one copy."""
        packing = Packing.of(inputs.tensors)
        host = torch.empty(packing.length, dtype=torch.uint8, pin_memory=device.type == "cuda")
        packing.write(inputs.tensors, host)
        return cls(step, variant, packing, host.to(device, non_blocking=True))
