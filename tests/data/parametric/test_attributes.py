"""Subjects are drawn from the documented distributions, independently; captions tell them."""

from collections import Counter

import numpy as np
import pytest

from semhead_lib.data.parametric import attributes as at
from semhead_lib.data.parametric.captions import caption
from semhead_lib.data.subjects import age_group

CONTROLS = ("nose-volume-incr", "mouth-trans-up", "ear-wing-incr")


@pytest.fixture(scope="module")
def subjects():
    return [at.sample_attributes(np.random.default_rng([1, i]), CONTROLS) for i in range(3000)]


@pytest.mark.parametrize(
    ("key", "table"),
    [("eye_colour", at.EYE_COLOURS), ("hair_style", at.HAIR_STYLES), ("hair_texture", None), ("glasses", at.GLASSES),
     ("earrings", at.EARRINGS), ("clothes", at.CLOTHES), ("expression", at.EXPRESSIONS)],
)  # fmt: skip
def test_shares_are_the_documented_ones(subjects, key, table):
    if table is None:
        table, subjects = at.HAIR_TEXTURES, [p for p in subjects if p.hair_style != "afro"]
    found = Counter(getattr(p, key) for p in subjects)
    assert set(found) == set(table)
    for word, share in table.items():
        expected = share / sum(table.values())
        assert (
            abs(found[word] / len(subjects) - expected)
            < 4 * np.sqrt(expected * (1 - expected) / len(subjects)) + 1e-9
        ), word


def test_no_demographic_ties(subjects):
    """Skin tone does not follow ancestry, hair style does not follow gender, glasses do not follow
    age."""
    tone = np.array([p.skin_tone for p in subjects])
    for share in at.ANCESTRIES:
        assert abs(np.corrcoef(tone, [p.ancestry[share] for p in subjects])[0, 1]) < 0.06
    women = np.array([p.gender == "woman" for p in subjects])
    assert abs(women.mean() - 0.5) < 0.04
    long = np.array([p.hair_style == "long" for p in subjects])
    assert abs(long[women].mean() - long[~women].mean()) < 0.04
    ages = np.array([p.age for p in subjects])
    assert ages.min() == at.AGE_RANGE[0] and ages.max() == at.AGE_RANGE[1]
    worn = np.array([p.glasses != "none" for p in subjects])
    assert abs(np.corrcoef(ages, worn)[0, 1]) < 0.06


def test_what_cannot_be_together(subjects):
    assert all(p.facial_hair == "none" for p in subjects if p.gender == "woman")
    assert all(p.hat in ("none", "headband") for p in subjects if p.hair_style == "bun")
    assert all(p.hat == "none" for p in subjects if p.hair_style == "afro")
    covered = [p for p in subjects if p.hat in ("beanie", "cap", "brimmed hat")]
    assert covered and not any(p.receding or p.parting != "none" for p in covered)
    assert not any(
        p.fringe
        for p in subjects
        if p.hair_style in ("bald", "shaved") or p.receding or p.hat != "none"
    )
    assert all(-1 <= v <= 1 for p in subjects for v in p.shape.values())


def test_captions_tell_the_attributes(subjects):
    for p in subjects[:400]:
        words = caption(p)
        for fact in (p.gender, age_group(p.age), p.skin, p.cloth_colour, p.clothes):
            assert fact in words, (fact, words)
        assert (f"{p.eye_colour} eyes" in words) == (
            p.glasses != "sunglasses"
        )  # what is hidden is not told
        assert ("red lips" in words) == (p.lip_tint > 0.5)
        for key in ("glasses", "hat", "earrings", "facial_hair"):
            value = getattr(p, key)
            assert (value == "none" and "none" not in words) or value in words
        assert (p.hair_style == "bald") == ("bald" in words)
        assert p.hair_style == "bald" or p.hair_colour in words


def test_phenotypes_of_ages_are_in_order():
    rng = np.random.default_rng(0)
    young, old = at.sample_attributes(rng, CONTROLS), at.sample_attributes(rng, CONTROLS)
    young, old = (type(p)(**{**p.__dict__, "age": age}) for p, age in ((young, 18), (old, 78)))
    assert 1 / 3 < at.phenotypes(young)["age"] < 2 / 3 < at.phenotypes(old)["age"] <= 1
