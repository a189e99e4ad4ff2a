"""Every view has words of its own, said in three ways, with left and right as the picture has
them."""

import itertools

import pytest

from semhead_lib.data.kontext.prompts import (
    AZIMUTHS,
    ELEVATIONS,
    WORDINGS,
    View,
    instruction,
    views_of,
)


def test_every_view_has_words_of_its_own():
    views = [View(a, e) for a, e in itertools.product(AZIMUTHS, sorted(set(ELEVATIONS)))]
    for wording in range(len(WORDINGS)):
        words = [instruction(view, wording) for view in views]
        assert len(set(words)) == len(views)
        assert all(
            "same person" in w and "hairstyle" in w and "background" in w and "{" not in w
            for w in words
        )
    assert len({instruction(View(90, 0), w) for w in range(7)}) == len(WORDINGS)


def test_sides():
    """At a positive azimuth the camera is to the subject's left: the nose points to the picture's
    left."""
    assert "nose pointing to the left" in instruction(View(60, 0)) and "right" not in instruction(
        View(60, 0)
    )
    assert "nose pointing to the right" in instruction(View(-60, 0))
    assert "from above" not in instruction(View(0, 0)) and "slightly above" in instruction(
        View(0, 20)
    )
    assert "slightly below" in instruction(View(0, -15)) and "degrees" not in instruction(
        View(0, 20)
    )
    assert "no face at all" in instruction(View(180, 0)) and "by 180 degrees" in instruction(
        View(180, 0)
    )


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 12])
def test_views_are_balanced(count):
    azimuths = sorted(v.azimuth % 360 for v in views_of(0, count))
    assert azimuths == [i * 360 // count for i in range(count)]
    seen = [view for index in range(len(ELEVATIONS)) for view in views_of(index, count)]
    for azimuth in set(azimuths):
        assert sorted(v.elevation for v in seen if v.azimuth % 360 == azimuth) == sorted(ELEVATIONS)


def test_views_that_are_not_even():
    with pytest.raises(ValueError, match="views must be one of 1, 2, 3, 4, 6, 12, got 5"):
        views_of(0, 5)
