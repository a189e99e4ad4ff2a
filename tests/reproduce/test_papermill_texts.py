"""Numbers that Papermill hands over as texts (`papermill -r`): every function that a notebook gives
a parameter to says so, and none takes the text for something else."""

from functools import partial

import pytest

import semhead_lib as sh
from semhead_lib.data.jobs.synthesis import synthesize
from semhead_lib.data.parametric.source import ParametricSource
from semhead_lib.inversion.settings import Files, InversionSettings
from semhead_lib.training.settings import TrainSettings
from semhead_lib.viz.heads import HeadModel, HeadRequest

SOURCE = partial(ParametricSource, seed=3, resolution=64, views_per_subject=2)


@pytest.fixture(scope="module")
def model():
    return HeadModel("semhead-128", device="cpu")


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("subjects", lambda out: sh.synthesize(out, "4", workers=1, progress=False)),
        ("seed", lambda out: ParametricSource(seed="3")),
        ("resolution", lambda out: ParametricSource(resolution="64")),
        ("samples_per_pixel", lambda out: ParametricSource(samples_per_pixel="1")),
        ("shard_size", lambda out: synthesize(SOURCE, out, 4, shard_size="2", workers=0)),
        ("workers", lambda out: synthesize(SOURCE, out, 4, workers="0")),
        ("kimg", lambda out: TrainSettings(kimg="0.1")),
        ("seed", lambda out: TrainSettings(seed="0")),
        ("steps", lambda out: InversionSettings(steps="200")),
        ("landmarks", lambda out: Files(landmarks="68")),
        ("psi", lambda out: HeadRequest(psi="0.7")),
        ("seed", lambda out: HeadRequest(seed="0")),
    ],
)
def test_settings_that_are_texts_are_named(tmp_path, name, call):
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got '"):
        call(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("count", lambda m: m.sampled("6", 0, 0.7)),
        ("seed", lambda m: m.sampled(1, "0", 0.7)),
        ("psi", lambda m: m.sampled(1, 0, "0.7")),
        ("views", lambda m: m.turned(m.style(HeadRequest()), views="48")),
        ("resolution", lambda m: m.mesh(m.style(HeadRequest()), "96")),
    ],
)
def test_wishes_that_are_texts_are_named(model, name, call):
    with pytest.raises(ValueError, match=rf"^{name} must be a number, got '"):
        call(model)
