"""Subjects in a mirror."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from semhead_lib.cameras import crop_cameras, orbit_cameras, project, rays
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.parametric.attributes import Attributes, sample_attributes
from semhead_lib.data.parametric.identity import head_model
from semhead_lib.data.parametric.numbers import SIDEWAYS, attribute_numbers, mirror_image
from semhead_lib.data.parametric.source import head_shape
from semhead_lib.training.reconstruction.batches import SubjectBatches
from semhead_lib.training.reconstruction.mirror import mirrored, mirrored_cameras
from semhead_lib.training.reconstruction.settings import ReconstructionSettings

TURNED = torch.tensor([-1.0, 1.0, 1.0])


def settings(**changes) -> ReconstructionSettings:
    usual = dict(preset="semhead-32", subjects_per_batch=4, views_per_subject=2, pixels=64)
    return ReconstructionSettings(**(usual | changes))


def test_cameras_see_the_mirrored_place():
    cameras = orbit_cameras(torch.tensor([0.0, 35.0, -120.0]), torch.tensor([0.0, 20.0, -10.0]))
    cameras[:, 17:19] += torch.tensor([0.02, 0.05])  # skewed, and off the middle
    points = torch.randn(3, 50, 3, generator=torch.Generator().manual_seed(0)) * 0.2
    turned = mirrored_cameras(cameras)
    for i in range(3):
        there, depth = project(points[i], cameras[i : i + 1])
        here, same = project(points[i] * TURNED, turned[i : i + 1])
        assert torch.allclose(here[..., 0], 1 - there[..., 0], atol=1e-5)
        assert torch.allclose(here[..., 1], there[..., 1], atol=1e-5)
        assert torch.allclose(depth, same, atol=1e-5)
    assert torch.allclose(mirrored_cameras(turned), cameras, atol=1e-6)


@pytest.mark.parametrize("crop", [0, 16])
def test_a_sample_of_some_subjects_in_a_mirror(noise_folder, crop):
    """Pixels, their rays, and surfaces along them stay together."""
    data = SubjectsInMemory.load(noise_folder, geometry=("depth", "segmentation"))
    usual = SubjectBatches(data, settings(crop=crop))(3)
    chosen = torch.tensor([True, False, True, False])
    found = mirrored(usual, chosen)
    each = chosen.repeat_interleave(2)
    for name in ("images", "masks", "importance"):
        before, after = getattr(usual, name), getattr(found, name)
        assert torch.equal(after[each], before[each].flip(-1)) and before.shape == after.shape
        assert torch.equal(after[~each], before[~each])
    assert usual.rays is not None and found.rays is not None
    surface, turned = (
        r.origins + r.distance[..., None] * r.directions for r in (usual.rays, found.rays)
    )
    assert torch.allclose(turned[chosen], surface[chosen] * TURNED, atol=1e-6)
    assert torch.equal(turned[~chosen], surface[~chosen])
    assert torch.equal(found.rays.colours, usual.rays.colours)
    seen = [s.cameras if not crop else crop_cameras(s.cameras, s.windows) for s in (usual, found)]
    side = usual.images.shape[-1]
    (_, before), (_, after) = (rays(cameras, side) for cameras in seen)
    before, after = (x.unflatten(1, (side, side)) for x in (before, after))
    assert torch.allclose(after[each], before[each].flip(2) * TURNED, atol=1e-5)
    assert torch.equal(after[~each], before[~each])


def test_batches_show_half_of_the_subjects_so(noise_folder):
    data = SubjectsInMemory.load(noise_folder, geometry=("depth", "segmentation"))
    usual, turned = (SubjectBatches(data, settings(crop=0, mirror=m)) for m in (False, True))
    share = []
    for step in range(20):
        determinant = torch.linalg.det(turned(step).cameras[:, :16].reshape(-1, 4, 4))
        assert torch.allclose(determinant, torch.ones(len(determinant)), atol=1e-4)
        share.append(found_flipped(turned, step))
    assert 0.3 < np.mean(share) < 0.7
    assert torch.equal(usual(0).cameras, SubjectBatches(data, settings(crop=0))(0).cameras)


def found_flipped(batches: SubjectBatches, step: int) -> float:
    """The share of images whose mirror image is one of the data, not they themselves."""
    sample = batches(step)
    known = torch.cat([subject.views for subject in batches.data]).float() / 127.5 - 1
    rows = known.flatten(1)
    flipped = known.flip(-1).flatten(1)
    count = 0
    for image in sample.images.flatten(1):
        as_is, turned = ((x - image).abs().amax(1).min() for x in (rows, flipped))
        assert min(as_is, turned) < 1e-6
        count += int(turned < as_is)
    return count / len(sample.images)


@pytest.fixture(scope="module")
def subject() -> Attributes:
    rng = np.random.default_rng(5)
    return sample_attributes(rng, tuple(head_model().shape_controls))


def test_attributes_of_a_mirror_image_make_the_mirrored_head(subject):
    one = asdict(subject) | {"parting": "left"}
    other = mirror_image(one)
    assert other["parting"] == "right" and mirror_image(other) == one
    assert any(one["shape"][name] for name in SIDEWAYS)
    here, there = (head_shape(Attributes(**x)) for x in (one, other))
    away, _ = KDTree(here.vertices).query(there.vertices * TURNED.numpy())
    unturned, _ = KDTree(here.vertices).query(there.vertices)
    assert away.mean() < 0.0002 < 0.001 < unturned.mean()
    assert np.allclose(here.eyes[0] * TURNED.numpy(), there.eyes[1], atol=2e-3)


def test_attributes_are_encoded_as_those_of_the_mirror_image(noise_folder, subject):
    data = SubjectsInMemory.load(noise_folder, geometry=("depth", "segmentation"))
    subjects = [replace(s, attributes=asdict(subject)) for s in data]
    data = SubjectsInMemory(subjects, data.indices, data.manifest)
    batches = SubjectBatches(data, settings(crop=0, mirror=True, encode="attributes"))
    one, other = (
        torch.from_numpy(attribute_numbers(x))
        for x in (asdict(subject), mirror_image(asdict(subject)))
    )
    assert not torch.equal(one, other)
    rows = torch.cat([batches(step).encoded for step in range(4)])
    is_one, is_other = ((rows == x).all(1) for x in (one, other))
    assert (is_one | is_other).all() and is_one.any() and is_other.any()
