"""A dataset is leafed through: words of captions find subjects, every channel is shown."""

import io
from functools import partial

import numpy as np
import pytest
from PIL import Image

from semhead_lib.data.dataset.reading import infos, load_subject
from semhead_lib.data.jobs.synthesis import synthesize
from semhead_lib.explore.browser import CHANNELS, DatasetBrowser, channel_images

pytest.importorskip("anny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from semhead_lib.data.parametric.source import ParametricSource

    made, out = (
        partial(ParametricSource, seed=5, resolution=32, views_per_subject=3),
        tmp_path_factory.mktemp("heads"),
    )
    synthesize(made, out, 6, shard_size=4, workers=0, progress=False)
    return out


def test_infos_are_those_of_the_subjects(folder):
    whole = [load_subject(folder, i) for i in range(6)]
    assert [(s.caption, s.attributes) for s in infos(folder)] == [
        (s.caption, s.attributes) for s in whole
    ]


def test_words_find_subjects(folder):
    browser, told = DatasetBrowser(folder), [info.caption for info in infos(folder)]
    assert browser.found() == [0, 1, 2, 3, 4, 5] and browser.place.max == 5
    word = next(
        w for w in told[3].split() if 0 < sum(w.lower() in t.lower().split() for t in told) < 6
    )
    browser.words.value = word.upper()
    expected = [i for i, text in enumerate(told) if word.lower() in text.lower()]
    assert browser.found() == expected and 3 in expected
    browser.place.value = expected.index(3)
    assert load_subject(folder, 3).id in browser.text.value
    browser.words.value = "nobody has such a word"
    assert browser.found() == [] and "nobody" in browser.text.value and browser.sheet.value == b""
    browser.words.value = ""
    assert browser.found() == list(range(6)) and browser.sheet.value


def test_attributes_find_subjects(folder):
    browser, told = DatasetBrowser(folder), [info.attributes for info in infos(folder)]
    assert "hair colour" in browser.attribute.options and "shape" not in browser.attribute.options
    browser.attribute.value = "hair colour"
    assert browser.found() == [0, 1, 2, 3, 4, 5] and browser.value.layout.display == ""
    browser.value.value = told[2]["hair_colour"]
    assert (
        browser.found()
        == [i for i in range(6) if told[i]["hair_colour"] == told[2]["hair_colour"]]
        != []
    )

    ages = [a["age"] for a in told]
    browser.attribute.value = "age"
    assert browser.found() == [0, 1, 2, 3, 4, 5] and browser.value.layout.display == "none"
    assert (browser.between.min, browser.between.max) == (min(ages), max(ages))
    middle = sorted(ages)[2] + 0.5
    browser.between.value = (middle, max(ages))
    assert browser.found() == [i for i in range(6) if ages[i] > middle] != []
    browser.words.value = told[0]["gender"]
    assert set(browser.found()) < set(range(6)) and all(ages[i] > middle for i in browser.found())

    browser.words.value, browser.attribute.value = "", "fringe"
    browser.value.value = "False"
    assert browser.found() == [i for i in range(6) if not told[i]["fringe"]]
    browser.attribute.value = "any"
    assert browser.found() == [0, 1, 2, 3, 4, 5]
    assert 'alt="one of six people"' in browser.still("one of six people").data


def test_every_channel_is_shown(folder):
    browser, sheets = DatasetBrowser(folder), set()
    for channel in CHANNELS:
        browser.channel.value = channel
        sheet = np.asarray(Image.open(io.BytesIO(browser.sheet.value)))
        assert sheet.shape == (32, 4 * 34 - 2, 3), "the frontal view and three views"
        sheets.add(sheet.tobytes())
    assert len(sheets) == len(CHANNELS)
    with pytest.raises(ValueError, match="channel must be one of images, masks"):
        channel_images(load_subject(folder, 0), "smell")
