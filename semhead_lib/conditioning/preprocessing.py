"""How an encoder wants its images: resized, cropped or padded to a square, and normalised."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class Preprocessing:
    """The preprocessing that a configuration of open_clip describes, on tensors and differentiable.

    Beside open_clip's keys (size, resize_mode, interpolation, mean, std, fill_color) `resized` may
    stand: the pixels a side that an image is resized to before its centre is cropped to `size`.
    Raises ValueError where mean or std is not three finite numbers, those of std above 0.
    """

    def __init__(self, config: Mapping[str, Any], device: torch.device) -> None:
        self.config = config
        size = config["size"]
        self.resolution: int = size if isinstance(size, int) else size[0]  # pixels a side
        self._mean, self._std = (
            _three_numbers(config, key).to(device).view(3, 1, 1) for key in ("mean", "std")
        )
        if not (self._std > 0).all():
            raise ValueError(f"preprocess_cfg/std: expected numbers above 0, got {config['std']}")

    def __call__(self, images: Tensor) -> Tensor:  # [B, 3, H, W] in [0, 1] -> as the model wants it
        return (self.resize(images) - self._mean) / self._std

    def resize(self, images: Tensor) -> Tensor:  # [B, 3, H, W] -> [B, 3, S, S], both in [0, 1]
        """As the transforms of open_clip and timm resize PIL images."""
        how, (h, w) = self.config["resize_mode"], images.shape[-2:]
        size = self.config.get("resized", self.resolution)
        if (h, w) == (size, size) == (self.resolution, self.resolution):
            return images
        if how == "squash":
            height, width = size, size
        else:
            side, whole = (min(h, w), int) if how == "shortest" else (max(h, w), round)
            height, width = max(whole(size * h / side), 1), max(whole(size * w / side), 1)
        mode = "bilinear" if self.config["interpolation"] == "bilinear" else "bicubic"
        resized = F.interpolate(
            images, size=(height, width), mode=mode, antialias=True, align_corners=False
        )
        return self._cropped(self._padded(resized.clamp(0, 1)))

    def _padded(self, images: Tensor) -> Tensor:
        """On a square of the fill colour, where a side is shorter than the model's."""
        size, (height, width) = self.resolution, images.shape[-2:]
        if min(height, width) >= size:
            return images
        tall, wide = max(height, size), max(width, size)
        fill = torch.as_tensor(self.config["fill_color"], device=images.device) / 255
        canvas = fill.to(images.dtype).expand(3).view(3, 1, 1).repeat(len(images), 1, tall, wide)
        top, left = (tall - height) // 2, (wide - width) // 2
        canvas[..., top : top + height, left : left + width] = images
        return canvas

    def _cropped(self, images: Tensor) -> Tensor:
        size, (height, width) = self.resolution, images.shape[-2:]
        top, left = round((height - size) / 2), round((width - size) / 2)
        return images[..., top : top + size, left : left + size]

    def __str__(self) -> str:
        c = self.config
        size = c["size"] if isinstance(c["size"], int) else "x".join(map(str, c["size"]))
        size = f"{size} of {c['resized']}" if "resized" in c else size
        numbers = " ".join(
            json.dumps([round(float(x), 6) for x in c[key]]) for key in ("mean", "std")
        )
        return f"{size} px, {c['resize_mode']}, {c['interpolation']}, mean and std {numbers}"


def _three_numbers(config: Mapping[str, Any], key: str) -> Tensor:  # [3] float32
    try:
        numbers = torch.tensor(config[key], dtype=torch.float32)
    except (KeyError, TypeError, ValueError, RuntimeError):
        numbers = torch.empty(0)
    if numbers.shape != (3,) or not numbers.isfinite().all():
        got = config.get(key, "nothing")
        raise ValueError(f"preprocess_cfg/{key}: expected three finite numbers, got {got!r:.100}")
    return numbers
