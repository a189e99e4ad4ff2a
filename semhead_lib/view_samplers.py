"""Cameras of the views of a subject, drawn at random."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from semhead_lib.cameras import ELEVATION_RANGE


def sample_balanced(
    count: int,
    generator: np.random.Generator,
    elevation_range: tuple[float, float] = ELEVATION_RANGE,  # degrees
) -> Tensor:  # [count, 2] azimuth, elevation in degrees
    """Views spread evenly over the band of the sphere around a head, in jittered strata: few views
    already cover it.

    Azimuth takes one view from each of `count` equal sectors; elevation takes one from each of
    `count` strata of equal area (uniform in its sine), paired at random.
    """
    azimuth = -180.0 + 360.0 * (np.arange(count) + generator.random(count)) / max(count, 1)
    low, high = np.sin(np.deg2rad(elevation_range))
    height = low + (high - low) * (generator.permutation(count) + generator.random(count)) / max(
        count, 1
    )
    return torch.from_numpy(np.stack([azimuth, np.rad2deg(np.arcsin(height))], axis=-1))


def sample_orbit(
    count: int,
    generator: np.random.Generator | None = None,  # not used: an orbit is the same for all
) -> Tensor:  # [count, 2] azimuth, elevation in degrees
    """Views at equal steps of azimuth from -180 degrees on, at elevation 0: every subject is seen
    from the same sides.

    >>> sample_orbit(4)[:, 0].tolist()
    [-180.0, -90.0, 0.0, 90.0]
    """
    azimuth = -180.0 + 360.0 * np.arange(count) / max(count, 1)
    return torch.from_numpy(np.stack([azimuth, np.zeros(count)], axis=-1))


def sample_front_heavy(
    count: int,
    generator: np.random.Generator,
    azimuth_std: float = 30.0,  # degrees
    elevation_std: float = 10.0,  # degrees
    back_fraction: float = 0.1,  # share of views drawn evenly from the whole band
    elevation_range: tuple[float, float] = ELEVATION_RANGE,  # degrees
) -> Tensor:  # [count, 2] azimuth, elevation in degrees
    """Views as photographs of people have them: most near the front, few from behind (for
    data-balance ablations)."""
    azimuth = (generator.normal(0.0, azimuth_std, count) + 180.0) % 360.0 - 180.0
    elevation = np.clip(generator.normal(0.0, elevation_std, count), *elevation_range)
    views = torch.from_numpy(np.stack([azimuth, elevation], axis=-1))
    anywhere = torch.from_numpy(generator.random(count) < back_fraction)
    return torch.where(anywhere[:, None], sample_balanced(count, generator, elevation_range), views)


VIEW_SAMPLERS = {
    "balanced": sample_balanced,
    "front_heavy": sample_front_heavy,
    "orbit": sample_orbit,
}
