"""Photographs come upright and in RGB, whatever their file says."""

import json
import os
import struct
from zlib import compress, crc32

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

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
    head = torch.full((64, 64), 255).byte()
    found = read_portrait(tmp_path / "a.jpg", resolution=64, mask=head)
    assert found.notes == ("The camera is that of a.png in dataset.json.",)
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "a.png")
    assert label_of(tmp_path / "a.jpg") is None, "there is the image that the label is of"


@pytest.mark.parametrize("content", ['{"name": "my holiday"}', "[1, 2]", '{"labels": null}'])
@pytest.mark.parametrize("place", [".", ".."])
def test_an_unrelated_json_is_no_label_file(tmp_path, content, place):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / place / "dataset.json").write_text(content)
    Image.fromarray(PIXELS).save(tmp_path / "photos" / "b.jpg")
    with pytest.warns(UserWarning, match=r"dataset\.json: is not used: it has no camera labels"):
        assert label_of(tmp_path / "photos" / "b.jpg") is None
    assert [person for person, _ in find_photos(tmp_path / "photos")] == ["b"]


@pytest.mark.parametrize(
    "content",
    [
        '{"labels": [["b.jpg", [1, 2',
        '{"lab\0\0\0": [["b.jpg", [1]]]}',
        '\xfb"labels": [["b.jpg", [1]]]}',
        "",
        "no JSON",
    ],
)
def test_a_damaged_label_file_is_not_passed_over(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=r"dataset\.json: is not JSON"):
        label_of(tmp_path / "b.jpg")


@pytest.mark.parametrize("kind", ["folder", "pipe", "endless", "nowhere"])
def test_what_is_no_file_in_the_place_of_labels_is_not_passed_over(tmp_path, kind):
    path = tmp_path / "dataset.json"
    makers = {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}
    links = {"endless": "/dev/zero", "nowhere": "absent"}
    makers.get(kind, lambda: path.symlink_to(links[kind]))()
    with pytest.raises((ValueError, FileNotFoundError), match=r"dataset\.json"):
        label_of(tmp_path / "b.jpg")


def with_exif(orientation, tag, kind, value):
    """EXIF with an orientation, and one more tag of any type."""
    entries = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    entries += struct.pack(">HHI4s", tag, kind, 3, value)
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 2) + entries + bytes(4)


@pytest.mark.parametrize("kind", range(15))
@pytest.mark.parametrize("tag", [0x011A, 0x0131, 0x8769, 0x8825])
def test_only_the_orientation_is_read_of_exif(tmp_path, tag, kind):
    upright = Image.fromarray(np.rot90(PIXELS).copy())
    upright.save(tmp_path / "a.jpg", exif=with_exif(6, tag, kind, b"72\0\0"), quality=95)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.shape == (3, 20, 30) and photo[0, 1, 15] > 150


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.array(ImageOps.exif_transpose(image))
    assert np.array_equal(read_photo(tmp_path / "a.png").permute(1, 2, 0), expected)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*" + bytes(orientation))
    assert np.array_equal(read_photo(tmp_path / "a.png").permute(1, 2, 0), pixels), "damaged EXIF"


def png_of(width, height):
    """A PNG file of that many pixels, all black, in few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))

    row = compress(bytes(1 + 3 * width) * min(height, 2))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(100000, 1), (1, 100000), (60000, 60000), (2000, 100)])
def test_what_is_too_large_or_thin_is_refused_before_it_is_made(tmp_path, size, monkeypatch):
    (tmp_path / "thin.png").write_bytes(png_of(*size))
    monkeypatch.setattr(Image.Image, "convert", None)  # what would decode it
    with pytest.raises(
        ValueError, match=r"thin\.png: no readable .*(expected at most|exceeds limit)"
    ):
        read_photo(tmp_path / "thin.png")


def test_pipes_and_devices_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/dev/zero")
    for name in ("a.png", "b.png"):
        with pytest.raises(ValueError, match=f"{name}: is no file that can be read to an end"):
            read_photo(tmp_path / name)


def test_sixteen_bits_of_grey_look_as_eight(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey.png")
    assert np.array_equal(read_photo(tmp_path / "grey.png")[1], grey)


def wide_gamut(gamma: float) -> bytes:
    """An ICC profile with the primaries of Adobe RGB (1998)."""
    s15 = lambda *v: b"".join(struct.pack(">i", round(x * 65536)) for x in v)  # noqa: E731
    xyz = lambda *v: b"XYZ " + bytes(4) + s15(*v)  # noqa: E731
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    text = b"wide"
    named = b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + bytes(1 + 79)
    tags = {
        b"desc": named + bytes(-len(named) % 4),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body, at = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    header = struct.pack(
        ">I4sI4s4s4s", at + len(body), bytes(4), 0x02100000, b"mntr", b"RGB ", b"XYZ "
    )
    header += bytes(12) + b"acsp" + bytes(28) + s15(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + table + body


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_those_of_the_profile(tmp_path, suffix, mode):
    if suffix == "jpg" and mode == "RGBA":
        pytest.skip("JPEG has no alpha")
    profile = wide_gamut(2.2)
    own = np.full((16, 16, 3), (150, 120, 100), np.uint8)
    image = Image.fromarray(own).convert(mode)
    image.save(tmp_path / f"a.{suffix}", icc_profile=profile, quality=100)
    found = read_photo(tmp_path / f"a.{suffix}")[:, 8, 8].tolist()
    # by the matrices of Adobe RGB and sRGB: red grows, the rest hardly changes
    assert abs(found[0] - 160) <= 3 and abs(found[1] - 120) <= 3 and abs(found[2] - 99) <= 3
    image.save(tmp_path / f"a.{suffix}", icc_profile=profile[:60], quality=100)
    assert abs(read_photo(tmp_path / f"a.{suffix}")[0, 8, 8] - 150) <= 2, "no profile to read"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_a_png_with_a_bit_flipped_is_refused(tmp_path, mode):
    """Pillow decodes a PNG to look for EXIF: a failure there must not be passed over."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 4), np.uint8)
    kinds = {"L": pixels[..., 0], "RGB": pixels[..., :3].copy(), "RGBA": pixels}
    array = kinds.get(mode, pixels[..., 0].astype(np.uint16) * 257)
    Image.fromarray(array).save(tmp_path / "a.png")
    read_photo(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[len(data) // 2] ^= 4
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png: no readable"):
        read_photo(tmp_path / "a.png")
