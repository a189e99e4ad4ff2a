"""Comparing methods of inversion: what is written, gone on with, and summed up."""

import json
import shutil
from dataclasses import replace
from functools import partial

import pandas
import pytest
import torch
from own_heads import photographs

from semhead_lib.cameras import orbit_angles
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.inversion import comparison
from semhead_lib.inversion.comparison import (
    Method,
    compare,
    gain,
    mean_over_subjects,
    metric,
    read_table,
    summary,
    table_of,
)
from semhead_lib.inversion.held_out import KnownSubject, held_out
from semhead_lib.inversion.inverter import Inverter
from semhead_lib.inversion.judging import Truth
from semhead_lib.inversion.settings import InversionSettings
from semhead_lib.inversion.targets import prepare
from semhead_lib.models.generator import Generator
from semhead_lib.models.sampling import to_uint8

QUICK = InversionSettings(steps=25, tuning_steps=5)


@pytest.fixture(scope="module")
def subjects(generator, others):
    """Two of the generator's own heads as subjects, over the background that it fits to."""

    def truth(w, azimuths):
        own = photographs(generator, w, azimuths)
        masks = (own.masks[:, 0] * 255).byte()
        shown = prepare(generator, [*to_uint8(own.images)], [*masks], own.cameras)
        return Truth(to_uint8(shown.images), masks, own.cameras, surface=torch.zeros(10, 3))

    def subject(i):
        here, around = (
            truth(others[i : i + 1], azimuths) for azimuths in ((10.0,), (-180.0, -90.0, 0.0, 90.0))
        )
        return KnownSubject(f"head-{i}", here.images, here.masks, here.cameras, here, around, "")

    made = [subject(0), subject(1)]
    return lambda side, azimuths=(): made


@pytest.fixture(scope="module")
def methods(folder):
    return [Method("mean", str(folder), "mean"), Method("best, w", str(folder), space="w")]


def test_a_comparison_goes_on_where_it_was(subjects, methods, tmp_path, monkeypatch):
    pytest.importorskip("dlib")
    table = compare(methods, subjects, tmp_path, QUICK, device="cpu")
    assert set(table["stage"]) == {"start", "style", "tuned"} and set(table["method"]) == {
        "mean",
        "best, w",
    }
    assert set(table["scope"]) == {"input", "all", "-180", "-90", "0", "90"}
    nearer = gain(table, "psnr", "input", ("mean", "start"), ("mean", "tuned"))
    assert nearer.subjects == 2 and nearer.low > 0
    rows = summary(table, {"psnr": "PSNR", "chamfer": "Chamfer"})
    assert (
        list(rows["method"]) == ["mean"] * 3 + ["best, w"] * 3 and list(rows["subjects"]) == [2] * 6
    )
    assert {"PSNR, input", "PSNR, around", "Chamfer"} <= set(rows.columns)

    monkeypatch.setattr(comparison, "judged", lambda *_: pytest.fail("it is there already"))
    again = compare(methods, subjects, tmp_path, QUICK, device="cpu")
    pandas.testing.assert_frame_equal(again, table)
    with pytest.raises(ValueError, match=r"head-0\.json was made by other settings"):
        compare(methods, subjects, tmp_path, InversionSettings(steps=9), device="cpu")
    about = json.loads((tmp_path / "mean" / "head-0.json").read_text())["about"]
    assert about["settings"]["steps"] == 25 and about["features"].startswith("headjudge [weights ")
    with pytest.raises(ValueError, match=r"head-0\.json was made by other settings"):
        clip = FeatureExtractor.load("headclip-64", device="cpu")
        compare(methods, subjects, tmp_path, QUICK, extractor=clip, device="cpu")


