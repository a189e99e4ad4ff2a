"""How large a head is in a synthesised view and where it sits, found by its silhouette, and put
right.

Cameras on the orbit say where a head lies in its image; an editor that follows a prompt does not
keep to that. The parametric heads' silhouette is laid over the found one; where a face shows, its
landmarks say more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.data.portraits import silhouette
from semhead_lib.data.portraits.camera import CameraFit
from semhead_lib.data.portraits.crop import cut_square

_SIDE, _UPPER = (
    48,
    0.7,
)  # pixels a side that silhouettes are compared at; part from the top: bodies differ below
_STEPS, _FIRST, _ROUNDS = (
    (0.08, 0.05, 0.05),
    3,
    5,
)  # log of scale, shares of the width; steps to each side at first
_LEAST = 0.02  # share of heads, and of gaps, that each pixel is believed to have at least
# how much of what is found of the portrait is the person's own size and hair, by what was least off
_OWN = 0.5
_EDITED, _FOUND = (
    (0.1, 0.05),
    (0.06, 0.015),
)  # how far editors are off, and silhouettes: log of scale, shift


@dataclass(frozen=True)
class Frame:
    """A head is `scale` times as large in its image as its camera sees it, and off by shares of the
    width."""

    scale: float = 1.0
    right: float = 0.0
    down: float = 0.0

    @property
    def similarity(
        self,
    ) -> np.ndarray:  # [2, 3]: shares of the camera's image to shares of the image
        """Where in the image the camera's image lies."""
        s = self.scale
        return np.array([[s, 0, 0.5 + self.right - s / 2], [0, s, 0.5 + self.down - s / 2]])


def frame_of_face(fit: CameraFit, size: int) -> Frame:  # size: pixels a side of the image
    """The frame that a face's landmarks show."""
    x, y = fit.similarity @ (0.5, 0.5, 1.0) / size - 0.5
    return Frame(fit.side / size, float(x), float(y))


def frame_of_silhouette(mask: Tensor, camera: Tensor) -> Frame:  # [S, S] uint8, [25]
    """The frame in which the parametric heads' silhouette makes the mask likeliest: a search from
    coarse to fine."""
    head = (
        F.interpolate(mask[None, None].float() / 255, size=(_SIDE, _SIDE), mode="area")[0, 0] > 0.5
    )
    usual = silhouette.prior(camera, _SIDE)
    best, steps = torch.zeros(3), torch.tensor(_STEPS)
    for round_ in range(_ROUNDS):
        around = torch.arange(-_FIRST, _FIRST + 1.0) if round_ == 0 else torch.arange(-1.0, 2.0)
        tried = best + torch.cartesian_prod(around, around, around) * steps
        best = tried[_unlikeliness(head, usual, tried).argmin()]
        steps = steps / 2
    scale, right, down = best.tolist()
    return Frame(math.exp(scale), right, down)


def frame_of_view(found: Frame, portrait: Frame) -> Frame:
    """What to believe of a view's frame: less what its portrait shows of the person, and less for
    what is guessed."""
    scale, shift = (
        edited**2 / (edited**2 + off**2) for edited, off in zip(_EDITED, _FOUND, strict=True)
    )
    return Frame(
        math.exp(scale * (math.log(found.scale) - _OWN * math.log(portrait.scale))),
        shift * (found.right - _OWN * portrait.right),
        shift * (found.down - _OWN * portrait.down),
    )


def reframed(image: Tensor, frame: Frame) -> Tensor:  # [C, S, S] uint8 twice
    """The image as its camera sees it; where that is more than the image, background and body go
    on."""
    size = image.shape[-1]
    return cut_square(image, frame.similarity * size, size, beyond="drawn on")[0]


def _unlikeliness(
    head: Tensor, usual: Tensor, tried: Tensor
) -> Tensor:  # [S, S], [S, S], [N, 3] -> [N]
    """Of the mask's upper part, when each pixel is a head as often as heads are there in that
    frame."""
    rows = round(_UPPER * _SIDE)
    places = (torch.arange(_SIDE) + 0.5) / _SIDE - 0.5
    y, x = torch.meshgrid(places[:rows], places, indexing="ij")
    scale, right, down = (tried[:, i, None, None] for i in range(3))
    where = torch.stack([(x - right) / scale.exp(), (y - down) / scale.exp()], dim=-1) * 2
    share = F.grid_sample(
        usual[None, None].expand(len(tried), -1, -1, -1), where, align_corners=False
    )[:, 0]
    share, head = share.clamp(_LEAST, 1 - _LEAST), head[None, :rows]
    return -torch.where(head, share, 1 - share).log().sum((1, 2))
