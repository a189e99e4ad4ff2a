"""Conditions from other sources than the frontal image."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small_training import ENCODER, make_noise, small

from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.conditioning.sources import with_source
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.parametric.attributes import sample_attributes
from semhead_lib.data.parametric.numbers import attribute_numbers
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
    described = [replace(s, attributes=attributes(i)) for i, s in enumerate(subjects)]
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


@pytest.mark.parametrize("source", ["view", "attributes"])
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
    with pytest.raises(ValueError, match="frontal, view, mean, attributes, got 'back'"):
        with_source(subjects, "back", CLIP)
    with pytest.raises(ValueError, match="features of two encoders"):
        with_source(
            subjects, "mean", SimpleNamespace(identity="other [weights 1]", images=features)
        )
    with pytest.raises(ValueError, match="not the attributes of a parametric subject"):
        with_source(subjects, "attributes", CLIP)
