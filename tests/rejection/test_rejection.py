"""Bad heads are farther from real ones than good ones, and are left out; the curve says what that
costs."""

from __future__ import annotations

import json
import re

import pytest
import torch
from PIL import Image

from semhead_lib import cli
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.models.config import preset
from semhead_lib.models.generator import Generator
from semhead_lib.rejection import curve, head_filter
from semhead_lib.rejection.curve import curve_of, picture, real_point
from semhead_lib.rejection.head_filter import HeadFilter, Judged, choose
from semhead_lib.rejection.real_heads import AZIMUTHS, FILE, FOLDER, RealHeads, images_from_sides
from semhead_lib.viz.samples import Drawn, sample
from semhead_lib.viz.settings import SampleSettings


def features(count, seed, spread=1.0):
    rng = torch.Generator().manual_seed(seed)
    return spread * torch.randn(count, len(AZIMUTHS), 12, generator=rng)


@pytest.fixture(scope="module")
def shipped():
    return RealHeads.load()


@pytest.fixture(scope="module")
def heads():
    """Views of three heads of the generator that ships, from the four sides."""
    generator = Generator.load("semhead-128")
    from semhead_lib.conditioning.bank import ConditionBank

    bank = ConditionBank.load(FOLDER.parent / "semhead-128")
    drawn = Drawn(generator, lambda count: bank.sample(count, "interpolate", 0), 0, 0.8)
    return drawn.images(0, 3, AZIMUTHS)


def test_distances_are_1_for_heads_of_the_same_kind_and_grow_beyond():
    real = RealHeads.of(features(200, 0), "judge", "noise", kept=8)
    own = real.distances(features(100, 1))
    assert own.median() == pytest.approx(1.0, abs=0.05)
    assert real.distances(features(100, 1) + 6).min() > own.max()
    assert real.distances(features(100, 1, spread=0.3)).max() < own.median()
    with pytest.raises(ValueError, match=r"features must be \[M, 4, 12\], got \[5, 4, 9\]"):
        real.distances(torch.zeros(5, 4, 9))
    with pytest.raises(ValueError, match=r"features must be \[N > 5, A, D\]"):
        RealHeads.of(features(4, 0), "judge", "noise")


def test_the_file_of_real_heads(shipped, tmp_path):
    """It is small, comes back as it was, belongs to the judge that ships, and damage is named."""
    assert (FOLDER / FILE).stat().st_size <= 300_000
    assert shipped.features.shape == (4, 512, 64)
    assert shipped.extractor == FeatureExtractor.load("headjudge", device="cpu").identity
    shipped.save(tmp_path)
    assert (tmp_path / FILE).read_bytes() == (FOLDER / FILE).read_bytes()
    (tmp_path / FILE).write_bytes((FOLDER / FILE).read_bytes()[:1000])
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / FILE}: is no readable")):
        RealHeads.load(tmp_path)
    bad = RealHeads(shipped.mean[:3], shipped.basis, shipped.features, "", "")
    bad.save(tmp_path)
    with pytest.raises(ValueError, match="holds no features of real heads: shapes do not fit"):
        RealHeads.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        RealHeads.load(tmp_path / "nowhere")
    other = FeatureExtractor("other", 3, False, lambda x: x)
    with pytest.raises(ValueError, match=r"of headjudge .* heads are judged by other"):
        HeadFilter(shipped, other)


def test_damaged_heads_are_farther_and_a_face_on_the_back_is_seen(heads):
    judge = HeadFilter.load("cpu")
    good = judge(heads)
    assert not good.faces.any() and good.distances.max() < 1.6
    noise = torch.randint(-90, 90, heads.shape, generator=torch.Generator().manual_seed(0))
    damaged = judge((heads.int() + noise).clamp(0, 255).byte())
    assert damaged.distances.min() > 1.5 * good.distances.max()
    front = AZIMUTHS.index(0.0)
    two_faced = heads.clone()
    two_faced[:, 0] = heads[:, front]
    seen = judge(two_faced)
    assert seen.faces.any() and (seen.distances > good.distances).all()
    with pytest.raises(ValueError, match=r"images must be \[M, 4, 3, S, S\]"):
        judge(heads[:, :2])


