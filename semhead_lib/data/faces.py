"""An independent judge of faces: dlib's detector, landmarks and identity network (extra `faces`).

The weights come inside the package face-recognition-models: the 68-point landmark model was trained on iBUG 300-W,
whose licence excludes commercial use; the identity network (King, 2017) is CC0. The judge knows nothing of our heads.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import rankdata
from torch import Tensor

_UPSCALED = 384  # pixels a side: the detector was trained on faces of about 80 pixels


def weights_folder() -> Path:
    """Folder of dlib's weights. Raises ModuleNotFoundError with the command that installs them."""
    found = importlib.util.find_spec("face_recognition_models")  # its own import needs a package that Python dropped
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("dlib's weights are missing: pip install 'semhead[faces]'")
    return Path(next(iter(found.submodule_search_locations))) / "models"


class FaceJudge:
    """Detects the largest face of a picture, its 68 landmarks and its 128-number identity."""

    def __init__(self) -> None:
        try:
            import dlib
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("dlib is missing: pip install 'semhead[faces]'") from error
        folder = weights_folder()
        self._dlib = dlib
        self._detect = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(str(folder / "shape_predictor_68_face_landmarks.dat"))
        self._identity = dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))

    def landmarks(self, image: Tensor) -> np.ndarray | None:  # [3, H, W] uint8 -> [68, 2] in [0, 1], x right, y down
        """Landmarks of the largest face in iBUG order, or None when no face is found."""
        found = self._find(image)
        if found is None:
            return None
        picture, shape = found
        return np.array([[p.x + 0.5, p.y + 0.5] for p in shape.parts()]) / picture.shape[1::-1]

    def identity(self, image: Tensor) -> np.ndarray | None:  # [3, H, W] uint8 -> [128]
        """Identity feature of the largest face, or None; to its author distances below 0.6 mean "same person"."""
        found = self._find(image)
        if found is None:
            return None
        return np.array(self._identity.compute_face_descriptor(*found))

    def _find(self, image: Tensor):
        if image.ndim != 3 or image.shape[0] != 3 or str(image.dtype) != "torch.uint8":
            raise ValueError(f"image must be uint8 of shape [3, H, W], got {image.dtype} of shape {list(image.shape)}")
        from PIL import Image

        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        scale = _UPSCALED / min(picture.size)
        if scale > 1:
            picture = picture.resize([round(s * scale) for s in picture.size], Image.Resampling.BICUBIC)
        pixels = np.asarray(picture)
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
    """How well the judge tells people apart from their pictures."""

    same: np.ndarray  # distances between pictures of one person
    different: np.ndarray  # distances between pictures of two people
    faces: int  # pictures in which a face was found
    pictures: int

    @property
    def auc(self) -> float:
        """Area under the ROC curve: the chance that a same-person pair is closer than a pair of different people."""
        return roc_auc(-self.same, -self.different)


def roc_auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a random `positive` score exceeds a random `negative` one, ties counting half (Mann-Whitney U).

    >>> roc_auc(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    0.875
    """
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))


def identity_check(people: list[Tensor]) -> IdentityCheck:  # one [K, 3, H, W] uint8 a person
    """Compare all pictures of `people` pair by pair; pictures without a found face are counted and left out.

    Raises ValueError when fewer than two people have two found faces.
    """
    judge = face_judge()
    features, owner = [], []
    for person, pictures in enumerate(people):
        found = [f for f in map(judge.identity, pictures) if f is not None]
        features += found
        owner += [person] * len(found)
    total = sum(len(p) for p in people)
    counts = np.bincount(owner, minlength=len(people)) if owner else np.zeros(1)
    if (counts > 1).sum() < 2:
        raise ValueError(f"need two people with two faces each, found {len(features)} faces in {total} pictures")
    feature, owner = np.stack(features), np.array(owner)
    i, j = np.triu_indices(len(feature), k=1)
    distance = np.linalg.norm(feature[i] - feature[j], axis=-1)
    same = owner[i] == owner[j]
    return IdentityCheck(distance[same], distance[~same], len(feature), total)
