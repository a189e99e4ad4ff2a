"""Views of generated heads with depth, and their multi-view consistency."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import rays
from semhead_lib.metrics.consistency import (
    TOLERANCE,
    Differences,
    SurfaceViews,
    joined,
    paired_cameras,
    paired_differences,
)
from semhead_lib.models.generator import Generator
from semhead_lib.models.renderer import box_bounds

_SURFACE = 0.9  # opacity from which a ray has met a surface


@torch.no_grad()
def generated_views(
    generator: Generator,
    w: Tensor,  # [H, W]
    cameras: Tensor,  # [H * V, 25]
    side: int | None = None,  # pixels; None: those of the final image
) -> SurfaceViews:
    """Views of heads with styles w; images and raw depth are resized to one size."""
    seen = generator.synthesize(w, cameras)
    side, box = seen.depth.shape[-1], generator.renderer.settings.box
    _, far = box_bounds(*rays(cameras, side), box)
    opacity = seen.opacity[:, 0]
    distance = (seen.depth[:, 0] - (1 - opacity) * far.reshape(opacity.shape)) / opacity.clamp_min(
        _SURFACE
    )
    size = seen.image.shape[-2:] if side is None else (side, side)
    distance, surface = (
        F.interpolate(x[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]
        for x in (distance, opacity >= _SURFACE)
    )
    images = (seen.image / 2 + 0.5).clamp(0, 1)
    if images.shape[-2:] != size:
        images = F.interpolate(images, size=size, mode="area")
    return SurfaceViews(images, distance, surface > 0.999, cameras)


def head_consistency(
    generator: Generator,
    w: Tensor,  # [H, W] styles of the heads
    azimuths: tuple[float, ...],  # degrees
    angle: float = 15.0,  # degrees between the two cameras of a pair
    tolerance: float = TOLERANCE,
    side: int | None = None,  # pixels of images that are compared; None: those of final images
) -> Differences:  # of [H * A] pairs, those of a head adjacent
    """Consistency of pairs of views around each azimuth, `angle` apart, at elevation 0."""
    cameras = paired_cameras(azimuths, angle).to(w.device)
    return joined(
        [
            paired_differences(generated_views(generator, style, cameras, side), tolerance)
            for style in w.split(1)
        ]
    )
