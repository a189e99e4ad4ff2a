"""Every view has words of its own, said in three ways, with left and right as the picture has
them."""

import itertools

import pytest

from semhead_lib.data.kontext.prompts import (
    COUNTS,
    ELEVATIONS,
    FRONTAL_WORDINGS,
    RINGS,
    WORDINGS,
    View,
    frontal_instruction,
    instruction,
    views_of,
)


def test_every_view_has_words_of_its_own():
    azimuths = sorted({v.azimuth for count in COUNTS for v in views_of(0, count)})
    heights = sorted({*ELEVATIONS, *RINGS})
    views = [View(a, e) for a, e in itertools.product(azimuths, heights)]
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


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 8, 12])
def test_views_are_balanced(count):
    azimuths = sorted(v.azimuth % 360 for v in views_of(0, count))
    assert azimuths == [i * 360 // count for i in range(count)]
    seen = [view for index in range(len(ELEVATIONS)) for view in views_of(index, count)]
    for azimuth in set(azimuths):
        assert sorted(v.elevation for v in seen if v.azimuth % 360 == azimuth) == sorted(ELEVATIONS)


@pytest.mark.parametrize("count", [16, 24, 32])
def test_many_views_lie_in_rings_of_elevations(count):
    """Each subject has rings of equal size, even around the head; over subjects each azimuth is
    seen from each elevation equally often."""
    for index in range(len(RINGS)):
        views = views_of(index, count)
        assert views[0].azimuth == 0 and all(-180 < v.azimuth <= 180 for v in views)
        assert sorted(v.azimuth % 360 for v in views) == [360 * i / count for i in range(count)]
        for height in RINGS:
            ring = sorted(v.azimuth % 360 for v in views if v.elevation == height)
            steps = {b - a for a, b in itertools.pairwise([*ring, ring[0] + 360])}
            assert len(ring) == count // len(RINGS) and steps == {360 * len(RINGS) / count}
    seen = [view for index in range(len(RINGS)) for view in views_of(index, count)]
    assert len(set(seen)) == count * len(RINGS)


def test_views_near_the_front_and_from_high_above():
    assert "turned slightly to the right" in instruction(View(-11.25, 0))
    assert "seen from above" in instruction(View(90, 40)) and "slightly" not in instruction(
        View(90, 40)
    )


def test_the_frontal_view_has_words_of_its_own():
    words = [frontal_instruction(w) for w in range(4)]
    assert words[3] == words[0] and len(set(words)) == len(FRONTAL_WORDINGS) == 3
    assert all("from the front" in w and "same person" in w and "{" not in w for w in words)
    assert not set(words) & {instruction(View(0, 0), w) for w in range(3)}


def test_views_that_are_not_even():
    with pytest.raises(
        ValueError, match="views must be one of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, got 5"
    ):
        views_of(0, 5)
