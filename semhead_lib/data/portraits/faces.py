"""An independent judge of faces: dlib's detector, landmarks and identity network (extra `faces`).

The weights come inside the package face-recognition-models: the 68-point landmark model was trained
on iBUG 300-W, whose licence excludes commercial use; the 5-point model and the identity network
(King, 2017) are CC0. None of them knows anything of our heads.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from semhead_lib.files import file_digest

_UPSCALED = 384  # pixels a side: the detector was trained on faces of about 80 pixels
_SHRUNK = 1024  # pixels of the longer side that large images are searched at first
_DOUBTFUL = 0.3  # of the surest face's score: what scores less is taken for something else
CHIP = 150  # pixels a side of what the identity network sees
_AT_ONCE = 64  # of those
_IDENTITY, _UINT8 = "dlib_face_recognition_resnet_model_v1.dat", "torch.uint8"
_MOST_PIXELS = 16 << 20  # what is searched when no face was found in fewer
# pixels a face's box is brought to before its landmarks are found: they come as whole pixels
_FACE = 200
_SHIFTS = (
    (0.0, 0.0, 1.0),
    (0.04, 0.0, 1.0),
    (-0.04, 0.0, 1.0),
    (0.0, 0.04, 1.0),
    (0.0, -0.04, 1.0),
)
_SHIFTS += (
    (0.0, 0.0, 1.06),
    (0.0, 0.0, 0.94),
)  # boxes whose landmarks are averaged: x, y in box widths, and size
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
        self._dlib, self._count = _import_dlib(), landmarks
        self._detect = self._dlib.get_frontal_face_detector()
        self._landmarks = self._dlib.shape_predictor(
            str(weights_folder() / LANDMARK_MODELS[landmarks][0])
        )

    def __call__(self, image: Tensor, finest: int = 4) -> list[Face]:  # [3, H, W] uint8
        """The faces, largest first. They are searched in finer and finer images until there is one,
        at most `finest` times as fine: 1 is enough where a face fills its image."""
        array = _as_image(image)
        width, height = array.size
        scale = 1.0
        if min(array.size) < _UPSCALED:
            scale = _UPSCALED / min(array.size)
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


class FaceJudge:
    """Detects the largest face of an image, its 68 landmarks and its 128-number identity."""

    def __init__(self) -> None:
        dlib, folder = _import_dlib(), weights_folder()
        self._dlib = dlib
        self._detect = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(
            str(folder / "shape_predictor_68_face_landmarks.dat")
        )
        self._identity = dlib.face_recognition_model_v1(str(folder / _IDENTITY))

    def landmarks(
        self, image: Tensor
    ) -> np.ndarray | None:  # [3, H, W] uint8 -> [68, 2] in [0, 1], x right, y down
        """Landmarks of the largest face in iBUG order, or None when no face is found."""
        found = self._find(image)
        if found is None:
            return None
        array, shape = found
        return np.array([[p.x + 0.5, p.y + 0.5] for p in shape.parts()]) / array.shape[1::-1]

    def identity(self, image: Tensor) -> np.ndarray | None:  # [3, H, W] uint8 -> [128]
        """Identity feature of the largest face, or None; to its author distances below 0.6 mean
        "same person"."""
        found = self._find(image)
        if found is None:
            return None
        return np.array(self._identity.compute_face_descriptor(*found))

    def identities(self, faces: Tensor) -> np.ndarray:  # [N, 3, 150, 150] uint8 -> [N, 128]
        """Identity features of images that a face fills, from the brows to the chin and a third of
        that around it: none is searched. Raises ValueError for images of another shape."""
        if faces.ndim != 4 or faces.shape[1:] != (3, CHIP, CHIP) or str(faces.dtype) != _UINT8:
            raise ValueError(
                f"faces must be uint8 [N, 3, {CHIP}, {CHIP}], got {faces.dtype} {list(faces.shape)}"
            )
        chips = [np.ascontiguousarray(chip) for chip in faces.permute(0, 2, 3, 1).numpy()]
        found = [np.zeros((0, 128))]
        for start in range(0, len(chips), _AT_ONCE):
            of_some = self._identity.compute_face_descriptor(chips[start : start + _AT_ONCE])
            found.append(np.array([list(feature) for feature in of_some]))
        return np.concatenate(found)

    @property
    def weights(self) -> str:
        """First 16 hex digits of the SHA-256 of the identity network's file."""
        return file_digest(weights_folder() / _IDENTITY)

    def _find(self, image: Tensor):
        array = _as_image(image)
        scale = _UPSCALED / min(array.size)
        if scale > 1:
            array = array.resize([round(s * scale) for s in array.size], Image.Resampling.BICUBIC)
        pixels = np.asarray(array)
        boxes = self._detect(pixels, 0) or self._detect(pixels, 1)
        if not boxes:
            return None
        return pixels, self._landmarks(pixels, max(boxes, key=lambda b: b.area()))


def _import_dlib():
    try:
        import dlib
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("dlib is missing: pip install 'semhead[faces]'") from error
    return dlib


def _as_image(image: Tensor) -> Image.Image:
    if image.ndim != 3 or image.shape[0] != 3 or str(image.dtype) != _UINT8:
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


@cache
def face_judge() -> FaceJudge:
    """The one judge of this process (loads in about a second)."""
    return FaceJudge()


@dataclass(frozen=True)
class IdentityCheck:
    """How well the judge tells people apart from their images."""

    same: np.ndarray  # distances between images of one person
    different: np.ndarray  # distances between images of two people
    faces: int  # images in which a face was found
    images: int

    @property
    def auc(self) -> float:
        """Area under the ROC curve: the chance that a same-person pair is closer than a pair of
        different people."""
        return roc_auc(-self.same, -self.different)


def roc_auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a random `positive` score exceeds a random `negative` one, ties counting half
    (Mann-Whitney U).

    >>> roc_auc(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    0.875
    """
    from scipy.stats import rankdata  # takes half as long to import as torch

    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float(
        (ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative))
    )


def identity_check(people: list[Tensor]) -> IdentityCheck:  # one [K, 3, H, W] uint8 a person
    """Compare all images of `people` pair by pair; images without a found face are counted and left
    out.

    Raises ValueError when fewer than two people have two found faces.
    """
    judge = face_judge()
    features, owner = [], []
    for person, images in enumerate(people):
        found = [f for f in map(judge.identity, images) if f is not None]
        features += found
        owner += [person] * len(found)
    total = sum(len(p) for p in people)
    counts = np.bincount(owner, minlength=len(people)) if owner else np.zeros(1)
    if (counts > 1).sum() < 2:
        raise ValueError(
            f"need two people with two faces each, found {len(features)} faces in {total} images"
        )
    feature, owner = np.stack(features), np.array(owner)
    i, j = np.triu_indices(len(feature), k=1)
    distance = np.linalg.norm(feature[i] - feature[j], axis=-1)
    same = owner[i] == owner[j]
    return IdentityCheck(distance[same], distance[~same], len(feature), total)
