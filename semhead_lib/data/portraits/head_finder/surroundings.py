"""What else photographs show: pieces of photographs without people, noise, and pieces of heads that
are no head. Backgrounds, and windows in which there is nothing to find."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

# photographs without people that lie inside the package scikit-image: nothing is fetched
_PHOTOGRAPHS = (
    *("brick.png", "chelsea.png", "coffee.png", "coins.png", "color.png", "grass.png"),
    *("gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png"),
    *("page.png", "retina.jpg", "rocket.jpg", "text.png"),
)
_NOISE = 0.15  # share of scenes that are noise
_BLOCKS = 4  # a side, that heads are cut into


@cache
def photographs() -> tuple[Tensor, ...]:  # [3, H, W] uint8 each
    """Photographs without people."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return tuple(
        torch.from_numpy(np.array(Image.open(folder / name).convert("RGB"))).permute(2, 0, 1)
        for name in _PHOTOGRAPHS
    )


def scenes(count: int, side: int, rng: torch.Generator) -> Tensor:  # [count, 3, side, side]
    """Pieces of photographs, mirrored and tinted by chance, and noise of any coarseness; [0, 1]."""
    made, known = [], photographs()
    for _ in range(count):
        kind, size, top, left = torch.rand(4, generator=rng).tolist()
        if kind < _NOISE:
            cells = max(int(side ** (0.3 + 0.7 * size)), 2)
            whole = torch.rand(3, cells, cells, generator=rng)
        else:
            image = known[int((kind - _NOISE) / (1 - _NOISE) * len(known))]
            length = int(min(image.shape[1:]) * (0.15 + 0.85 * size))
            y, x = (
                int(at * (edge - length + 1))
                for at, edge in zip((top, left), image.shape[1:], strict=True)
            )
            whole = image[:, y : y + length, x : x + length].float() / 255
        piece = F.interpolate(
            whole[None], size=(side, side), mode="bilinear", antialias=True, align_corners=False
        )[0]
        made.append(piece.flip(2) if torch.rand((), generator=rng) < 0.5 else piece)
    tint = 1 + 0.3 * (torch.rand(count, 3, 1, 1, generator=rng) - 0.5)
    power = 2 ** (torch.rand(count, 1, 1, 1, generator=rng) * 2 - 1)
    return (torch.stack(made).clamp(1e-4, 1) ** power * tint).clamp(0, 1)


def shuffled(images: Tensor, rng: torch.Generator) -> Tensor:  # [B, 3, S, S]
    """Images cut into blocks that change places: what heads consist of, but no head."""
    b, c, side, _ = images.shape
    edge = side // _BLOCKS
    blocks = F.unfold(images, edge, stride=edge).view(b, c * edge * edge, _BLOCKS**2)
    order = torch.rand(b, 1, _BLOCKS**2, generator=rng).argsort(dim=2).expand_as(blocks)
    return F.fold(blocks.gather(2, order).view(b, -1, _BLOCKS**2), side, edge, stride=edge)
