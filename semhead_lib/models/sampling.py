"""Images of the same heads from all around, to monitor training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from semhead_lib.atomic import partial_path, publish
from semhead_lib.cameras import orbit_cameras
from semhead_lib.models.generator import Generator

AZIMUTHS = tuple(range(-180, 180, 45))  # degrees
_VIEWS = 12  # of a head at a time


def latents(count: int, z_dim: int, seed: int) -> Tensor:  # [count, z_dim]
    """Latents from a seed; a longer draw begins with the shorter one."""
    each = [
        torch.randn(z_dim, generator=torch.Generator().manual_seed(seed * 1_000_003 + i))
        for i in range(count)
    ]
    return torch.stack(each) if each else torch.zeros(0, z_dim)


@torch.no_grad()
def heads_around(
    generator: Generator,
    z: Tensor,  # [N, Z]
    condition: Tensor | None,  # [N, K]
    azimuths: tuple[float, ...] = AZIMUTHS,  # degrees
    elevation: float = 0.0,  # degrees
    psi: float = 1.0,
) -> Tensor:  # [N, A, 3, S, S] uint8
    """Each head from each azimuth."""
    return styles_around(generator, head_styles(generator, z, condition, psi), azimuths, elevation)


@torch.no_grad()
def head_styles(
    generator: Generator,
    z: Tensor,  # [N, Z]
    condition: Tensor | None,  # [N, K]
    psi: float = 1.0,
) -> Tensor:  # [N, W]
    """The style of each head, truncated towards the mean of its condition."""
    device, styles = generator.mapping.w_mean.device, []
    for i in range(len(z)):
        own = None if condition is None else condition[i : i + 1].to(device)
        mean = None if psi == 1 else generator.mapping.mean(own)
        styles.append(generator.mapping(z[i : i + 1].to(device), own, psi, towards=mean))
    return torch.cat(styles)


@torch.no_grad()
def styles_around(
    generator: Generator,
    styles: Tensor,  # [N, W] or w+: [N, sum(num_ws), W]
    azimuths: Sequence[float] | Tensor = AZIMUTHS,  # degrees
    elevation: float = 0.0,  # degrees
) -> Tensor:  # [N, A, 3, S, S] uint8
    """The head of each style from each azimuth."""
    azimuths = torch.as_tensor(azimuths, dtype=torch.float32)
    cameras = orbit_cameras(azimuths, torch.full_like(azimuths, elevation))
    return torch.stack([render_views(generator, w[None], cameras) for w in styles])


@torch.no_grad()
def render_views(
    generator: Generator,
    w: Tensor,  # [1, W] or w+: [1, sum(num_ws), W]
    cameras: Tensor,  # [N, 25]
    size: int | None = None,  # pixels a side; None: the generator's
) -> Tensor:  # [N, 3, size, size] uint8
    """One head from each camera. Another size than the generator's is rendered with as many rays as
    pixels, or resampled if there is super-resolution, whose images have a fixed size."""
    native = size is None or generator.super_resolution is not None
    features, seen = generator.feature_map(w), []
    for part in cameras.to(w.device).split(_VIEWS):
        image = generator.synthesize(w, part, None if native else size, features=features).image
        if size is not None and image.shape[-1] != size:
            image = F.interpolate(image, size=size, mode="bicubic", antialias=True)
        seen.append(to_uint8(image))
    return torch.cat(seen)


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] to 0..255, rounded, on the CPU."""
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).cpu()


def save_grid(path: Path, images: Tensor, gap: int = 1) -> None:  # [rows, columns, 3, S, S] uint8
    """One image of all, with white lines of `gap` pixels between them: WebP for a path that ends
    so, else PNG."""
    rows, columns, _, height, width = images.shape
    sheet = torch.full(
        (3, rows * (height + gap) - gap, columns * (width + gap) - gap), 255, dtype=torch.uint8
    )
    for i in range(rows):
        for j in range(columns):
            top, left = i * (height + gap), j * (width + gap)
            sheet[:, top : top + height, left : left + width] = images[i, j]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    kind: dict[str, Any] = (
        dict(format="WEBP", quality=90) if path.suffix.lower() == ".webp" else dict(format="PNG")
    )
    Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(partial, **kind)
    publish(partial, path)
