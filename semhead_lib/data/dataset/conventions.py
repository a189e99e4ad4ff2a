"""Cameras of other tools: which convention labels look like, and how they become ours.

Ours is EG3D's (see `cameras`). Others hold OpenGL's axes (y up, z backwards), world-to-camera
matrices, a world whose z points up, or focal lengths in pixels: 25 numbers each, with rigid poses,
so that nothing but what the cameras see gives them away. Heads stand upright at the origin, so
cameras of heads look at it, from all around, with their up side up.
"""

from __future__ import annotations

import numpy as np

STEPS = {  # what a label may be, in the order in which it is undone
    "w2c": "world-to-camera matrices",
    "opengl": "OpenGL's camera axes (y up, z backwards)",
    "zup": "a world whose z points up",
    "pixels": "focal lengths in pixels",
}
CAMERAS = ("auto", "opencv", *STEPS)
_LOOKS, _UPRIGHT = 0.9, 0.3  # least mean cosines of heads' cameras
_EDGE = 0.45  # image widths between the middle and a head that cannot be in the image
_PIXELS, _WIDEST = 50.0, 0.3  # image widths: focal lengths that no lens has


def parse_camera(words: str) -> tuple[str, ...]:
    """The steps that `words`, such as "w2c+opengl", name; () for "opencv" and "auto". Raises
    ValueError for others.

    >>> parse_camera("opengl+w2c")
    ('w2c', 'opengl')
    """
    named = set(words.split("+"))
    if words in ("auto", "opencv"):
        return ()
    if not named <= set(STEPS):
        raise ValueError(
            f"camera must be auto, opencv, or one or more of {', '.join(STEPS)} joined by '+', got "
            f"{words!r}"
        )
    return tuple(step for step in STEPS if step in named)


def converted(
    labels: np.ndarray,  # [N, 25] of another convention
    steps: tuple[str, ...],
    size: int = 1,  # pixels a side of the images
) -> np.ndarray:  # [N, 25] of ours, float64
    """Labels in our convention, by the steps of `parse_camera`."""
    poses = labels[:, :16].reshape(-1, 4, 4).astype(np.float64)
    intrinsics = labels[:, 16:].reshape(-1, 3, 3).astype(np.float64)
    if "w2c" in steps:
        poses = np.linalg.inv(poses)
    if "opengl" in steps:
        poses = poses @ np.diag([1.0, -1.0, -1.0, 1.0])
    if "zup" in steps:
        turn = np.eye(4)
        turn[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
        poses = turn @ poses
    if "pixels" in steps:
        intrinsics = intrinsics.copy()
        intrinsics[:, 0, :2] /= size
        intrinsics[:, 1, 1] /= size
        for row in (0, 1):
            large = intrinsics[:, row, 2] > 1
            intrinsics[large, row, 2] /= size
    return np.concatenate([poses.reshape(-1, 16), intrinsics.reshape(-1, 9)], axis=1)


def looks_like(labels: np.ndarray) -> str | None:  # [N, 25]
    """The steps that labels need, as `parse_camera` takes them; None where they look like ours, or
    like nothing that is known."""
    pixels = ("pixels",) if np.median(labels[:, 16]) > _PIXELS else ()
    ways = [(), ("opengl",), ("w2c",), ("w2c", "opengl")]
    for way in [*ways, *((*way, "zup") for way in ways)]:
        if _sees_heads(converted(labels, way)):
            return "+".join((*way, *pixels)) or None
    return "+".join(pixels) or None


def camera_problem(labels: np.ndarray, imported: str = "") -> str | None:  # [N, 25]
    """Why labels can hardly be cameras of ours around a head, and which option of data import
    mends them: one line, or None. `imported` is the option that they came by."""
    camera, (focal, other) = looks_like(labels), np.median(labels[:, [16, 20]], axis=0)
    remedy = f"camera={camera} of data import converts them" if camera else ""
    if camera:
        what = "look like " + ", ".join(STEPS[step] for step in parse_camera(camera))
    elif focal < _WIDEST or not 0.5 < other / focal < 2:
        what = f"have focal lengths of {focal:.2g} and {other:.2g} image widths"
    elif not _sees_heads(labels):
        what = "look away from the head, which stands at the origin"
    elif (seen := _origin(labels)) is not None:
        what = "show the head, which stands at the origin, outside of their images, at "
        what += "({:.2g}, {:.2g}) of their widths".format(*seen)
        remedy = "principal points are 0.5 for the middle"
    else:
        return None
    if imported:
        remedy = f"they came by data import camera={imported}: without it, that says what fits"
    return f"the cameras {what}; {remedy or 'camera= of data import converts others to ours'}"


def _origin(labels: np.ndarray) -> tuple[float, float] | None:  # [N, 25]
    """Where in the images the origin is, the median over them, if that is outside. Principal points
    in pixels or from the middle put it there."""
    poses = labels[:, :16].reshape(-1, 4, 4)
    local = -np.einsum("nij,ni->nj", poses[:, :3, :3], poses[:, :3, 3])
    image = np.einsum("nij,nj->ni", labels[:, 16:].reshape(-1, 3, 3), local)
    u, v = np.median(image[:, :2] / image[:, 2:], axis=0)
    return (float(u), float(v)) if max(abs(u - 0.5), abs(v - 0.5)) > _EDGE else None


def _sees_heads(labels: np.ndarray) -> bool:
    """Whether cameras look at the origin with their up side up, and not all from one place."""
    poses = labels[:, :16].reshape(-1, 4, 4)
    places = poses[:, :3, 3] / np.linalg.norm(poses[:, :3, 3], axis=1, keepdims=True).clip(1e-9)
    forwards, down = poses[:, :3, 2], poses[:, :3, 1]
    if -np.mean((places * forwards).sum(1)) < _LOOKS or -np.mean(down[:, 1]) < _UPRIGHT:
        return False
    turned = np.ptp(forwards, axis=0).max()
    return bool(turned < 0.02 or np.ptp(places, axis=0).max() > turned / 3)
