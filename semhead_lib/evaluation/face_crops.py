"""Face crops of images of heads, located by their cameras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from semhead_lib.cameras import orbit_angles
from semhead_lib.data.dataset.batches import to_model_range
from semhead_lib.data.portraits.face_crops import face_crops
from semhead_lib.models.sampling import to_uint8

WIDEST = 45.0  # degrees of azimuth on either side within which faces are cut
# pixels of the images: in smaller ones an eye is a pixel or two, and there is no face to judge
LEAST_SIDE = 64
_AT_ONCE = 64  # images


def frontal(cameras: Tensor, widest: float = WIDEST) -> Tensor:  # [N, 25] -> [N] bool
    """Which cameras see the face from within `widest` degrees of its front."""
    return orbit_angles(cameras)[:, 0].abs() <= widest


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
        """None if images are smaller than LEAST_SIDE or no view is near the front."""
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
