"""Captions tell what is true and what the view shows."""

from random import Random

import pytest

from semhead_lib.conditioning.headclip import captions
from semhead_lib.conditioning.headclip.captions import describe
from semhead_lib.data.parametric.attributes import (
    EXPRESSIONS,
    EYE_COLOURS,
    FACIAL_HAIR,
    GLASSES,
    HAIR_COLOURS,
    HAIR_STYLES,
    HATS,
)
from semhead_lib.data.parametric.captions import caption
from semhead_lib.data.parametric.source import ParametricSource

SOURCE = ParametricSource(seed=11)
SUBJECTS = [SOURCE.attributes(i) for i in range(60)]


def said(subject, azimuth, seed=0, elevation=0.0, times=40):
    rng = Random(seed)
    return [
        describe(subject.as_json(), "the full caption", azimuth, elevation, rng)
        for _ in range(times)
    ]


def test_every_value_of_every_attribute_has_words():
    assert set(captions.STYLES) >= set(HAIR_STYLES) - {"bald"}
    assert set(captions.GLASSES) == set(GLASSES) and set(captions.HATS) == set(HATS)
    assert set(captions.FACIAL_HAIR) >= set(FACIAL_HAIR) and set(captions.MOODS) == set(EXPRESSIONS)


@pytest.mark.parametrize("azimuth", [0.0, 45.0, -90.0, 180.0])
def test_captions_say_nothing_untrue(azimuth):
    for subject in SUBJECTS:
        other = "man" if subject.gender == "woman" else "woman"
        for text in said(subject, azimuth):
            words = text.replace(",", " ").split()
            assert other not in words
            for colour in EYE_COLOURS:
                assert f"{colour} eyes" not in text or text.count(f"{subject.eye_colour} eyes")
            for colour in set(HAIR_COLOURS) - {subject.hair_colour}:
                if colour not in subject.hair_colour:
                    assert f"{colour} hair" not in text
            if subject.glasses == "none":
                assert "glasses" not in text.replace("no glasses", "")
            if subject.facial_hair == "none":
                assert "beard" not in text.replace("no beard", "")
            if subject.hat == "none":
                assert " hat" not in text.replace("no hat", "")


def test_from_behind_the_face_is_not_told():
    for subject in SUBJECTS:
        for text in said(subject, 180.0):
            assert (
                "eyes" not in text
                and "glasses" not in text
                and "beard" not in text
                and "smil" not in text
            )


def test_a_bun_shows_from_the_side_and_not_from_the_front():
    subject = next(p for p in SUBJECTS if p.hair_style == "bun")
    assert not any(" bun" in text for text in said(subject, 0.0))
    assert any("back" in text for text in said(subject, 0.0))
    assert any(" bun" in text for text in said(subject, 90.0))


@pytest.mark.parametrize(
    ("azimuth", "elevation", "told"),
    [
        (0, 0, "front"),
        (90, 0, "left"),
        (-90, 0, "right"),
        (180, 0, "behind"),
        (0, 40, "above"),
        (0, -25, "below"),
    ],
)
def test_some_captions_tell_the_view_and_most_do_not(azimuth, elevation, told):
    texts = [t for p in SUBJECTS[:10] for t in said(p, azimuth, elevation=elevation, times=60)]
    share = sum(told in t for t in texts) / len(texts)
    assert 0.03 < share < 0.5


def test_some_captions_are_the_full_one():
    texts = [t for p in SUBJECTS[:20] for t in said(p, 120.0)]
    assert 0.1 < texts.count("the full caption") / len(texts) < 0.3


def test_the_same_seed_gives_the_same_words_and_there_are_many():
    subject = SUBJECTS[0]
    assert said(subject, 30.0, seed=4) == said(subject, 30.0, seed=4)
    assert len(set(said(subject, 30.0, times=200))) > 120
    assert caption(subject)  # the source's own, which `describe` is given
