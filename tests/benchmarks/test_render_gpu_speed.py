"""The fused renderer and the whole step on a GPU, as `environments/gpu_quarter.sh` measures them:
`make bench`."""

import time
from pathlib import Path

import pytest
import torch

from semhead_lib.ops import compiled

OUT = Path(__file__).parents[2] / "papermill_runs" / "benchmarks"
pytestmark = [
    pytest.mark.bench,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif("cuda" not in compiled.COMPILED.devices, reason=compiled.COMPILED.detail),
]


def within(seconds):
    """How much of that many seconds is left."""
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()


def test_renderer_on_the_gpu():
    from semhead_lib.reproduce.quarter.render_speed import measure

    rows = measure(OUT / "gpu_render.json", "cuda", within(600)).rows
    assert all(row["reference over ours, forward ms"] > 1 for row in rows.values())


def test_step_on_the_gpu():
    from semhead_lib.reproduce.quarter.step_speed import measure

    rows = measure(OUT / "gpu_step.json", "cuda", within(600)).rows
    assert all(
        row["graphed bf16 images/s"] > 0 for name, row in rows.items() if name != "semhead-512"
    )
