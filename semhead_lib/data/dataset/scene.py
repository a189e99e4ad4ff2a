"""Where a head is in a calibrated capture: our axes, centre and scale, given or estimated from the
cameras alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semhead_lib.cameras import RADIUS

FRONTS = ("auto", "keep")
_SURROUNDED = 0.3  # length of the mean direction to the cameras, below which none is the front
_PARALLEL = 1e-3  # least share of the axes' directions across the least of them
_ONE_SIDE = 0.9  # least length of the mean direction to cameras of the front
_FLAT = 0.2  # length of the mean up direction, below which cameras do not agree


@dataclass(frozen=True, eq=False)
class Scene:
    """A similarity: a point x of the capture is `scale * rotation @ (x - center)` of ours."""

    center: np.ndarray  # [3]
    rotation: np.ndarray  # [3, 3]
    scale: float

    @property
    def shift(self) -> np.ndarray:  # [3]
        """Where the origin of the capture lies in our world."""
        return -self.scale * self.rotation @ self.center


def parse_center(text: str) -> np.ndarray | None:  # [3]
    """The point that "x,y,z" names; None for "auto". Raises ValueError for others.

    >>> parse_center("0, 0.1,-2")
    array([ 0. ,  0.1, -2. ])
    """
    if text == "auto":
        return None
    try:
        point = np.array([float(word) for word in text.split(",")])
    except ValueError:
        point = np.zeros(0)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise ValueError(f"center must be auto or three numbers x,y,z, got {text!r}")
    return point


def scene_of(
    poses: np.ndarray,  # [N, 4, 4] camera-to-world, OpenCV's axes
    names: list[str],  # N, of the images
    *,
    center: np.ndarray | None = None,  # [3]; None: where the cameras' axes meet
    scale: float = 0.0,  # our units a unit; 0: the median camera gets 2.7 from the centre
    front: str = "auto",  # "keep" the world's axes, or part of the name of the frontal image
) -> Scene:
    """The scene that a capture's cameras suggest.

    The centre is the point nearest to all optical axes in the least squares; up is the mean of the
    cameras' up directions; the front is where the cameras are, on average, or the named image.
    Raises ValueError where they do not say so, naming the option that does.
    """
    places, forwards = poses[:, :3, 3], poses[:, :3, 2]
    if center is None:
        center = _meeting_point(places, forwards)
    distances = np.einsum("nj,nj->n", center - places, forwards)
    if np.median(distances) <= 0:
        raise ValueError(
            "the cameras look away from each other: camera= names the convention of their matrices "
            "(opengl is NeRF's, opencv is COLMAP's)"
        )
    lengths = np.linalg.norm(places - center, axis=1)
    if not lengths.min() > 0:
        raise ValueError(f"center {center.round(4).tolist()} is the place of a camera")
    scale = scale or RADIUS / float(np.median(lengths))
    rotation = np.eye(3) if front == "keep" else _axes(poses, names, center, front)
    return Scene(center, rotation, scale)


def _meeting_point(places: np.ndarray, forwards: np.ndarray) -> np.ndarray:
    """Least squares of the distances to N lines."""
    across = np.eye(3) - forwards[:, :, None] * forwards[:, None, :]  # [N, 3, 3]
    if np.linalg.eigvalsh(across.sum(0))[0] < _PARALLEL * len(places):
        raise ValueError(
            "the cameras look in one direction, so their axes do not meet: give center=x,y,z"
        )
    return np.linalg.solve(across.sum(0), np.einsum("nij,nj->i", across, places))


def _axes(poses: np.ndarray, names: list[str], center: np.ndarray, front: str) -> np.ndarray:
    """Rows: the subject's left, up, and where the face looks."""
    up = -poses[:, :3, 1].mean(0)
    if (length := np.linalg.norm(up)) < _FLAT:
        raise ValueError(
            "the cameras do not agree on what is up: front=keep takes the world's axes"
        )
    up /= length
    towards = poses[:, :3, 3] - center
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    if front == "auto":
        facing = towards.mean(0)
        if np.linalg.norm(facing - facing @ up * up) < _SURROUNDED:
            raise ValueError(
                "the cameras surround the head: front= is part of the name of the image that shows "
                f"the face, such as front={names[0]}"
            )
    else:
        chosen = [i for i, name in enumerate(names) if front in name]
        if not chosen:
            raise ValueError(f"front={front} is in the name of no image, such as {names[0]}")
        facing = towards[chosen].mean(0)
        if np.linalg.norm(facing) < _ONE_SIDE:
            raise ValueError(
                f"front={front} is in the names of {len(chosen)} images from different sides, such "
                f"as {names[chosen[0]]} and {names[chosen[-1]]}"
            )
    facing = facing - facing @ up * up
    if (length := np.linalg.norm(facing)) < 1e-6:
        raise ValueError(f"front={front} is seen from above or below: name a frontal image")
    facing /= length
    return np.stack([np.cross(up, facing), up, facing])
