"""Pivotal tuning: the generator is fitted to the photographs at the optimised style (Roich et al.,
2022)."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import ELEVATION_RANGE, orbit_cameras
from semhead_lib.inversion.coarse_steps import coarse_steps
from semhead_lib.inversion.losses import Objective, image_distance
from semhead_lib.inversion.search import (
    Best,
    Inverted,
    Search,
    schedule,
    steps_of,
)
from semhead_lib.inversion.settings import InversionSettings
from semhead_lib.models.generator import Render

_WAY = 0.5  # how far from the pivot to another head the generator is held


def tune(
    fitted: Inverted,
    objective: Objective,
    others: Tensor,  # [N, W] styles of other heads
    settings: InversionSettings,
    *,
    progress: bool = False,
    reference: bool = False,
) -> Inverted:
    """Adam on all weights but the mapping network's. Ctrl-C gives the best result so far. The input
    is not modified.

    Elsewhere the generator is regularised to stay unchanged: halfway to other heads (the paper's
    locality regularisation), and at the pivot from all other sides, which a photograph does not
    show. This term is computed every `locality_interval` steps and at the last step; the weights
    kept are those with the lowest sum of both terms, where both were computed.
    """
    s, before = settings, fitted.generator
    generator = copy.deepcopy(before)
    parts = (
        generator.backbone,
        generator.renderer,
        generator.super_resolution,
        generator.background,
    )
    learnt = [p.requires_grad_() for part in parts if part is not None for p in part.parameters()]
    optimiser = torch.optim.Adam(learnt, lr=s.pivotal_lr)
    best, search, rng = Best(learnt), Search(), torch.Generator().manual_seed(s.seed)

    with (
        coarse_steps([generator, before], objective, s) as rendering_at,
        steps_of(search, s.tuning_steps or 0, s, "tuning", progress) as steps,
    ):
        for along in steps:
            rendering = rendering_at(along)
            if rendering.changed:
                best.judge_anew()
            optimiser.param_groups[0]["lr"] = s.pivotal_lr * schedule(along)
            drawn = generator.synthesize(
                fitted.w, fitted.cameras, rendering.side, reference=reference
            )
            terms = rendering.objective(drawn)
            loss = terms["all"].mean()
            regular = len(search.losses) % s.locality_interval == 0
            measured = rendering.changed or regular or steps.last
            if s.locality and measured:
                styles, cameras = elsewhere(fitted.w, others, rng)
                with torch.no_grad():
                    was = before.synthesize(styles, cameras, rendering.side, reference=reference)
                now = generator.synthesize(styles, cameras, rendering.side, reference=reference)
                locality = s.locality * difference(now, was)
                best.see(loss + locality)
                loss = loss + s.locality_interval * locality
            elif not s.locality:
                best.see(loss)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            steps.saw(terms)
    best.restore()
    return replace(fitted, generator=generator.requires_grad_(False), tuning=search)


def elsewhere(w: Tensor, others: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The pivot and a style halfway to another head's, [2, ...], and a camera for each from
    anywhere, [2, 25]."""
    other = others[torch.randint(len(others), (1,), generator=rng)]
    other = other if w.dim() == 2 else other[:, None].expand_as(w)
    return torch.cat([w, torch.lerp(w, other, _WAY)]), cameras_anywhere(2, rng).to(w)


def cameras_anywhere(count: int, rng: torch.Generator) -> Tensor:  # -> [count, 25]
    """Cameras at random azimuths, and elevations as in training."""
    low, high = ELEVATION_RANGE
    drawn = torch.rand(2, count, generator=rng)
    return orbit_cameras(drawn[0] * 360 - 180, low + drawn[1] * (high - low))


def difference(now: Render, was: Render) -> Tensor:
    """Mean squared difference of the images, the raw ones, and the opacities."""
    everywhere = torch.ones_like(was.image[:, :1])
    image = image_distance(now.image, was.image, everywhere).mean()
    return image + F.mse_loss(now.image_raw, was.image_raw) + F.mse_loss(now.opacity, was.opacity)
