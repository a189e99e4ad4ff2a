"""The image map: complete without a network, and closed to markup in its words."""

import html
import json
import re

import pytest
import torch

from semhead_lib.viz.hover import image_map

POINTS, IMAGES = torch.rand(3, 2), torch.zeros(3, 3, 8, 8, dtype=torch.uint8)


def page(**changes):
    given = (
        dict(words=["one", "two", "three"], groups=["a", "b", "a"], title="map", alt="three people")
        | changes
    )
    shown = image_map(POINTS, IMAGES, **given).data
    return shown, html.unescape(re.search(r'srcdoc="([^"]+)"', shown).group(1))


def test_map_holds_points_images_words_and_plotly():
    shown, inside = page()
    assert 'title="three people"' in shown and 'aria-label="three people"' in inside
    figure = json.loads(re.search(r"figure = (\{.*\});\n", inside).group(1))
    assert [trace["name"] for trace in figure["data"]] == ["a", "b"]
    assert figure["data"][0]["customdata"] == [0, 2]
    assert len(json.loads(re.search(r"images = (\[.*?\]), words", inside).group(1))) == 3
    assert not re.search(r"""(src|href)=["']https?:""", inside), "nothing is fetched"
    assert len(shown) < 3_500_000


def test_words_cannot_break_out():
    _, inside = page(words=["</script><b>", '"quoted"', "three"])
    assert "</script><b>" not in inside and "<\\/script><b>" in inside


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="got 3, 3, 2 and 3"):
        page(words=["one", "two"])
