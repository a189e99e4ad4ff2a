"""The random numbers of a step and the values of its schedules, made on the CPU; and all that a
step computes from as one buffer, for a captured graph."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from semhead_lib.devices import moved
from semhead_lib.training.inputs import Packing
from semhead_lib.training.reconstruction.samples import Rays, Sample
from semhead_lib.training.reconstruction.settings import ReconstructionSettings
from semhead_lib.training.schedules import ema_beta

POINTS = 4  # random numbers of a ray
_DRAWN = 500_009  # latents of drawn heads have a seed of their own


class Variant(NamedTuple):
    """What is computed in a step."""

    penalised: bool  # the discriminator's lazy R1
    convinces: bool  # the generator listens to the discriminator


@dataclass(frozen=True)
class Draws:
    """What a step of H subjects, P rays each, computes from beside its sample."""

    noise: Tensor  # [H, Z] standard normal, of the latents
    z: Tensor  # [H, Z] latents of drawn heads; [0, Z] where none are judged
    points: Tensor | None  # [POINTS, H, P] uniform in [0, 1]; None: points are not looked at
    seed: Tensor  # [] int64, of the samples along rays
    share: Tensor  # [] float64, of the highest learning rates
    beta: Tensor  # [] of the averaged generator

    @classmethod
    def of(cls, settings: ReconstructionSettings, sample: Sample, z_dim: int, step: int) -> Draws:
        """A function of settings, number of the step and sizes alone."""
        s, heads, device = settings, len(sample.encoded), sample.encoded.device
        rng = torch.Generator().manual_seed(s.seed * 1_000_003 + step)
        noise, points = torch.randn(heads, z_dim, generator=rng), None
        if sample.rays is not None:
            shape = sample.rays.distance.shape
            points = torch.stack([torch.rand(shape, generator=rng) for _ in range(POINTS)])
        other = torch.Generator().manual_seed(s.seed * 1_000_003 + step + _DRAWN)
        drawn = heads if s.adversarial_weight and s.judge_drawn else 0
        z = torch.randn(drawn, z_dim, generator=other)
        beta = ema_beta(step * s.batch, s.batch, int(s.ema_kimg * 1000), ramp_up=0.1)
        return cls(
            moved(noise, device),
            moved(z, device),
            None if points is None else moved(points, device),
            moved(torch.tensor(step), device),
            moved(torch.tensor(s.share(step), dtype=torch.float64), device),
            moved(torch.tensor(beta), device),
        )


def as_buffer(sample: Sample, draws: Draws) -> tuple[Packing, Tensor]:
    """Both in one buffer on their device, uint8, and where everything lies in it."""
    tensors = _tensors("sample", sample) | _tensors("draws", draws)
    if sample.rays is not None:
        tensors |= _tensors("rays", sample.rays)
    packing = Packing.of(tensors)
    buffer = torch.empty(packing.length, dtype=torch.uint8, device=sample.encoded.device)
    packing.write(tensors, buffer)
    return packing, buffer


def from_buffer(packing: Packing, buffer: Tensor) -> tuple[Sample, Draws]:
    """The same, as views of the buffer."""
    parts: dict[str, dict[str, Any]] = {
        "sample": {"semantics": None, "windows": None},
        "draws": {"points": None},
        "rays": {},
    }
    for name, tensor in packing.read(buffer).items():
        part, _, field = name.partition(".")
        parts[part][field] = tensor
    rays = Rays(**parts["rays"]) if parts["rays"] else None
    return Sample(**parts["sample"], rays=rays), Draws(**parts["draws"])


def _tensors(part: str, of: Sample | Draws | Rays) -> dict[str, Tensor]:
    """Its tensors that are there and hold something, by name."""
    found = {f"{part}.{f.name}": getattr(of, f.name) for f in fields(of)}
    return {name: t for name, t in found.items() if isinstance(t, Tensor)}
