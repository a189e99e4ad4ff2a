"""Faces cut out of images of heads by their cameras, so that metrics look at what people look
at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import FACE, orbit_angles, project
from semhead_lib.data.dataset.batches import to_model_range
from semhead_lib.models.sampling import to_uint8

HALF = 0.15  # half the side of the crop at the face's depth, scene units
WIDEST = 45.0  # degrees of azimuth on either side within which faces are cut
# pixels of the images: in smaller ones an eye is a pixel or two, and there is no face to judge
LEAST_SIDE = 64
_AT_ONCE = 64  # images


def frontal(cameras: Tensor, widest: float = WIDEST) -> Tensor:  # [N, 25] -> [N] bool
    """Which cameras see the face from within `widest` degrees of its front."""
    return orbit_angles(cameras)[:, 0].abs() <= widest


def face_crops(
    images: Tensor,  # [N, 3, S, S] in [-1, 1]
    cameras: Tensor,  # [N, 25]
    side: int | None = None,  # pixels of the crops; None: S / 2
) -> Tensor:  # [N, 3, side, side]
    """The square around where a face of average size is, bilinear; beyond the image its edge is
    repeated."""
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
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class FaceFeatures:
    """Features of the faces of N heads: of each, one for every view near its front."""

    features: Tensor  # [F, D] float64
    head: Tensor  # [F] int64: which head each is of
    heads: int  # N

    @classmethod
    def of(
        cls,
        images: Tensor,  # [N, V, 3, S, S] uint8
        cameras: Tensor,  # [N, V, 25]
        encode: Callable[[Tensor], Tensor],  # [F, 3, S / 2, S / 2] uint8 -> [F, D]
    ) -> FaceFeatures | None:
        """None where images are smaller than LEAST_SIDE or no view is near the front."""
        near = frontal(cameras.flatten(0, 1))
        if images.shape[-1] < LEAST_SIDE or not near.any():
            return None
        seen, by = (
            images.flatten(0, 1)[near].split(_AT_ONCE),
            cameras.flatten(0, 1)[near].split(_AT_ONCE),
        )
        crops = [
            to_uint8(face_crops(to_model_range(some), its))
            for some, its in zip(seen, by, strict=True)
        ]
        head = torch.arange(len(images)).repeat_interleave(images.shape[1])[near]
        return cls(encode(torch.cat(crops)).double(), head, len(images))

    def __len__(self) -> int:
        return len(self.features)

    @property
    def with_face(self) -> int:
        """How many of the heads have a view near the front."""
        return len(self.head.unique())

    def of_heads(self, heads: Tensor) -> Tensor:  # [n] int64 -> [f, D]
        """Features of the faces of these heads."""
        return self.features[torch.isin(self.head, heads)]

    def joined(self, other: FaceFeatures) -> FaceFeatures:
        """The heads of both, those of `other` counted on."""
        features, head = (
            torch.cat([self.features, other.features]),
            torch.cat([self.head, other.head + self.heads]),
        )
        return FaceFeatures(features, head, self.heads + other.heads)
