"""The viewpoint of a head, estimated from the image alone, on all sides: also where no face shows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import degrees_apart
from semhead_lib.data.portraits.head_finder.network import HeadFinder, shipped
from semhead_lib.data.portraits.head_finder.search import look

_AT_ONCE = 16  # images


@dataclass(frozen=True)
class Viewpoint:
    """From where a head seems to be seen."""

    azimuth: float  # degrees, positive towards the subject's left
    elevation: float  # degrees, positive upwards
    certainty: float  # 0 to 1

    def away_from(self, azimuth: float, elevation: float) -> float:
        """Degrees between this direction and another, 0 to 180.

        >>> round(Viewpoint(170.0, 0.0, 1.0).away_from(-170.0, 0.0), 3)
        20.0
        """
        return degrees_apart((self.azimuth, self.elevation), (azimuth, elevation))


def viewpoints(images: Tensor, network: HeadFinder | None = None) -> list[Viewpoint]:
    """From where heads in images [B, 3, S, S] uint8, about as our convention crops them, are seen:
    by the head finder."""
    network = network or shipped()
    size = (network.config.side, network.config.side)
    found = []
    for part in images.split(_AT_ONCE):
        small = F.interpolate(
            part.float(), size=size, mode="bilinear", antialias=True, align_corners=False
        )
        poses, _, sure = look(network, small.round().clamp(0, 255).to(torch.uint8))
        rows = torch.stack([poses.azimuth, poses.elevation, sure.double()], dim=1)
        found += [Viewpoint(*map(float, row)) for row in rows]
    return found
