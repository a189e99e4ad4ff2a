"""How fast one process makes parametric heads: `make bench` prints it and keeps it in
papermill_runs/benchmarks/."""

import datetime
import json
import platform
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from semhead_lib.data.parametric.source import ParametricSource

OUT = Path(__file__).parents[2] / "papermill_runs" / "benchmarks"
SUBJECTS, VIEWS = 24, 12


def matrix_product_seconds() -> float:
    """Time of one fp32 2048 x 2048 matrix product here and now: machines and hours compare by
    multiples of it."""
    a = torch.randn(2048, 2048)
    times = []
    for _ in range(9):
        began = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - began)
    return sorted(times)[4]


@pytest.mark.bench
def test_views_per_second_of_one_process():
    torch.set_num_threads(1)
    source = ParametricSource(seed=1, resolution=128, views_per_subject=VIEWS, samples_per_pixel=4)
    source.subject(0)  # loads the model and compiles the kernels
    scenes = views = 0.0
    for index in range(1, SUBJECTS + 1):
        began = time.perf_counter()
        source.scene(index)
        built = time.perf_counter()
        source.subject(index)  # builds its scene again, so casting is the difference
        done = time.perf_counter()
        scenes += built - began
        views += done - built
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    report = {
        "what": f"{SUBJECTS} subjects x {VIEWS} views of 128 px, 4 samples a pixel, all channels, "
        "1 process",
        "views_per_second": round(SUBJECTS * VIEWS / views, 2),
        "views_per_second_casting_alone": round(SUBJECTS * (VIEWS + 1) / (views - scenes), 2),
        "seconds_per_scene": round(scenes / SUBJECTS, 4),
        "peak_memory_bytes": peak,
        "matrix_product_seconds_one_thread": round(matrix_product_seconds(), 4),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("anny", "numpy", "torch", "warp-lang")},
        "date": datetime.date.today().isoformat(),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "parametric.json").write_text(json.dumps(report, indent=2) + "\n")
    print("\n" + json.dumps(report, indent=2))
    assert report["views_per_second"] > 0
