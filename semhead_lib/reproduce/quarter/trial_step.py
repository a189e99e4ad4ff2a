"""A training step on noise, for checks and for measuring: what is in the images does not change how long it takes."""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from semhead_lib.cameras import orbit_labels
from semhead_lib.data.batches import Row, collate
from semhead_lib.data.subjects import Batch
from semhead_lib.training.settings import TrainSettings
from semhead_lib.training.step import Networks, Step

SEMANTIC = 128  # numbers in a semantic feature


class TrialStep:
    """The networks of a preset, and steps on batches of noise."""

    def __init__(self, preset: str, device: str, **changes: Any) -> None:
        known = {field.name for field in fields(TrainSettings)}
        changes = {key: value for key, value in changes.items() if key in known}  # settings of later versions
        settings = TrainSettings(preset=preset, **changes)
        self.settings = settings.resolved(1) if hasattr(settings, "resolved") else settings
        precision = "bf16" if self.settings.precision == "bf16" else "no"
        AcceleratorState._reset_state(reset_partial_state=True)  # it holds one precision a process otherwise
        accelerator = Accelerator(cpu=device == "cpu", mixed_precision=precision)
        self.networks = Networks(self.settings, SEMANTIC, accelerator.device)
        self.step = Step(self.settings, self.networks, self.settings.condition_mode(SEMANTIC), accelerator)
        resolution = self.settings.generator_config(SEMANTIC).resolution
        self.batches = [noise(self.settings, resolution, seed) for seed in range(4)]
        self.device = accelerator.device

    @property
    def why_eager(self) -> str | None:
        """Why the step is not run as a CUDA graph; None where it is."""
        return getattr(self.step, "eager", "this version has no graphs")

    def run(self, number: int) -> dict[str, Tensor]:
        """One step, waited for."""
        with self.feed(number) as batches:
            return self.step(number, next(batches))

    def feed(self, first: int) -> AbstractContextManager:
        """Batches as the training gets them, from step `first` on."""
        endless = itertools.islice(itertools.cycle(self.batches), first % len(self.batches), None)
        if hasattr(self.step, "ahead"):
            return self.step.ahead(endless, first)
        return nullcontext(batch.to(self.device) for batch in endless)


def noise(settings: TrainSettings, resolution: int, seed: int) -> Batch:
    """Subjects of noise, seen from all around."""
    rng = torch.Generator().manual_seed(seed)
    k = settings.views_per_subject

    def pixels(*shape: int) -> Tensor:
        return torch.randint(256, shape, generator=rng, dtype=torch.uint8)

    rows = []
    for subject in range(settings.subjects_per_batch):
        azimuth, elevation = torch.rand(2, k, generator=rng)
        cameras = orbit_labels(azimuth * 360 - 180, elevation * 75 - 30)
        semantic = torch.nn.functional.normalize(torch.randn(SEMANTIC, generator=rng), dim=0)
        views, masks = pixels(k, 3, resolution, resolution), pixels(k, resolution, resolution)
        rows.append(Row(subject, views, cameras, semantic, masks))
    return collate(rows)
