"""The estimate is what would be counted."""

import numpy as np
import pytest
import torch

from semhead_lib.data.kontext.cost import estimate, measure


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
