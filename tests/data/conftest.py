"""A small finished dataset that the tests read, and copies of it that they may damage."""

from __future__ import annotations

import functools
import shutil

import pytest
from noise_source import NoiseSource

from semhead_lib.data.jobs.synthesis import synthesize


@pytest.fixture(scope="session")
def shared_dataset(tmp_path_factory):
    """11 subjects with 3 or 4 views of 16 x 16 in 4 shards, all fields but semantics. Not to be
    changed."""
    out = tmp_path_factory.mktemp("shared") / "noise"
    synthesize(
        functools.partial(NoiseSource, varied=True),
        out,
        11,
        shard_size=3,
        workers=0,
        progress=False,
    )
    return out


@pytest.fixture
def dataset(shared_dataset, tmp_path):
    """A copy of the shared dataset."""
    return shutil.copytree(shared_dataset, tmp_path / "noise")
