"""Square crops of images of any shape, undistorted and brought to a size, with their cameras."""

from __future__ import annotations

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from semhead_lib.cameras import FOCAL, RADIUS
from semhead_lib.data.dataset.entries import MAX_SIDE

CROPS = ("none", "square", "head")
_FINEST = 8  # samples a side of a pixel
_TOLERANCE = 1e-3  # pixels that a crop may leave the image by


def head_window(
    pose: np.ndarray,  # [4, 4] camera-to-world of ours
    focal: tuple[float, float],  # pixels
    center: tuple[float, float],  # pixels
) -> tuple[float, float, float]:  # left, top and side, pixels
    """The square that shows of the head what our images show: the origin in its middle, and 2.7 /
    4.2647 units across at its distance.

    >>> from semhead_lib.cameras import orbit_cameras
    >>> pose = orbit_cameras(torch.zeros(1), torch.zeros(1))[0, :16].reshape(4, 4).numpy()
    >>> [round(x, 3) for x in head_window(pose, (2 * 426.47,) * 2, (150.0, 100.0))]
    [50.0, 0.0, 200.0]

    Raises ValueError where the origin is behind the camera.
    """
    local = (-pose[:3, :3].T @ pose[:3, 3]).tolist()
    if not local[2] > 0:
        raise ValueError("the camera looks away from the head")
    side = focal[0] * RADIUS / (FOCAL * local[2])
    u, v = (focal[i] * local[i] / local[2] + center[i] for i in (0, 1))
    return u - side / 2, v - side / 2, side


def square_window(width: int, height: int) -> tuple[float, float, float]:
    """The largest square in the middle of an image, in whole pixels."""
    side = min(width, height)
    return float((width - side) // 2), float((height - side) // 2), float(side)


def beyond(window: tuple[float, float, float], width: int, height: int) -> bool:
    """Whether a window leaves the image."""
    left, top, side = window
    least, most = min(left, top), max(left + side - width, top + side - height)
    return least < -_TOLERANCE or most > _TOLERANCE


def outside(window: tuple[float, float, float], width: int, height: int) -> bool:
    """Whether a window shows nothing of the image."""
    left, top, side = window
    return left >= width or top >= height or min(left, top) + side <= 0


def cut(
    pixels: Tensor,  # [C, H, W] uint8
    window: tuple[float, float, float],  # left, top and side, pixels of the undistorted image
    resolution: int,  # pixels a side
    outside: int,  # value beyond the image
    focal: tuple[float, float] = (1.0, 1.0),
    center: tuple[float, float] = (0.0, 0.0),
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),  # k1, k2, p1, p2
) -> Tensor:  # [C, resolution, resolution] uint8
    """A window of the image as a pinhole camera sees it, at a resolution; exact where both agree in
    whole pixels and there is no distortion.

    Distortion is OpenCV's: x (1 + k1 r^2 + k2 r^4) + 2 p1 x y + p2 (r^2 + 2 x^2), and likewise y.
    """
    left, top, side = window
    finer = min(max(math.ceil(side / resolution - 1e-6), 1), _FINEST)
    steps = (torch.arange(resolution * finer, dtype=torch.float64) + 0.5) * (
        side / (resolution * finer)
    )
    y, x = torch.meshgrid(top + steps, left + steps, indexing="ij")
    if any(distortion):
        x, y = _distorted(x, y, focal, center, distortion)
    _, height, width = pixels.shape
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1)[None].float()
    layers = torch.cat([pixels.float(), torch.ones(1, height, width)])[None]
    seen = F.grid_sample(layers, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    seen = F.avg_pool2d(seen, finer)[0] if finer > 1 else seen[0]
    found = seen[:-1] + (1 - seen[-1:]) * outside
    return found.round().clamp(0, 255).to(torch.uint8)


def decode_photograph(data: bytes, where: str, modes: tuple[str, ...]) -> Tensor:  # [C, H, W] uint8
    """Pixels of a PNG, JPEG or WebP of any shape, not turned and in the colours as stored. Raises
    ValueError, starting with `where`."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            if max(image.size) > MAX_SIDE:
                raise ValueError(
                    f"has {image.width} x {image.height} pixels, at most {MAX_SIDE} a side"
                )
            if image.mode not in modes:
                raise ValueError(f"has mode {image.mode}, expected {' or '.join(modes)}")
            array = np.array(image)
    except Exception as error:  # decoders meet damage with many kinds of exceptions
        kind = "is not a readable image: of no known kind"
        problem = kind if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{where}: {problem}") from None
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).movedim(-1, 0).contiguous()


def _distorted(
    x: Tensor, y: Tensor, focal: tuple[float, float], center: tuple[float, float], distortion: tuple
) -> tuple[Tensor, Tensor]:
    """Where points of the undistorted image are in the distorted one, pixels."""
    k1, k2, p1, p2 = distortion
    a, b = (x - center[0]) / focal[0], (y - center[1]) / focal[1]
    square = a * a + b * b
    radial = 1 + square * (k1 + square * k2)
    u = a * radial + 2 * p1 * a * b + p2 * (square + 2 * a * a)
    v = b * radial + p1 * (square + 2 * b * b) + 2 * p2 * a * b
    return u * focal[0] + center[0], v * focal[1] + center[1]
