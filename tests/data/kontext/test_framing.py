"""Heads that editors made larger or moved are found to be so, and brought back."""

import numpy as np
import pytest
import torch
from stand_in import View, cast

from semhead_lib.cameras import Camera
from semhead_lib.data.kontext.framing import (
    Frame,
    frame_of_face,
    frame_of_silhouette,
    frame_of_view,
    reframed,
)
from semhead_lib.data.portraits.camera import CameraFit

for needed in ("anny", "cv2"):
    pytest.importorskip(needed)
SIDE = 128
VIEWS = (View(0, 0), View(90, 20), View(180, 0), View(-120, -15))


def mask_of(image):
    return ((image.float() - 212).abs().amax(0) > 16).byte() * 255


def moved(image, frame):
    """The image with its head in that frame."""
    back = Frame(1 / frame.scale, -frame.right / frame.scale, -frame.down / frame.scale)
    return reframed(image, back)


def overlap(one, other):
    return float((one.bool() & other.bool()).sum() / (one.bool() | other.bool()).sum())


def test_moving_back_and_forth():
    """Also where the image ends before the camera's does: its edges go on, and no second square is
    mirrored there."""
    image = torch.full((3, SIDE, SIDE), 212, dtype=torch.uint8)
    image[:, 40:80, 50:90] = 20
    frame = Frame(1.25, 0.1, -0.05)
    there = moved(image, frame)
    dark, back = there[0] < 116, reframed(there, frame)[0] < 116
    rows, columns = (torch.nonzero(dark.any(axis)).flatten().float() for axis in (1, 0))
    assert (len(rows), len(columns)) == (50, 50)
    assert float(columns.mean()) == pytest.approx(63.5 + 1.25 * 6 + 12.8, abs=0.6)
    assert float(rows.mean()) == pytest.approx(63.5 - 1.25 * 4 - 6.4, abs=0.6)
    assert overlap(back, image[0] < 116) > 0.95
    assert torch.equal(reframed(image, Frame()), image)


def test_frames_are_found_and_what_is_the_persons_own_is_not_put_right():
    rng, errors, asked, overlaps = np.random.default_rng(0), [], [], []
    for person in range(5):
        front, *others = cast(4000, person, SIDE, *VIEWS)
        own = frame_of_silhouette(mask_of(front), Camera.orbit(0.0, 0.0).label)
        for view, image in zip(VIEWS[1:], others, strict=True):
            frame = Frame(float(np.exp(rng.normal() * 0.1)), *(rng.normal(size=2) * 0.05).tolist())
            there = moved(image, frame)
            camera = Camera.orbit(view.azimuth, view.elevation).label
            found = frame_of_view(frame_of_silhouette(mask_of(there), camera), own)
            errors.append(
                [
                    np.log(found.scale / frame.scale),
                    found.right - frame.right,
                    found.down - frame.down,
                ]
            )
            asked.append([np.log(frame.scale), frame.right, frame.down])
            truth = mask_of(image)
            overlaps.append(
                [overlap(mask_of(there), truth), overlap(mask_of(reframed(there, found)), truth)]
            )
    off, before = (np.sqrt(np.square(x).mean(0)) for x in (errors, asked))
    print("off", off, "before", before, "overlap before and after", np.mean(overlaps, 0))
    assert (off < (0.08, 0.03, 0.03)).all() and (off[1:] < 0.6 * before[1:]).all()
    before, after = np.mean(overlaps, 0)
    assert after > before + 0.03


def test_a_face_says_it_by_itself():
    turned = np.array([[150.0, 0.0, 10.0], [0.0, 150.0, -5.0]])
    found = frame_of_face(CameraFit(0.0, 0.0, turned, 0.0), 100)
    assert (found.scale, found.right, found.down) == pytest.approx((1.5, 0.35, 0.2))
    np.testing.assert_allclose(found.similarity * 100, turned, atol=1e-9)
