"""Faces and detail: metrics of images whose faces and frequencies are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_heads import BINS, ENCODER, EXTRACTOR, FRONT, around, reference_stats

from semhead_lib.evaluation import identity
from semhead_lib.evaluation.appearance import face_distance, identities, power_ratios
from semhead_lib.evaluation.card import metrics_section
from semhead_lib.evaluation.face_crops import FaceFeatures, face_crops, frontal
from semhead_lib.evaluation.reference_statistics import ReferenceStatistics
from semhead_lib.evaluation.report import judge
from semhead_lib.evaluation.samples import Samples
from semhead_lib.metrics.spectrum import BANDS, spectrum_ratio

SIDE, HEADS = 64, 30


def noisy_heads(seed: int) -> Samples:
    """Images of noise from four sides, one of them near the front."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(64, 192, (HEADS, 4, 3, SIDE, SIDE), generator=rng, dtype=torch.uint8)
    level = torch.randint(-30, 30, (HEADS, 1, 3, 1, 1), generator=rng)
    images = (images + level).to(torch.uint8)
    return Samples(images, around(HEADS, seed), images[:, 0], "noise")


@pytest.fixture(scope="module")
def known() -> ReferenceStatistics:
    return ReferenceStatistics.of(
        noisy_heads(1), noisy_heads(2), EXTRACTOR, ENCODER, bins=BINS, splits=8, halves=8
    )


def with_images(known: ReferenceStatistics, images: torch.Tensor) -> Samples:
    return replace(known.matched_samples, images=images, made="changed")


def test_power_of_contrast_that_is_halved(known):
    """Half the contrast is a quarter of the power, in every band up to half the pixels; real heads
    have all of it."""
    faint = with_images(
        known, ((known.matched_samples.images.float() - 128) / 2 + 128).round().to(torch.uint8)
    )
    generated, real = power_ratios(faint, known)
    assert list(generated["all"]) == [
        f"power_{low}-{high}" for low, high in BANDS if high <= SIDE // 2
    ]
    for name, metric in generated["all"].items():
        assert (
            metric.value == pytest.approx(0.25, rel=0.06)
            and metric.low <= metric.value <= metric.high
        )
        assert (
            metric.high - metric.low < 0.08
            and metric.protocol.features == "power spectrum of the luma"
        )
        assert (metric.protocol.judged, metric.protocol.images) == ("changed", 4 * HEADS)
        floor = real["all"][name]
        assert floor.value == pytest.approx(1, rel=0.03) and floor.low <= 1 <= floor.high
        assert floor.protocol.judged == "noise" and "splits" in floor.protocol.interval


def test_power_is_that_of_the_images(known):
    """The mean over heads is the mean over their images."""
    matched, other = known.matched_samples.images, noisy_heads(1).images
    expected = spectrum_ratio(*(x.flatten(0, 1).float() / 127.5 - 1 for x in (matched, other)))
    generated, _ = power_ratios(known.matched_samples, known)
    assert {
        name.removeprefix("power_"): f.value for name, f in generated["all"].items()
    } == pytest.approx(expected)


def test_blurred_images_lack_the_upper_bands(known):
    images = known.matched_samples.images.flatten(0, 1).float()
    blurred = torch.nn.functional.avg_pool2d(
        images, 3, stride=1, padding=1, count_include_pad=False
    )
    blurred = blurred.round().to(torch.uint8).unflatten(0, (HEADS, 4))
    metrics = power_ratios(with_images(known, blurred), known)[0]["all"]
    assert metrics["power_2-4"].value > 0.9 > 0.3 > metrics["power_24-32"].value


def test_faces_are_judged_by_their_crops_alone(known):
    matched = known.matched_samples
    before, real = (side["all"]["frechet_of_faces"] for side in face_distance(matched, known))
    assert (
        real.low * 0.5 < before.value < real.high * 2
        and before.protocol.images == before.protocol.heads == HEADS
    )
    assert before.protocol.features == f"{EXTRACTOR.identity}, of face crops"

    beside = matched.images.clone()
    beside[:, 1:] = 0  # seen from the sides and behind
    beside[:, 0, :, -6:] = 0  # below the face
    assert (
        face_distance(with_images(known, beside), known)[0]["all"]["frechet_of_faces"].value
        == before.value
    )

    middle = matched.images.clone()
    middle[:, 0, :, 24:40, 24:40] = 0
    changed = face_distance(with_images(known, middle), known)[0]["all"]["frechet_of_faces"]
    assert changed.low > 2 * before.high


