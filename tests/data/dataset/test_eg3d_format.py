"""Datasets of EG3D and PanoHead come in, ours go out, and nothing of pixels or labels is lost on
the way."""

from __future__ import annotations

import functools
import io
import json
import re
import struct
import zipfile
from zlib import compress, crc32

import numpy as np
import pytest
import torch
from noise_source import NoiseSource, files_of
from PIL import Image
from PIL.ImageCms import ImageCmsProfile, createProfile

from semhead_lib.atomic import leftovers
from semhead_lib.cameras import Camera, orbit_cameras
from semhead_lib.data.dataset import eg3d_format
from semhead_lib.data.dataset.archives import parse_label
from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.conventions import STEPS, looks_like
from semhead_lib.data.dataset.eg3d_format import export_dataset
from semhead_lib.data.dataset.entries import left_undone
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
    refused("twice", [["a.png", label], ["a.png", label]], r"a\.png has 2 labels")
    refused(
        "fewer",
        [["a.png", label]],
        r"c\.png has no label \(1 such in all\)",
        images=("a.png", "c.png"),
    )
    refused(
        "short",
        [["a.png", label[:9]]],
        r"^subject 0: /.*a\.png: label expected 25 numbers, got 9",
        SynthesisError,
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
        with pytest.raises((FileNotFoundError, ValueError), match="shard-00000"):
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


def turned(labels, kind):
    """Labels of ours as other tools write them."""
    poses, rest = labels[:, :16].reshape(-1, 4, 4).double().numpy(), labels[:, 16:].double().numpy()
    zup = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    poses = zup @ poses if "zup" in kind else poses
    poses = poses @ np.diag([1, -1, -1, 1.0]) if "opengl" in kind else poses
    poses = np.linalg.inv(poses) if "w2c" in kind else poses
    if "pixels" in kind:
        rest = rest * [16, 1, 16, 1, 16, 16, 1, 1, 1]
    return np.concatenate([poses.reshape(-1, 16), rest], axis=1)


def labelled(path, labels, names=None):
    """A folder of images with these labels."""
    names = names or [f"00000/img{i:08d}.png" for i in range(len(labels))]
    rows = [[name, np.asarray(label).tolist()] for name, label in zip(names, labels, strict=True)]
    content = json.dumps({"labels": rows}).encode()
    write(path, {name: png(i, 16) for i, name in enumerate(names)} | {"dataset.json": content})
    return path


AROUND = orbit_cameras(torch.tensor([-60.0, -10.0, 0.0, 25.0, 170.0]), torch.full((5,), 8.0))


@pytest.mark.parametrize("kind", ["opengl", "w2c", "w2c+opengl", "zup", "pixels", "opengl+zup"])
def test_foreign_cameras_are_named_and_converted(tmp_path, kind):
    source = labelled(tmp_path / "in", turned(AROUND, kind) * 1.0)
    if kind == "pixels":  # 16 pixels are no focal length that would stand out
        big = turned(AROUND, kind)
        big[:, [16, 20]] *= 8
        labelled(tmp_path / "in", big)
    (line,) = check(source)
    assert f"camera={kind} of data import converts them" in line
    with pytest.raises(ValueError, match="the cameras look like"):
        bring_in(source, tmp_path / "refused")
    with pytest.warns(UserWarning, match=f"camera={re.escape(kind)} of data import"):
        bring_in(source, tmp_path / "as-they-are", camera="opencv")
    (line,) = check(tmp_path / "as-they-are")
    assert f"dataset.json: the cameras look like {STEPS[kind.partition('+')[0]]}" in line
    assert line.endswith(f"camera={kind} of data import converts them")
    if kind != "pixels":
        bring_in(source, tmp_path / "ours", camera=kind)
        cameras = torch.cat([s.cameras for s in subjects(tmp_path / "ours")])
        assert torch.allclose(cameras, AROUND, atol=1e-5)
    else:
        bring_in(labelled(tmp_path / "small", turned(AROUND, kind)), tmp_path / "ours", camera=kind)
        cameras = torch.cat([s.cameras for s in subjects(tmp_path / "ours")])
        assert torch.allclose(cameras, AROUND, atol=1e-5)
    with pytest.raises(ValueError, match="camera must be auto, opencv, or one or more of"):
        bring_in(source, tmp_path / "x", camera="blender")


@pytest.mark.parametrize("camera", ["opengl", "w2c", "w2c+opengl", "zup", "pixels"])
def test_cameras_of_ours_are_not_converted(tmp_path, camera):
    source = labelled(tmp_path / "in", AROUND)
    with pytest.raises(ValueError, match=r"the cameras are EG3D's already, .*: leave it out"):
        bring_in(source, tmp_path / "out", camera=camera)
    assert not (tmp_path / "out").exists()


def test_a_conversion_that_is_not_enough_is_refused(tmp_path):
    source = labelled(tmp_path / "in", turned(AROUND, "w2c+opengl"))
    with pytest.raises(ValueError, match=r"; camera=w2c\+opengl of data import converts them"):
        bring_in(source, tmp_path / "out", camera="opengl")


def test_cameras_that_see_no_head_are_said(tmp_path):
    """Of no convention that is known; and of one that was given wrongly, where nothing refused it."""
    away = AROUND.double().numpy().copy()
    away[:, :16] = (away[:, :16].reshape(-1, 4, 4) @ np.diag([-1, 1, -1, 1.0])).reshape(-1, 16)
    source = labelled(tmp_path / "in", away)
    lines = check(source)
    assert len(lines) == 1 and "dataset.json: the cameras look away from the head" in lines[0]
    with pytest.warns(UserWarning, match=r"look away from the head.*; camera= of data import"):
        bring_in(source, tmp_path / "out")
    manifest = tmp_path / "out" / "dataset.json"
    assert check(tmp_path / "out") == [
        lines[0].replace(str(source), str(tmp_path / "out"), 1).replace(": dataset", "/dataset", 1)
    ]
    content = json.loads(manifest.read_text())
    content["plan"]["source"]["settings"]["camera"] = "opengl"  # as earlier versions let pass
    manifest.write_text(json.dumps(content))
    (line,) = check(tmp_path / "out")
    assert line.endswith("by data import camera=opengl: without it, that says what fits")


def with_header(pixels, deep=False, **how):
    """A PNG of RGB; `deep` has 16 bits a channel, which Pillow does not write."""
    file = io.BytesIO()
    if not deep:
        Image.fromarray(pixels).save(file, "PNG", **how)
        return file.getvalue()
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in pixels)
    side = struct.pack(">II", pixels.shape[1], pixels.shape[0])

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))

    header = chunk(b"IHDR", side + bytes([16, 2, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("zipped", [False, True])
def test_what_headers_ask_for_is_said_once_and_not_done(tmp_path, zipped):
    names = [f"{i}.png" for i in range(len(AROUND))]
    rows = [[name, label.tolist()] for name, label in zip(names, AROUND, strict=True)]
    entries = {name: png(i) for i, name in enumerate(names)}
    entries["dataset.json"] = json.dumps({"labels": rows}).encode()
    lab, srgb = (ImageCmsProfile(createProfile(space)).tobytes() for space in ("LAB", "sRGB"))
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = {name: pixels_of(data) for name, data in entries.items() if name in names}
    for number, how in {
        1: {"icc_profile": lab},
        3: {"icc_profile": lab},
        4: {"icc_profile": srgb},
    }.items():
        entries[names[number]] = with_header(pixels[names[number]], **how)
    entries["2.png"] = with_header(pixels["2.png"], exif=exif.tobytes())
    entries["0.png"] = with_header(pixels["0.png"], deep=True)
    write(tmp_path / "in", entries, zipped)
    with pytest.warns(UserWarning) as said:
        bring_in(tmp_path / "in", tmp_path / "out")
    lines = [str(warning.message).removeprefix(f"{tmp_path / 'in'}: ") for warning in said]
    assert [(line[:34], line.rpartition(": ")[2]) for line in lines] == [
        ("1 of 5 images have 16 bits a chann", "0.png"),
        ("2 of 5 images have a colour profil", "1.png, 3.png"),
        ("1 of 5 images have an EXIF orienta", "2.png"),
    ]
    for subject, name in zip(subjects(tmp_path / "out"), names, strict=True):
        assert np.array_equal(subject.views[0].permute(1, 2, 0), pixels[name])


def test_an_image_with_two_labels_is_refused_however_they_are_written(tmp_path):
    source = labelled(tmp_path / "in", AROUND)
    rows = json.loads((source / "dataset.json").read_text())["labels"]
    text = ", ".join(f"{json.dumps(name)}: {label}" for name, label in [*rows, rows[0]])
    for content in (f'{{"labels": {{{text}}}}}', f'{{"labels": [], "labels": {json.dumps(rows)}}}'):
        (source / "dataset.json").write_text(content)
        assert any(line.endswith("is there twice") for line in check(source))
        with pytest.raises(ValueError, match=r"dataset\.json: '.*' is there twice"):
            bring_in(source, tmp_path / "out")


def test_labels_as_text_are_compared_as_numbers(tmp_path):
    labels = AROUND.double().numpy()
    labels[1:3, 1] += 0.01
    source = labelled(tmp_path / "in", labels)
    content = json.loads((source / "dataset.json").read_text())
    for row in content["labels"][:2]:
        row[1] = " ".join(map(repr, row[1]))
    (source / "dataset.json").write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="2 of 5 cameras are rotations only nearly"):
        bring_in(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({18: 0.0, 21: 0.0}, r"show the head, .* outside of their images.*: principal points"),
        ({18: 256.0, 21: 256.0}, r"show the head, .* outside of their images.*: principal points"),
        ({20: 2000.0}, r"have focal lengths of 4\.3 and 2e\+03 image widths"),
    ],
)
def test_cameras_of_other_intrinsics_are_said(tmp_path, numbers, message):
    labels = AROUND.clone()
    for place, value in numbers.items():
        labels[:, place] = value
    source, message = labelled(tmp_path / "in", labels), message.replace(": p", "; p")
    (line,) = check(source)
    assert re.search(message, line)
    with pytest.warns(UserWarning, match=message):
        bring_in(source, tmp_path / "out")


def mask_of(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_masks_of_no_image_and_of_two_are_said(tmp_path):
    source = labelled(tmp_path / "in", AROUND)
    head = np.zeros((16, 16), np.uint8)
    head[4:, 4:12] = 255
    masks = {f"00000/img{i:08d}.png": mask_of(head) for i in range(5)}
    write(tmp_path / "more", masks | {"a.png": mask_of(head), "00000/img00000001.jpg": b""})
    with pytest.warns(UserWarning, match="2 masks have no image: 00000/img00000001.jpg, a.png"):
        bring_in(source, tmp_path / "one", masks=tmp_path / "more")
    masks["00000/img00000001.jpg"] = masks["00000/img00000001.webp"] = masks.pop(
        "00000/img00000001.png"
    )
    write(tmp_path / "two", masks)
    with pytest.raises(
        ValueError, match=r"img00000001\.jpg or .*\.webp may be the mask of .*1\.png"
    ):
        bring_in(source, tmp_path / "x", masks=tmp_path / "two")
    (tmp_path / "two" / "00000/img00000001.webp").unlink()
    (source / "00000/img00000000.png").rename(source / "00000/img00000001.webp")
    text = (source / "dataset.json").read_text()
    (source / "dataset.json").write_text(text.replace("img00000000.png", "img00000001.webp"))
    with pytest.raises(
        ValueError, match=r"img00000001\.jpg may be the mask of .*\.webp or .*\.png"
    ):
        bring_in(source, tmp_path / "x", masks=tmp_path / "two")


@pytest.mark.parametrize(
    ("inside", "message"), [(0, "are 0 on the head, which is 255"), (255, "cover all")]
)
def test_masks_that_no_head_has_are_said(tmp_path, inside, message):
    source = labelled(tmp_path / "in", AROUND)
    mask = np.full((16, 16), 255, np.uint8)
    mask[4:12, 4:12] = inside
    write(tmp_path / "m", {f"00000/img{i:08d}.png": mask_of(mask) for i in range(5)})
    with pytest.warns(UserWarning, match=f"the masks {message}"):
        bring_in(source, tmp_path / "out", masks=tmp_path / "m")


def behind(data, kind, content):
    """A PNG with another chunk behind its pixels."""
    chunk = struct.pack(">I", len(content)) + kind + content
    return data[:-12] + chunk + struct.pack(">I", crc32(kind + content)) + data[-12:]


def test_what_headers_of_other_kinds_ask_for(tmp_path):
    exif, frames, clear = Image.Exif(), io.BytesIO(), io.BytesIO()
    exif[0x0112] = 6
    image = Image.fromarray(pixels_of(png(0)))
    image.save(frames, "PNG", save_all=True, append_images=[image.rotate(90)])
    image.save(clear, "PNG", transparency=(1, 2, 3))
    turned = behind(png(0), b"eXIf", exif.tobytes()[6:])
    for data, words in (
        (png(0), []),
        (behind(png(0), b"tEXt", b"Software\0some"), []),
        (turned, ["an EXIF orientation"]),
        (frames.getvalue(), ["several frames"]),
        (clear.getvalue(), ["a transparent colour"]),
    ):
        found = left_undone(io.BytesIO(data))
        assert [line.startswith(word) for line, word in zip(found, words, strict=True)] == [
            True for _ in words
        ]


@pytest.mark.parametrize("group", ["none", "folder"])
def test_images_of_two_sizes_are_both_named(tmp_path, group):
    source = labelled(tmp_path / "in", AROUND)
    (source / "00000/img00000000.png").write_bytes(png(0, 32))
    message = r"img00000001\.png: is 16 x 16 pixels, expected 32 x 32, as 00000/img00000000\.png is"
    with pytest.raises(SynthesisError, match=message):
        bring_in(source, tmp_path / "out", group=group)
    assert any(line.endswith("as 00000/img00000000.png is") for line in check(source))


def test_places_that_are_one_are_named(dataset, tmp_path):
    """No other process writes there: the same command does."""
    before, source = files_of(tmp_path), labelled(tmp_path / "in", AROUND)
    out = tmp_path / "out"
    for wrong in (
        lambda: send_out(dataset, out, masks=out),
        lambda: send_out(dataset, dataset),
        lambda: send_out(dataset, out, masks=dataset),
        lambda: bring_in(source, source),
        lambda: bring_in(source, out, masks=out),
        lambda: bring_in(source, out, masks=source / ".." / "in"),
    ):
        with pytest.raises(
            ValueError, match=r"(out|masks) and (out|masks)|(path|src) and (out|masks)"
        ):
            wrong()
    for places in ({"masks": out / "masks"}, {"masks": tmp_path}):
        with pytest.raises(
            ValueError, match=r"(out|masks)=.* lies within (out|masks)=.*: name places"
        ):
            send_out(dataset, out, **places)
    assert files_of(tmp_path) == before | {f"in/{n}": d for n, d in files_of(source).items()}
    assert not out.exists()


def test_cameras_of_ours_look_like_ours(tmp_path):
    for azimuths in ([0.0], [-10.0, 0.0, 10.0], [170.0, 180.0], [0.0, 90.0, 180.0, -90.0]):
        labels = orbit_cameras(torch.tensor(azimuths), torch.full((len(azimuths),), 20.0))
        assert looks_like(labels.numpy()) is None


@pytest.mark.parametrize("shear", [0.002, 0.007, 0.027])
def test_rotations_that_are_nearly_ones_are_mended_with_one_note(tmp_path, shear):
    labels = AROUND.double().numpy()
    poses = labels[:, :16].reshape(-1, 4, 4)
    poses[:, :3, :3] += shear * np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]])
    source = labelled(tmp_path / "in", labels)
    assert check(source) == []
    with pytest.warns(UserWarning, match="5 of 5 cameras are rotations only nearly") as said:
        bring_in(source, tmp_path / "ours")
    assert len(said) == 1
    for subject, label in zip(subjects(tmp_path / "ours"), labels, strict=True):
        rotation = subject.cameras[0, :16].reshape(4, 4)[:3, :3].double()
        assert torch.allclose(rotation @ rotation.T, torch.eye(3).double(), atol=1e-6)
        assert np.abs(subject.cameras[0].numpy() - label).max() < 1.5 * shear
    poses[:, 0, 0] += 0.2
    with pytest.raises(SynthesisError, match="the pose is not rigid"):
        bring_in(labelled(tmp_path / "off", labels), tmp_path / "x")


