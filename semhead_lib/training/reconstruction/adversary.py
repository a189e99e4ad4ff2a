"""A discriminator of reconstructions, so that they become sharp where the truth that latents hold ends.

The mean of all that a latent may stand for is blurred. A discriminator that compares reconstructions with the images
that they were made of asks for detail instead, while what is known of the subjects holds colours and shapes in place
(Larsen et al., 2016; Esser et al., 2021). It sees heads of drawn latents as well, which are to be as good.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semhead_lib.cameras import crop_cameras
from semhead_lib.models.discriminator import WEIGHTS, Discriminator, DiscriminatorInput
from semhead_lib.models.generator import Render
from semhead_lib.models.layers import equalised
from semhead_lib.training import losses
from semhead_lib.training.reconstruction.batches import Sample
from semhead_lib.training.reconstruction.settings import ReconstructionSettings

_BETAS = (0.0, 0.99)


class Adversary:
    """The discriminator, and a step of it."""

    def __init__(self, settings: ReconstructionSettings, semantic_dimension: int, device: torch.device | str) -> None:
        self.settings = settings
        config = settings.adversarial.discriminator_config(semantic_dimension)
        self.discriminator = Discriminator(config).to(device)
        rate = settings.discriminator_lr
        self.optimiser = torch.optim.Adam(self.discriminator.parameters(), lr=rate, betas=_BETAS, fused=True)

    def learn(self, sample: Sample, made: Sequence[Render], step: int) -> dict[str, Tensor]:
        """Learn from the real images of a sample and several times as many generated ones, with the same cameras."""
        s, discriminator = self.settings.adversarial, self.discriminator
        discriminator.requires_grad_(True)
        condition, real = _condition(sample), self._seen(sample.images, sample.masks)
        penalised = step % s.r1_interval == 0
        real = real.requires_grad_() if penalised else real
        with equalised(discriminator):
            of_real = self._logits(real, condition)
            of_made = [self._logits(self._seen(x.image, x.opacity).detach(), condition) for x in made]
            each = [[losses.discriminator_loss(a, b) for a, b in zip(of_real, x, strict=True)] for x in of_made]
            found = {
                "whole_d": sum(x[0] for x in each) / len(each),
                "local_d": sum(x[1] for x in each) / len(each),
                "real": of_real[0].mean(),
                "fake": sum(x[0].mean() for x in of_made) / len(of_made),
            }
            loss = found["whole_d"] + s.local_weight * found["local_d"]
            if penalised:
                penalty = losses.r1_penalty(real, of_real[0] + s.local_weight * of_real[1].mean(1))
                loss = loss + s.r1_weight() * s.r1_interval * penalty
            self.optimiser.zero_grad()
            loss.backward()
        self.optimiser.step()
        discriminator.requires_grad_(False)
        return {name: value.detach() for name, value in found.items()}

    def doubt(self, sample: Sample, made: Sequence[Render]) -> Tensor:  # -> []
        """The generator's loss: the non-saturating one of each kind of images, added up."""
        s, condition = self.settings.adversarial, _condition(sample)
        total = sample.images.new_zeros(())
        with equalised(self.discriminator):
            for x in made:
                whole, local = self._logits(self._seen(x.image, x.opacity), condition)
                total = total + losses.generator_loss(whole) + s.local_weight * losses.generator_loss(local)
        return total

    def begin_with(self, folder: Path) -> None:
        """Take over the discriminator in the folder of a generator, where there is one of this shape."""
        if not (folder / WEIGHTS).is_file():
            return
        found = Discriminator.load(folder)
        if found.config == self.discriminator.config:
            self.discriminator.load_state_dict(found.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return {"discriminator": self.discriminator.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _seen(self, images: Tensor, masks: Tensor) -> DiscriminatorInput:
        return losses.discriminator_input(self.discriminator, images, masks)

    def _logits(self, seen: DiscriminatorInput, condition: Tensor) -> tuple[Tensor, Tensor]:  # [B] and [B, places]
        features = self.discriminator.features(seen)
        return self.discriminator.logits(features, condition), self.discriminator.local_logits(features)


def _condition(sample: Sample) -> Tensor:  # [B, 25 + D]
    cameras = sample.cameras if sample.windows is None else crop_cameras(sample.cameras, sample.windows)
    if sample.semantics is None:
        raise ValueError("the discriminator of reconstructions needs subjects with semantic features")
    semantics = sample.semantics.repeat_interleave(len(cameras) // len(sample.semantics), 0)
    return torch.cat([cameras, semantics], dim=1)
