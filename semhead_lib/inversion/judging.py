"""Metrics of a fitted head: on the view it was fitted to, and at every azimuth with known ground
truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.evaluation.generated_views import generated_views
from semhead_lib.inversion.search import Inverted
from semhead_lib.inversion.targets import Target
from semhead_lib.metrics.consistency import ray_distance
from semhead_lib.metrics.reconstruction import (
    chamfer,
    map_distance,
    mask_iou,
    psnr,
    ssim,
    surface_points,
)
from semhead_lib.models.mesh import mesh
from semhead_lib.models.sampling import to_uint8

FACING = 45.0  # degrees of azimuth up to which faces are compared
_SURFACE_POINTS = 20_000


@dataclass(frozen=True)
class Truth:
    """Images of a head from V cameras, at the generator's size, with the known ground truth."""

    images: Tensor  # [V, 3, S, S] uint8
    masks: Tensor  # [V, S, S] uint8 coverage
    cameras: Tensor  # [V, 25]
    depth: Tensor | None = None  # [V, S, S] camera z, 0 where nothing is hit
    surface: Tensor | None = None  # [N, 3] world points spread over the true mesh
    inside: Tensor | None = (
        None  # [V, S, S] uint8: 0 where nothing is known, as beyond a photograph's edge
    )


def as_aligned(target: Target, fitted: Inverted) -> Truth:
    """Photographs in the estimated crops, with the estimated cameras and without depth."""
    masks, inside = (
        (layer[:, 0].cpu() * 255).round().byte() for layer in (target.masks, target.inside)
    )
    return Truth(to_uint8(target.images), masks, fitted.cameras.cpu(), inside=inside)


@torch.no_grad()
def view_metrics(
    fitted: Inverted, truth: Truth, encoder: SemanticEncoder, extractor: FeatureExtractor
) -> dict[str, Tensor]:
    """For each camera, [V]: "psnr", "ssim", "perceptual" (`map_distance` of the extractor's maps),
    "semantic" (cosine of the encoder's features), "iou", and with depth "depth": the median
    distance between the surfaces along rays that meet both, scene units. Raises ValueError for an
    extractor that gives no maps."""
    if extractor.maps is None:
        raise ValueError(
            f"features by {extractor.identity} come without maps, which images are compared by"
        )
    device = fitted.w.device
    cameras = truth.cameras.to(device)
    render = fitted.generator.synthesize(fitted.w, cameras)
    drawn = to_uint8(render.image)
    x, y, masks = drawn / 255, truth.images / 255, truth.masks / 255
    covered = F.interpolate(
        render.mask.cpu(), size=y.shape[-2:], mode="bilinear", align_corners=False
    )[:, 0]
    if truth.inside is not None:  # beyond the photograph there is no error
        known = truth.inside > 127
        y, masks = torch.where(known[:, None], y, x), torch.where(known, masks, covered)
    found = {"psnr": psnr(x, y), "ssim": ssim(x, y), "iou": mask_iou(covered, masks)}
    maps, true_maps = (extractor.maps(p * 2 - 1) for p in (x, y))
    one, other = (encoder.encode(p * 2 - 1) for p in (x, y))
    found["perceptual"], found["semantic"] = (
        map_distance(maps, true_maps).cpu(),
        (one * other).sum(1).cpu(),
    )
    if truth.depth is not None:
        seen = generated_views(fitted.generator, fitted.w, cameras)
        off = (seen.distance.cpu() - ray_distance(truth.depth, truth.cameras)).abs()
        both = seen.mask.cpu() & (truth.depth > 0)
        found["depth"] = torch.where(both, off, torch.nan).flatten(1).nanmedian(1).values
    return {name: value.double() for name, value in found.items()}


@torch.no_grad()
def identity_metric(fitted: Inverted, truth: Truth, azimuths: Tensor) -> float:
    """dlib's distance between true and fitted face, mean over the views within `FACING` in which it
    finds both; NaN where it finds none. Below 0.6 means "same person" to its author."""
    from semhead_lib.data.portraits.faces import face_judge

    judge, distances = face_judge(), []
    for i in torch.nonzero(azimuths.abs() <= FACING).flatten().tolist():
        label = truth.cameras[i : i + 1].to(fitted.w.device)
        images = to_uint8(fitted.generator.synthesize(fitted.w, label).image)[0], truth.images[i]
        found, true = (judge.identity(image) for image in images)
        if found is not None and true is not None:
            distances.append(float(np.linalg.norm(found - true)))
    return float(np.mean(distances)) if distances else float("nan")


def shape_metric(fitted: Inverted, truth: Truth, resolution: int = 96) -> float:
    """Chamfer distance between the fitted head's mesh and the true surface, scene units; NaN where
    one of them has no surface."""
    if truth.surface is None:
        return float("nan")
    try:
        found = mesh(fitted.generator, fitted.w[0], resolution)
    except ValueError:
        return float("nan")
    return chamfer(
        surface_points(found.vertices, found.faces, _SURFACE_POINTS), truth.surface.numpy()
    )
