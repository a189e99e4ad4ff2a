"""Photographs as images that a condition can be made of: the head, aligned, before white."""

from __future__ import annotations

import torch
from torch import Tensor

from semhead_lib.data.portraits.alignment import align
from semhead_lib.data.portraits.photos import decode_photo


def portrait_of(
    content: bytes, name: str, side: int = 256
) -> tuple[Tensor, str]:  # [3, side, side] uint8
    """`face_of` the image in a file's bytes. Raises ValueError naming a file that holds none."""
    return face_of(decode_photo(content, name), name, side)


def face_of(
    image: Tensor, name: str, side: int = 256
) -> tuple[Tensor, str]:  # [3, H, W] -> [3, side, side] uint8
    """The head in a photograph, and what was done, in words.

    Where no face is found, or the extra `faces` is not installed, it is the middle square of the
    image.
    """
    try:
        portrait = align(image, name=name, resolution=side)
    except (ModuleNotFoundError, ValueError) as error:
        return _middle(image, side), f"{name}: the middle of the image is taken ({error})"
    cover, crop = portrait.mask.float() / 255, portrait.image.float()
    before_white = torch.lerp(torch.full_like(crop, 255.0), crop, cover).round().byte()
    return (
        before_white,
        f"{name}: aligned, camera at {portrait.azimuth:.0f}\u00b0, {portrait.elevation:.0f}\u00b0",
    )


def _middle(image: Tensor, side: int) -> Tensor:  # [3, H, W] uint8
    height, width = image.shape[1:]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    square = image[None, :, top : top + least, left : left + least].float()
    small = torch.nn.functional.interpolate(
        square, size=(side, side), mode="bilinear", antialias=True
    )
    return small[0].round().clamp(0, 255).byte()
