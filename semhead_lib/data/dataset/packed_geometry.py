"""The geometry of views as a packed dataset holds it: lossless WebP of classes and of depth.

Classes of surfaces are exact: the grey level is the class. Depth is stored of every second pixel
of every second row, in steps of at most `STEP` scene units from the least depth of the view: green
and 256 times red are 0 where nothing is hit, else one more than the number of steps, and blue is 0.
A view that is no deeper than 254 steps leaves red at 0. Depth that is read is 0 at the pixels that
are not stored: the surface there is not known.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semhead_lib.data.dataset.entries import decode_image

EVERY = 2  # of pixels and rows, those whose depth is stored
STEP = 0.003  # scene units between two levels of depth, at most
_FINE, _MOST = 254, 65534  # steps of a view: as many if STEP allows, and no more than these


def encode_classes(classes: np.ndarray) -> bytes:  # [S, S] uint8
    """A view's classes of surfaces, exactly."""
    return _webp(np.repeat(classes[..., None], 3, axis=-1))  # WebP has no mode for grey


def decode_classes(data: bytes, where: str, resolution: int) -> Tensor:  # [S, S] uint8
    """What `encode_classes` was given. Raises ValueError, starting with `where`."""
    red, green, blue = decode_image(data, where, ("RGB",), resolution)
    if not (torch.equal(red, green) and torch.equal(red, blue)):
        raise ValueError(f"{where}: must be grey: its level is the class")
    return red.clone()


def encode_depth(depth: np.ndarray) -> tuple[bytes, tuple[float, float]]:  # [S, S] camera z
    """A view's depth at the pixels that are stored, to half a step; its least depth and its step.

    Both are exact as float32. A step is larger than `STEP` only where a view is over 65534 of them
    deep.
    """
    stored = depth[::EVERY, ::EVERY].astype(np.float64)
    hit = stored > 0
    near, far = (stored[hit].min(), stored[hit].max()) if hit.any() else (0.0, 0.0)
    step = float(np.float32(max(min((far - near) / _FINE, STEP), (far - near) / _MOST)))
    steps = (stored - near) / step if step else np.zeros_like(stored)
    levels = np.where(hit, 1 + steps.clip(0, _MOST).round(), 0).astype(np.int64)
    pixels = np.stack([levels >> 8, levels & 255, np.zeros_like(levels)], axis=-1)
    return _webp(pixels.astype(np.uint8)), (float(near), step)


def decode_depth(
    data: bytes,
    where: str,
    resolution: int,
    near: float,
    step: float,
) -> Tensor:  # [S, S] float32 camera z
    """The depth that `encode_depth` stored, 0 between the stored pixels and where nothing is hit.

    Raises ValueError, starting with `where`.
    """
    red, green, blue = decode_image(data, where, ("RGB",), -(-resolution // EVERY))
    if bool(blue.any()):
        raise ValueError(f"{where}: blue must be 0: red and green are the depth")
    levels = red.int() * 256 + green
    depth = torch.zeros(resolution, resolution)
    depth[::EVERY, ::EVERY] = torch.where(levels > 0, near + (levels - 1) * step, 0.0)
    return depth


def _webp(pixels: np.ndarray) -> bytes:  # [H, W, 3] uint8
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True, quality=75, method=4)
    return file.getvalue()
