"""The fused renderer on a GPU against its twin, eager and compiled: time, memory, and shares of the card's ceilings."""

import datetime
import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from semhead_lib.cameras import orbit_labels
from semhead_lib.models.planes import REPRESENTATIONS, make_planes
from semhead_lib.models.renderer import Renderer, RenderSettings
from semhead_lib.ops import compiled

OUT = Path(__file__).parents[2] / "papermill_runs" / "benchmarks"
RUNS, BATCH, SIDE, RAW, SAMPLES, CHANNELS, HIDDEN, OUTPUTS = 9, 8, 256, 128, 48, 32, 64, 32
pytestmark = [
    pytest.mark.bench,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif("cuda" not in compiled.COMPILED.devices, reason=compiled.COMPILED.detail),
]


def milliseconds(call) -> float:
    """Median of runs, by events on the device."""
    for _ in range(3):
        call()
    times = []
    for _ in range(RUNS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[RUNS // 2]


def peak_megabytes(call) -> float:
    """Most memory that the call holds beyond what was held before."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def ceilings() -> dict[str, float]:
    """What the card reaches: TFLOP/s of an fp32 matrix product without tensor cores, TB/s of a copy."""
    torch.backends.cuda.matmul.allow_tf32 = False
    a, big = torch.randn(8192, 8192, device="cuda"), torch.empty(1 << 28, device="cuda")
    return {
        "fp32_tflops": 2 * 8192**3 / milliseconds(lambda: a @ a) / 1e9,
        "copy_tbps": 2 * big.numel() * 4 / milliseconds(big.clone) / 1e9,
    }


def test_renderer_on_the_gpu():
    limits, rows = ceilings(), {}
    labels = orbit_labels(torch.linspace(-90, 90, BATCH), torch.zeros(BATCH)).cuda()
    for name in REPRESENTATIONS:
        torch.manual_seed(0)
        planes = make_planes(name, SIDE, CHANNELS)
        renderer = Renderer(planes, RenderSettings(SAMPLES, SAMPLES), HIDDEN, OUTPUTS).cuda()
        features = torch.randn(BATCH, planes.map_channels, planes.map_side, planes.map_side, device="cuda")
        features = features.contiguous(memory_format=torch.channels_last).requires_grad_()
        fast_twin = torch.compile(lambda f, r=renderer: r(f, labels, RAW, seed=1, reference=True))
        renders = {
            "ours": lambda f, r=renderer: r(f, labels, RAW, seed=1),
            "twin": lambda f, r=renderer: r(f, labels, RAW, seed=1, reference=True),
            "compiled twin": fast_twin,
        }
        taps = len(planes.layout.windows) * (8 if planes.layout.depth > 1 else 4)
        points = BATCH * RAW**2 * 2 * SAMPLES
        operations = 2 * points * (taps * CHANNELS + CHANNELS * HIDDEN + HIDDEN * (1 + OUTPUTS))
        row: dict[str, float | str] = {}
        for kind, render in renders.items():
            try:
                with torch.no_grad():
                    row[f"{kind} forward ms"] = milliseconds(lambda r=render, f=features: r(f))
                    row[f"{kind} forward MB"] = peak_megabytes(lambda r=render, f=features: r(f))

                def step(r=render, f=features):
                    out = r(f)
                    torch.autograd.grad(out.features.square().mean() + out.depth.mean() + out.opacity.mean(), f)

                row[f"{kind} both ms"] = milliseconds(step)
                row[f"{kind} both MB"] = peak_megabytes(step)
            except torch.OutOfMemoryError:
                row[kind] = "out of memory"
                torch.cuda.empty_cache()
        forward = row["ours forward ms"] * 1e-3
        row["share of fp32"] = operations / forward / (limits["fp32_tflops"] * 1e12)
        row["texels read TB/s"] = points * taps * CHANNELS * 4 / forward / 1e12
        rows[name] = {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}
    report = {
        "what": f"batch {BATCH}, raw {RAW}, {SAMPLES} + {SAMPLES} samples, planes {SIDE}, fp32, medians of {RUNS} runs",
        "device": torch.cuda.get_device_name(),
        "ceilings": {key: round(value, 2) for key, value in limits.items()},
        "rows": rows,
        "ops": compiled.COMPILED.detail,
        "versions": {"torch": version("torch"), "cuda": torch.version.cuda},
        "date": datetime.date.today().isoformat(),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "render_cuda.json").write_text(json.dumps(report, indent=1) + "\n")
    print("\n" + json.dumps(report, indent=1))
    assert all(row["ours forward ms"] > 0 for row in rows.values())
