"""Conditions from other sources than the frontal image."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small_training import ENCODER, make_noise, small

from semhead_lib.cameras import orbit_cameras
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.conditioning.sources import frontal_identities, source_of, with_source
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.semantics import fill_semantics
from semhead_lib.data.parametric.attributes import sample_attributes
from semhead_lib.data.parametric.numbers import attribute_numbers
from semhead_lib.data.parametric.source import ParametricSource
from semhead_lib.data.portraits.faces import face_judge
from semhead_lib.facade.judging import evaluate
from semhead_lib.heads import HeadGenerator
from semhead_lib.training.trainer import train


def features(
    images,
):  # [N, 3, H, W] uint8 -> [N, 16]: what `make_noise` stored of the frontal images
    return normalize(images.float().flatten(1)[:, :16] - 127.5, dim=1)


CLIP = SimpleNamespace(identity=ENCODER, images=features)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory) -> SubjectsInMemory:
    return SubjectsInMemory.load(make_noise(tmp_path_factory.mktemp("subjects") / "noise"))


def attributes(seed: int) -> dict:
    return sample_attributes(np.random.default_rng(seed), ("nose", "chin", "brow")).as_json()


@pytest.fixture(scope="module")
def described(subjects) -> SubjectsInMemory:
    described = [
        replace(seen_from(s, 10.0, 100.0, -170.0, -80.0), attributes=attributes(i))
        for i, s in enumerate(subjects)
    ]
    return SubjectsInMemory(described, subjects.indices, subjects.manifest)


def test_frontal_is_the_dataset_as_it_is(subjects):
    assert with_source(subjects, "frontal", CLIP) is subjects


def test_views_have_features_of_their_own(subjects):
    conditioned = with_source(subjects, "view", CLIP)
    batch = conditioned.batch(0, 4, 3, seed=5)
    assert torch.allclose(batch.semantics, features(batch.images), atol=1e-6)
    assert torch.equal(conditioned[0].semantic, subjects[0].semantic), (
        "for use it is the frontal feature"
    )
    kept = conditioned.filter(lambda attributes: attributes["even"])
    assert all(
        torch.equal(a, conditioned.of_views[i])
        for a, i in zip(kept.of_views, kept.indices, strict=True)
    )


def test_the_mean_is_one_feature_of_all_views(subjects):
    conditioned = with_source(subjects, "mean", CLIP)
    expected = normalize(features(subjects[3].views).mean(0), dim=0)
    assert torch.allclose(conditioned[3].semantic, expected, atol=1e-6)
    batch = conditioned.batch(0, 2, 2)
    assert torch.equal(batch.semantics[0], batch.semantics[1])
    assert (
        conditioned[3].semantic_encoder
        == conditioned.manifest.layout.semantic["encoder"]
        == "test-encoder [mean; " + ENCODER[14:]
    )


def test_attributes_are_numbers_of_who_it_is(described):
    conditioned = with_source(described, "attributes", CLIP)
    size = conditioned.manifest.layout.semantic["dimension"]
    assert conditioned[0].semantic.shape == (size,) and conditioned[
        0
    ].semantic.norm() == pytest.approx(1)
    assert (
        "attributes [" in conditioned[0].semantic_encoder
        and f"{size} numbers" in conditioned[0].semantic_encoder
    )


def seen_from(subject, *azimuths):
    """The subject under cameras at these azimuths."""
    return replace(subject, cameras=orbit_cameras(torch.tensor(azimuths), torch.zeros(4)))


def test_stacked_are_the_front_the_side_and_the_back(subjects):
    turned = [seen_from(s, 20.0, 170.0, -90.0, 75.0) for s in subjects]
    turned = SubjectsInMemory(turned, subjects.indices, subjects.manifest)
    conditioned = with_source(turned, "stacked", CLIP)
    views = features(subjects[2].views)
    expected = normalize(torch.cat([subjects[2].semantic, views[3], views[1]]), dim=0)
    torch.testing.assert_close(conditioned[2].semantic, expected)
    encoder = conditioned.manifest.layout.semantic["encoder"]
    assert encoder == "test-encoder [stacked; " + ENCODER[14:] and source_of(encoder) == "stacked"
    assert conditioned.manifest.layout.semantic["dimension"] == 48
    one = [*turned[:5], seen_from(turned[5], 20.0, 25.0, -90.0, 75.0), *turned[6:]]
    with pytest.raises(
        ValueError, match=f"subject {turned[5].id}: no view within 60 degrees of az"
    ):
        with_source(SubjectsInMemory(one, turned.indices, turned.manifest), "stacked", CLIP)


def test_another_encoder_is_a_source(subjects, tmp_path):
    """By whichever the dataset was encoded."""
    torch.manual_seed(0)
    name = "test_vit.r160_in1k"
    weights = {k: v.contiguous() for k, v in timm.create_model(name).state_dict().items()}
    save_file(weights, tmp_path / "w.safetensors")
    source = f"timm/{name}/{tmp_path}/w.safetensors"
    clip = SimpleNamespace(identity=ENCODER, images=features, device="cpu", batch=4)
    conditioned = with_source(subjects, source, clip)
    other = SemanticEncoder.load(source, device="cpu")
    torch.testing.assert_close(conditioned[1].semantic, other.images(subjects[1].frontal[None])[0])
    encoder = conditioned.manifest.layout.semantic["encoder"]
    assert encoder == str(other.identity) and source_of(encoder) is None
    with pytest.raises(ValueError, match="timm knows no model 'test_vitt'"):
        with_source(subjects, "timm/test_vitt", clip)


@pytest.fixture(scope="module")
def faces():
    """Frontal images of four parametric heads, 64 pixels a side."""
    pytest.importorskip("dlib")
    pytest.importorskip("anny")
    source = ParametricSource(seed=5, resolution=64, views_per_subject=1, channels=())
    return torch.stack([source.subject(i).frontal for i in range(4)])


def test_identities_tell_faces_apart(faces):
    """In a mirror and under noise; and each is dlib's of the square around the face."""
    known, identity = frontal_identities(faces)
    assert known.shape == (4, 128) and known.dtype == torch.float32
    torch.testing.assert_close(known.norm(dim=1), torch.ones(4))
    noise = torch.randn(faces.shape, generator=torch.Generator().manual_seed(0))
    noisy = (faces + 8 * noise).round().clamp(0, 255).to(torch.uint8)
    for other in (faces.flip(-1), noisy):
        found, same = frontal_identities(other)
        assert ((found @ known.T).argmax(1) == torch.arange(4)).all() and same == identity
    judge = face_judge()
    assert identity.startswith(f"identity [dlib, weights {judge.weights}; input 150 px")
    detected = torch.from_numpy(judge.identity(faces[0])).float()
    assert ((known @ normalize(detected, dim=0)).argmax()) == 0
    with pytest.raises(ValueError, match=r"faces must be uint8 \[N, 3, 150, 150\], got .*float32"):
        judge.identities(torch.zeros(1, 3, 150, 150))