def test_names_are_read_as_eg3d_reads_them(tmp_path):
    """Backslashes of Windows, labels of images that are not there, a zip with a top folder."""
    names = ["00000/a.png", "00000/b.png", "00000/absent.png"]
    rows = [[n.replace("/", "\\"), AROUND[0].tolist()] for n in names]
    entries = {f"set/{n}": png(i) for i, n in enumerate(names[:2])}
    entries["set/dataset.json"] = json.dumps({"labels": rows}).encode()
    write(tmp_path / "in.zip", entries, zipped=True)
    with pytest.warns(UserWarning, match=r"1 labels have no image: 00000/absent\.png"):
        report = bring_in(tmp_path / "in.zip", tmp_path / "ours")
    assert report.manifest.subjects == 2
    assert [s.provenance["images"] for s in subjects(tmp_path / "ours")] == [[names[0]], [names[1]]]


@pytest.mark.parametrize("zipped", [False, True])
def test_masks_come_in_and_go_out(tmp_path, zipped):
    source, end = labelled(tmp_path / "in", AROUND), ".zip" if zipped else ""
    masks = {}
    for i in range(5):
        file, pixels = io.BytesIO(), np.random.default_rng(i).integers(0, 256, (16, 16), np.uint8)
        Image.fromarray(pixels).convert("L" if i % 2 else "RGB").save(file, "PNG")
        masks[f"00000/img{i:08d}.png"] = file.getvalue()
    write(tmp_path / f"masks{end}", masks, zipped)
    bring_in(source, tmp_path / "ours", masks=tmp_path / f"masks{end}")
    for subject, data in zip(subjects(tmp_path / "ours"), masks.values(), strict=True):
        assert np.array_equal(subject.masks[0], np.array(Image.open(io.BytesIO(data)).convert("L")))
    send_out(tmp_path / "ours", tmp_path / "out", masks=tmp_path / f"out-masks{end}")
    bring_in(tmp_path / "out", tmp_path / "again", masks=tmp_path / f"out-masks{end}")
    for one, other in zip(subjects(tmp_path / "ours"), subjects(tmp_path / "again"), strict=True):
        assert torch.equal(one.masks, other.masks) and torch.equal(one.views, other.views)
    ones, empty = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.eye(16, dtype=np.uint8)).save(ones, "PNG")
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(empty, "PNG")
    write(tmp_path / "fewer", dict(list(masks.items())[:4]))
    with pytest.raises(ValueError, match=r"img00000004\.png has no mask \(1 such in all\)"):
        bring_in(source, tmp_path / "x", masks=tmp_path / "fewer")
    for wrong, message in (
        (png(5), "has colours: a mask is grey"),
        (ones.getvalue(), "holds 0 and 1 alone"),
        (empty.getvalue(), "holds 0 alone"),
    ):
        write(tmp_path / f"wrong{len(wrong)}", masks | {"00000/img00000002.png": wrong})
        with pytest.raises(SynthesisError, match=rf"img00000002\.png: {message}"):
            bring_in(source, tmp_path / f"w{len(wrong)}", masks=tmp_path / f"wrong{len(wrong)}")
    bring_in(source, tmp_path / "bare")
    with pytest.raises(ValueError, match="have no masks"):
        send_out(tmp_path / "bare", tmp_path / "y", masks=tmp_path / "z")


