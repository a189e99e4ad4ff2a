"""Datasets of EG3D and PanoHead come in, ours go out, and nothing of pixels or labels is lost on
the way."""

from __future__ import annotations

import functools
import io
import json
import zipfile

import numpy as np
import pytest
import torch
from noise_source import NoiseSource, files_of
from PIL import Image

from semhead_lib.atomic import leftovers
from semhead_lib.cameras import Camera, orbit_cameras
from semhead_lib.data.dataset import eg3d_format
from semhead_lib.data.dataset.archives import parse_label
from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.eg3d_format import export_dataset
from semhead_lib.data.dataset.reading import subjects
from semhead_lib.data.jobs.imports import import_dataset
from semhead_lib.data.jobs.synthesis import SynthesisError, synthesize

bring_in = functools.partial(import_dataset, workers=0, progress=False)
send_out = functools.partial(export_dataset, progress=False)


def png(seed, size=16):
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def photo_set(path, style="numbers", zipped=False):
    """A folder or zip as a stranger would have it: nested folders, labels in another order than the
    images."""
    names = ["00000/img00000000.png", "00000/img00000001.png", "00001/sub/img.x.png", "top.png"]
    azimuths = torch.tensor([-60.0, 10.0, 0.0, 170.0])
    labels = orbit_cameras(azimuths, torch.tensor([0.0, 5.0, -10.0, 20.0])).double()
    labels[0, 0] += 3e-8  # published numbers are doubles
    styles = {
        "numbers": lambda label: label.tolist(),
        "strings": lambda label: [repr(x) for x in label.tolist()],
        "text": lambda label: ", ".join(repr(x) for x in label.tolist()),
    }
    rows = [[name, styles[style](label)] for name, label in zip(names, labels, strict=True)][::-1]
    content = {"labels": dict(rows) if style == "text" else rows}
    entries = {name: png(i) for i, name in enumerate(names)} | {
        "dataset.json": json.dumps(content).encode()
    }
    write(path, entries, zipped)
    return names, labels.float()


def write(path, entries, zipped=False):
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, data)
    else:
        for name, data in entries.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)


def pixels_of(data):
    return np.array(Image.open(io.BytesIO(data)))


def as_eg3d_reads(path):
    """[(pixels, float32 label)] in the order in which EG3D's loader numbers the images of a folder
    or zip."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
    else:
        entries = files_of(path)
    labels = dict(json.loads(entries.pop("dataset.json"))["labels"])
    return [
        (pixels_of(entries[name]), np.array(labels[name]).astype(np.float32))
        for name in sorted(entries)
    ]


def same(one, other):
    return len(one) == len(other) and all(
        np.array_equal(a, c) and np.array_equal(b, d)
        for (a, b), (c, d) in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("style", ["numbers", "strings", "text"])
def test_a_strangers_set_comes_in_and_goes_out_unchanged(tmp_path, style, zipped):
    source = tmp_path / ("in.zip" if zipped else "in")
    names, labels = photo_set(source, style, zipped)
    assert check(source) == []
    report = bring_in(source, tmp_path / "ours", licence="CC-BY-4.0")
    assert (report.manifest.subjects, report.manifest.views, report.manifest.licence) == (
        4,
        4,
        "CC-BY-4.0",
    )
    assert check(tmp_path / "ours") == []
    for index, subject in enumerate(subjects(tmp_path / "ours")):
        assert np.array_equal(subject.views[0].permute(1, 2, 0), pixels_of(png(index)))
        assert torch.equal(subject.cameras[0], labels[index])
        assert torch.equal(subject.frontal, subject.views[0])
        assert subject.provenance["images"] == [names[index]] and subject.licence == "CC-BY-4.0"
    assert [s.id for s in subjects(tmp_path / "ours")][::3] == ["00000-img00000000", "top"]
    for out in (tmp_path / "out", tmp_path / "out.zip"):
        assert send_out(tmp_path / "ours", out) == 4
        assert check(out) == []
        if style == "numbers":
            assert same(as_eg3d_reads(out), as_eg3d_reads(source))


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_ours_go_out_and_come_back(tmp_path, image_format):
    """Export, import, export: the second export equals the first to the byte, and so do the
    subjects' views."""
    source = functools.partial(NoiseSource, varied=True)
    synthesize(
        source,
        tmp_path / "ours",
        5,
        shard_size=2,
        workers=0,
        image_format=image_format,
        progress=False,
    )
    assert send_out(tmp_path / "ours", tmp_path / "first.zip") == 17
    bring_in(tmp_path / "first.zip", tmp_path / "back", group="folder", image_format=image_format)
    send_out(tmp_path / "back", tmp_path / "second.zip")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    for one, other in zip(subjects(tmp_path / "ours"), subjects(tmp_path / "back"), strict=True):
        assert torch.equal(one.views, other.views) and torch.equal(one.cameras, other.cameras)
    bring_in(tmp_path / "first.zip", tmp_path / "flat")
    send_out(tmp_path / "flat", tmp_path / "third")
    assert same(as_eg3d_reads(tmp_path / "third"), as_eg3d_reads(tmp_path / "first.zip"))
    assert sorted(files_of(tmp_path / "third"))[:2] == [
        "00000/img00000000.png",
        "00000/img00000001.png",
    ]


