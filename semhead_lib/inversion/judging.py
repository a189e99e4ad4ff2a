"""How good a fitted head is: on the view it was fitted to, and on every side where the truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.evaluation.consistency import generated_views, ray_distance
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.inversion.losses import map_distance
from semhead_lib.inversion.search import Inverted
from semhead_lib.inversion.targets import Target
from semhead_lib.models.mesh import mesh
from semhead_lib.training.grids import to_uint8

FACING = 45.0  # degrees of azimuth up to which faces are compared
_SURFACE_POINTS = 20_000


@dataclass(frozen=True)
class Truth:
    """Pictures of a head from V cameras, at the generator's size, with what is known of them."""

    pictures: Tensor  # [V, 3, S, S] uint8
    masks: Tensor  # [V, S, S] uint8 coverage
    cameras: Tensor  # [V, 25]
    depth: Tensor | None = None  # [V, S, S] camera z, 0 where nothing is hit
    surface: Tensor | None = None  # [N, 3] world points spread over the true mesh
    inside: Tensor | None = None  # [V, S, S] uint8: 0 where nothing is known, as beyond a photograph's edge


def as_aligned(target: Target, fitted: Inverted) -> Truth:
    """Photographs in the crops that were found, from where they are believed to be taken; depth is not known there."""
    masks, inside = ((layer[:, 0].cpu() * 255).round().byte() for layer in (target.masks, target.inside))
    return Truth(to_uint8(target.images), masks, fitted.cameras.cpu(), inside=inside)


def psnr(x: Tensor, y: Tensor) -> Tensor:  # [B, 3, S, S] in [0, 1] twice -> [B]
    """Peak signal-to-noise ratio, decibels; 100 for equal pictures.

    >>> psnr(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.1))
    tensor([20.])
    """
    return -10 * (x - y).square().mean((1, 2, 3)).clamp_min(1e-10).log10()


def ssim(x: Tensor, y: Tensor) -> Tensor:  # [B, 3, S, S] in [0, 1] twice -> [B]
    """Structural similarity with the authors' Gaussian window (Wang et al., 2004); 1 for equal pictures."""
    from skimage.metrics import structural_similarity

    settings: dict[str, Any] = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    settings |= dict(data_range=1.0, channel_axis=0)
    pairs = zip(x.double().cpu().numpy(), y.double().cpu().numpy(), strict=True)
    return torch.tensor([structural_similarity(a, b, **settings) for a, b in pairs])


def mask_iou(one: Tensor, other: Tensor) -> Tensor:  # [B, S, S] coverage in [0, 1] twice -> [B]
    """Intersection over union of where coverage is more than a half; 1 where both are empty.

    >>> mask_iou(torch.tensor([[[1.0, 1.0, 0.0]]]), torch.tensor([[[1.0, 0.0, 0.0]]]))
    tensor([0.5000])
    """
    a, b = one > 0.5, other > 0.5
    union = (a | b).sum((1, 2))
    return torch.where(union > 0, (a & b).sum((1, 2)) / union.clamp_min(1), 1.0)


@torch.no_grad()
def view_figures(
    fitted: Inverted, truth: Truth, encoder: SemanticEncoder, extractor: FeatureExtractor
) -> dict[str, Tensor]:
    """For each camera, [V]: "psnr", "ssim", "perceptual" (`map_distance` of the extractor's maps), "semantic" (cosine
    of the encoder's features), "iou", and with depth "depth": the median distance between the surfaces along rays that
    meet both, scene units. Raises ValueError for an extractor that gives no maps."""
    if extractor.maps is None:
        raise ValueError(f"features by {extractor.identity} come without maps, which pictures are compared by")
    device = fitted.w.device
    cameras = truth.cameras.to(device)
    render = fitted.generator.synthesize(fitted.w, cameras)
    drawn = to_uint8(render.image)
    x, y, masks = drawn / 255, truth.pictures / 255, truth.masks / 255
    covered = F.interpolate(render.opacity.cpu(), size=y.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    if truth.inside is not None:  # beyond the photograph there is no error
        known = truth.inside > 127
        y, masks = torch.where(known[:, None], y, x), torch.where(known, masks, covered)
    found = {"psnr": psnr(x, y), "ssim": ssim(x, y), "iou": mask_iou(covered, masks)}
    maps, true_maps = (extractor.maps(p * 2 - 1) for p in (x, y))
    one, other = (encoder.encode(p * 2 - 1) for p in (x, y))
    found["perceptual"], found["semantic"] = map_distance(maps, true_maps).cpu(), (one * other).sum(1).cpu()
    if truth.depth is not None:
        seen = generated_views(fitted.generator, fitted.w, cameras)
        off = (seen.distance.cpu() - ray_distance(truth.depth, truth.cameras)).abs()
        both = seen.mask.cpu() & (truth.depth > 0)
        found["depth"] = torch.where(both, off, torch.nan).flatten(1).nanmedian(1).values
    return {name: value.double() for name, value in found.items()}


@torch.no_grad()
def identity_figure(fitted: Inverted, truth: Truth, azimuths: Tensor) -> float:
    """dlib's distance between true and fitted face, mean over the views within `FACING` in which it finds both; NaN
    where it finds none. Below 0.6 means "same person" to its author."""
    from semhead_lib.data.faces import face_judge

    judge, distances = face_judge(), []
    for i in torch.nonzero(azimuths.abs() <= FACING).flatten().tolist():
        label = truth.cameras[i : i + 1].to(fitted.w.device)
        pictures = to_uint8(fitted.generator.synthesize(fitted.w, label).image)[0], truth.pictures[i]
        found, true = (judge.identity(picture) for picture in pictures)
        if found is not None and true is not None:
            distances.append(float(np.linalg.norm(found - true)))
    return float(np.mean(distances)) if distances else float("nan")


def chamfer(one: np.ndarray, other: np.ndarray) -> float:  # [N, 3], [M, 3]
    """Half the sum of the mean distance from each point to the nearest of the other set, both ways; scene units.

    >>> chamfer(np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]]))
    1.5
    """
    from scipy.spatial import KDTree

    there, back = KDTree(other, leafsize=16).query(one)[0], KDTree(one, leafsize=16).query(other)[0]
    return float(np.mean(there) + np.mean(back)) / 2


def surface_points(vertices: np.ndarray, faces: np.ndarray, count: int, seed: int = 0) -> np.ndarray:  # [count, 3]
    """Points spread evenly over a mesh's area."""
    corners = vertices[faces].astype(np.float64)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    rng = np.random.default_rng(seed)
    chosen = corners[rng.choice(len(faces), count, p=areas / areas.sum())]
    u, v = rng.random((2, count))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return chosen[:, 0] + u[:, None] * (chosen[:, 1] - chosen[:, 0]) + v[:, None] * (chosen[:, 2] - chosen[:, 0])


def shape_figure(fitted: Inverted, truth: Truth, resolution: int = 96) -> float:
    """Chamfer distance between the fitted head's mesh and the true surface, scene units; NaN where one of them has
    no surface."""
    if truth.surface is None:
        return float("nan")
    try:
        found = mesh(fitted.generator, fitted.w[0], resolution)
    except ValueError:
        return float("nan")
    return chamfer(surface_points(found.vertices, found.faces, _SURFACE_POINTS), truth.surface.numpy())
