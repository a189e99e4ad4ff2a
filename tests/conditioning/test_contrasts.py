"""Texts that differ in one attribute: true of the subject, asked only where the attribute shows."""

from random import Random

import pytest

from semhead_lib.conditioning.headclip.contrasts import CONTRASTS, ask
from semhead_lib.data.parametric.source import ParametricSource

SOURCE = ParametricSource(seed=12)
SUBJECTS = [SOURCE.attributes(i).as_json() for i in range(150)]


@pytest.mark.parametrize("name", CONTRASTS)
def test_every_subject_has_one_of_the_values(name):
    contrast = CONTRASTS[name]
    values = {contrast.value(subject) for subject in SUBJECTS} - {None}
    assert values <= set(contrast.texts) and len(values) >= 2
    texts = [text for words in contrast.texts.values() for text in set(words)]
    assert len(texts) == len(set(texts)), "a text that two values share is true of both"
    assert not any("{" in text or "  " in text or text != text.strip() for text in texts)


def test_what_is_asked_is_true():
    found = 0
    for one in ask(SUBJECTS, [0.0] * len(SUBJECTS), Random(1)):
        for row, value in zip(one.images, one.values, strict=True):
            text, subject = one.texts[value], SUBJECTS[row]
            if text.endswith(" hair") and subject["hair_colour"] in text:
                found += 1
            if "sunglasses" in text:
                assert subject["glasses"] == "sunglasses"
            if text.endswith(("a woman", "a lady")):
                assert subject["gender"] == "woman"
    assert found > 100


def test_faces_are_not_asked_for_from_behind_nor_knots_from_the_front():
    kinds = list(CONTRASTS)
    assert len(ask(SUBJECTS, [0.0] * len(SUBJECTS), Random(0))) == len(kinds) - 1, (
        "all but the style of the hair"
    )
    behind = ask(SUBJECTS, [180.0] * len(SUBJECTS), Random(0))
    texts = " ".join(text for one in behind for text in one.texts)
    assert "hair" in texts and "hat" in texts and "ponytail" in texts
    assert "glasses" not in texts and "beard" not in texts and "woman" not in texts


def test_hidden_hair_has_no_colour():
    bald = {**SUBJECTS[0], "hair_style": "bald"}
    covered = {**SUBJECTS[0], "hair_style": "shaved", "hat": "beanie"}
    shaved = {**covered, "hat": "none"}
    (colour, *_) = ask([bald, covered, shaved], [0.0] * 3, Random(0))
    assert colour.images == [2]


def test_the_same_seed_asks_the_same():
    assert ask(SUBJECTS[:9], [30.0] * 9, Random(3)) == ask(SUBJECTS[:9], [30.0] * 9, Random(3))
    assert ask(SUBJECTS[:9], [30.0] * 9, Random(3)) != ask(SUBJECTS[:9], [30.0] * 9, Random(4))
