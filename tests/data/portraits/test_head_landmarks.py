"""The stored landmarks of our heads: where faces have them, in the way that `make` writes them."""

import json

import numpy as np
import pytest
import torch

from semhead_lib.cameras import orbit_cameras, project
from semhead_lib.data.portraits.face_finder import MIRRORED
from semhead_lib.data.portraits.landmarks import ASSETS, LIMIT, features, head_landmarks, pairs


@pytest.mark.parametrize("count", [68, 5])
def test_they_are_symmetric_and_small(count):
    head = head_landmarks(count)
    assert head.mean.shape == (count, 3) and head.deviation.shape == (count,)
    assert head.mean[MIRRORED[count]] * (-1, 1, 1) == pytest.approx(head.mean, abs=1e-4)
    assert np.abs(head.mean).max() < 0.4 and (head.deviation > 0).all()
    assert (ASSETS / f"landmarks-{count}.json").stat().st_size < 60_000


def test_they_are_in_the_order_and_places_of_a_face():
    mean = head_landmarks(68).mean
    assert (
        mean[36:42, 0].max() < 0 < mean[42:48, 0].min()
    )  # the subject's right eye comes first; left is +x
    assert (
        mean[17:27, 1].mean()
        > mean[36:48, 1].mean()
        > mean[30, 1]
        > mean[48:68, 1].mean()
        > mean[8, 1]
    )
    assert mean[:, 2].argmax() in (29, 30, 33)  # the tip of the nose
    five = head_landmarks(5).mean
    corners = mean[[45, 42, 36, 39, 33]]
    assert np.abs(five - corners).max() < 0.03


def test_they_are_seen_as_any_camera_sees_points():
    head = head_landmarks(68)
    uv, _ = project(
        torch.from_numpy(head.mean).float(),
        orbit_cameras(torch.tensor([-33.0]), torch.tensor([21.0])),
    )
    assert head.seen_from(-33.0, 21.0) == pytest.approx(uv[0].numpy(), abs=1e-5)


def test_no_correction_is_large():
    head = head_landmarks(68)
    away = head.correction(
        head.seen_from(0, 0) + np.random.default_rng(0).normal(0, 0.3, (68, 2)), 80.0, -60.0
    )
    assert away.shape == (2,) and (np.abs(away) <= LIMIT).all()


def test_another_number_of_landmarks():
    with pytest.raises(ValueError, match="landmarks must be 68 or 5, got 29"):
        head_landmarks(29)


@pytest.mark.slow
def test_made_again_they_are_the_same(tmp_path):
    for module in ("dlib", "anny", "warp"):
        pytest.importorskip(module)
    from semhead_lib.data.portraits import calibration

    for name in ("one", "two"):
        calibration.make(
            tmp_path / name, seed=4125, heads=2, progress=False
        )  # both of them bare faces
    for file in ("landmarks-68.json", "landmarks-5.json", "occupancy.json"):
        written = [(tmp_path / name / file).read_text() for name in ("one", "two")]
        assert written[0] == written[1]
        stored = json.loads((ASSETS / file).read_text())
        assert json.loads(written[0]).keys() == stored.keys()
    rough = np.array(json.loads((tmp_path / "one/landmarks-68.json").read_text())["mean"])
    assert np.nanmedian(np.abs(rough - head_landmarks(68).mean)) < 0.03


def test_too_few_heads():
    from semhead_lib.data.portraits.calibration import Measured, learn

    found = Measured(
        {5: np.zeros((2, 5, 2))},
        {5: np.zeros((2, 5, 3))},
        np.zeros(2),
        np.zeros(2),
        np.zeros(2, bool),
        2,
    )
    with pytest.raises(ValueError, match="no bare face among 2 views"):
        learn(found, 5)


def test_what_is_learnt_is_a_polynomial():
    """A known correction is found again from views that it was added to."""
    from semhead_lib.data.portraits.calibration import Measured, learn

    rng, base = np.random.default_rng(1), head_landmarks(68)
    azimuth, elevation = rng.uniform(-50, 50, 80), rng.uniform(-25, 35, 80)
    lagging = np.stack(
        [base.seen_from(0.8 * a, 0.6 * e) for a, e in zip(azimuth, elevation, strict=True)]
    )
    points = lagging + rng.normal(0, 0.001, lagging.shape)
    found = Measured(
        {68: points},
        {68: np.repeat(base.mean[None], 80, 0)},
        azimuth,
        elevation,
        np.ones(80, bool),
        80,
    )
    head = learn(found, 68)
    more = head.correction(base.seen_from(24, 12), 24.0, 12.0)
    assert more == pytest.approx([6, 8], abs=3.0)  # damped
    x = features(base.seen_from(0, 0), 0.0, 0.0)
    assert head.raw_correction(x).shape == (2,) and pairs(np.arange(4.0)).shape == (10,)
