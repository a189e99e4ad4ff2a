"""What is encoded comes back; what is wrong is named."""

from __future__ import annotations

import dataclasses
import io
import json
import struct
import zlib

import numpy as np
import pytest
import torch
from noise_source import noise_subject, same_subject
from PIL import Image

from semhead_lib.data.dataset.encoding import decode_subject, encode_subject, sample_problems
from semhead_lib.data.dataset.entries import decode_image, decode_npy
from semhead_lib.data.dataset.sample_info import DEPTH_UNIT


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_lossless_formats_return_every_field(image_format):
    subject = noise_subject(semantic=torch.randn(8))
    sample = encode_subject(subject, image_format)
    back = decode_subject(sample)
    assert same_subject(subject, back)
    assert back.depth.dtype == torch.float32
    assert (back.depth - subject.depth).abs().max() <= 0.5 * DEPTH_UNIT + 1e-6
    assert torch.equal(back.depth > 0, subject.depth > 0)
    assert encode_subject(back, image_format) == sample
    assert sample_problems(sample) == []
    assert f"view_002.{image_format}" in sample and "frontal.png" in sample


def test_jpg_views_are_close_and_the_rest_is_exact():
    ramp = torch.arange(32, dtype=torch.uint8).mul(7).expand(2, 3, 32, 32).contiguous()
    subject = dataclasses.replace(noise_subject(views=2, resolution=32), views=ramp)
    back = decode_subject(encode_subject(subject, "jpg"))
    assert same_subject(subject, back, but=("depth", "views"))
    assert (back.views.int() - ramp.int()).abs().max() <= 6


def test_a_frontal_image_that_is_a_view_is_stored_once():
    subject = noise_subject()
    subject = dataclasses.replace(subject, frontal=subject.views[1].clone())
    sample = encode_subject(subject)
    assert "frontal.png" not in sample
    assert json.loads(sample["json"])["frontal_view"] == 1
    assert same_subject(decode_subject(sample), subject)
    assert "frontal.png" in encode_subject(subject, "jpg"), "semantics are made from exact pixels"


def test_without_optional_fields():
    subject = noise_subject(geometry=False)
    back = decode_subject(encode_subject(subject))
    assert same_subject(subject, back, but=())
    assert back.masks is back.depth is back.normals is back.segmentation is back.semantic is None


def test_what_is_hit_stays_hit_however_near():
    subject = noise_subject()
    subject.depth[0, 0, :2] = torch.tensor([1e-7, 0.0])
    assert (decode_subject(encode_subject(subject)).depth[0, 0, :2] > 0).tolist() == [True, False]


@pytest.mark.parametrize(("scale", "unit"), [(1.0, 1e-4), (10.0, 1e-3), (1000.0, 0.1)])
def test_depth_unit_grows_with_depth(scale, unit):
    subject = noise_subject()
    subject = dataclasses.replace(subject, depth=subject.depth * scale)
    sample = encode_subject(subject)
    assert json.loads(sample["json"])["depth_unit"] == pytest.approx(unit)
    back = decode_subject(sample)
    assert (back.depth - subject.depth).abs().max() <= 0.51 * unit
    assert encode_subject(back) == sample


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "a/b"}, "subject id must be"),
        ({"id": ""}, "subject id must be"),
        ({"views": torch.zeros(3, 3, 16, 8, dtype=torch.uint8)}, "frontal must be"),
        ({"depth": torch.full((3, 16, 16), -1.0)}, "depth must be finite and not negative"),
        ({"depth": torch.full((3, 16, 16), float("inf"))}, "depth must be finite and not negative"),
        ({"attributes": {"x": float("nan")}}, "attributes and provenance must be JSON"),
        ({"provenance": {"x": object()}}, "attributes and provenance must be JSON"),
        ({"cameras": torch.zeros(3, 25)}, "not rigid"),
        ({"semantic": torch.ones(4)}, "semantic needs semantic_encoder"),
        (
            {"semantic": torch.full((4,), float("nan")), "semantic_encoder": "e"},
            "semantic must be finite",
        ),
    ],
)
def test_a_wrong_subject_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        encode_subject(dataclasses.replace(noise_subject(), **change))


def test_images_must_be_square_and_the_format_known():
    flat = dataclasses.replace(
        noise_subject(geometry=False),
        views=torch.zeros(3, 3, 16, 8, dtype=torch.uint8),
        frontal=torch.zeros(3, 16, 8, dtype=torch.uint8),
    )
    with pytest.raises(ValueError, match=r"must be square.*got 16 x 8"):
        encode_subject(flat)
    with pytest.raises(ValueError, match="image_format must be one of png, jpg, webp, got 'gif'"):
        encode_subject(noise_subject(), "gif")


