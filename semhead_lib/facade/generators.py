"""Trained generators, cameras around a head, and image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from semhead_lib.cameras import FOCAL, RADIUS, orbit_cameras
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.semantic import EMBEDDED
from semhead_lib.devices import keep_freed_memory, pick_device
from semhead_lib.heads import HeadGenerator
from semhead_lib.models.generator import DEFAULT, Generator, folder_of
from semhead_lib.models.sampling import save_grid

_SUFFIXES = (".png", ".webp")


def load(
    name_or_folder: str | Path = DEFAULT,
    *,
    encoder: str = EMBEDDED,
    device: str = "auto",
) -> HeadGenerator:
    """Load a trained generator, ready to sample heads.

    Args:
        name_or_folder: the name of a generator that ships with the package ("semhead-128"), or the
            folder of one (`train` returns it) with model.safetensors, config.json and
            conditions.safetensors.
        encoder: encoder of images for `sample(like=...)`; the one the generator was trained with.
        device: "auto" (GPU if available), "cpu", "cuda" or "cuda:N".

    Raises FileNotFoundError naming the missing file and the shipped generators; ValueError for
    weights that do not match their configuration, or a device that is not available.
    """
    place = pick_device(device)
    if place == "cpu":
        keep_freed_memory()
    network = Generator.load(name_or_folder, place).requires_grad_(False)
    folder = folder_of(name_or_folder)
    return HeadGenerator(network, ConditionBank.load(folder), folder, encoder)


def orbit(
    azimuths: int | Sequence[float] | Tensor = 8,
    elevation: float = 0.0,
    *,
    radius: float = RADIUS,
    focal: float = FOCAL,
) -> Tensor:  # [N, 25] float32
    """Make cameras around a head that look at its centre.

    Args:
        azimuths: a number of evenly spaced azimuths from the front on; or degrees: 0 is the front,
            90 the subject's left, 180 the back.
        elevation: degrees, positive upwards, between -89.9 and 89.9.
        radius: distance to the centre, scene units.
        focal: focal length, image widths.

    Raises ValueError for no camera, or a number out of range.

    >>> orbit(4).shape
    torch.Size([4, 25])
    >>> from semhead_lib.cameras import orbit_angles
    >>> orbit_angles(orbit([-30, 30], elevation=10))[:, :2].round().tolist()
    [[-30.0, 10.0], [30.0, 10.0]]
    """
    if isinstance(azimuths, int):
        azimuths = [360.0 * i / azimuths for i in range(azimuths)]
    degrees = torch.as_tensor(azimuths, dtype=torch.float64)
    if degrees.ndim != 1 or not len(degrees):
        raise ValueError(f"azimuths must be a number >= 1 or a list of degrees, got {azimuths}")
    return orbit_cameras(degrees, torch.full_like(degrees, elevation), radius, focal)


def save_images(images: Tensor, path: Path | str, *, columns: int | None = None) -> Path:
    """Write images side by side as one PNG or WebP, atomically; returns the path.

    Args:
        images: uint8: one [3, H, W], a row [N, 3, H, W], or rows [R, N, 3, H, W].
        path: ends in .png or .webp; missing folders are made.
        columns: splits a row into rows of this many images; N must be a multiple of it.

    Raises ValueError for another shape, type or suffix.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"{path}: expected a suffix of {', '.join(_SUFFIXES)}")
    if images.dtype != torch.uint8 or images.ndim not in (3, 4, 5) or images.shape[-3] != 3:
        came = f"{images.dtype} {list(images.shape)}"
        raise ValueError(f"images must be uint8 [N, 3, H, W] or [R, N, 3, H, W], got {came}")
    row = images.reshape(-1, *images.shape[-3:])
    columns = columns or (1 if images.ndim == 3 else images.shape[-4])
    if not len(row) or columns < 1 or len(row) % columns:
        raise ValueError(f"{len(row)} images cannot be cut into rows of {columns}")
    save_grid(path, row.unflatten(0, (-1, columns)).cpu())
    return path
