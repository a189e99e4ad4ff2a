"""Photographs that are given to a widget, as pictures that a condition can be made of."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from semhead_lib.data.photos import read_photo
from semhead_lib.inversion.photo import read_portrait


def portrait_of(content: bytes, name: str, side: int = 256) -> tuple[Tensor, str]:  # [3, side, side] uint8
    """The head in an image file's bytes, before white, and what was done, in words.

    Where no face is found, or the extra `faces` is not installed, it is the middle square of the picture. Raises
    ValueError naming a file that holds no picture.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(name).name
        path.write_bytes(content)
        try:
            portrait = read_portrait(path, resolution=side)
        except (ModuleNotFoundError, ValueError):
            try:
                return _middle(read_photo(path), side), f"{name}: no face found, so the middle of the picture is taken"
            except ValueError as error:
                raise ValueError(str(error).replace(str(path), name)) from None
    cover = portrait.mask.float() / 255
    picture = torch.lerp(torch.full_like(portrait.image.float(), 255.0), portrait.image.float(), cover)
    return picture.round().byte(), f"{name}: aligned, camera {portrait.azimuth:.0f}°, {portrait.elevation:.0f}°"


def _middle(picture: Tensor, side: int) -> Tensor:  # [3, H, W] uint8
    height, width = picture.shape[1:]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    square = picture[None, :, top : top + least, left : left + least].float()
    small = torch.nn.functional.interpolate(square, size=(side, side), mode="bilinear", antialias=True)
    return small[0].round().clamp(0, 255).byte()
