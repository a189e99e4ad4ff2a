"""Masks of heads: the prior is where heads are, and GrabCut finds one against a photograph."""

import sys

import numpy as np
import pytest
import torch
from skimage.data import coffee

from semhead_lib.cameras import Camera, orbit_cameras
from semhead_lib.data.portraits import silhouette

FRONT = Camera.orbit(0.0, 0.0).label


def test_the_prior_is_a_head_from_every_side():
    assert silhouette.HEADS.stat().st_size < 60_000
    front = silhouette.prior(FRONT, 128)
    assert front.shape == (128, 128) and front.min() >= 0 and front.max() <= 1
    assert front[64, 64] > 0.97 and front[:4].max() < 0.02  # the middle of the head; above it
    assert (front - front.flip(1)).abs().mean() < 0.05
    side, back = (silhouette.prior(Camera.orbit(a, 0.0).label, 128) for a in (90.0, 180.0))
    assert (back - front.flip(1)).abs().mean() < 0.05 and (side - front).abs().mean() > 0.02
    assert 0.15 < (front > 0.5).float().mean() < 0.6


def test_the_hull_of_a_ball_is_a_ball():
    cameras = orbit_cameras(
        torch.arange(0.0, 360.0, 30), torch.tensor([-30.0, 0.0, 30.0]).repeat(4)
    )
    v, u = torch.meshgrid(*[(torch.arange(96) + 0.5) / 96 - 0.5] * 2, indexing="ij")
    disc = (
        (u.square() + v.square()).sqrt() < 0.2 * 4.2647 / 2.7
    ).byte() * 255  # a ball of radius 0.2
    hull = silhouette.carve(disc.expand(12, 96, 96), cameras)
    cells = silhouette.pack(hull)["cells"]
    centres = (torch.arange(cells) + 0.5) / cells - 0.5
    radius = torch.stack(torch.meshgrid(centres, centres, centres, indexing="ij")).norm(dim=0)
    assert hull[radius < 0.16].min() > 0.9 and hull[radius > 0.26].max() < 0.1


def test_a_head_before_a_photograph_is_found():
    pytest.importorskip("cv2")
    prior = silhouette.prior(Camera.orbit(20.0, 5.0).label, 200)
    head = (prior > 0.4).numpy()
    photograph = np.array(coffee()[:200, :200])
    photograph[head] = (
        np.array([70, 160, 190]) + np.random.default_rng(0).normal(0, 8, (200, 200, 3))
    )[head].clip(0, 255)
    image, camera = torch.from_numpy(photograph).permute(2, 0, 1), Camera.orbit(20.0, 5.0).label
    mask = silhouette.foreground(image, camera)
    assert mask.shape == (200, 200) and mask.dtype == torch.uint8
    found = mask.numpy() > 127
    assert (found & head).sum() / (found | head).sum() > 0.93
    assert ((mask > 20) & (mask < 235)).any()  # the edge is soft
    assert torch.equal(mask, silhouette.foreground(image, camera))
    inside = torch.full((200, 200), 255, dtype=torch.uint8)
    inside[150:] = 0
    assert silhouette.foreground(image, camera, inside)[156:].max() == 0


def test_an_even_image_gives_a_mask():
    pytest.importorskip("cv2")
    grey = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    assert silhouette.foreground(grey, FRONT).shape == (64, 64)
    nothing = silhouette.foreground(grey, FRONT, torch.zeros(64, 64, dtype=torch.uint8))
    assert nothing.max() == 0


def test_bad_images_and_missing_opencv(monkeypatch):
    with pytest.raises(
        ValueError, match=r"uint8 of shape \[3, S, S\], got torch.uint8 of shape \[3, 8, 9\]"
    ):
        silhouette.foreground(torch.zeros(3, 8, 9, dtype=torch.uint8), FRONT)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ModuleNotFoundError, match=r"semhead\[faces\]"):
        silhouette.foreground(torch.zeros(3, 8, 8, dtype=torch.uint8), FRONT)