def test_grouping_by_folder_takes_the_frontal_view(tmp_path):
    photo_set(tmp_path / "in")
    bring_in(tmp_path / "in", tmp_path / "ours", group="folder")
    top, first, second = subjects(tmp_path / "ours")
    assert (top.id, first.id, second.id) == ("images", "00000", "00001-sub")
    assert first.views.shape == (2, 3, 16, 16) and torch.equal(first.frontal, first.views[1])
    frontal = first.provenance["frontal"]
    assert frontal["image"] == "00000/img00000001.png" and frontal["azimuth"] == pytest.approx(
        10, abs=0.01
    )
    assert frontal["elevation"] == pytest.approx(5, abs=0.01)


def test_names_that_collide_get_numbers(tmp_path):
    label = Camera.orbit(0, 0).label.tolist()
    names = ["a b.png", "a-b.png"]
    write(
        tmp_path / "in",
        {n: png(i) for i, n in enumerate(names)}
        | {"dataset.json": json.dumps({"labels": [[n, label] for n in names]}).encode()},
    )
    bring_in(tmp_path / "in", tmp_path / "ours")
    assert [(s.id, s.provenance["images"]) for s in subjects(tmp_path / "ours")] == [
        ("subject-00000000", ["a b.png"]),
        ("subject-00000001", ["a-b.png"]),
    ]


def test_import_in_a_worker_resumes_and_is_the_same(tmp_path):
    photo_set(tmp_path / "in.zip", zipped=True)
    bring_in(tmp_path / "in.zip", tmp_path / "here", shard_size=2)
    bring_in(tmp_path / "in.zip", tmp_path / "there", shard_size=2, workers=1)
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")
    assert bring_in(tmp_path / "in.zip", tmp_path / "here", shard_size=2).views_made == 0
    photo_set(tmp_path / "other.zip", "strings", zipped=True)
    with pytest.raises(
        ValueError, match=r"source\.settings\.archive is \"in\.zip\" there, \"other\.zip\" here"
    ):
        bring_in(tmp_path / "other.zip", tmp_path / "here", shard_size=2)


