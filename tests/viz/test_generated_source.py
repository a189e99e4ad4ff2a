"""Heads of a generator as a dataset: the same again, ours to read, and EG3D's to export."""

import json

import pytest
import torch

from semhead_lib.cameras import orbit_angles
from semhead_lib.cli import main
from semhead_lib.data.dataset.eg3d_format import export_dataset
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.data.jobs.synthesis import synthesize
from semhead_lib.models.generator import DEFAULT
from semhead_lib.viz.generated_source import GeneratedSource

SMALL = {"model": DEFAULT, "resolution": 128}


def test_a_head_is_a_subject():
    source = GeneratedSource(**SMALL, seed=3, views_per_subject=4, view_sampling="orbit")
    subject = source.subject(2).validate()
    assert subject.views.shape == (4, 3, 128, 128) and subject.masks.shape == (4, 128, 128)
    assert orbit_angles(subject.cameras)[:, 0].tolist() == pytest.approx(
        [-180, -90, 0, 90], abs=1e-3
    )
    assert torch.equal(subject.views[2], subject.frontal), "the orbit has the front"
    again = GeneratedSource(**SMALL, seed=3, views_per_subject=4, view_sampling="orbit").subject(2)
    assert torch.equal(again.views, subject.views) and again.id == subject.id == "g3-0000002"
    assert not torch.equal(source.subject(1).views, subject.views)


def test_from_the_command_line_to_eg3d(tmp_path, capsys):
    command = [
        "synthesize",
        f"out={tmp_path / 'heads'}",
        "source=generated",
        *(f"{key}={value}" for key, value in SMALL.items()),
        "subjects=3",
        "workers=1",
    ]
    assert main([*command, "views_per_subject=2"]) == 0
    assert Manifest.load(tmp_path / "heads").subjects == 3
    assert export_dataset(tmp_path / "heads", tmp_path / "eg3d", progress=False) == 6
    labels = json.loads((tmp_path / "eg3d/dataset.json").read_text())["labels"]
    assert len(labels) == 6 and all(len(label) == 25 for _, label in labels)


def test_by_default_heads_are_those_of_the_default_generator():
    source = GeneratedSource(views_per_subject=1)
    assert source.model == DEFAULT and source.subject(0).validate().views.shape == (1, 3, 128, 128)


def test_bad_settings(tmp_path):
    for settings, message in (
        ({"view_sampling": "spiral"}, "view_sampling must be one of"),
        ({"psi": 3.0}, "psi must be 0 to 2, got 3.0"),
        ({"views_per_subject": 0}, "views_per_subject must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            GeneratedSource(**settings)
    with pytest.raises(
        ValueError, match="makes images of 128 pixels a side: resolution=128, not 64"
    ):
        GeneratedSource(**SMALL | {"resolution": 64}).subject(0)


def test_the_bytes_do_not_depend_on_the_workers(tmp_path):
    from functools import partial

    made = partial(GeneratedSource, **SMALL, seed=1, views_per_subject=2)
    for workers in (0, 2):
        synthesize(made, tmp_path / str(workers), 2, shard_size=1, workers=workers, progress=False)
    one, other = (
        {p.name: p.read_bytes() for p in (tmp_path / str(w)).glob("*.tar")} for w in (0, 2)
    )
    assert one and one == other
