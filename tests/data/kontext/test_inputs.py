"""Frontal portraits are chosen from any collection, aligned, and the others named with a reason."""

import csv
import io
import shutil
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from skimage.data import astronaut, coffee

from semhead_lib.data.kontext.inputs import (
    CHOSEN,
    COLUMNS,
    PLAIN,
    SETTINGS,
    choose_portraits,
    collection,
)
from semhead_lib.data.kontext.settings import PortraitFilter

for needed in ("dlib", "cv2"):
    pytest.importorskip(needed)

WANTED = PortraitFilter(resolution=256, least=64, azimuth=20, elevation=20, turned=0)


def png(image) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    whole = Image.fromarray(astronaut())
    two = Image.new("RGB", (1024, 512))
    two.paste(whole, (0, 0))
    two.paste(whole, (512, 0))
    return {
        "a/astronaut.png": png(whole),
        "b/blurred.png": png(whole.filter(ImageFilter.GaussianBlur(2))),
        "c/coffee.png": png(coffee()),
        "d/two.png": png(two),
        "e/small.png": png(whole.resize((160, 160))),
        "f/broken.png": b"no image",
    }


@pytest.fixture(scope="module")
def chosen(images, tmp_path_factory):
    folder, out = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("portraits")
    for name, data in images.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(data)
    counts = choose_portraits(folder, out, WANTED, progress=False)
    with open(out / CHOSEN, newline="") as file:
        return folder, out, counts, {row["image"]: row for row in csv.DictReader(file)}


def test_each_has_a_reason(chosen, images):
    _, _, counts, rows = chosen
    assert list(rows) == list(images)
    reasons = {name[0]: row["reason"].partition(":")[0] for name, row in rows.items()}
    assert reasons == {
        "a": "",
        "b": "blurred",
        "c": "no face",
        "d": "several faces",
        "e": "too small",
        "f": "unreadable",
    }
    assert counts == {"chosen": 1} | {reason: 1 for reason in reasons.values() if reason}
    row = rows["a/astronaut.png"]
    assert (
        abs(float(row["azimuth"])) < 20
        and float(row["sharpness"]) > 0.02
        and row["portrait"] == "000000.png"
    )
    assert "no readable JPEG, PNG or WebP" in rows["f/broken.png"]["reason"]


def test_a_portrait_stands_before_plain_grey(chosen):
    image = torch.from_numpy(np.array(Image.open(chosen[1] / "000000.png")))
    assert image.shape == (256, 256, 3)
    corners = image[:10, :10].reshape(-1, 3)
    assert (corners == PLAIN).all() and (image[80:160, 80:160] != PLAIN).any(
        -1
    ).float().mean() > 0.95


