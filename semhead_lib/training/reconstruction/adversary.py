"""A discriminator that makes reconstructions sharp (VAE-GAN: Larsen et al., 2016; VQGAN: Esser et
al., 2021).

A latent does not determine every detail of an image, and an L1 loss is least for the blurred
average of all images that it could stand for. The discriminator compares reconstructions with the
real images and rewards detail instead, while the losses of images, masks and points keep colours
and shapes. It may judge heads of random latents as well.
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
from semhead_lib.training.reconstruction.samples import Sample
from semhead_lib.training.reconstruction.settings import ReconstructionSettings

_BETAS = (0.0, 0.99)


class Adversary:
    """The discriminator with its optimiser, and the losses of both sides."""

    def __init__(
        self, settings: ReconstructionSettings, semantic_dimension: int, device: torch.device | str
    ) -> None:
        self.settings = settings.adversarial  # with a weight of local logits and of R1
        config = self.settings.discriminator_config(semantic_dimension)
        self.discriminator = Discriminator(config).to(device)
        self.matches = settings.matching_weight > 0
        rate = settings.discriminator_lr
        self.optimiser = torch.optim.Adam(
            self.discriminator.parameters(),
            lr=rate,
            betas=_BETAS,
            fused=True,
            capturable=torch.device(device).type == "cuda",
        )

    def penalises(self, step: int) -> bool:
        """Whether R1 is part of a step."""
        return step % self.settings.r1_interval == 0

    def learn(self, sample: Sample, made: Sequence[Render], penalised: bool) -> dict[str, Tensor]:
        """One step of the discriminator: logistic loss of whole images and of 8 x 8 places, and R1
        where the step is `penalised`.

        Args:
            sample: B real images with masks, cameras and semantics.
            made: kinds of generated images, B of each, with the cameras of the real ones; their
                losses are averaged.

        Returns means for the log: loss_d, local_d, and the logits real and fake.
        """
        s, discriminator = self.settings, self.discriminator
        discriminator.requires_grad_(True)
        condition, real = _condition(sample), self._seen(sample.images, sample.masks).detach()
        real = real.requires_grad_() if penalised else real
        with equalised(discriminator):
            of_real = self._logits(real, condition)
            of_made = [
                self._logits(self._seen(x.image, x.opacity).detach(), condition) for x in made
            ]
            each = [
                [losses.discriminator_loss(a, b) for a, b in zip(of_real, x, strict=True)]
                for x in of_made
            ]
            found = {
                "loss_d": sum(x[0] for x in each) / len(each),
                "local_d": sum(x[1] for x in each) / len(each),
                "real": of_real[0].mean(),
                "fake": sum(x[0].mean() for x in of_made) / len(of_made),
            }
            loss = found["loss_d"] + s.local_weight * found["local_d"]
            if penalised:
                penalty = losses.r1_penalty(real, of_real[0] + s.local_weight * of_real[1].mean(1))
                loss = loss + s.r1_weight() * s.r1_interval * penalty
            self.optimiser.zero_grad(set_to_none=False)  # they stay where a captured graph has them
            loss.backward()
        self.optimiser.step()
        discriminator.requires_grad_(False)
        return {name: value.detach() for name, value in found.items()}

    def generator_losses(self, sample: Sample, made: Sequence[Render]) -> dict[str, Tensor]:
        """What the discriminator has against generated images, each a number.

        "adversarial" is the non-saturating logistic loss of whole images and places, summed over
        the kinds of generated images. "matching", where it has a weight, compares reconstructions,
        the first kind, with the real images in the discriminator's activations (Larsen et al.,
        2016, equation 7): mean absolute difference over mean magnitude, averaged over all sizes.
        """
        s, condition = self.settings, _condition(sample)
        found = {"adversarial": sample.images.new_zeros(())}
        with equalised(self.discriminator):
            for k, x in enumerate(made):
                activations = [] if self.matches and k == 0 else None
                whole, local = self._logits(self._seen(x.image, x.opacity), condition, activations)
                found["adversarial"] = (
                    found["adversarial"]
                    + losses.generator_loss(whole)
                    + s.local_weight * losses.generator_loss(local)
                )
                if activations is not None:
                    found["matching"] = self._mismatch(sample, activations)
        return found

    def _mismatch(self, sample: Sample, made: Sequence[Tensor]) -> Tensor:  # -> []
        real: list[Tensor] = []
        with torch.no_grad():
            self.discriminator.features(self._seen(sample.images, sample.masks), activations=real)
        each = [(a - b).abs().mean() / b.abs().mean() for a, b in zip(made, real, strict=True)]
        return torch.stack(each).mean()

    def begin_with(self, folder: Path) -> None:
        """Start from the discriminator in a generator's folder, where there is one.

        Raises RuntimeError when it has another shape.
        """
        if (folder / WEIGHTS).is_file():
            self.discriminator.load_state_dict(Discriminator.load(folder).state_dict())

    def state_dict(self) -> dict[str, Any]:
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.discriminator.load_state_dict(state["discriminator"])
        load_optimiser(self.optimiser, state["optimiser"])

    def _seen(self, images: Tensor, masks: Tensor) -> DiscriminatorInput:
        return losses.discriminator_input(self.discriminator, images, masks)

    def _logits(
        self,
        seen: DiscriminatorInput,
        condition: Tensor,
        activations: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:  # [B] and [B, places]
        features = self.discriminator.features(seen, activations=activations)
        return self.discriminator.logits(features, condition), self.discriminator.local_logits(
            features
        )


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over a state that may be of a training on another device."""
    kept = [{k: group[k] for k in ("lr", "capturable")} for group in optimiser.param_groups]
    optimiser.load_state_dict(state)
    for group, own in zip(optimiser.param_groups, kept, strict=True):
        group.update(own)


def _condition(sample: Sample) -> Tensor:  # [B, 25 + D] cameras of the crops, semantic features
    cameras = (
        sample.cameras if sample.windows is None else crop_cameras(sample.cameras, sample.windows)
    )
    if sample.semantics is None:
        raise ValueError(
            "the discriminator of reconstructions needs subjects with semantic features"
        )
    semantics = sample.semantics.repeat_interleave(len(cameras) // len(sample.semantics), 0)
    return torch.cat([cameras, semantics], dim=1)
