"""Parts of a face in views from behind, as classified by the shipped headjudge, whatever features
other metrics use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from semhead_lib.cameras import orbit_angles
from semhead_lib.conditioning.semantic import ASSETS
from semhead_lib.data.dataset.batches import to_model_range
from semhead_lib.evaluation.headjudge.network import HeadJudge
from semhead_lib.evaluation.headjudge.recipe import NAME
from semhead_lib.evaluation.samples import Samples

BEYOND = 120.0  # degrees from the front: from there on hardly any real eye, brow or lip is seen
FACE = ("eyes", "brows", "lips")  # classes of the surface
AREA = 0.005  # of an image's pixels: a quarter of what a front has, more than any real back
_AT_ONCE = 64  # images


@dataclass(frozen=True)
class FacesOnBacks:
    """Shares of the pixels of H heads' views from behind that show parts of a face."""

    shares: Tensor  # [H] float64, summed over a head's views from behind
    views: Tensor  # [H] int64, how many these are, at least 1
    largest: Tensor  # [H] float64, in one of them

    @classmethod
    def of(cls, samples: Samples, device: str = "cpu") -> FacesOnBacks | None:
        """Shares for the heads with views from behind; None if there are none."""
        azimuth = orbit_angles(samples.cameras.flatten(0, 1))[:, 0].abs()
        behind = (azimuth > BEYOND).reshape(samples.cameras.shape[:2])
        if not behind.any():
            return None
        found = torch.zeros(behind.shape, dtype=torch.float64)
        found[behind] = face_shares(samples.images[behind], device)
        seen = behind.any(1)
        return cls(found.sum(1)[seen], behind.sum(1)[seen], found.max(1).values[seen])

    def share(self, heads: Tensor) -> float:  # [h] int64
        """Of the pixels of all views of these heads."""
        return float(self.shares[heads].sum() / self.views[heads].sum())

    def rate(self, heads: Tensor) -> float:
        """Share of these heads with more than AREA of a face in one view."""
        return float((self.largest[heads] > AREA).double().mean())


@torch.no_grad()
def face_shares(images: Tensor, device: str = "cpu") -> Tensor:  # [B, 3, S, S] uint8 -> [B]
    """Share of each image's pixels that headjudge classifies as eyes, brows or lips, float64."""
    judge = _judge(device)
    face = torch.tensor([judge.config.classes.index(name) for name in FACE], device=device)
    shares = []
    for some in images.split(_AT_ONCE):
        classes = judge(to_model_range(some.to(device))).classes.argmax(1)
        shares.append(torch.isin(classes, face).double().mean((1, 2)).cpu())
    return torch.cat(shares)


@cache
def _judge(device: str) -> HeadJudge:
    return HeadJudge.load(ASSETS / NAME, device)