def image_file(mode, size, **options):
    file = io.BytesIO()
    Image.new(mode, size).save(file, "PNG", **options)
    return file.getvalue()


def bomb(side):
    """A PNG of a few bytes whose header claims side x side pixels."""
    data = bytearray(image_file("RGB", (16, 16)))
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


nan_cameras = np.full((3, 25), np.nan, dtype=np.float32)


@pytest.mark.parametrize(
    ("entry", "content", "message"),
    [
        ("view_001.png", None, "view_001.png: missing"),
        ("view_001.png", b"no image", "view_001.png: is not a readable image"),
        (
            "view_001.png",
            image_file("RGB", (8, 16)),
            "view_001.png: is 8 x 16 pixels, expected 16 x 16",
        ),
        ("view_001.png", image_file("L", (16, 16)), "view_001.png: has mode L, expected RGB"),
        ("mask_000.png", image_file("RGB", (16, 16)), "mask_000.png: has mode RGB, expected L"),
        ("depth_000.png", image_file("L", (16, 16)), "depth_000.png: has mode L, expected I;16"),
        ("frontal.png", None, "frontal.png: missing"),
        ("frontal.png", bomb(9000), "frontal.png: is 9000 x 9000 pixels, expected 16 x 16"),
        ("cameras.npy", None, "cameras.npy: missing"),
        ("cameras.npy", b"\x93NUMPY", "cameras.npy: is not a readable .npy file"),
        ("cameras.npy", npy(nan_cameras), "cameras.npy: row 0 has numbers that are not finite"),
        (
            "cameras.npy",
            npy(nan_cameras[:, :24]),
            r"cameras.npy: expected shape \[3, 25\], got \[3, 24\]",
        ),
        (
            "cameras.npy",
            npy(nan_cameras[:2]),
            r"cameras.npy: expected shape \[3, 25\], got \[2, 25\]",
        ),
        ("cameras.npy", npy(np.zeros((3, 25))), "cameras.npy: expected float32"),
        ("cameras.npy", npy(np.array([{"an": "object"}])), "cameras.npy: expected float32"),
        ("semantic.npy", npy(np.zeros(4, np.float32)), "semantic.npy: unexpected entry"),
        ("json", None, "json: missing"),
        ("json", b"{", "json: is not JSON"),
        ("json", b"[" * 100_000, "json: is not JSON"),
        ("json", b"[]", "json: expected the keys"),
        ("json", b'{"version": 99}', "json: has format version 99, this release reads 1 to 2"),
    ],
)
def test_problems_are_named(entry, content, message):
    sample = encode_subject(noise_subject())
    if content is None:
        del sample[entry]
    else:
        sample[entry] = content
    (problem,) = sample_problems(sample)
    assert problem.startswith("noise-0-00000.")
    with (
        pytest.raises(AssertionError)
        if entry == "semantic.npy"
        else pytest.raises(ValueError, match=message)
    ):
        decode_subject(sample)
        raise AssertionError("an entry too many does no harm to decoding")
    with pytest.raises(ValueError, match=message):
        raise ValueError(problem)


@pytest.mark.parametrize(
    ("key", "value"),
    [("resolution", 10**9), ("views", 0), ("image_format", "gif"), ("fields", ["views"]), ("depth_unit", None),
     ("frontal_view", 3), ("fields", ["views", "cameras", "frontal", "masks", "depth", "sound"]), ("views", "3")],
)  # fmt: skip
def test_a_wrong_json_value_is_named(key, value):
    sample = encode_subject(noise_subject())
    sample["json"] = json.dumps(json.loads(sample["json"]) | {key: value}).encode()
    (problem,) = sample_problems(sample)
    assert f"json: {key}" in problem


def test_huge_claims_are_refused_before_anything_is_allocated():
    body = (
        npy(np.zeros((3, 25), np.float32))
        .replace(b"(3, 25), }", b"(3000000000, 25), }")
        .replace(b" " * 9 + b"\n", b"\n")
    )
    with pytest.raises(ValueError, match="bytes of numbers"):
        decode_npy(body, "x", (None, 25))
    with pytest.raises(ValueError, match="x: is 9000 x 9000 pixels, expected 8192 x 8192"):
        decode_image(bomb(9000), "x")
    with pytest.raises(ValueError, match=r"x: is not a readable image: .*exceeds limit"):
        decode_image(bomb(60000), "x")
