"""What a step of reconstruction learns from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from semhead_lib.devices import moved

NOTHING, UNKNOWN = 0.0, -1.0  # distances of rays that meet nothing, and of those at an edge


@dataclass(frozen=True)
class Rays:
    """P rays through pixels of each of H subjects."""

    origins: Tensor  # [H, P, 3] world
    directions: Tensor  # [H, P, 3] unit
    distance: Tensor  # [H, P] to the surface, scene units; NOTHING or UNKNOWN
    colours: Tensor  # [H, P, 3] of the pixels, in [0, 1]
    classes: Tensor  # [H, P] int64 of the surface


@dataclass(frozen=True)
class Sample:
    """H subjects: what of each is encoded, B images to reconstruct, those of a subject adjacent,
    and rays."""

    encoded: Tensor  # [H, 3, S, S] in [-1, 1], or [H, K] attributes as numbers
    semantics: Tensor | None  # [H, D]
    cameras: Tensor  # [B, 25] of the whole images
    windows: Tensor | None  # [B, 3] the parts of them that are rendered; None: all
    images: Tensor  # [B, 3, s, s] those parts, in [-1, 1]
    masks: Tensor  # [B, 1, s, s] in [0, 1]
    importance: Tensor  # [B, 1, s, s] of pixels, about 1 on average over all images
    rays: Rays | None  # None: points are not looked at

    def to(self, device: torch.device | str) -> Sample:
        """The same on `device`, without waiting for it."""
        rays = self.rays
        if rays is not None:
            rays = Rays(*(moved(getattr(rays, f.name), device) for f in fields(Rays)))
        others = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "rays"}
        return replace(
            self, rays=rays, **{k: v if v is None else moved(v, device) for k, v in others.items()}
        )
