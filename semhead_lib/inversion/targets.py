"""The target of a fit: photographs of one person on the generator's own background, with masks
and cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import check_cameras
from semhead_lib.models.generator import Generator

if TYPE_CHECKING:
    from semhead_lib.data.portraits.alignment import Portrait


@dataclass(frozen=True)
class Target:
    """K images of one head, at the generator's size. Raises ValueError for shapes that do not fit."""

    images: Tensor  # [K, 3, S, S] in [-1, 1], the head over the generator's background
    masks: Tensor  # [K, 1, S, S] in [0, 1], coverage of the head
    inside: Tensor  # [K, 1, S, S] in [0, 1]: 0 where the photograph did not reach
    cameras: Tensor  # [K, 25]

    def __post_init__(self) -> None:
        k, _, s, _ = self.images.shape if self.images.ndim == 4 else (0, 0, 0, 0)
        shapes = [tuple(x.shape) for x in (self.images, self.masks, self.inside, self.cameras)]
        if k < 1 or shapes != [(k, 3, s, s), (k, 1, s, s), (k, 1, s, s), (k, 25)]:
            raise ValueError(
                "expected [K, 3, S, S], twice [K, 1, S, S], and [K, 25], got "
                f"{[*map(list, shapes)]}"
            )
        check_cameras(self.cameras.detach().cpu(), "cameras of the photographs")

    def __len__(self) -> int:
        return len(self.images)

    def at(self, side: int) -> Target:
        """The same with images of `side` pixels."""
        resized = {
            name: torch.stack([_resized(layer, side) for layer in value])
            for name, value in vars(self).items()
            if name != "cameras"
        }
        return replace(self, **resized)

    def to(self, device: torch.device | str) -> Target:
        return replace(self, **{name: value.to(device) for name, value in vars(self).items()})


@torch.no_grad()
def prepare(
    generator: Generator,
    images: Sequence[Tensor],  # K of [3, H, W] uint8, square
    masks: Sequence[Tensor],  # K of [H, W] uint8 coverage
    cameras: Tensor,  # [K, 25]
    inside: Sequence[Tensor] | None = None,  # K of [H, W] uint8; None: all is inside
) -> Target:
    """Photographs as the generator would show them: at its size, the background replaced by that of
    its mean head.

    The background carries no information about the head, and the generator knows only its own.
    Raises ValueError for images that are not square uint8, or masks of another size.
    """
    size, device = generator.config.resolution, generator.mapping.w_mean.device
    behind = background_of(generator)
    rows = []
    everything = [torch.full_like(mask, 255) for mask in masks] if inside is None else inside
    for image, mask, reached in zip(images, masks, everything, strict=True):
        side = image.shape[-1]
        if (
            image.dtype != torch.uint8
            or image.shape != (3, side, side)
            or {mask.shape, reached.shape} != {(side, side)}
        ):
            raise ValueError(
                f"expected a uint8 image [3, S, S] and masks [S, S], got {image.dtype} "
                f"{list(image.shape)}, "
                f"{list(mask.shape)} and {list(reached.shape)}"
            )
        layers = torch.cat([image, mask[None], reached[None]]).float().to(device) / 255
        colours, coverage, within = _resized(layers, size).clamp(0, 1).split((3, 1, 1))
        rows.append((torch.lerp(behind, colours * 2 - 1, coverage), coverage, within))
    whole, coverages, withins = (torch.stack(part) for part in zip(*rows, strict=True))
    return Target(whole, coverages, withins, cameras.to(device))


def prepare_portraits(generator: Generator, portraits: Sequence[Portrait]) -> Target:
    """`prepare` for aligned photographs."""
    images, masks, inside = (
        [getattr(p, name) for p in portraits] for name in ("image", "mask", "inside")
    )
    return prepare(generator, images, masks, torch.stack([p.camera for p in portraits]), inside)


@torch.no_grad()
def background_of(generator: Generator) -> Tensor:  # [3, S, S] in [-1, 1]
    """The final image's background behind the mean head."""
    if generator.background is None:
        return generator.mapping.w_mean.new_ones(
            3, generator.config.resolution, generator.config.resolution
        )
    raw = (
        generator.background(generator.mapping.w_mean[None], generator.config.raw_resolution)[:, :3]
        * 2
        - 1
    )
    return F.interpolate(
        raw, size=generator.config.resolution, mode="bilinear", align_corners=False
    )[0]


def _resized(layers: Tensor, size: int) -> Tensor:  # [C, H, W] -> [C, size, size]
    """By area where it shrinks: an image as a camera with larger pixels would take it."""
    if layers.shape[-1] == size:
        return layers
    smaller = layers.shape[-1] > size
    how: dict[str, Any] = (
        dict(mode="area") if smaller else dict(mode="bicubic", align_corners=False)
    )
    return F.interpolate(layers[None], size=size, **how)[0]