def test_it_goes_on(chosen, images, tmp_path):
    """Interrupted after some images, and by processes: the same rows and files."""
    folder, out, counts, rows = chosen
    with open(tmp_path / CHOSEN, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(list(rows.values())[:2])
    for name in ("000000.png", SETTINGS):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    assert choose_portraits(folder, tmp_path, WANTED, workers=2, progress=False) == counts
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        p.name: p.read_bytes() for p in out.iterdir()
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("settings", "other settings: least is 64 there, 65 here"),
        ("content", "another collection: its image c/coffee.png is another one in"),
        ("names", "another collection: its image a/astronaut.png is not in"),
    ],
)
def test_another_collection_or_other_settings_are_refused(chosen, tmp_path, change, message):
    source, wanted = shutil.copytree(chosen[0], tmp_path / "in"), WANTED
    out = shutil.copytree(chosen[1], tmp_path / "out")
    if change == "settings":
        wanted = replace(WANTED, least=65)
    elif change == "content":
        (source / "c/coffee.png").write_bytes(png(np.zeros((64, 64, 3), np.uint8)))
    else:
        (source / "a/astronaut.png").rename(source / "a/z.png")
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(ValueError, match=message):
        choose_portraits(source, out, wanted, progress=False)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_images_may_be_added_to_a_collection_and_to_an_earlier_table(chosen, tmp_path):
    folder, out, counts, _ = chosen
    source, out = shutil.copytree(folder, tmp_path / "in"), shutil.copytree(out, tmp_path / "out")
    lines = (out / CHOSEN).read_text().splitlines()
    (out / CHOSEN).write_text("".join(line.rpartition(",")[0] + "\n" for line in lines))
    (source / "b/new.png").write_bytes(b"no image")
    found = choose_portraits(source, out, WANTED, progress=False)
    assert found == counts | {"unreadable": counts["unreadable"] + 1}


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_images_of_kinds_that_are_not_read_have_a_row(images, tmp_path, kind):
    source = tmp_path / ("in.tar" if kind == "tar" else "in")
    files = {"a.HEIC": b"heic", "b/b.tiff": b"tiff", "c.txt": b"text", "d.png": b"no image"}
    if kind == "tar":
        with tarfile.open(source, "w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    else:
        for name, data in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
    for _ in range(2):  # the same command goes on
        counts = choose_portraits(source, tmp_path / "out", WANTED, progress=False)
        assert counts == {"chosen": 0, "unreadable": 3}
    with open(tmp_path / "out" / CHOSEN, newline="") as file:
        rows = {row["image"].removeprefix("in.tar/"): row["reason"] for row in csv.DictReader(file)}
    assert list(rows) == ["a.HEIC", "b/b.tiff", "d.png"]
    assert rows["a.HEIC"] == "unreadable: .heic: only .png, .jpg, .jpeg, .webp are read"
    assert rows["b/b.tiff"].startswith("unreadable: .tiff: only")


def test_images_that_were_converted_meanwhile_are_taken(images, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.heic").write_bytes(b"heic")
    (source / "b.png").write_bytes(b"no image")
    choose_portraits(source, out, progress=False)
    (source / "a.heic").rename(source / "a.png")
    counts = choose_portraits(source, out, progress=False)
    assert counts == {"chosen": 0, "unreadable": 2}
    names = [row["image"] for row in csv.DictReader((out / CHOSEN).open())]
    assert sorted(names) == ["a.png", "b.png"]
    (source / "b.png").unlink()
    with pytest.raises(ValueError, match=r"its image b\.png is not in"):
        choose_portraits(source, out, progress=False)


def test_portraits_are_no_part_of_their_collection(chosen, tmp_path):
    source = shutil.copytree(chosen[0], tmp_path / "in")
    with pytest.raises(ValueError, match="src and out are both"):
        choose_portraits(source, source, WANTED, progress=False)
    with pytest.raises(ValueError, match="lies within src"):
        choose_portraits(source, source / "out", WANTED, progress=False)
    assert {p.name for p in source.iterdir()} == {p.name for p in chosen[0].iterdir()}


def test_collections(images, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as zipped:
        for name, data in images.items():
            zipped.writestr(name, data)
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars/0.tar", "w") as tar:
        for name, data in (*images.items(), ("a/notes.json", b"{}")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert dict(collection(tmp_path / "all.zip")) == images
    assert dict(collection(tmp_path / "tars")) == {
        f"0.tar/{name}": data for name, data in images.items()
    }
    assert dict(collection(tmp_path / "tars/0.tar")) == dict(collection(tmp_path / "tars"))


def test_collections_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(collection(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images in it"):
        list(collection(tmp_path / "empty"))
    with pytest.raises(ValueError, match="name a folder, zip or tar file of photographs"):
        list(collection(""))
    (tmp_path / "bad.tar").write_bytes(b"nothing" * 200)
    with pytest.raises(ValueError, match=r"bad\.tar: is not a readable tar"):
        list(collection(tmp_path / "bad.tar"))
    with tarfile.open(tmp_path / "unsafe.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../up.png"))
    with pytest.raises(ValueError, match=r"'../up\.png': climbs out"):
        list(collection(tmp_path / "unsafe.tar"))
    with pytest.raises(ValueError, match="least must be an integer >= 16, got 3"):
        PortraitFilter(least=3)