def test_labels_are_exact():
    numbers = [
        *np.eye(4, dtype=np.float32).reshape(-1).tolist(),
        4.2647,
        0,
        0.5,
        0,
        4.2647,
        0.5,
        0,
        0,
        1,
    ]
    exact = np.asarray(numbers, dtype=np.float32)
    assert np.array_equal(parse_label(numbers), exact)
    assert np.array_equal(parse_label([str(x) for x in exact.astype(np.float64)]), exact)
    for bad, message in [
        (numbers[:24], "expected 25 numbers, got 24"),
        ([*numbers[:24], "one"], "'one' is not a number"),
        ([*numbers[:24], None], "None is not a number"),
        ([*numbers[:24], True], "True is not a number"),
        ([*numbers[:24], "nan"], "not finite"),
        ([2.0, *numbers[1:]], "not rigid"),
        (None, "expected a list of 25 numbers, got None"),
        (3.0, r"expected a list of 25 numbers, got 3\.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            parse_label(bad)


def test_bad_sources_are_refused(tmp_path):
    label = Camera.orbit(0, 0).label.tolist()

    def refused(name, labels, message, error=ValueError, images=("a.png",)):
        content = (
            {} if labels is None else {"dataset.json": json.dumps({"labels": labels}).encode()}
        )
        write(tmp_path / name, {n: png(0) for n in images} | content)
        with pytest.raises(error, match=message):
            bring_in(tmp_path / name, tmp_path / f"{name}-out")
        assert not (tmp_path / f"{name}-out" / "dataset.json").exists()

    refused("none", None, r"has no dataset\.json")
    refused("null", {}, r"dataset\.json: has no labels")
    refused("shape", [["a.png"]], r"labels, row 0: expected \[image name, label\]")
    refused("more", [["a.png", label], ["b.png", label]], r"b\.png has no image \(1 such in all\)")
    refused(
        "fewer",
        [["a.png", label]],
        r"c\.png has no label \(1 such in all\)",
        images=("a.png", "c.png"),
    )
    refused(
        "short", [["a.png", label[:9]]], r"a\.png: label expected 25 numbers, got 9", SynthesisError
    )
    with pytest.raises(FileNotFoundError, match="does not exist"):
        bring_in(tmp_path / "nowhere", tmp_path / "x")
    with pytest.raises(ValueError, match="group must be one of none, folder, got 'person'"):
        bring_in(tmp_path / "short", tmp_path / "x", group="person")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(ValueError, match="is neither a folder nor a readable zip file"):
        bring_in(tmp_path / "text.zip", tmp_path / "x")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../evil.png", png(0))
    with pytest.raises(ValueError, match=r"'\.\./evil\.png': unsafe path"):
        bring_in(tmp_path / "evil.zip", tmp_path / "x")


def test_export_overwrites_nothing_and_appears_whole(dataset, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "there.zip").write_bytes(b"mine")
    for out in (tmp_path / "full", tmp_path / "there.zip"):
        with pytest.raises(FileExistsError, match="exists already; export into a new name"):
            send_out(dataset, out)
    assert (tmp_path / "there.zip").read_bytes() == b"mine"
    (tmp_path / "empty").mkdir()
    assert send_out(dataset, tmp_path / "empty") == 38
    assert len(as_eg3d_reads(tmp_path / "empty")) == 38 and not list(leftovers(tmp_path, "empty"))

    (tmp_path / ".killed.1.partial").mkdir()  # of an earlier export that was killed
    (dataset / "shard-000002.tar").write_bytes(b"\0" * 10240)
    for out in (tmp_path / "killed", tmp_path / "killed.zip"):
        (dataset / "shard-000003.tar").unlink(missing_ok=True)
        with pytest.raises(FileNotFoundError):
            send_out(dataset, out)
        assert not out.exists()
    assert not list(leftovers(tmp_path, "killed")) and not list(leftovers(tmp_path, "killed.zip"))


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_a_second_export_into_one_place_leaves_the_first_alone(
    dataset, tmp_path, name, monkeypatch
):
    out, whole = tmp_path / "sent" / name, eg3d_format._images

    def during(*arguments):
        for number, image in enumerate(whole(*arguments)):
            if number == 1:
                with pytest.raises(BlockingIOError, match="another process is writing here"):
                    send_out(dataset, out)
            yield image

    monkeypatch.setattr(eg3d_format, "_images", during)
    count = send_out(dataset, out)
    assert len(as_eg3d_reads(out)) == count == 38
    assert [path.name for path in out.parent.iterdir()] == [name]


def test_a_zip_is_a_zip_in_capital_letters_too(dataset, tmp_path):
    assert send_out(dataset, tmp_path / "x.ZIP") == 38
    assert zipfile.is_zipfile(tmp_path / "x.ZIP") and check(tmp_path / "x.ZIP") == []
