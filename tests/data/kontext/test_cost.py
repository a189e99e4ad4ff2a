"""The estimate is what would be counted."""

import numpy as np
import pytest
import torch

from semhead_lib.data.kontext.cost import REPORTED, estimate, measure


def test_it_is_what_trials_count():
    rng, tries, attempts, passing, views = np.random.default_rng(0), 2, 3, 0.4, 11
    made = kept = 0
    for _ in range(4000 * views):
        for _ in range(attempts):
            made += tries
            if (rng.random(tries) < passing).any():
                kept += 1
                break
    cost = estimate(
        4000,
        views + 1,
        tries=tries,
        attempts=attempts,
        passing=passing,
        images_per_second=2.0,
        bytes_per_view=1e5,
    )
    assert cost.made == pytest.approx(made, rel=0.01) and cost.views == pytest.approx(
        kept + 4000, rel=0.01
    )
    asked = dict(
        tries=tries, attempts=attempts, passing=passing, images_per_second=2.0, bytes_per_view=1e5
    )
    whole = estimate(4000, views + 1, complete=True, **asked)
    assert whole.made == cost.made and whole.views == pytest.approx(
        4000 * (1 + views * (1 - 0.36**3) ** views), abs=1
    )
    assert cost.hours == pytest.approx(cost.made / 2 / 3600) and cost.bytes == cost.views * 1e5


def test_the_papers_scale_is_said_in_words():
    cost = estimate(
        933_334, 12, tries=1, attempts=1, passing=1.0, images_per_second=0.1, bytes_per_view=4e5
    )
    assert cost.views == pytest.approx(11.2e6, rel=1e-4)
    assert str(cost) == (
        "933,334 subjects, 11,200,008 views kept, 10,266,674 images made, 28,519 device hours, "
        "4.5 TB"
    )


def test_frontal_views_are_counted_and_the_paper_stands_beside():
    settings = dict(tries=1, attempts=1, passing=1.0, images_per_second=0.5, bytes_per_view=1e5)
    plain, some, whole = (estimate(100, 32, frontalised=s, **settings) for s in (0.0, 0.25, 1.0))
    assert (plain.made, some.made, whole.made) == (3100, 3125, 3200)
    assert whole.views == 3200 and whole.seconds == pytest.approx(2.0)
    assert abs(400 * 26 * 24 / 250_000 - 1) < 0.01
    assert round(400 * 26 * 24 * 3600 / (350_000 * 32)) == 80, "of what is reported"
    assert "250,000 device hours, 80 s a kept image" in REPORTED
    with pytest.raises(ValueError, match="frontalised must be 0 to 1, got 2"):
        estimate(1, 2, frontalised=2.0, **settings)


def test_it_is_measured():
    class Slow:
        def edit(self, images, words, seeds):
            import time

            time.sleep(0.01 * len(images))
            return torch.zeros(len(images), 3, 32, 32, dtype=torch.uint8)

    speed, size = measure(Slow(), torch.zeros(3, 32, 32, dtype=torch.uint8), resolution=16)
    assert 10 < speed < 105 and 50 < size < 300


@pytest.mark.parametrize(
    ("name", "value"), [("subjects", 0), ("images_per_second", 0.0), ("passing", 1.5)]
)
def test_numbers_out_of_range(name, value):
    good = dict(
        subjects=1,
        views_per_subject=2,
        tries=1,
        attempts=1,
        passing=0.5,
        images_per_second=1.0,
        bytes_per_view=1,
    )
    with pytest.raises(ValueError, match=f"{name} must be"):
        estimate(**{**good, name: value})
