"""Metrics of fitted heads: known values, truth against itself, and intervals over people."""

import dataclasses

import numpy as np
import pytest
import torch

from semhead_lib.cameras import orbit_cameras
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.inversion import judging
from semhead_lib.inversion.search import Inverted, Search
from semhead_lib.metrics import reconstruction
from semhead_lib.models.mesh import mesh
from semhead_lib.models.sampling import to_uint8

AROUND = orbit_cameras(torch.arange(6) * 60.0, torch.zeros(6))


@pytest.fixture(scope="module")
def headjudge() -> FeatureExtractor:
    return FeatureExtractor.load("headjudge", device="cpu")


@pytest.fixture(scope="module")
def own(generator, others):
    """A head, and its own images as the truth."""
    fitted = Inverted(generator, others[:1], AROUND[:1], Search())
    with torch.no_grad():
        seen = generator.synthesize(others[:1], AROUND)
    masks = (seen.opacity[:, 0].clamp(0, 1) * 255).round().to(torch.uint8)
    return fitted, judging.Truth(to_uint8(seen.image), masks, AROUND)


def test_the_truth_itself_is_perfect(own, clip, headjudge):
    found = judging.view_metrics(*own, clip, headjudge)
    assert set(found) == {"psnr", "ssim", "iou", "perceptual", "semantic"} and all(
        len(v) == 6 for v in found.values()
    )
    assert found["psnr"].min() == pytest.approx(100) and found["ssim"].min() == pytest.approx(1)
    assert (
        found["semantic"].min() == pytest.approx(1, abs=1e-5) and found["perceptual"].max() < 1e-5
    )
    assert found["iou"].min() > 0.95


def test_another_head_is_worse_in_every_figure(own, others, clip, headjudge):
    fitted, truth = own
    found = judging.view_metrics(
        Inverted(fitted.generator, others[1:2], AROUND[:1], Search()), truth, clip, headjudge
    )
    assert (
        found["psnr"].max() < 40 and found["ssim"].max() < 0.99 and found["perceptual"].min() > 1e-3
    )


def test_images_are_compared_by_the_judges_maps(own, others, clip, headjudge):
    """Another extractor says something else of them, and one without maps nothing."""
    fitted, truth = own
    other = Inverted(fitted.generator, others[1:2], AROUND[:1], Search())
    by_judge, by_clip = (
        judging.view_metrics(other, truth, clip, e) for e in (headjudge, FeatureExtractor.of(clip))
    )
    assert not torch.allclose(by_judge["perceptual"], by_clip["perceptual"], rtol=0.01)
    assert torch.equal(by_judge["semantic"], by_clip["semantic"])
    with pytest.raises(ValueError, match=r"features by headjudge .* come without maps"):
        judging.view_metrics(other, truth, clip, dataclasses.replace(headjudge, maps=None))


def test_beyond_the_photograph_there_is_no_error(own, clip, headjudge):
    """Whatever the image is filled with where the photograph ends; within it, errors count."""
    fitted, truth = own
    filled, inside = truth.images.clone(), torch.full_like(truth.masks, 255)
    filled[:, :, -8:], inside[:, -8:] = 77, 0
    cut = dataclasses.replace(truth, images=filled, inside=inside)
    assert judging.view_metrics(fitted, cut, clip, headjudge)["psnr"].min() == pytest.approx(100)
    whole = dataclasses.replace(cut, inside=torch.full_like(inside, 255))
    assert judging.view_metrics(fitted, whole, clip, headjudge)["psnr"].max() < 30


def test_similarity_is_scikit_images_own(own):
    """Against the definition on a constant shift: contrast and structure stay, luminance does not."""
    x = torch.full((1, 3, 16, 16), 0.5, dtype=torch.float64)
    luminance = (2 * 0.5 * 0.6 + 1e-4) / (0.25 + 0.36 + 1e-4)
    assert reconstruction.ssim(x, x + 0.1).item() == pytest.approx(luminance, rel=1e-6)


def test_points_of_a_mesh_are_spread_by_area():
    vertices = np.array(
        [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 5], [3, 0, 5], [0, 2, 5]], np.float32
    )
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6]])
    points = reconstruction.surface_points(vertices, faces, 8000)
    assert (points[:, 2] == 5).mean() == pytest.approx(3 / 4, abs=0.02)
    square = points[points[:, 2] == 0]
    assert (
        square[:, :2].mean(0) == pytest.approx([0.5, 0.5], abs=0.02)
        and square.min() >= 0
        and square.max() <= 1
    )


def test_the_surface_of_a_head_is_its_own(own):
    fitted, truth = own
    found = mesh(fitted.generator, fitted.w[0], 96)
    surface = torch.from_numpy(
        reconstruction.surface_points(found.vertices, found.faces, 20_000, seed=1)
    )
    near = judging.shape_metric(
        fitted, judging.Truth(*list(vars(truth).values())[:4], surface=surface)
    )
    far = judging.shape_metric(
        fitted, judging.Truth(*list(vars(truth).values())[:4], surface=surface + 0.05)
    )
    assert near < 0.01 < 0.02 < far


def test_depth_is_compared_along_rays(own, clip, headjudge):
    from semhead_lib.evaluation.generated_views import generated_views

    fitted, truth = own
    seen = generated_views(fitted.generator, fitted.w, AROUND)
    assert seen.mask.float().mean() > 0.05
    from semhead_lib.cameras import rays

    forward = AROUND[:, :16].view(-1, 4, 4)[:, :3, 2]
    along = (rays(AROUND, 32)[1] * forward[:, None]).sum(-1).view(6, 32, 32)
    depth = torch.where(seen.mask, seen.distance * along + 0.03 * along, 0.0)
    with_depth = judging.Truth(*list(vars(truth).values())[:3], depth=depth)
    found = judging.view_metrics(fitted, with_depth, clip, headjudge)["depth"]
    assert found[found.isfinite()].numpy() == pytest.approx(0.03, abs=1e-4)