def test_images_are_brought_to_a_resolution(tmp_path):
    source = labelled(tmp_path / "in", AROUND)
    grey = {}
    for i in range(len(AROUND)):
        file = io.BytesIO()
        Image.fromarray(pixels_of(png(i))).convert("L").save(file, "PNG")
        grey[f"00000/img{i:08d}.png"] = file.getvalue()
    write(tmp_path / "grey", grey)
    bring_in(source, tmp_path / "ours", resolution=8, masks=tmp_path / "grey")
    for i, subject in enumerate(subjects(tmp_path / "ours")):
        assert subject.views.shape == (1, 3, 8, 8) and subject.masks.shape == (1, 8, 8)
        means = pixels_of(png(i)).reshape(8, 2, 8, 2, 3).mean((1, 3)).transpose(2, 0, 1)
        assert np.abs(subject.views[0].numpy() - means).mean() < 20
        assert torch.equal(subject.cameras[0], AROUND[i])
    with pytest.raises(ValueError, match="resolution must be 0 or 8 to"):
        bring_in(source, tmp_path / "x", resolution=3)


@pytest.mark.parametrize("zipped", [False, True])
def test_another_source_of_the_same_name_is_not_gone_on_with(tmp_path, zipped):
    """Neither when it is begun nor when it is finished; the same content elsewhere is the same."""
    one, other, copy = (tmp_path / name for name in ("a", "b", "c"))
    for folder in (one, other, copy):
        folder.mkdir()
    photo_set(one / "set.zip" if zipped else one / "set", zipped=zipped)
    photo_set(copy / "set.zip" if zipped else copy / "set", zipped=zipped)
    source = other / "plain"
    photo_set(source)
    changed = source / "00000" / "img00000001.png"
    changed.write_bytes(png(77))
    if zipped:
        with zipfile.ZipFile(other / "set.zip", "w") as file:
            for path in sorted(p for p in source.rglob("*") if p.is_file()):
                file.write(path, path.relative_to(source).as_posix())
    else:
        source.rename(other / "set")
    name = "set.zip" if zipped else "set"
    out = tmp_path / "out"
    bring_in(one / name, out)
    before = files_of(out)
    bring_in(copy / name, out)
    with pytest.raises(ValueError, match=r"begun with other settings: .*images_sha256 is"):
        bring_in(other / name, out)
    assert files_of(out) == before
    manifest = json.loads((out / "dataset.json").read_text())
    del manifest["plan"]["source"]["settings"]["images_sha256"]  # as earlier versions wrote it
    (out / "dataset.json").write_text(json.dumps(manifest))
    bring_in(one / name, out)
