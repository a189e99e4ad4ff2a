"""Steps of reconstruction between those of an adversarial training, so that it keeps what the truth
taught it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.models.generator import Generator
from semhead_lib.training.reconstruction.batches import SubjectBatches
from semhead_lib.training.reconstruction.reconstructor import Reconstructor, save_encoder
from semhead_lib.training.reconstruction.settings import OF_BOTH, ReconstructionSettings
from semhead_lib.training.settings import TrainSettings

_MOST = 6  # subjects, and images of each, of a step


class Anchor:
    """The generator that is trained, an encoder, and batches of subjects with depth and classes.

    Raises ValueError for data without those, or that are not in memory.
    """

    def __init__(
        self,
        settings: TrainSettings,
        data: Any,
        dimension: int,
        generator: Generator,
        device: torch.device,
    ) -> None:
        if not isinstance(data, SubjectsInMemory):
            raise ValueError("reconstruct_every needs data in memory: leave out stream=true")
        views = min(_MOST, data.manifest.layout.views_per_subject[0])
        own = ReconstructionSettings(
            **{name: getattr(settings, name) for name in OF_BOTH},
            subjects_per_batch=min(_MOST, len(data)),
            views_per_subject=views,
            rendered=min(2, views),
            lr=settings.reconstruct_lr,
            encoder_lr=settings.reconstruct_lr,
            fall=0.0,
            seed=settings.seed,
        )
        self.batches, self.device = SubjectBatches(data, own), device
        self.networks = Reconstructor(own, dimension, device, generator)

    def step(self, number: int) -> dict[str, Tensor]:
        """Learn from batch `number`; what is worth a line in the log."""
        found = self.networks.step(self.batches(number).to(self.device), number)
        return {f"reconstructed_{name}": found[name] for name in ("image", "mask", "colour")}

    def begin_with(self, folder: Path) -> None:
        """Take over the encoder in the folder of a generator, where there is one.

        Raises ValueError when it is of another shape.
        """
        self.networks.begin_with(folder)

    def state(self) -> dict[str, Any]:
        return self.networks.state()

    def restore(self, state: dict[str, Any]) -> None:
        self.networks.restore(state)

    def save(self, folder: Path) -> None:
        save_encoder(self.networks.encoder, folder)
