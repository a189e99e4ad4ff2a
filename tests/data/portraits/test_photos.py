"""Photographs come upright and in RGB, whatever their file says."""

import numpy as np
import pytest
import torch
from PIL import Image

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
