"""How close images, masks and surfaces are to the true ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(x: Tensor, y: Tensor) -> Tensor:  # [B, 3, S, S] in [0, 1] twice -> [B]
    """Peak signal-to-noise ratio, decibels; 100 for equal images.

    >>> psnr(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.1))
    tensor([20.])
    """
    return -10 * (x - y).square().mean((1, 2, 3)).clamp_min(1e-10).log10()


def ssim(x: Tensor, y: Tensor) -> Tensor:  # [B, 3, S, S] in [0, 1] twice -> [B]
    """Structural similarity with the authors' Gaussian window (Wang et al., 2004); 1 for equal
    images."""
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


def chamfer(one: np.ndarray, other: np.ndarray) -> float:  # [N, 3], [M, 3]
    """Half the sum of the mean distance from each point to the nearest of the other set, both ways;
    scene units.

    >>> chamfer(np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]]))
    1.5
    """
    from scipy.spatial import KDTree

    there, back = KDTree(other, leafsize=16).query(one)[0], KDTree(one, leafsize=16).query(other)[0]
    return float(np.mean(there) + np.mean(back)) / 2


def surface_points(
    vertices: np.ndarray, faces: np.ndarray, count: int, seed: int = 0
) -> np.ndarray:  # [count, 3]
    """Points spread evenly over a mesh's area."""
    corners = vertices[faces].astype(np.float64)
    areas = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1
    )
    rng = np.random.default_rng(seed)
    chosen = corners[rng.choice(len(faces), count, p=areas / areas.sum())]
    u, v = rng.random((2, count))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return (
        chosen[:, 0]
        + u[:, None] * (chosen[:, 1] - chosen[:, 0])
        + v[:, None] * (chosen[:, 2] - chosen[:, 0])
    )


def map_distance(one: list[Tensor], other: list[Tensor]) -> Tensor:  # [B, C, h, w] each -> [B]
    """The mean over maps of mean over places of |f/|f| - g/|g||^2, f and g the channels of one
    place.

    LPIPS (Zhang et al., 2018) without learnt weights of channels.
    """
    each = [
        (F.normalize(f, dim=1) - F.normalize(g, dim=1)).square().sum(1).mean((1, 2))
        for f, g in zip(one, other, strict=True)
    ]
    return torch.stack(each).mean(0)
