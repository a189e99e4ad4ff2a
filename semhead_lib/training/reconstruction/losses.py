"""What is wrong with a reconstruction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semhead_lib.models.generator import Generator
from semhead_lib.models.renderer import box_bounds
from semhead_lib.ops import sample_planes
from semhead_lib.training.losses import blurred
from semhead_lib.training.reconstruction.samples import NOTHING, Rays

BEFORE = 0.008  # scene units before a surface up to which there is nothing
BEHIND = (0.003, 0.02)  # scene units behind a surface between which all is opaque
NEAR_SHARE = 0.5  # of the points before surfaces lie in the last NEAR of their rays
NEAR = 0.15
EMPTY, OPAQUE = -3.0, 20.0  # raw densities that points should stay below, and reach
_EMPTY_SCALE, _OPAQUE_SCALE = 3.0, 5.0


def detail(difference: Tensor) -> Tensor:  # [B, C, S, S] -> [B, C, S, S]
    """What a Gaussian blur of one pixel takes away."""
    return difference - blurred(difference, 1.0)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:  # [H, Z], [H, Z] -> []
    """Of N(mean, variance) from N(0, I) (Kullback and Leibler), in nats a subject.

    >>> divergence(torch.zeros(1, 4), torch.zeros(1, 4)).item()
    0.0
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()


def of_points(
    generator: Generator,
    features: Tensor,  # [H, map_channels, map_side, map_side] feature maps
    rays: Rays,
    draws: Tensor,  # [4, H, P] uniform in [0, 1]
    classes: nn.Module
    | None = None,  # [..., hidden] -> [..., classes] logits; None: classes are not looked at
) -> dict[str, Tensor]:
    """What is wrong at points of rays: of each one before its surface, one behind it, and one on
    it.

    density: mean of softplus((s - EMPTY) / 3) over points that should be empty, softplus((OPAQUE -
             s) / 5) over those that should be opaque; s is the raw density
    colour:  mean of |d| + 2 d^2 over surfaces, d = c - colour of the pixel
    class:   cross-entropy of the class of surfaces, predicted from the field's hidden layer
    """
    near, far = box_bounds(rays.origins, rays.directions, generator.renderer.settings.box)
    t = rays.distance
    hit = (t > near) & (t < far)
    misses = (t == NOTHING) & (far > near)

    which, nearby, anywhere, depth = draws.unbind()
    end = torch.where(hit, t - BEFORE, far)
    close = hit & (which < NEAR_SHARE)
    before = near + (end - near) * torch.where(close, 1 - NEAR * nearby, anywhere)
    behind = t + BEHIND[0] + (BEHIND[1] - BEHIND[0]) * depth
    distances = torch.cat([before, behind, t], dim=1)
    points = rays.origins.repeat(1, 3, 1) + distances[..., None] * rays.directions.repeat(1, 3, 1)
    renderer = generator.renderer
    raw, colours = renderer.field(features, points)
    empty, opaque, _ = raw.chunk(3, dim=1)
    is_empty, is_opaque = (hit | misses) & (before > near), hit & (behind < far)
    wrong = F.softplus((empty - EMPTY) / _EMPTY_SCALE) * is_empty
    wrong = wrong + F.softplus((OPAQUE - opaque) / _OPAQUE_SCALE) * is_opaque
    difference = (colours.chunk(3, dim=1)[2][..., :3] - rays.colours).abs()
    colour = (difference + 2 * difference.square()).mean(-1)
    hits = hit.sum().clamp_min(1)
    found = {
        "density": wrong.sum() / (is_empty.sum() + is_opaque.sum()).clamp_min(1),
        "colour": (colour * hit).sum() / hits,
    }
    if classes is not None:
        surface = renderer.settings.box.normalised(points.chunk(3, dim=1)[2])
        read = sample_planes(renderer.planes.map(features), surface, renderer.planes.layout)
        hidden = F.softplus(F.linear(read, *renderer.network[:2]))
        each = F.cross_entropy(classes(hidden).transpose(1, 2), rays.classes, reduction="none")
        found["class"] = (each * hit).sum() / hits
    return found
