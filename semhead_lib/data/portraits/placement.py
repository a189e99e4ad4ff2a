"""Where the head of a photograph is and from where it is seen: by the landmarks of its face, by the
head finder, or by both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from semhead_lib.cameras import degrees_apart
from semhead_lib.data.portraits.camera import CameraFit, fit_camera
from semhead_lib.data.portraits.face_finder import LANDMARK_MODELS, Face, face_finder
from semhead_lib.data.portraits.head_finder.search import FoundHead, find_head
from semhead_lib.data.portraits.landmarks import head_landmarks

FINDERS = ("auto", "landmarks", "network")
WIDE = 45.0  # degrees of azimuth beyond which dlib's detector was not judged
_SMALLEST = 40  # pixels: the width of a face's box below which its landmarks mean little
_WHOLE = 0.8  # the share of a face's box that has to lie in the photograph
_AGREE = 25.0  # degrees between the directions that landmarks and network give, at most


@dataclass(frozen=True)
class Placement:
    """A camera on the orbit and the crop of the photograph that it sees."""

    fit: CameraFit
    landmarks: np.ndarray | None  # [K, 2] in pixels of the photograph
    faces: int  # that were found
    certainty: float | None  # of the network; None: it was not asked, or not believed
    source: dict[str, str]  # for the provenance: what the camera is from
    notes: tuple[str, ...] = ()


def place(image: Tensor, finder: str, landmarks: int, where: str) -> Placement:
    """Find the head of an image [3, H, W] uint8, called `where` in errors.

    "landmarks" takes the largest face, by dlib's model of 68 or 5 landmarks; "network" the head that
    the head finder is surest of, from any side. "auto" begins with the landmarks, where dlib is
    installed and finds a whole face, and lets the network correct them, if it agrees about; else it
    takes the network's.

    Raises ValueError where there is none: of the face, where dlib found one that is too small or cut
    off and there is no head either; ModuleNotFoundError where landmarks are asked for without dlib.
    """
    if finder not in FINDERS:
        raise ValueError(f"finder must be one of {', '.join(FINDERS)}, got {finder!r}")
    head_landmarks(landmarks)  # refuses another number
    if finder == "network":
        return _of_network(find_head(image), where)
    try:
        by_face = _by_face(image, landmarks, where)
    except (ModuleNotFoundError, ValueError) as error:
        if finder == "landmarks":
            raise
        head = find_head(image)
        if head is None and isinstance(error, ValueError):
            raise ValueError(f"{error}; nor was a head found from another side") from None
        if head is None:
            raise
        return _of_network(head, where)
    if finder == "landmarks":
        return by_face
    head = find_head(image, by_face.fit.similarity)
    if head is None:
        return by_face
    directions = [(fit.azimuth, fit.elevation) for fit in (head.fit, by_face.fit)]
    if degrees_apart(*directions) > _AGREE:
        return by_face
    source = by_face.source | {"camera": "head finder, from landmarks"}
    return Placement(
        head.fit, by_face.landmarks, by_face.faces, head.certainty, source, by_face.notes
    )


def _of_network(head: FoundHead | None, where: str) -> Placement:
    if head is None:
        raise ValueError(f"{where}: no head found")
    return Placement(head.fit, None, 0, head.certainty, {"camera": "head finder"})


def _by_face(image: Tensor, landmarks: int, where: str) -> Placement:
    height, width = image.shape[1:]
    faces = face_finder(landmarks)(image)
    face = _largest(faces, width, height, where)
    many = f"{len(faces)} faces were found: the largest was taken."
    fit = fit_camera(face.landmarks, head_landmarks(landmarks))
    source = {
        "camera": f"{landmarks} landmarks",
        "landmark model": "{} ({})".format(*LANDMARK_MODELS[landmarks]),
    }
    notes = () if len(faces) == 1 else (many,)
    return Placement(fit, face.landmarks, len(faces), None, source, notes)


def _largest(faces: list[Face], width: int, height: int, where: str) -> Face:
    """The face to take, if it is whole and large enough."""
    if not faces:
        raise ValueError(
            f"{where}: no face found in {width} x {height} pixels; one is needed, turned by at "
            "most about "
            f"{WIDE:.0f} degrees from the camera and at least {_SMALLEST} pixels wide"
        )
    face = faces[0]
    left, top, right, bottom = face.box
    if face.width < _SMALLEST:
        raise ValueError(
            f"{where}: the face is {face.width:.0f} pixels wide, at least {_SMALLEST} are needed"
        )
    seen = max(min(right, width) - max(left, 0), 0) * max(min(bottom, height) - max(top, 0), 0)
    x, y = face.landmarks.T
    gone = np.mean((x < 0) | (y < 0) | (x > width) | (y > height))
    if seen < _WHOLE * (right - left) * (bottom - top) or gone > 0.05:
        raise ValueError(
            f"{where}: the face is cut off by the photo's edge; all of it is needed, from brows "
            "to chin"
        )
    return face
