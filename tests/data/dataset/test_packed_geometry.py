"""Depth and classes of a packed view: exact where they are, zero where nothing is, in known steps."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from semhead_lib.data.dataset.packed_geometry import (
    STEP,
    decode_classes,
    decode_depth,
    encode_classes,
    encode_depth,
)

NEAR = 2.0  # scene units


def sphere(depth, side=32):  # [S, S]: a hemisphere that deep before nothing
    y, x = np.mgrid[:side, :side] * 2.2 / (side - 1) - 1.1
    inside = 1 - x**2 - y**2
    return np.where(inside > 0, NEAR + depth * (1 - np.sqrt(inside.clip(0))), 0).astype(np.float32)


def restored(depth):
    data, (near, step) = encode_depth(depth)
    assert (near, step) == (float(np.float32(near)), float(np.float32(step)))
    return decode_depth(data, "depth", len(depth), near, step).numpy(), step, data


def levels(data):
    return np.array(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("depth", "side", "step"),
    [
        (0.3, 32, None),  # as fine as 254 steps are
        (0.7, 33, None),  # an odd side
        (1.2, 32, STEP),  # more steps than 8 bits have
        (2.0, 32, STEP),
        (400.0, 32, None),  # as fine as 65534 steps are: more than STEP
    ],
)
def test_depth_comes_back_within_half_a_step(depth, side, step):
    here = sphere(depth, side)
    hit = here[::2, ::2][here[::2, ::2] > 0]
    step = step or (hit.max() - hit.min()) / (254 if depth < 1 else 65534)
    there, found, data = restored(here)
    stored, rest = np.zeros_like(here, bool), there.copy()
    stored[::2, ::2] = True
    rest[::2, ::2] = 0
    assert not rest.any(), "between the stored pixels nothing is known"
    assert (there[stored] == 0).tolist() == (here[stored] == 0).tolist()
    assert 0 < (here[stored] == 0).sum() < stored.sum() and there.dtype == np.float32
    assert found == pytest.approx(step)
    assert np.abs(there - here)[stored].max() <= 0.501 * found + 1e-6 * (NEAR + depth)
    assert there[stored].max() == pytest.approx(here[stored].max(), abs=0.51 * found)
    red, _, blue = levels(data).transpose(2, 0, 1)
    assert red.any() == (depth > 1) and not blue.any()
    assert levels(data).shape[0] == (side + 1) // 2


def test_a_flat_view_and_an_empty_one():
    flat = np.full((8, 8), 2.71, np.float32)
    flat[0, 0] = 0
    there, step, _ = restored(flat)
    assert step == 0 and there[0, 0] == 0
    assert np.array_equal(there[2::2, 2::2], flat[2::2, 2::2])
    there, step, _ = restored(np.zeros((8, 8), np.float32))
    assert step == 0 and not there.any()


def test_classes_come_back_exactly():
    classes = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(decode_classes(encode_classes(classes), "classes", 16), classes)


def test_the_same_view_gives_the_same_bytes():
    assert encode_depth(sphere(0.5)) == encode_depth(sphere(0.5).copy())
    classes = (sphere(0.5) > 0).astype(np.uint8)
    assert encode_classes(classes) == encode_classes(classes.copy())


def test_images_of_another_size_or_kind_are_refused():
    data, (near, step) = encode_depth(sphere(0.5))
    with pytest.raises(ValueError, match="here: is 16 x 16 pixels, expected 32 x 32"):
        decode_depth(data, "here", 64, near, step)
    with pytest.raises(ValueError, match="here: must be grey"):
        decode_classes(data, "here", 16)
    white = encode_classes(np.full((16, 16), 255, np.uint8))
    with pytest.raises(ValueError, match="here: blue must be 0"):
        decode_depth(white, "here", 32, near, step)
    with pytest.raises(ValueError, match="here: is not a readable image"):
        decode_depth(data[:-40], "here", 32, near, step)
    assert torch.is_tensor(decode_depth(data, "here", 32, near, step))