class Candidates:
    """Heads whose images are their number."""

    def images(self, start, stop, azimuths):
        assert azimuths == AZIMUTHS
        return torch.arange(start, stop)[:, None, None, None, None].expand(-1, 4, 3, 1, 1)


def by_number(images):
    """Every third head has a face on its back; the others are the farther, the later in tens."""
    number = images[:, 0, 0, 0, 0]
    return Judged((number % 10).double(), number % 3 == 2)


def test_a_share_or_a_distance_chooses():
    def numbers(**settings):
        return [head.number for head in choose(by_number, Candidates(), SampleSettings(**settings))]

    assert numbers(heads=4, reject=0.6) == [0, 1, 3, 4]  # of 10
    assert numbers(heads=8, reject=0.2) == [0, 1, 2, 3, 4, 6, 7, 9]  # of 10: the others are worse
    few, many = (numbers(heads=n, max_distance=3.0) for n in (4, 9))
    assert few == [0, 1, 3, 10] and many[:4] == few and len(many) == 9
    chosen = choose(by_number, Candidates(), SampleSettings(heads=1, reject=0.5))
    assert (chosen[0].distance, chosen[0].face_on_back) == (0.0, False)
    with pytest.raises(ValueError, match="reject or max_distance, not both"):
        numbers(heads=2, reject=0.5, max_distance=1.0)
    with pytest.raises(ValueError, match=r"0 of 40 heads lie within max_distance=0\.5 .* half of"):
        choose(
            lambda images: Judged(torch.ones(len(images)).double(), torch.zeros(len(images)) > 0),
            Candidates(),
            SampleSettings(heads=2, max_distance=0.5),
        )


def test_sample_keeps_the_best_and_says_so(tmp_path, monkeypatch):
    """`semhead sample reject=...`: the rows of the sheet are those of all heads that were kept."""
    from semhead_lib.conditioning.bank import ConditionBank
    from semhead_lib.conditioning.modes import ConditionMode

    torch.manual_seed(0)
    folder, unit = tmp_path / "model", torch.nn.functional.normalize(torch.randn(9, 128), dim=1)
    Generator(preset("semhead-32", condition_dim=128, coarse=4, fine=4)).save(folder)
    ConditionBank(ConditionMode("semantic", 128), None, unit).save(folder)
    common = dict(views=2, frames=0, device="cpu")
    everyone = sample(folder, tmp_path / "all", heads=4, **common)
    monkeypatch.setattr(head_filter.HeadFilter, "load", lambda device: numbered)
    words = [f"{name}={value}" for name, value in common.items()]
    out = tmp_path / "some"
    assert cli.main(["sample", str(folder), str(out), "heads=2", "reject=0.5", *words]) == 0
    record = json.loads((out / "heads.json").read_text())
    assert [row["latent"] for row in record["heads"]] == [1, 3] and record["reject"] == 0.5
    assert [row["distance"] for row in record["heads"]] == [2.0, 0.0]
    sheet, some = (Image.open(p).convert("RGB") for p in (everyone, out / "heads.png"))
    rows = [sheet.crop((0, top, sheet.width, top + 32)).tobytes() for top in (33, 99)]
    kept = [some.crop((0, top, some.width, top + 32)).tobytes() for top in (0, 33)]
    assert kept == rows
    with pytest.raises(ValueError, match="reject and max_distance are for semhead_lib"):
        sample(folder, tmp_path / "x", heads=2, reject=0.5, **common)


def numbered(images):
    assert images.shape[1:] == (4, 3, 32, 32)
    return Judged(torch.tensor([3.0, 2.0, 1.0, 0.0]).double(), torch.tensor([0, 0, 1, 0]).bool())


