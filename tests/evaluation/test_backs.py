"""Faces on backs, and backs that are fronts: of real heads, and of a generator that mirrors them."""

from dataclasses import replace

import pytest
import torch
from toy_heads import reference_stats

from semhead_lib.cameras import orbit_angles, orbit_cameras
from semhead_lib.data.parametric import appearance
from semhead_lib.data.parametric.cast import Caster
from semhead_lib.data.parametric.source import ParametricSource
from semhead_lib.evaluation.backs import mirrored_backs
from semhead_lib.evaluation.faces_on_backs import AREA, FacesOnBacks, face_shares
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.evaluation.reference_statistics import ReferenceStatistics
from semhead_lib.evaluation.report import judge
from semhead_lib.evaluation.samples import Samples
from semhead_lib.metrics.azimuth import AzimuthBins, BinnedFeatures
from semhead_lib.metrics.mirrored import FrontBackAxis

SIDE, VIEWS, SUBJECTS = 64, 6, 8
HALF = SUBJECTS // 2 * VIEWS  # heads of the reference, and matched ones: a subject seen twice each


def parametric() -> dict[str, torch.Tensor]:
    """Of each subject views from the front and from behind, and what a generator whose back is its
    front, mirrored, would show from behind."""
    source, rng = ParametricSource(seed=77, resolution=SIDE), torch.Generator().manual_seed(0)
    found = {"front": [], "back": [], "mirrored": [], "cameras": []}
    for i in range(SUBJECTS):
        caster, light = Caster(source.scene(i)), appearance.light(source.attributes(i))
        azimuth = 60 * torch.rand(2, VIEWS, generator=rng) - 30 + torch.tensor([[0.0], [180.0]])
        elevation = 40 * torch.rand(2, VIEWS, generator=rng) - 10
        front, back = (orbit_cameras(a, e) for a, e in zip(azimuth, elevation, strict=True))
        opposite = orbit_cameras(180 - azimuth[1], elevation[1])
        seen = caster.cast(torch.cat([front, back, opposite]), SIDE, light).images.split(VIEWS)
        for name, images in zip(("front", "back", "mirrored"), seen, strict=True):
            found[name].append(images.flip(-1) if name == "mirrored" else images)
        found["cameras"].append(torch.stack([front, back], dim=1))
    return {name: torch.cat(images) for name, images in found.items()}


@pytest.fixture(scope="module")
def views() -> dict[str, torch.Tensor]:
    return parametric()


def heads(views, half: slice, behind: str = "back") -> Samples:
    images = torch.stack([views["front"][half], views[behind][half]], dim=1)
    return Samples(images, views["cameras"][half], views["front"][half], behind)


@pytest.fixture(scope="module")
def known(views) -> ReferenceStatistics:
    both = (heads(views, slice(HALF)), heads(views, slice(HALF, None)))
    extractor = FeatureExtractor.load("headjudge", device="cpu")
    settings = dict(bins=AzimuthBins(2), splits=4, halves=20)
    return ReferenceStatistics.of(*both, extractor, **settings)


@pytest.fixture(scope="module")
def of_mirrored(views, known):
    return judge(heads(views, slice(HALF, None), "mirrored"), known)


def test_a_mirrored_back_has_a_face_and_real_ones_have_none(of_mirrored, known):
    generated, real = of_mirrored.generated["all"], of_mirrored.real["all"]
    assert real["face_on_back"].high < 0.001 < 0.005 < generated["face_on_back"].low
    assert (
        real["heads_with_face_on_back"].high == 0 and generated["heads_with_face_on_back"].low > 0.9
    )
    for side, made in ((generated, "mirrored"), (real, "back")):
        protocol = side["face_on_back"].protocol
        assert (protocol.judged, protocol.heads, protocol.images) == (made, HALF, HALF)
        assert protocol.features == known.extractor.identity


def test_a_mirrored_back_is_a_front_and_real_ones_are_backs(of_mirrored, known):
    generated, real = (s["all"]["mirrored_back"] for s in (of_mirrored.generated, of_mirrored.real))
    assert -0.25 < real.low <= real.value <= real.high < 0.25
    assert 0.75 < generated.low <= generated.value <= generated.high < 1.25
    assert generated.protocol.features == known.extractor.identity
    assert (generated.protocol.images, generated.protocol.reference) == (HALF, 2 * HALF)


def test_half_of_the_heads_mirrored_is_half_way(views, known):
    whole, mirrored = (heads(views, slice(HALF, None), name) for name in ("back", "mirrored"))
    images = whole.images.clone()
    images[::2] = mirrored.images[::2]
    found = judge(replace(whole, images=images), known).generated["all"]
    assert 0.35 < found["heads_with_face_on_back"].value <= 0.5
    assert 0.3 < found["mirrored_back"].value < 0.7


def test_only_views_from_behind_are_looked_at(views):
    fronts = face_shares(views["front"][:VIEWS])
    assert fronts.mean() > AREA, "a front has a face"
    samples = heads(views, slice(VIEWS))
    turned = orbit_angles(samples.cameras.flatten(0, 1))[:, 0].abs().reshape(VIEWS, 2)
    found = FacesOnBacks.of(samples)
    assert found.views.tolist() == (turned > 120).sum(1).tolist() == [1] * VIEWS
    backs = face_shares(views["back"][:VIEWS])
    assert torch.equal(found.shares, backs) and torch.equal(found.largest, backs)
    assert (
        FacesOnBacks.of(replace(samples, cameras=samples.cameras[:, :1].expand(-1, 2, -1))) is None
    )


def test_heads_without_views_from_behind_are_not_counted(views):
    samples = heads(views, slice(4), "mirrored")
    cameras = samples.cameras.clone()
    cameras[1, 1] = cameras[1, 0]
    found = FacesOnBacks.of(replace(samples, cameras=cameras))
    assert len(found.views) == len(found.largest) == 3
    assert found.share(torch.arange(3)) == pytest.approx(float(found.shares.mean()))
    assert found.rate(torch.arange(3)) == 1


def test_the_axis_is_that_of_the_equation():
    rng = torch.Generator().manual_seed(0)
    fronts = torch.randn(50, 3, generator=rng) * torch.tensor([1.0, 4.0, 0.1]) + 2
    backs = torch.randn(60, 3, generator=rng) * torch.tensor([1.0, 4.0, 0.1]) - 1
    axis, (f, b) = FrontBackAxis.of(fronts, backs), (fronts.double(), backs.double())
    v = (f.var(0) + b.var(0)) / 2
    w = (f.mean(0) - b.mean(0)) / (v + 0.01 * v.mean())
    x = torch.tensor([1.0, 0.0, 2.0])
    expected = float((x - b.mean(0)) @ w / ((f.mean(0) - b.mean(0)) @ w))
    assert float(axis(x)) == pytest.approx(expected)
    assert float(axis(f).mean()) == pytest.approx(1) and float(axis(b).mean()) == pytest.approx(0)
    assert axis(f).std() < 0.1, "features that vary much say little"
    with pytest.raises(ValueError, match=r"got \[50, 3\] and \[60, 2\]"):
        FrontBackAxis.of(fronts, backs[:, :2])
    with pytest.raises(ValueError, match="same mean"):
        FrontBackAxis.of(fronts, fronts)


@pytest.mark.parametrize("count", [1, 3])
def test_without_a_bin_opposite_to_the_front(count):
    small = reference_stats(40, bins=AzimuthBins(count))
    matched = small.matched_samples
    binned = BinnedFeatures.of(small.extractor.images(matched.images), matched.cameras, small.bins)
    assert mirrored_backs(binned, "toy", small) == ({}, {})
