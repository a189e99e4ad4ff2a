"""Pairs of image and caption: batch number i is a function of the seed and i, so any training can
go on anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import orbit_angles
from semhead_lib.conditioning.headclip.captions import describe
from semhead_lib.conditioning.headclip.contrasts import ContrastBatch, ask
from semhead_lib.conditioning.headclip.recipe import Recipe
from semhead_lib.data.subjects import Subject

_SHIFT = 0.06  # largest shift of an augmented image, in image widths
_ZOOM = 0.10  # largest change of its size
_LIGHTER = 0.10  # largest change of brightness and of contrast
# share of images that are made smaller and larger again: generators at 32 pixels are read too
_BLURRED = 0.3
_SMALLEST = 24  # pixels a side of those, at least


@dataclass(frozen=True)
class Batch:
    """B images of different subjects, a caption of each, and texts to hold the images against
    attribute by attribute."""

    images: Tensor  # [B, 3, R, R] float32 in [0, 1]
    captions: list[str]
    asked: list[ContrastBatch]


class Pairs:
    """All views of some subjects in memory, and the words for them."""

    def __init__(self, subjects: Sequence[Subject], recipe: Recipe) -> None:
        self.recipe = recipe
        self.images = torch.stack(
            [torch.cat([s.views, s.frontal[None]]) for s in subjects]
        )  # [N, V+1, 3, R, R]
        self.angles = np.stack(
            [orbit_angles(s.cameras)[:, :2].numpy() for s in subjects]
        )  # [N, V, 2]
        self.who = [(s.attributes, s.caption) for s in subjects]
        self._order = -1, np.arange(0)  # of the epoch that was asked for last

    def captions(self, each: int) -> list[str]:
        """`each` captions of every subject, to learn a vocabulary from."""
        rng = Random(f"vocabulary {self.recipe.seed}")
        views = rng.choices(range(self.angles.shape[1]), k=each)
        return [
            describe(
                attributes,
                caption,
                float(self.angles[i, view, 0]),
                float(self.angles[i, view, 1]),
                rng,
            )
            for i, (attributes, caption) in enumerate(self.who)
            for view in views
        ]

    def batch(self, step: int) -> Batch:
        """Batch number `step`: B different subjects, in a new order each epoch."""
        recipe, subjects = self.recipe, len(self.who)
        epoch, position = divmod(step, subjects // recipe.batch)
        chosen = self.order(epoch)[position * recipe.batch : (position + 1) * recipe.batch]
        rng = Random(f"{recipe.seed} {step}")
        views, captions, azimuths = [], [], []
        for i in chosen:
            frontal = rng.random() < recipe.frontal_share
            view = -1 if frontal else rng.randrange(self.angles.shape[1])
            azimuth, elevation = (0.0, 0.0) if frontal else map(float, self.angles[i, view])
            attributes, caption = self.who[i]
            captions.append(describe(attributes, caption, azimuth, elevation, rng))
            views.append(view)
            azimuths.append(azimuth)
        asked = ask([self.who[i][0] for i in chosen], azimuths, rng)
        images = self.images[torch.from_numpy(chosen), torch.tensor(views)].float() / 255
        return Batch(
            augment(images, torch.Generator().manual_seed(rng.getrandbits(63))), captions, asked
        )

    def order(self, epoch: int) -> np.ndarray:  # [N]
        """All subjects in the order of an epoch."""
        if self._order[0] != epoch:
            self._order = (
                epoch,
                np.random.default_rng((self.recipe.seed, epoch)).permutation(len(self.who)),
            )
        return self._order[1]


def augment(
    images: Tensor, generator: torch.Generator
) -> Tensor:  # [B, 3, R, R] in [0, 1] -> the same
    """Shift, zoom, blur and light each image a little: nothing that a caption would tell."""
    b, _, r, _ = images.shape
    chance = torch.rand(b, 6, generator=generator)
    affine = torch.zeros(b, 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = 1 + _ZOOM * (2 * chance[:, 0] - 1)
    affine[:, :, 2] = 2 * _SHIFT * (2 * chance[:, 1:3] - 1)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    size = int(torch.randint(_SMALLEST, r, (), generator=generator)) if r > _SMALLEST else r
    small = F.interpolate(
        moved, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )
    blurred = F.interpolate(small, size=(r, r), mode="bicubic", align_corners=False)
    moved = torch.where(chance[:, 3, None, None, None] < _BLURRED, blurred, moved)
    contrast, light = (1 + _LIGHTER * (2 * chance[:, k, None, None, None] - 1) for k in (4, 5))
    return (((moved - 0.5) * contrast + 0.5) * light).clamp(0, 1)
