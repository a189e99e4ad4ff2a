"""Faces and their landmarks found in photographs by dlib (extra `faces`)."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

UPSCALED = 384  # pixels a side: the detector was trained on faces of about 80 pixels
_SHRUNK = 1024  # pixels of the longer side that large images are searched at first
_DOUBTFUL = 0.3  # of the surest face's score: what scores less is taken for something else
UINT8 = "torch.uint8"
_MOST_PIXELS = 16 << 20  # what is searched when no face was found in fewer
# pixels a face's box is brought to before its landmarks are found: they come as whole pixels
_FACE = 200
_SHIFTS = (  # boxes whose landmarks are averaged: x, y in box widths, and size
    (0.0, 0.0, 1.0),
    (0.04, 0.0, 1.0),
    (-0.04, 0.0, 1.0),
    (0.0, 0.04, 1.0),
    (0.0, -0.04, 1.0),
    (0.0, 0.0, 1.06),
    (0.0, 0.0, 0.94),
)
# number of landmarks -> file, and what its author says of its licence (davisking/dlib-models)
LANDMARK_MODELS = {
    68: ("shape_predictor_68_face_landmarks.dat", "trained on iBUG 300-W: no commercial use"),
    5: ("shape_predictor_5_face_landmarks.dat", "CC0"),
}
MIRRORED = {  # the landmark that each one becomes in a mirror
    68: [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *range(27, 31),
        *range(35, 30, -1),
        45,
        44,
        43,
        42,
        47,
        46,
        39,
        38,
        37,
        36,
        41,
        40,
        *range(54, 47, -1),
        *range(59, 54, -1),
        *range(64, 59, -1),
        67,
        66,
        65,
    ],
    5: [2, 3, 0, 1, 4],
}


def weights_folder() -> Path:
    """Folder of dlib's weights. Raises ModuleNotFoundError with the command that installs them."""
    found = importlib.util.find_spec(
        "face_recognition_models"
    )  # its own import needs a package that Python dropped
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("dlib's weights are missing: pip install 'semhead[faces]'")
    return Path(next(iter(found.submodule_search_locations))) / "models"


@dataclass(frozen=True)
class Face:
    """A face in an image, in its pixels: x right, y down, (0, 0) the top left corner."""

    box: tuple[
        float, float, float, float
    ]  # left, top, right, bottom: from the brows to the chin; may leave the image
    landmarks: (
        np.ndarray
    )  # [K, 2]: 68 in iBUG order, or 5: right-hand eye's corners, left-hand eye's, base of the nose

    @property
    def width(self) -> float:
        """Width of the box, pixels."""
        return self.box[2] - self.box[0]


class FaceFinder:
    """Finds all faces of an image of any size with their landmarks; `landmarks` is a key of
    LANDMARK_MODELS."""

    def __init__(self, landmarks: int = 68) -> None:
        if landmarks not in LANDMARK_MODELS:
            raise ValueError(
                f"landmarks must be one of {sorted(LANDMARK_MODELS)}, got {landmarks!r}"
            )
        self._dlib, self._count = import_dlib(), landmarks
        self._detect = self._dlib.get_frontal_face_detector()
        self._landmarks = self._dlib.shape_predictor(
            str(weights_folder() / LANDMARK_MODELS[landmarks][0])
        )

    def __call__(self, image: Tensor, finest: int = 4) -> list[Face]:  # [3, H, W] uint8
        """The faces, largest first. They are searched in finer and finer images until there is one,
        at most `finest` times as fine: 1 is enough where a face fills its image."""
        array = as_image(image)
        width, height = array.size
        scale = 1.0
        if min(array.size) < UPSCALED:
            scale = UPSCALED / min(array.size)
        elif max(array.size) > _SHRUNK:
            scale = _SHRUNK / max(array.size)
        for finer in (1, 2, 4):
            size = [max(round(s * scale * finer), 1) for s in array.size]
            if finer > finest or (finer > 1 and size[0] * size[1] > _MOST_PIXELS):
                break
            boxes, scores, _ = self._detect.run(
                np.asarray(array.resize(size, Image.Resampling.BICUBIC)), 0, 0.0
            )
            if boxes:
                across, down = width / size[0], height / size[1]
                boxes = [
                    box
                    for box, score in zip(boxes, scores, strict=True)
                    if score >= _DOUBTFUL * max(scores)
                ]
                boxes = sorted(boxes, key=lambda b: (-b.area(), b.left(), b.top()))
                return [
                    self._face(
                        array,
                        (b.left() * across, b.top() * down, b.right() * across, b.bottom() * down),
                    )
                    for b in boxes
                ]
        return []

    def _face(self, image: Image.Image, box: tuple[float, float, float, float]) -> Face:
        """Landmarks of the face at `box`: a mean over slightly different boxes, in the image and
        its mirror image."""
        left, top, right, bottom = box
        side = max(right - left, bottom - top, 1.0)
        corner = np.array([left + right, top + bottom]) / 2 - side
        cut = _cut_out(image, (*corner, *(corner + 2 * side)), (2 * _FACE, 2 * _FACE))
        found = []
        for mirrored in (False, True):
            pixels = np.ascontiguousarray(cut[:, ::-1] if mirrored else cut)
            for x, y, size in _SHIFTS:
                half, middle = size * _FACE / 2, (_FACE * (1 + x), _FACE * (1 + y))
                edges = [round(middle[i] + sign * half) for sign in (-1, 1) for i in (0, 1)]
                shape = self._landmarks(pixels, self._dlib.rectangle(*edges))
                points = np.array([[p.x + 0.5, p.y + 0.5] for p in shape.parts()])
                if mirrored:
                    points = (points * (-1, 1) + (2 * _FACE, 0))[MIRRORED[self._count]]
                found.append(points)
        return Face(box, corner + np.mean(found, axis=0) * side / _FACE)


def import_dlib():
    try:
        import dlib
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("dlib is missing: pip install 'semhead[faces]'") from error
    return dlib


def as_image(image: Tensor) -> Image.Image:
    if image.ndim != 3 or image.shape[0] != 3 or str(image.dtype) != UINT8:
        raise ValueError(
            f"image must be uint8 of shape [3, H, W], got {image.dtype} of shape "
            f"{list(image.shape)}"
        )
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def _cut_out(
    image: Image.Image, region: tuple[float, ...], size: tuple[int, int]
) -> np.ndarray:  # [h, w, 3] uint8
    """The region (left, top, right, bottom) at `size` (width, height); black outside the image, as
    dlib has it."""
    low = math.floor(region[0]), math.floor(region[1])
    right, bottom = (math.ceil(v) for v in region[2:])
    around = image.crop((*low, right, bottom))
    x0, y0, x1, y1 = (value - low[i % 2] for i, value in enumerate(region))
    return np.asarray(around.resize(size, Image.Resampling.BICUBIC, box=(x0, y0, x1, y1)))


@cache
def face_finder(landmarks: int = 68) -> FaceFinder:
    """The one finder of this process for a number of landmarks: 68 or 5."""
    return FaceFinder(landmarks)