def test_faces_of_heads_by_their_numbers(known):
    matched = known.matched_samples
    faces = FaceFeatures.of(matched.images, matched.cameras, EXTRACTOR.images)
    assert len(faces) == faces.with_face == HEADS and faces.head.tolist() == list(range(HEADS))
    assert (
        frontal(matched.cameras[:, 0]).all()
        and not frontal(matched.cameras[:, 1:].flatten(0, 1)).any()
    )
    crop = face_crops(matched.images[7, :1].float() / 127.5 - 1, matched.cameras[7, :1])
    assert torch.allclose(faces.of_heads(torch.tensor([7])), EXTRACTOR(crop).double(), atol=2e-3)
    both = faces.joined(faces)
    assert (
        torch.equal(both.of_heads(torch.tensor([HEADS + 3, 3])), faces.features[[3, 3]])
        and both.heads == 2 * HEADS
    )
    away = matched.cameras[:, 1:2]
    assert FaceFeatures.of(matched.images[:, 1:2], away, EXTRACTOR.images) is None, (
        "no view near the front"
    )


def test_too_few_pixels_for_faces():
    """At 32 pixels no distance of faces is made up, and bands end at 16 cycles."""
    small = reference_stats(48)
    assert small.faces == (None, None) and face_distance(small.matched_samples, small) == ({}, {})
    found = judge(small.matched_samples, small)
    assert "frechet_of_faces" not in found.generated["all"] | found.real["all"]
    bands = [name for name in found.generated["all"] if name.startswith("power_")]
    assert bands == ["power_2-4", "power_4-8", "power_8-12", "power_12-16"]


class Bright:
    """Finds a face in every image whose first pixel is bright."""

    def identity(self, image):
        return np.array([1.0, float(image[0, 0, 0])]) if image[0, 0, 0] > 100 else None


def test_how_often_faces_are_found(known, monkeypatch):
    monkeypatch.setattr(identity, "face_judge", Bright)
    real = with_images(known, known.matched_samples.images.clone().fill_(200))
    ours = real.images.clone()
    ours[::2] = 0
    stick = replace(known, matched_samples=real)
    generated, found = identities(with_images(known, ours), HEADS, stick)
    assert found["all"]["faces_found"].value == 1 and generated["all"]["faces_found"].value == 0.5
    ratio = generated["all"]["faces_found_ratio"]
    assert (
        ratio.value == 0.5
        and 0.25 < ratio.low < 0.5 < ratio.high < 0.75
        and "faces_found_ratio" not in found["all"]
    )
    assert ratio.protocol.images == ratio.protocol.reference == HEADS

    hidden = replace(known, matched_samples=replace(real, images=real.images * 0))
    generated, found = identities(real, HEADS, hidden)
    assert found["all"]["faces_found"].value == 0 and "faces_found_ratio" not in generated["all"], (
        "nothing to compare"
    )


def test_the_card_names_the_features_of_every_kind(known):
    found = judge(known.matched_samples, known)
    text = metrics_section(found, "noise, seed 2")
    assert (
        f"On {HEADS} subjects (noise, seed 2)" in text
        and f"in features by `{EXTRACTOR.identity}`" in text
    )
    assert (
        f"by `{ENCODER.identity}`" in text
        and "4 cameras each, against 30 others, at 64 pixels" in text.replace("\n", " ")
    )
    for metric, name in (
        ("frechet", "Fréchet distance"),
        ("frechet_of_faces", "Fréchet distance of faces"),
        ("directional_bias", "directional bias"),
        ("power_8-12", "power at 8–12 cycles an image, over real"),
    ):
        both = f"{found.generated['all'][metric]} | {found.real['all'][metric]}"
        assert f"| {name} | {both} |" in text
    assert FRONT.shape == (1, 25) and text.splitlines()[-1].startswith("| -90 | ")
