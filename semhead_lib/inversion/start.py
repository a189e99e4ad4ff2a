"""Initialisation of an inversion: the style whose image is most similar to the photograph."""

from __future__ import annotations

import torch
from torch import Tensor

from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.frontal.network import front_features, joined
from semhead_lib.inversion.coarse_steps import at_half_size
from semhead_lib.inversion.encoder import StyleEncoder
from semhead_lib.inversion.losses import Objective
from semhead_lib.models.generator import Generator
from semhead_lib.models.sampling import latents, to_uint8

STARTS = ("mean", "best", "encoder")
FRONTS = ("predicted", "own")
_AT_A_TIME = 16  # heads


def condition_of(
    bank: ConditionBank, objective: Objective, azimuth: float = 0.0, front: str = FRONTS[0]
) -> Tensor | None:  # [1, K]
    """The generator's condition for the photographs: the feature of the head's front, predicted
    from all of them together, and the view where it takes one. A mode with a view takes the one at
    `azimuth` degrees.

    With `front="own"` it is the mean of the photographs' own features, as for an encoder that there
    is no predictor for; a photograph from the side has another feature than the front.
    """
    semantics = torch.nn.functional.normalize(objective.semantics.sum(0, keepdim=True), dim=1)
    if front == "predicted" and bank.mode.uses_semantics:
        photographs = to_uint8(objective.target.images)
        predicted = front_features(objective.encoder, photographs)
        if predicted.certainty.isfinite().all():
            semantics = joined(predicted).features.to(semantics)
    condition = bank.mapping_condition(
        semantics.cpu() if bank.mode.uses_semantics else None, 1, azimuth
    )
    return None if condition is None else condition.to(objective.target.images.device)


@torch.no_grad()
def mean_style(generator: Generator, condition: Tensor | None) -> Tensor:  # [1, K] -> [1, W]
    """The mean style under the condition."""
    return generator.mapping.mean(condition)


@torch.no_grad()
def candidates(
    generator: Generator, condition: Tensor | None, count: int, psi: float = 0.7, seed: int = 0
) -> Tensor:  # [1 + count, W]
    """The mean style under the condition, and `count` styles sampled around it."""
    mean = mean_style(generator, condition)
    z = latents(count, generator.config.z_dim, seed).to(mean)
    expanded = None if condition is None else condition.expand(count, -1)
    return torch.cat([mean, generator.mapping(z, expanded, psi, towards=mean[0])])


@torch.no_grad()
def other_styles(
    generator: Generator, bank: ConditionBank, count: int, seed: int = 0
) -> Tensor:  # [count, W]
    """Styles of random heads, under conditions of the training data."""
    device = generator.mapping.w_mean.device
    condition = bank.sample(count, "interpolate", seed)
    z = latents(count, generator.config.z_dim, seed).to(device)
    return generator.mapping(z, None if condition is None else condition.to(device))


@torch.no_grad()
def encoded(
    generator: Generator, encoder: StyleEncoder, objective: Objective, condition: Tensor | None
) -> Tensor:  # [1, W]
    """The style encoder's prediction, averaged over the photographs."""
    t = objective.target
    expanded = None if condition is None else condition.expand(len(t), -1)
    return encoder.style(generator, t.images, t.cameras, expanded).mean(0, keepdim=True)


@torch.no_grad()
def best_of(
    generator: Generator, objective: Objective, styles: Tensor
) -> tuple[Tensor, Tensor]:  # [N, W]
    """The style [1, W] whose head is nearest to the photographs, and the distances of all [N]. They
    are compared at half the size where the generator can."""
    cameras = objective.target.cameras
    rendering = at_half_size(generator, objective)
    side, compared = (None, objective) if rendering is None else rendering[:2]
    distances = [
        compared(generator.synthesize(part, cameras.repeat(len(part), 1), side))["all"]
        for part in styles.split(_AT_A_TIME)
    ]
    distances = torch.cat(distances)
    return styles[distances.argmin()][None], distances
