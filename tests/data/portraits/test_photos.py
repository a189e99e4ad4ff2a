"""Photographs come upright and in RGB, whatever their file says."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from semhead_lib.cameras import Camera
from semhead_lib.data.portraits.alignment import label_of, read_portrait
from semhead_lib.data.portraits.photos import find_photos, read_photo

PIXELS = np.zeros((20, 30, 3), np.uint8)
PIXELS[:5] = (200, 30, 30)  # red at the top


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_formats(tmp_path, suffix):
    Image.fromarray(PIXELS).save(tmp_path / f"photo.{suffix}", quality=95)
    photo = read_photo(tmp_path / f"photo.{suffix}")
    assert photo.shape == (3, 20, 30) and photo.dtype == torch.uint8
    assert photo[0, 1, 15] > 150 and photo[0, 15, 15] < 60


def test_exif_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise to show
    Image.fromarray(np.rot90(PIXELS).copy()).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    photo = read_photo(tmp_path / "photo.jpg")
    assert photo.shape == (3, 20, 30) and photo[0, 1, 15] > 150


def test_alpha_grey_and_palette(tmp_path):
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    Image.new("L", (8, 8), 70).save(tmp_path / "grey.png")
    Image.new("P", (8, 8)).save(tmp_path / "palette.png")
    assert (read_photo(tmp_path / "clear.png") == 255).all()
    assert (read_photo(tmp_path / "grey.png") == 70).all()
    assert read_photo(tmp_path / "palette.png").shape == (3, 8, 8)


def test_large_photos_are_made_smaller(tmp_path):
    Image.new("RGB", (6000, 1500), (9, 9, 9)).save(tmp_path / "large.png")
    assert read_photo(tmp_path / "large.png").shape == (3, 1024, 4096)


def test_what_is_no_photo(tmp_path):
    (tmp_path / "notes.jpg").write_text("no image")
    Image.fromarray(PIXELS).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    for name in ("notes.jpg", "cut.png"):
        with pytest.raises(ValueError, match=f"{name}: no readable JPEG, PNG or WebP"):
            read_photo(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_photo(tmp_path / "absent.png")


def test_folders_name_people(tmp_path):
    for name in ("ann/1.png", "ann/2.png", "bob/1.JPG", "carl.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(PIXELS).save(tmp_path / name)
    (tmp_path / "ann/notes.txt").write_text("")
    found = [
        (person, path.relative_to(tmp_path).as_posix()) for person, path in find_photos(tmp_path)
    ]
    assert found == [
        ("carl", "carl.webp"),
        ("ann", "ann/1.png"),
        ("ann", "ann/2.png"),
        ("bob", "bob/1.JPG"),
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no folder with images"):
        find_photos(tmp_path / "empty")


def test_hidden_files_and_what_we_wrote_are_no_people(tmp_path):
    names = ["me.jpg", "._me.jpg", ".ipynb_checkpoints/me-checkpoint.jpg", "__MACOSX/me.jpg"]
    for name in (*names, "ann/1.jpg", "ann/report.png", "ann/report.html", "heads.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(PIXELS).save(tmp_path / name, "PNG")
    (tmp_path / "fifo").mkdir()
    os.mkfifo(tmp_path / "fifo" / "a.png")
    assert [person for person, _ in find_photos(tmp_path)] == ["heads", "me", "ann"]
    (tmp_path / "heads.json").write_text("{}")
    assert [person for person, _ in find_photos(tmp_path)] == ["me", "ann"]


def test_labelled_images_of_one_folder_are_people_of_their_own(tmp_path):
    names = ["00000/img00000000.png", "00000/img00000001.png"]
    for name in (*names, "ann/1.png", "ann/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(PIXELS).save(tmp_path / name)
    rows = [[name, Camera.orbit(0, 0).label.tolist()] for name in names]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": rows}))
    people = [person for person, _ in find_photos(tmp_path)]
    assert people == ["img00000000", "img00000001", "ann", "ann"]


def test_images_that_cannot_be_read_are_named(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "IMG_1.HEIC").write_bytes(b"no matter")
    with pytest.warns(UserWarning, match=r"left out ann/IMG_1.HEIC: only \.jpg"):
        assert [person for person, _ in find_photos(tmp_path)] == ["a"]


def test_a_label_of_the_same_stem_counts_and_is_named(tmp_path):
    label = Camera.orbit(11, 0).label
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["a.png", label.tolist()]]}))
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "a.jpg")
    assert torch.equal(label_of(tmp_path / "a.jpg"), label)
    found = read_portrait(tmp_path / "a.jpg", resolution=64, mask=torch.zeros(64, 64).byte())
    assert found.notes == ("The camera is that of a.png in dataset.json.",)
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "a.png")
    assert label_of(tmp_path / "a.jpg") is None, "there is the image that the label is of"


@pytest.mark.parametrize("content", ['{"name": "my holiday"}', "no JSON", "[1, 2]", "\xff"])
@pytest.mark.parametrize("place", [".", ".."])
def test_an_unrelated_json_is_no_label_file(tmp_path, content, place):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / place / "dataset.json").write_text(content, encoding="latin-1")
    Image.fromarray(PIXELS).save(tmp_path / "photos" / "b.jpg")
    assert label_of(tmp_path / "photos" / "b.jpg") is None
    assert [person for person, _ in find_photos(tmp_path / "photos")] == ["b"]


def test_a_damaged_label_file_is_not_passed_over(tmp_path):
    (tmp_path / "dataset.json").write_text('{"labels": [["b.jpg", [1, 2')
    with pytest.raises(ValueError, match="dataset.json: is not JSON"):
        label_of(tmp_path / "b.jpg")
