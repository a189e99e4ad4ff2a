"""What is finished needs no disk that can be written."""

from __future__ import annotations

import errno
import os

import pytest
import torch
from noise_source import files_of

from semhead_lib.data.dataset.semantics import fill_semantics
from semhead_lib.data.jobs.distributed import synthesize_distributed
from semhead_lib.data.jobs.synthesis import synthesize


def source():
    from noise_source import NoiseSource

    return NoiseSource(varied=True)


def encode(frontals):
    return torch.nn.functional.normalize(frontals.float().mean(dim=(2, 3)), dim=-1)


@pytest.mark.parametrize("make", [synthesize, synthesize_distributed])
@pytest.mark.parametrize("untidy", [False, True])
def test_a_finished_dataset_is_left_as_it_is(dataset, monkeypatch, make, untidy):
    fill_semantics(dataset, encode, "mean", progress=False)
    if untidy:
        (dataset / ".shard-000000.tar.elsewhere-1.partial").write_bytes(b"half")
    before = files_of(dataset)

    def refuse(path, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    for name in ("unlink", "rename", "replace", "rmdir", "link"):
        monkeypatch.setattr(os, name, refuse)
    options = dict(workers=0) if make is synthesize else {}
    report = make(source, dataset, 11, shard_size=3, progress=False, **options)
    assert report.views_made == 0
    if not untidy:
        fill_semantics(dataset, encode, "mean", progress=False)
    assert files_of(dataset) == before
