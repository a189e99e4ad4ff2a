"""Views of generated heads with the distances of their surfaces, and how consistent they are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import orbit_cameras, rays
from semhead_lib.metrics.consistency import TOLERANCE, Differences, SurfaceViews, differences
from semhead_lib.models.generator import Generator
from semhead_lib.models.renderer import box_bounds

_SURFACE = 0.9  # opacity from which a ray has met a surface


@torch.no_grad()
def generated_views(
    generator: Generator, w: Tensor, cameras: Tensor
) -> SurfaceViews:  # [H, W], [H * V, 25]
    """Views of heads with styles w; the raw image's distances are brought to the final image's
    size."""
    seen = generator.synthesize(w, cameras)
    side, box = seen.depth.shape[-1], generator.renderer.settings.box
    _, far = box_bounds(*rays(cameras, side), box)
    opacity = seen.opacity[:, 0]
    distance = (seen.depth[:, 0] - (1 - opacity) * far.reshape(opacity.shape)) / opacity.clamp_min(
        _SURFACE
    )
    size = seen.image.shape[-2:]
    distance, surface = (
        F.interpolate(x[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]
        for x in (distance, opacity >= _SURFACE)
    )
    images = (seen.image / 2 + 0.5).clamp(0, 1)
    return SurfaceViews(images, distance, surface > 0.999, cameras)


def head_consistency(
    generator: Generator,
    w: Tensor,  # [H, W] styles of the heads
    azimuths: tuple[float, ...],  # degrees
    angle: float = 15.0,  # degrees between the two cameras of a pair
    tolerance: float = TOLERANCE,
) -> Differences:  # of [H * A] pairs, those of a head adjacent
    """Each head seen from either side of each azimuth, `angle` apart, at elevation 0."""
    turn = torch.tensor([[a - angle / 2, a + angle / 2] for a in azimuths])  # [A, 2]
    cameras = orbit_cameras(turn.flatten(), torch.zeros(turn.numel())).to(w.device)
    parts = []
    for style in w.split(1):
        views = generated_views(generator, style, cameras)
        one, other = (SurfaceViews(*(x[i::2].cpu() for x in vars(views).values())) for i in (0, 1))
        parts.append(differences(one, other, tolerance))
    return Differences(
        *(torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0]))
    )
