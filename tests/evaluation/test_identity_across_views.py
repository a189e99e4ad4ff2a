"""Identity across views, with a judge that reads an image's brightness."""

import sys

import numpy as np
import pytest
import torch

from semhead_lib.cameras import orbit_cameras
from semhead_lib.data.portraits import faces
from semhead_lib.evaluation import identity


class Brightness:
    """Finds a face in images that are not black; the identity is its mean colour."""

    def identity(self, image):
        return None if image.max() == 0 else image.float().mean((1, 2)).numpy()


@pytest.fixture
def judge(monkeypatch):
    monkeypatch.setattr(identity, "face_judge", Brightness)


def head(level: int, spread: int, seed: int) -> torch.Tensor:  # [6, 3, 4, 4]
    rng = torch.Generator().manual_seed(seed)
    return (
        (level + torch.randint(0, spread, (6, 3, 1, 1), generator=rng))
        .expand(6, 3, 4, 4)
        .to(torch.uint8)
    )


def test_heads_that_keep_their_face_and_heads_that_do_not(judge):
    kept = identity.find_identities([head(40 * i + 10, 8, i) for i in range(5)])
    lost = identity.find_identities([head(10, 200, i) for i in range(5)])
    assert kept.auc() == 1 and lost.auc() == pytest.approx(0.5, abs=0.1)
    same, different = kept.distances()
    assert len(same) == 5 * 15 and len(different) == 10 * 36 and same.max() < 15 < different.min()
    some = kept.distances(torch.tensor([1, 4]))
    assert len(some[0]) == 2 * 15 and len(some[1]) == 36


def test_images_without_a_face_are_counted(judge):
    subjects = [head(40 * i + 10, 8, i) for i in range(2)]
    subjects[1][2:] = 0
    found = identity.find_identities(subjects)
    assert found.found == pytest.approx(8 / 12) and found.head.tolist() == [0] * 6 + [1] * 2
    nobody = identity.find_identities([torch.zeros(3, 3, 4, 4, dtype=torch.uint8)])
    assert nobody.found == 0 and np.isnan(nobody.auc()) and np.isnan(found.auc(torch.tensor([0])))


def test_views_near_the_front():
    azimuths = torch.tensor([[0.0, 44.0, 180.0], [-46.0, 90.0, 10.0]])
    cameras = torch.stack([orbit_cameras(a, torch.zeros(3)) for a in azimuths])
    images = torch.arange(6, dtype=torch.uint8).reshape(2, 3, 1, 1, 1).expand(2, 3, 3, 2, 2)
    assert [views[:, 0, 0, 0].tolist() for views in identity.frontal_views(images, cameras)] == [
        [0, 1],
        [5],
    ]


def test_without_dlib_the_extra_is_named(monkeypatch):
    faces.face_judge.cache_clear()
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"semhead\[faces\]"):
        identity.find_identities([])