def test_identity_is_one_feature_of_the_frontal_image(subjects):
    pytest.importorskip("dlib")
    conditioned = with_source(subjects, "identity", CLIP)
    encoder = conditioned.manifest.layout.semantic["encoder"]
    assert conditioned[0].semantic_encoder == encoder and source_of(encoder) == "identity"
    expected, _ = frontal_identities(subjects[3].frontal[None])
    torch.testing.assert_close(conditioned[3].semantic, expected[0])
    batch = conditioned.batch(0, 2, 2)
    assert torch.equal(batch.semantics[0], batch.semantics[1])


def test_identity_without_dlib_says_what_to_install(subjects, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    face_judge.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'semhead\[faces\]'"):
        with_source(subjects, "identity", CLIP)


def test_heads_of_another_source_take_no_image(subjects):
    conditioned = with_source(subjects, "mean", CLIP)
    names, known = conditioned.semantics(8)
    bank = ConditionBank(
        ConditionMode("semantic", 16), conditioned[0].semantic_encoder, known, names
    )
    with pytest.raises(ValueError, match="generator x was trained with conditions of source mean"):
        bank.load_encoder("headclip-64", "cpu", "generator x")
    with pytest.raises(ValueError, match="generator x was trained with conditions of source mean"):
        bank.check_encoder(ENCODER, "generator x")
    assert bank.sample(2).shape == (2, 16)


def test_generators_are_judged_under_the_source_they_were_trained_with(tmp_path, monkeypatch):
    """Features of the frontal image have as many numbers as their mean over views: taken for those,
    they would give figures of another task."""
    clip = SemanticEncoder.load("headclip-64", device="cpu")
    folder = make_noise(tmp_path / "noise", semantic=False, subjects=4)
    fill_semantics(folder, clip.images, str(clip.identity), progress=False)
    subjects = SubjectsInMemory.load(folder)
    conditioned = with_source(subjects, "mean", clip)
    names, known = conditioned.semantics(4)
    mode, identity = ConditionMode("semantic", 128), conditioned[0].semantic_encoder
    network = SimpleNamespace(mapping=SimpleNamespace(w_mean=torch.zeros(1)))
    asked = {}
    monkeypatch.setattr(
        "semhead_lib.evaluation.report.evaluate",
        lambda network, data, *_, **settings: asked.update(settings, data=data),
    )
    for encoder in (identity, str(clip.identity)):
        heads = HeadGenerator(network, ConditionBank(mode, encoder, known, names), folder)
        evaluate(heads, folder, heads=2, features="headclip-64", progress=False)
        expected = conditioned if encoder == identity else subjects
        assert asked["condition_encoder"] == encoder == asked["data"][1].semantic_encoder
        assert torch.equal(asked["data"][1].semantic, expected[1].semantic)


def test_numbers_of_attributes():
    one = attributes(0)
    numbers = attribute_numbers(one)
    assert numbers.dtype == np.float32 and np.abs(numbers).max() <= 1
    for name, value in (
        ("hair_colour", "green"),
        ("age", 33),
        ("fringe", not one["fringe"]),
        ("skin_tone", 0.123),
    ):
        assert (attribute_numbers(one | {name: value}) != numbers).sum() in (1, 2), name
    assert (attribute_numbers(one | {"shape": one["shape"] | {"chin": 0.5}}) != numbers).sum() == 1
    with pytest.raises(ValueError, match="hair_colour is 'plaid'"):
        attribute_numbers(one | {"hair_colour": "plaid"})
    with pytest.raises(ValueError, match="parametric subject: 'gender' is missing"):
        attribute_numbers({"name": "Zoë"})


@pytest.mark.parametrize("source", ["view", "attributes", "stacked"])
def test_a_generator_trains_under_conditions_of_another_source(described, source, tmp_path):
    conditioned = with_source(described, source, CLIP)
    settings = small(kimg=0.008, views_per_head=1, vicico_condition=0.5)
    train(settings, conditioned, tmp_path / "run", device="cpu", progress=False)
    width = conditioned.manifest.layout.semantic["dimension"]
    assert (
        settings.generator_config(width).condition_dim
        == ConditionMode("semantic", width).generator_width
    )
    if source == "view":
        with pytest.raises(ValueError, match="the data's condition is features of each view there"):
            train(settings, described, tmp_path / "run", device="cpu", progress=False)
        with pytest.raises(ValueError, match="views_per_head 1, got 2"):
            train(small(kimg=0.008), conditioned, tmp_path / "other", device="cpu", progress=False)


def test_errors(subjects):
    with pytest.raises(ValueError, match=r"frontal, view, mean, .*\(MODEL/WEIGHTS .* got 'back'"):
        with_source(subjects, "back", CLIP)
    with pytest.raises(ValueError, match="features of two encoders"):
        with_source(
            subjects, "mean", SimpleNamespace(identity="other [weights 1]", images=features)
        )
    with pytest.raises(ValueError, match="not the attributes of a parametric subject"):
        with_source(subjects, "attributes", CLIP)
