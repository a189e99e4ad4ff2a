"""Photographs that are turned are kept to be frontalised, and scored by a plug-in, where asked."""

import csv
import io
import json
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from semhead_lib.cameras import Camera
from semhead_lib.cli import main
from semhead_lib.data.kontext import inputs
from semhead_lib.data.kontext.filters import load_score
from semhead_lib.data.kontext.inputs import CHOSEN, SETTINGS, choose_portraits
from semhead_lib.data.kontext.settings import PortraitFilter
from semhead_lib.data.portraits.alignment import align

for needed in ("dlib", "cv2"):
    pytest.importorskip(needed)

SMALL = dict(resolution=64, least=64)
ANGLES = [(0, 0), (-14, 3), (35, -5), (-58, 0), (70, 0), (5, 25), (20, -65)]  # degrees


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, data = tmp_path_factory.mktemp("photos"), io.BytesIO()
    Image.fromarray(astronaut()).save(data, "PNG")
    for azimuth, elevation in ANGLES:
        (folder / f"{azimuth}_{elevation}.png").write_bytes(data.getvalue())
    return folder


@pytest.fixture(autouse=True)
def turned(monkeypatch):
    """Each photograph is turned as its name says."""
    image = torch.from_numpy(astronaut()).permute(2, 0, 1)
    frontal = align(image, name="astronaut", resolution=64)

    def named(image, *, where, **settings):
        azimuth, elevation = map(float, where.removesuffix(".png").split("_"))
        return replace(frontal, camera=Camera.orbit(azimuth, elevation).label)

    monkeypatch.setattr(inputs, "align", named)


def rows(out):
    with open(out / CHOSEN, newline="") as file:
        return {row["image"].removesuffix(".png"): row for row in csv.DictReader(file)}


def test_those_that_are_turned_are_kept_to_be_frontalised(photos, tmp_path):
    counts = choose_portraits(photos, tmp_path, PortraitFilter(**SMALL), progress=False)
    assert counts == {"chosen": 5, "of them turned": 3, "not frontal": 2}
    found = rows(tmp_path)
    assert {name for name, row in found.items() if not row["portrait"]} == {"70_0", "20_-65"}
    assert float(found["35_-5"]["azimuth"]) == 35 and float(found["35_-5"]["elevation"]) == -5
    strict = choose_portraits(
        photos, tmp_path / "strict", PortraitFilter(**SMALL, turned=0.0), progress=False
    )
    assert strict == {"chosen": 2, "not frontal": 5}


def test_a_folder_from_before_goes_on_without_them(photos, tmp_path):
    wanted = PortraitFilter(**SMALL, turned=0.0)
    counts = choose_portraits(photos, tmp_path, wanted, progress=False)
    settings = json.loads((tmp_path / SETTINGS).read_text())
    for name in ("turned", "quality", "quality_least"):
        del settings[name]
    (tmp_path / SETTINGS).write_text(json.dumps(settings))
    assert choose_portraits(photos, tmp_path, wanted, progress=False) == counts
    with pytest.raises(ValueError, match=r"turned is 0\.0 there, 60\.0 here"):
        choose_portraits(photos, tmp_path, PortraitFilter(**SMALL), progress=False)


def test_a_plug_in_scores_them(photos, tmp_path, monkeypatch, capsys):
    module = ModuleType("judge_of_photos")
    scores = iter((0.9, 0.2, 0.8, 0.49, 0.5))
    module.score = lambda images, prompts: [next(scores) for _ in zip(images, prompts, strict=True)]
    monkeypatch.setitem(sys.modules, "judge_of_photos", module)
    load_score.cache_clear()
    words = ["data", "portraits", str(photos), str(tmp_path / "out"), "resolution=64", "least=64"]
    assert main([*words, "workers=1", "quality=judge_of_photos:score"]) == 0
    assert "3 chosen" in capsys.readouterr().out
    reasons = [row["reason"] for row in rows(tmp_path / "out").values()]
    assert "poor: quality 0.20, 0.5 is wanted" in reasons
    load_score.cache_clear()


@pytest.mark.parametrize(
    ("quality", "message"),
    [
        ("clip", "quality=clip is for views: photographs take package.module:function"),
        ("no.where:score", "quality=no.where:score cannot be imported"),
    ],
)
def test_a_score_that_cannot_be_had(photos, tmp_path, quality, message):
    with pytest.raises(ValueError, match=message):
        choose_portraits(photos, tmp_path / "out", PortraitFilter(quality=quality), progress=False)
    assert not (tmp_path / "out").exists()
