"""The camera of a photograph from landmarks of the face: a camera on the orbit, and how the
photograph is turned.

A head in our convention is seen by a camera that looks at the origin from a fixed distance, with y
up. Any photograph of a head is, near enough, such an image that was turned, scaled and shifted in
its plane: so azimuth, elevation and that similarity are sought together (perspective-n-point on a
known orbit), by robust least squares. dlib's landmarks lag behind strong turns of the head: what
that does to the angles was measured on our heads and is then corrected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from semhead_lib.data.portraits.landmarks import HeadLandmarks, orbit_projection

_STARTS = (-30.0, 0.0, 30.0)  # degrees of azimuth that the search begins at
_ELEVATIONS = (-60.0, 60.0)  # degrees, where a found elevation ends


@dataclass(frozen=True)
class CameraFit:
    """A camera on the orbit and the square crop of a photograph that it sees."""

    azimuth: float  # degrees
    elevation: float  # degrees
    similarity: (
        np.ndarray
    )  # [2, 3]: [u, v, 1] in the crop, u and v in [0, 1], to x, y in pixels of the photograph
    error: (
        float  # rms distance of the landmarks to those of our head, in shares of the crop's width
    )

    @property
    def side(self) -> float:
        """Side of the crop in pixels of the photograph."""
        return float(np.hypot(*self.similarity[:, 0]))

    @property
    def roll(self) -> float:
        """How far the head is turned in the photograph's plane, degrees, clockwise as the viewer
        sees it."""
        return float(np.degrees(np.arctan2(self.similarity[1, 0], self.similarity[0, 0])))

    def to_crop(
        self, points: np.ndarray
    ) -> np.ndarray:  # [K, 2] pixels of the photograph -> [K, 2] in [0, 1]
        """Where points of the photograph lie in the crop."""
        return np.linalg.solve(self.similarity[:, :2], (points - self.similarity[:, 2]).T).T


def fit_camera(
    points: np.ndarray,  # [K, 2] landmarks in pixels of the photograph, x right, y down
    head: HeadLandmarks,
    *,
    corrected: bool = True,  # by what was measured on our heads
) -> CameraFit:
    """Camera and crop that bring the head's landmarks onto those of a photograph.

    Minimises the soft L1 cost of the distances, each over its landmark's usual deviation; with the
    corrected angles the crop is fitted once more. Raises ValueError when the points are not finite,
    all at one place, or not as many as the head's.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.shape != (len(head.mean), 2) or not np.isfinite(points).all():
        raise ValueError(
            f"expected {len(head.mean)} finite landmarks [K, 2], got shape {list(points.shape)}"
        )
    middle, size = points.mean(axis=0), points.std()
    if size < 1e-9:
        raise ValueError("expected landmarks at different places, got all at one")
    unit = size / head.seen_from(0.0, 0.0).std()  # pixels a crop's width, about
    weight = 1 / head.deviation[:, None]

    def residuals(p: np.ndarray) -> np.ndarray:
        crop = orbit_projection(head.mean, *np.degrees(p[:2])) - 0.5
        placed = crop @ _rotation(p[2], p[3]).T + p[4:]
        return ((placed - (points - middle) / unit) * weight).reshape(-1)

    found = []
    for azimuth in _STARTS:
        crop = head.seen_from(azimuth, 0.0)
        start = [np.radians(azimuth), 0.0, 1.0, 0.0, *(0.5 - crop.mean(axis=0))]
        found.append(least_squares(residuals, start, loss="soft_l1", max_nfev=100))
    p = min(found, key=lambda result: result.cost).x
    azimuth, elevation = np.degrees(p[:2])
    if corrected:
        crop = 0.5 + np.linalg.solve(_rotation(p[2], p[3]), ((points - middle) / unit - p[4:]).T).T
        more = head.correction(crop, azimuth, elevation)
        azimuth, elevation = azimuth + more[0], elevation + more[1]
    azimuth = (azimuth + 180.0) % 360.0 - 180.0
    elevation = float(np.clip(elevation, *_ELEVATIONS))
    angles = np.radians([azimuth, elevation])
    placed = least_squares(
        lambda q: residuals(np.concatenate([angles, q])), p[2:], loss="soft_l1", max_nfev=100
    ).x
    matrix, centre = unit * _rotation(*placed[:2]), middle + unit * placed[2:]
    similarity = np.concatenate([matrix, (centre - matrix @ (0.5, 0.5))[:, None]], axis=1)
    fit = CameraFit(float(azimuth), elevation, similarity, 0.0)
    away = fit.to_crop(points) - head.seen_from(azimuth, elevation)
    error = float(np.sqrt((away**2).sum(axis=1).mean()))
    return CameraFit(fit.azimuth, fit.elevation, similarity, error)


def _rotation(a: float, b: float) -> np.ndarray:  # [2, 2], times hypot(a, b)
    return np.array([[a, -b], [b, a]])
