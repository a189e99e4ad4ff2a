"""A training step on noise, for checks and for measuring: what is in the images does not change how
long it takes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from semhead_lib.cameras import orbit_cameras
from semhead_lib.data.dataset.batches import Row, collate
from semhead_lib.data.subjects import Batch
from semhead_lib.training.settings import TrainSettings
from semhead_lib.training.step import Networks, Step

SEMANTIC = 128  # numbers in a semantic feature


class TrialStep:
    """The networks of a preset, and steps on batches of noise."""

    def __init__(self, preset: str, device: str, **changes: Any) -> None:
        self.settings = TrainSettings(preset=preset, **changes).resolved(1)
        accelerator = Accelerator(cpu=device == "cpu")
        self.networks = Networks(self.settings, SEMANTIC, accelerator.device)
        self.step = Step(
            self.settings, self.networks, self.settings.condition_mode(SEMANTIC), accelerator
        )
        resolution = self.settings.generator_config(SEMANTIC).resolution
        self.batches = [noise(self.settings, resolution, seed) for seed in range(4)]

    @property
    def why_eager(self) -> str | None:
        """Why steps are not run as CUDA graphs; None where they are. Known for good after some of
        each kind."""
        return self.step.eager

    def run(self, number: int) -> dict[str, Tensor]:
        """One step."""
        return self.step(number, self.batches[number % len(self.batches)])

    def feed(self, first: int) -> AbstractContextManager[Iterator[Any]]:
        """Batches as the training gets them, from step `first` on: prepared ahead."""
        endless = itertools.islice(itertools.cycle(self.batches), first % len(self.batches), None)
        return self.step.ahead(endless, first)


def noise(settings: TrainSettings, resolution: int, seed: int) -> Batch:
    """Subjects of noise, seen from all around."""
    rng = torch.Generator().manual_seed(seed)
    k = settings.views_per_subject

    def pixels(*shape: int) -> Tensor:
        return torch.randint(256, shape, generator=rng, dtype=torch.uint8)

    rows = []
    for subject in range(settings.subjects_per_batch):
        azimuth, elevation = torch.rand(2, k, generator=rng)
        cameras = orbit_cameras(azimuth * 360 - 180, elevation * 75 - 30)
        semantic = torch.nn.functional.normalize(torch.randn(SEMANTIC, generator=rng), dim=0)
        views, masks = pixels(k, 3, resolution, resolution), pixels(k, resolution, resolution)
        rows.append(Row(subject, views, cameras, semantic, masks))
    return collate(rows)
