"""Faces cut out of images of heads by their cameras, so that metrics look at what people look at."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import orbit_angles, project

CENTRE = (0.0, -0.06, 0.15)  # of a face, scene units: between eyes and mouth
HALF = 0.15  # half the side of the crop at the face's depth, scene units
WIDEST = 45.0  # degrees of azimuth on either side within which faces are cut


def frontal(cameras: Tensor, widest: float = WIDEST) -> Tensor:  # [N, 25] -> [N] bool
    """Which cameras see the face from within `widest` degrees of its front."""
    return orbit_angles(cameras)[:, 0].abs() <= widest


def face_crops(
    images: Tensor,  # [N, 3, S, S] in [-1, 1]
    cameras: Tensor,  # [N, 25]
    side: int | None = None,  # pixels of the crops; None: S / 2
) -> Tensor:  # [N, 3, side, side]
    """The square around where a face of average size is, bilinear; beyond the image its edge is repeated."""
    if len(images) != len(cameras):
        raise ValueError(f"each image needs a camera, got {len(images)} images and {len(cameras)} cameras")
    side = side or images.shape[-1] // 2
    uv, z = project(torch.tensor([CENTRE]), cameras)
    theta = torch.zeros(len(images), 2, 3)
    half = cameras[:, 16] * HALF / z[:, 0]  # in image widths
    theta[:, 0, 0] = theta[:, 1, 1] = 2 * half
    theta[:, :, 2] = 2 * uv[:, 0] - 1
    grid = F.affine_grid(theta, [len(images), 3, side, side], align_corners=False).to(images)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
