"""The camera found from landmarks: exact on exact landmarks, near enough on what dlib finds on
heads."""

import numpy as np
import pytest
import torch

from semhead_lib.data.portraits.camera import fit_camera
from semhead_lib.data.portraits.face_finder import MIRRORED
from semhead_lib.data.portraits.landmarks import head_landmarks

VIEWS = ((0.0, 0.0), (35.0, -15.0), (-44.0, 25.0))


def photographed(count: int, azimuth: float, elevation: float, roll: float = 0.0) -> np.ndarray:
    """Our head's landmarks in a photograph whose crop is 300 pixels wide, turned by `roll` about
    (400, 250)."""
    a = np.radians(roll)
    turn = 300 * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return (head_landmarks(count).seen_from(azimuth, elevation) - 0.5) @ turn.T + (400, 250)


@pytest.mark.parametrize("count", [68, 5])
@pytest.mark.parametrize(("azimuth", "elevation"), VIEWS)
def test_exact_landmarks_give_the_exact_camera(count, azimuth, elevation):
    fit = fit_camera(
        photographed(count, azimuth, elevation, roll=20.0), head_landmarks(count), corrected=False
    )
    assert [fit.azimuth, fit.elevation] == pytest.approx([azimuth, elevation], abs=0.05)
    assert [fit.side, fit.roll] == pytest.approx([300, 20], abs=0.2)
    assert fit.similarity @ [0.5, 0.5, 1] == pytest.approx([400, 250], abs=0.2)
    assert fit.error < 1e-3


def test_some_wrong_landmarks_do_little():
    points = photographed(68, 20.0, 10.0)
    points[48:56] += 25
    fit = fit_camera(points, head_landmarks(68), corrected=False)
    assert [fit.azimuth, fit.elevation] == pytest.approx([20, 10], abs=4)


@pytest.mark.parametrize("count", [68, 5])
def test_a_mirrored_photograph_gives_the_mirrored_camera(count):
    points = photographed(count, 18.0, 6.0, roll=5.0) + np.random.default_rng(0).normal(
        0, 0.5, (count, 2)
    )
    mirrored = (points * (-1, 1) + (800, 0))[MIRRORED[count]]
    fit, other = (fit_camera(p, head_landmarks(count)) for p in (points, mirrored))
    assert fit.azimuth > 5
    assert [other.azimuth, other.roll] == pytest.approx([-fit.azimuth, -fit.roll], abs=0.4)
    assert [other.elevation, other.side] == pytest.approx([fit.elevation, fit.side], abs=0.4)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((68, 2), np.nan), np.zeros((68, 3))])
def test_what_are_no_landmarks(points):
    with pytest.raises(ValueError, match="expected 68 finite landmarks"):
        fit_camera(points, head_landmarks(68))
    with pytest.raises(ValueError, match="at different places"):
        fit_camera(np.ones((68, 2)), head_landmarks(68))


@pytest.mark.slow
def test_cameras_of_unseen_heads():
    """60 heads of a seed that the landmarks were not made from; the benchmark tells more about the
    same ones."""
    for module in ("dlib", "anny", "warp"):
        pytest.importorskip(module)
    from semhead_lib.cameras import orbit_cameras
    from semhead_lib.data.parametric import appearance
    from semhead_lib.data.parametric.source import Caster, ParametricSource
    from semhead_lib.data.portraits.face_finder import face_finder

    source, rng, errors = ParametricSource(seed=733), np.random.default_rng(733), []
    for index in range(60):
        true = rng.uniform(-45, 45), rng.uniform(-20, 30)
        label = orbit_cameras(*torch.tensor(true)[:, None])
        light = appearance.light(source.attributes(index))
        image = Caster(source.scene(index)).cast(label, 256, light, 4).images[0]
        if faces := face_finder(68)(image):
            fit = fit_camera(faces[0].landmarks, head_landmarks(68))
            errors.append([fit.azimuth - true[0], fit.elevation - true[1], np.log(fit.side / 256)])
    assert len(errors) >= 45, "the others wear what hides a face"
    azimuth, elevation, scale = np.median(np.abs(errors), axis=0)
    assert azimuth <= 4 and elevation <= 4 and scale <= 0.1, (azimuth, elevation, scale)