def test_the_curve_rises_and_falls_where_it_must():
    """Half of the samples are real, half are far off: rejecting them brings the distance down; a
    filter that keeps what is typical costs diversity."""
    real, good, bad = features(120, 0), features(60, 1), features(60, 2) + 2
    samples = torch.cat([good, bad])
    judged = Judged(torch.cat([torch.zeros(60), torch.ones(60)]).double(), torch.arange(120) >= 110)
    points = curve_of(judged, (samples, samples), (real, real), shares=(0.0, 0.25, 0.5), draws=4)
    assert [p.kept for p in points] == [120, 90, 60]
    assert points[0].frechet > points[1].frechet > points[2].frechet
    assert points[0].faces_on_backs > 0 and points[2].faces_on_backs == 0
    assert points[2].max_distance == 0 and points[0].max_distance == 1
    own = real_point((real, real), 60, draws=4)
    assert points[2].frechet < 2 * own["frechet"] < points[1].frechet
    typical = Judged(good.flatten(1).norm(dim=1).double(), torch.zeros(60).bool())
    narrow = curve_of(typical, (good, good), (real, real), shares=(0.0, 0.7), draws=4)
    assert narrow[1].diversity < narrow[0].diversity and narrow[1].recall < narrow[0].recall
    with pytest.raises(ValueError, match="3 heads are left to compare, 5 are needed"):
        curve_of(typical, (good, good), (real, real), shares=(0.95,))


def test_the_command_measures_a_generator(tmp_path, monkeypatch):
    """On a small dataset and few heads: all numbers are there, and the picture."""
    from semhead_lib.data.dataset.memory import SubjectsInMemory

    with pytest.raises(ValueError, match=r"is not seen from azimuths -180, -90, 0, 90"):
        monkeypatch.setattr(
            SubjectsInMemory, "load", lambda *a, **k: [Seen(torch.tensor([0.0, 90.0]))]
        )
        images_from_sides("data")
    views = torch.tensor([90.0, 0.0, -90.0, 180.0, 45.0])
    monkeypatch.setattr(SubjectsInMemory, "load", lambda *a, **k: [Seen(views)] * 12)
    assert images_from_sides("data")[0, :, 0, 0, 0].tolist() == [3, 2, 1, 0]
    noise = torch.Generator().manual_seed(0)
    extractor = FeatureExtractor(
        "mean", 3, False, lambda x: x.mean((2, 3)) + 0.1 * torch.randn(len(x), 3, generator=noise)
    )
    monkeypatch.setattr(curve.FeatureExtractor, "load", lambda *a, **k: extractor)
    judge = HeadFilter(RealHeads.of(features(20, 0)[..., :3], "mean", "noise", 2), extractor)
    monkeypatch.setattr(curve.HeadFilter, "load", lambda device: judge)
    monkeypatch.setattr(head_filter, "face_shares", lambda images, device: torch.zeros(len(images)))
    made = []

    def images(self, start, stop, azimuths):
        if interrupted and start >= 16:
            raise KeyboardInterrupt
        made.append(start)
        return torch.zeros(stop - start, 4, 3, 8, 8).byte()

    monkeypatch.setattr(Drawn, "images", images)
    interrupted = True
    arguments = dict(heads=24, draws=2, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        curve.measure("semhead-128", "data", tmp_path / "out", **arguments)
    interrupted = False
    out = curve.measure("semhead-128", "data", tmp_path / "out", **arguments)
    assert made == [0, 16] and not (tmp_path / "out" / curve.PARTS).exists()
    content = json.loads((tmp_path / "out" / "curve.json").read_text())
    assert [point["kept"] for point in content["curve"]] == [24, 22, 19, 17, 14, 12, 10, 6]
    assert content["compared"] == 6 and content["other_features"] == "mean"
    text = out.read_text()
    assert text == picture(content) and text.count("<polyline") == 4 and "real heads" in text


class Seen:
    """A subject whose views are their number."""

    id = "someone"

    def __init__(self, azimuths):
        from semhead_lib.cameras import orbit_cameras

        self.cameras = orbit_cameras(azimuths, torch.zeros(len(azimuths)))
        self.views = torch.arange(len(azimuths))[:, None, None, None].expand(-1, 3, 8, 8).byte()
