"""Photographs of a generator's own heads: what made them is known."""

import torch

from semhead_lib.cameras import Camera, orbit_cameras
from semhead_lib.inversion.targets import Target
from semhead_lib.models.generator import Generator

FRONT = Camera.orbit(0.0, 0.0).label[None]
SMALL = dict(
    plane_side=16,
    plane_channels=8,
    backbone_base=512,
    backbone_most=32,
    coarse=8,
    fine=6,
    z_dim=16,
    w_dim=16,
    ball_slope=60.0,  # opaque from the first step
)


def photographs(generator: Generator, w: torch.Tensor, azimuths=(20.0,)) -> Target:
    """Images of a style, with their opacity as mask."""
    cameras = orbit_cameras(torch.tensor(azimuths), torch.full((len(azimuths),), 5.0))
    with torch.no_grad():
        seen = generator.synthesize(w, cameras)
    return Target(
        seen.image.clamp(-1, 1), seen.opacity.clamp(0, 1), torch.ones_like(seen.opacity), cameras
    )
