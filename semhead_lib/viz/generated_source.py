"""A generator as a source of subjects: its heads as a dataset of ours, and from there in EG3D's
form."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from semhead_lib import cameras
from semhead_lib.data.jobs.settings import SourceSettings
from semhead_lib.data.subjects import Subject
from semhead_lib.models.generator import CONFIG, WEIGHTS, folder_of
from semhead_lib.models.sampling import latents, to_uint8
from semhead_lib.view_samplers import VIEW_SAMPLERS
from semhead_lib.viz.heads import HeadModel
from semhead_lib.viz.settings import GeneratedSettings

_VIEWS = 8  # at a time


@dataclass(frozen=True)
class GeneratedSource:
    """Heads of a generator, each under the condition of somebody of its data, drawn with the seed.

    Raises ValueError for a setting out of range, FileNotFoundError for a generator that is not
    there.
    """

    model: str = GeneratedSettings.model
    seed: int = 0
    resolution: int = SourceSettings.resolution  # the generator's
    views_per_subject: int = 12
    view_sampling: str = SourceSettings.view_sampling  # a key of VIEW_SAMPLERS
    psi: float = GeneratedSettings.psi  # truncation towards the condition's mean
    strategy: str = GeneratedSettings.strategy  # how conditions are drawn
    device: str = "cpu"
    name: str = "generated"
    licence: str = "as the generator's: see its card"

    def __post_init__(self) -> None:
        for key, low in (("resolution", 8), ("views_per_subject", 1), ("seed", 0)):
            if getattr(self, key) < low:
                raise ValueError(f"{key} must be at least {low}, got {getattr(self, key)}")
        if self.view_sampling not in VIEW_SAMPLERS:
            raise ValueError(
                f"view_sampling must be one of {sorted(VIEW_SAMPLERS)}, got {self.view_sampling!r}"
            )
        if not 0 <= self.psi <= 2:
            raise ValueError(f"psi must be 0 to 2, got {self.psi}")

    def describe(self) -> dict[str, Any]:
        """Settings, and the weights' digest, as JSON. The device is not among them."""
        folder = folder_of(self.model)
        settings = {
            k: v for k, v in asdict(self).items() if k not in ("device", "licence", "model")
        }
        digest = hashlib.sha256(
            (folder / CONFIG).read_bytes() + (folder / WEIGHTS).read_bytes()
        ).hexdigest()
        return {**settings, "model": folder.name, "weights": digest[:16]}

    @cached_property
    def _made(self) -> HeadModel:
        model = HeadModel(self.model, device=self.device)
        if model.generator.config.resolution != self.resolution:
            own = model.generator.config.resolution
            raise ValueError(
                f"{self.model} makes images of {own} pixels a side: resolution={own}, not "
                f"{self.resolution}"
            )
        return model

    @torch.no_grad()
    def subject(self, index: int) -> Subject:
        """Head `index`: its views, with their masks."""
        model, rng = self._made, np.random.default_rng([self.seed, index])
        generator, device = model.generator, model.device
        condition = model.bank.sample(1, self.strategy, int(rng.integers(2**31)))
        condition = None if condition is None else condition.to(device)
        z = latents(1, generator.config.z_dim, int(rng.integers(2**31))).to(device)
        w = generator.mapping(z, condition, self.psi, towards=generator.mapping.mean(condition)[0])
        angles = VIEW_SAMPLERS[self.view_sampling](self.views_per_subject, rng)
        front = torch.zeros(1, 2, dtype=angles.dtype)
        azimuths, elevations = torch.cat([angles, front]).T
        labels = cameras.orbit_cameras(azimuths, elevations)
        seen = [generator.synthesize(w, part.to(device)) for part in labels.split(_VIEWS)]
        images = torch.cat([to_uint8(s.image) for s in seen])
        masks = torch.cat([s.mask for s in seen]).clamp(0, 1).cpu()
        masks = torch.nn.functional.interpolate(masks, size=self.resolution, mode="bilinear")
        masks = (masks * 255).round().to(torch.uint8)[:, 0]
        return Subject(
            id=f"g{self.seed}-{index:07d}",
            views=images[:-1],
            cameras=labels[:-1].float(),
            masks=masks[:-1],
            frontal=images[-1],
            provenance={"source": self.name, "seed": self.seed, "index": index},
            licence=self.licence,
        )
