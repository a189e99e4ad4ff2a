"""Where dlib's landmarks lie on our heads, in 3-D, and what a camera found from them is
systematically off by.

Measured on parametric heads by `calibration`, and kept in semhead_lib/assets/landmarks (its card.md
says how).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np

from semhead_lib.cameras import FOCAL, RADIUS

ASSETS = Path(__file__).parents[2] / "assets" / "landmarks"
ANGLE_UNIT = 400.0  # degrees: angles are features beside image coordinates, divided by this
LIMIT = 15.0  # degrees: no correction goes farther


@dataclass(frozen=True)
class HeadLandmarks:
    """K landmarks of the mean head, and the correction of a camera that they were fitted with.

    The correction is a polynomial in the features x, the landmarks in the fitted crop around its
    middle [2 K] and the two fitted angles: offset + linear (x - middle) + quadratic [products of
    pairs of modes (x - middle)], degrees of azimuth and elevation.
    """

    mean: np.ndarray  # [K, 3] world, scene units, the same left and right
    deviation: (
        np.ndarray
    )  # [K] how far a landmark usually is from there, in shares of the crop's width
    middle: np.ndarray  # [F], F = 2 K + 2
    offset: np.ndarray  # [2]
    linear: np.ndarray  # [2, F]
    modes: np.ndarray  # [P, F]
    quadratic: np.ndarray  # [2, P (P + 1) / 2], pairs (0, 0), (0, 1), ... (1, 1), ...

    def seen_from(
        self, azimuth: float, elevation: float
    ) -> np.ndarray:  # [K, 2] in [0, 1], x right, y down
        """The landmarks in the image of the orbit camera at these angles, degrees."""
        return orbit_projection(self.mean, azimuth, elevation)

    def correction(self, points: np.ndarray, azimuth: float, elevation: float) -> np.ndarray:  # [2]
        """What to add to the angles of a fit with `points` [K, 2] in its crop."""
        return np.clip(self.raw_correction(features(points, azimuth, elevation)), -LIMIT, LIMIT)

    def raw_correction(self, x: np.ndarray) -> np.ndarray:  # [F] -> [2]
        """The polynomial, without limits."""
        away = x - self.middle
        return self.offset + self.linear @ away + self.quadratic @ pairs(self.modes @ away)


def orbit_projection(
    points: np.ndarray, azimuth: float, elevation: float
) -> np.ndarray:  # [K, 3] -> [K, 2]
    """`cameras.project` into the orbit camera at these angles (degrees), in double precision.

    >>> orbit_projection(np.array([[0.0, 0.1, 0.0]]), 30.0, 0.0).round(4).tolist()
    [[0.5, 0.342]]
    """
    a, e = np.radians(azimuth), np.radians(elevation)
    out = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    right = np.array([np.cos(a), 0.0, -np.sin(a)])
    flat = np.stack([points @ right, points @ np.cross(-out, right)], axis=-1)
    return 0.5 + FOCAL * flat / (RADIUS - points @ out)[:, None]


def features(
    points: np.ndarray, azimuth: float, elevation: float
) -> np.ndarray:  # [K, 2] -> [2 K + 2]
    """What the correction depends on."""
    return np.concatenate(
        [(points - 0.5).reshape(-1), [azimuth / ANGLE_UNIT, elevation / ANGLE_UNIT]]
    )


def pairs(values: np.ndarray) -> np.ndarray:  # [..., P] -> [..., P (P + 1) / 2]
    """Products of all pairs.

    >>> pairs(np.array([2.0, 3.0])).tolist()
    [4.0, 6.0, 9.0]
    """
    i, j = np.triu_indices(values.shape[-1])
    return values[..., i] * values[..., j]


@cache
def head_landmarks(count: int = 68) -> HeadLandmarks:
    """The mean head's landmarks for dlib's model of 68 or 5. Raises ValueError for another number."""
    path = ASSETS / f"landmarks-{count}.json"
    if not path.is_file():
        raise ValueError(f"landmarks must be 68 or 5, got {count!r}")
    stored = json.loads(path.read_text())
    return HeadLandmarks(**{f.name: np.array(stored[f.name]) for f in fields(HeadLandmarks)})
