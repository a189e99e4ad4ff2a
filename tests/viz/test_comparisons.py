"""Figures that compare: their values, their bands, their words."""

import pytest
from PIL import Image

from semhead_lib.viz.comparisons import around_the_head, intervals, side_by_side


def test_values_around_a_head_close_the_ring():
    bands = {"semantic": ([0.5, 1.5, 2.5], [1.5, 2.5, 3.5])}
    figure = around_the_head(
        [-120, 0, 120],
        {"semantic": [1, 2, 3], "view": [2, 2, 2]},
        title="t",
        bands=bands,
        floor=[0.1, 0.2, 0.1],
    )
    band, curve, other, floor = figure.data
    assert (
        list(curve.theta) == [240, 0, 120, 240]
        and list(curve.r) == [1, 2, 3, 1]
        and curve.name == "semantic"
    )
    assert list(band.r) == [1.5, 2.5, 3.5, 1.5, 0.5, 2.5, 1.5, 0.5] and not band.showlegend
    assert other.line.color != curve.line.color and other.line.dash != curve.line.dash
    assert floor.name == "real heads" and list(floor.r) == [0.1, 0.2, 0.1, 0.1]
    axis = figure.layout.polar.angularaxis
    assert axis.rotation == -90 and list(axis.ticktext) == ["-120°", "front", "120°"], (
        "the front is at the bottom"
    )


def test_intervals_and_every_seed():
    bounds, seeds = [(0.8, 1.3), (1.5, 2.1)], [[0.9, 1.1], [2.0]]
    figure = intervals(
        ["semantic", "view"], [1.0, 2.0], bounds, seeds, title="t", x_title="bias", floor=(0.1, 0.2)
    )
    each, means = figure.data
    assert list(each.x) == [0.9, 1.1, 2.0] and list(each.y) == [0, 0, 1]
    assert list(means.error_x.array) == pytest.approx([0.3, 0.1])
    assert list(means.error_x.arrayminus) == pytest.approx([0.2, 0.5])
    assert list(figure.layout.yaxis.ticktext) == ["semantic", "view"]
    assert (figure.layout.shapes[0].x0, figure.layout.shapes[0].x1) == (0.1, 0.2)
    assert figure.layout.shapes[0].layer == "below", "behind the values"
    [words] = figure.layout.annotations
    assert (words.text, words.x) == ("real heads", pytest.approx(0.15))
    assert (words.yref, words.y, words.yanchor) == ("paper", 1, "bottom"), "above all rows"


def test_images_side_by_side_have_captions_and_words():
    page = side_by_side(
        {"a < b": Image.new("RGB", (8, 8)), "second": Image.new("RGB", (8, 8))},
        alt="heads",
        columns=3,
    ).data
    assert (
        page.count("<img") == 2
        and 'alt="a &lt; b: heads"' in page
        and "<figcaption" in page
        and "repeat(3," in page
    )
