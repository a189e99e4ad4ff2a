"""The square around a face, cut out of an image by the image's camera: no face is searched."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import FACE, project

HALF = 0.15  # half the side of the crop at the face's depth, scene units


def face_crops(
    images: Tensor,  # [N, 3, S, S] in [-1, 1]
    cameras: Tensor,  # [N, 25]
    side: int | None = None,  # pixels of the crops; None: S / 2
    interpolation: str = "bilinear",  # or bicubic
) -> Tensor:  # [N, 3, side, side]
    """The square around where a face of average size is; beyond the image its edge is repeated."""
    if len(images) != len(cameras):
        raise ValueError(
            f"each image needs a camera, got {len(images)} images and {len(cameras)} cameras"
        )
    side = side or images.shape[-1] // 2
    uv, z = project(torch.tensor([FACE]), cameras)
    theta = torch.zeros(len(images), 2, 3)
    half = cameras[:, 16] * HALF / z[:, 0]  # in image widths
    theta[:, 0, 0] = theta[:, 1, 1] = 2 * half
    theta[:, :, 2] = 2 * uv[:, 0] - 1
    grid = F.affine_grid(theta, [len(images), 3, side, side], align_corners=False).to(images)
    return F.grid_sample(
        images, grid, mode=interpolation, padding_mode="border", align_corners=False
    )