def test_results_are_of_one_generator_and_not_interrupted(subjects, folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "model")
    few, out = InversionSettings(steps=1, tuning_steps=0), tmp_path / "out"
    methods = [Method("mean", str(tmp_path / "model"), "mean")]
    monkeypatch.setattr(comparison, "_metrics", lambda *_: [])
    search = Inverter.search

    def interrupted(self, *args, **options):
        found = search(self, *args, **options)
        return replace(found, style=replace(found.style, stopped="interrupted"))

    monkeypatch.setattr(Inverter, "search", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare(methods, subjects, out, few, device="cpu")
    assert not out.exists(), "half a search is no result"
    monkeypatch.setattr(Inverter, "search", search)
    compare(methods, subjects, out, few, device="cpu")

    kept = json.loads((out / "mean" / "head-0.json").read_text())
    del kept["about"]["generator"]  # as it was written before the weights were noted
    (out / "mean" / "head-0.json").write_text(json.dumps(kept))
    compare(methods, subjects, out, few, device="cpu")
    torch.manual_seed(1)
    other = Generator(Generator.load(folder).config)
    other.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"head-1\.json was made by other settings or weights"):
        compare(methods, subjects, out, few, device="cpu")


def test_means_are_over_subjects_and_pairs():
    def row(subject, stage, scope, value, name="psnr"):
        return dict(method="a", subject=subject, stage=stage, scope=scope, metric=name, value=value)

    table = table_of([
        row("x", "start", "0", 1.0), row("x", "start", "90", 3.0),
        row("x", "tuned", "0", 5.0), row("x", "tuned", "90", 5.0),
        row("y", "start", "0", 10.0), row("y", "start", "90", 10.0),
        row("y", "tuned", "0", 12.0), row("y", "tuned", "90", 16.0),
        row("z", "start", "0", 7.0), row("z", "tuned", "0", None), row("x", "tuned", "input", 99.0),
    ])  # fmt: skip
    assert metric(table, "psnr", "around", "a", "start").value == pytest.approx((2 + 10 + 7) / 3)
    assert metric(table, "psnr", "90", "a", "tuned").value == pytest.approx((5 + 16) / 2)
    found = gain(table, "psnr", "around", ("a", "start"), ("a", "tuned"))
    assert (found.value, found.subjects) == (pytest.approx((3 + 4) / 2), 2), (
        "only those who have both"
    )
    assert 3 <= found.low <= found.value <= found.high <= 4
    assert mean_over_subjects(table[table["metric"] == "nothing"]).subjects == 0


def test_a_table_is_read_as_it_was_written(tmp_path):
    row = {"method": "a", "subject": "p", "stage": "style", "metric": "psnr"}
    table = table_of([row | {"scope": "-60", "value": 2.5}, row | {"scope": "0", "value": None}])
    table.to_csv(tmp_path / "judged.csv", index=False)
    assert read_table(tmp_path / "judged.csv").astype(object).equals(table.astype(object))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(
        ValueError, match=r"other.csv: expected the columns method, subject, .*, got a, b"
    ):
        read_table(tmp_path / "other.csv")


def test_cameras_are_known_or_estimated():
    with pytest.raises(
        ValueError, match="cameras must be one of known, estimated, landmarks, got 'guessed'"
    ):
        Method("a", cameras="guessed")


def test_photographs_from_where_a_method_asks(folder, tmp_path):
    pytest.importorskip("anny")
    draw = partial(held_out, 1, views=4, photo=64)
    (subject,) = draw(32, azimuths=(90.0, -150.0))
    assert orbit_angles(subject.cameras)[:, 0].tolist() == pytest.approx([90, -150], abs=1e-3)
    assert subject.photos.shape == (2, 3, 64, 64) and subject.here.images.shape == (2, 3, 32, 32)
    (once,) = draw(32)
    assert abs(orbit_angles(once.cameras)[0, 0]) <= 40 and len(once.photos) == 1
    assert torch.equal(once.around.images, subject.around.images), "the same head"
    few = InversionSettings(steps=2, tuning_steps=0)
    methods = [Method("two", str(folder), azimuths=(90.0, -150.0))]
    table = compare(methods, draw, tmp_path, few, device="cpu")
    psnr = table[(table["metric"] == "psnr") & (table["stage"] == "style")]
    assert (psnr["scope"] == "input").sum() == 2 and len(psnr) == 2 + 4
    compare(methods, draw, tmp_path, few, device="cpu")  # is read again
    other = [Method("two", str(folder), azimuths=(90.0, 0.0))]
    with pytest.raises(ValueError, match="made by other settings"):
        compare(other, draw, tmp_path, few, device="cpu")
