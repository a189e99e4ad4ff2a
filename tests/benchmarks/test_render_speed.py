"""The fused renderer against its reference twin: `make bench` prints the table, papermill_runs/benchmarks/ keeps it.

All times are medians of interleaved runs in one process, also in units of S, the time of one fp32 2048 x 2048 matrix
product in the same process. The floor is what the arithmetic alone would take at that product's rate.
"""

import ctypes
import datetime
import gc
import json
import platform
import threading
import time
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
import torch

from semhead_lib.cameras import orbit_labels
from semhead_lib.devices import keep_freed_memory
from semhead_lib.models.generator import Generator
from semhead_lib.models.planes import make_planes
from semhead_lib.models.presets import PRESETS, cost
from semhead_lib.models.renderer import Renderer, RenderSettings
from semhead_lib.ops import compiled

OUT = Path(__file__).parents[2] / "papermill_runs" / "benchmarks"
RUNS = 9
# work: representation, side of its planes, batch, pixels a side, coarse and fine samples, backward too,
# what a peer took on this kind of machine (S), what is asked of ours (S)
WORK = {
    "triplane forward": ("triplane", 256, 1, 64, 48, 48, False, "EG3D 7.8", 1.1),
    "triplane forward + backward": ("triplane", 64, 4, 64, 24, 24, True, "EG3D 47", 5.0),
    "trigrid forward": ("trigrid", 256, 1, 64, 48, 48, False, "PanoHead 15.8", 2.2),
    "spherical forward": ("spherical", 256, 1, 64, 48, 48, False, "SphereHead 19", 2.5),
    "hyplane forward": ("hyplane", 256, 1, 64, 48, 48, False, "HyPlaneHead 11.5", 1.6),
}
CHANNELS, HIDDEN, OUTPUTS = 32, 64, 32


def floating_point_operations(planes, points: int, backward: bool) -> float:
    """Interpolation and the two layers of the network; backward computes them again and twice more."""
    taps = len(planes.layout.windows) * (8 if planes.layout.depth > 1 else 4)
    once = 2 * points * (taps * CHANNELS + CHANNELS * HIDDEN + HIDDEN * (1 + OUTPUTS))
    return once * (4 if backward else 1)


def memory_peak(call) -> float:
    """Most memory in MB that the process holds during `call`, beyond what it held before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    process, peaks, done = psutil.Process(), [], threading.Event()
    start = process.memory_info().rss

    def watch():
        while not done.is_set():
            peaks.append(process.memory_info().rss)
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    call()
    done.set()
    watcher.join()
    return max(0.0, max(peaks) - start) / 1e6


def steps(name: str):
    """What is timed: the renderer and its twin on the same planes and cameras."""
    representation, side, batch, resolution, coarse, fine, backward, *_ = WORK[name]
    torch.manual_seed(0)
    planes = make_planes(representation, side, CHANNELS)
    renderer = Renderer(planes, RenderSettings(coarse, fine), HIDDEN, OUTPUTS)
    features = torch.randn(batch, planes.map_channels, planes.map_side, planes.map_side)
    features = features.contiguous(memory_format=torch.channels_last).requires_grad_(backward)
    labels = orbit_labels(torch.linspace(-60, 60, batch) if batch > 1 else torch.zeros(1), torch.zeros(batch))

    def step(reference: bool):
        with torch.set_grad_enabled(backward):
            out = renderer(features, labels, resolution, seed=1, reference=reference)
            if backward:
                (out.features.square().mean() + out.depth.mean() + out.opacity.mean()).backward()
                features.grad = None
                renderer.zero_grad(set_to_none=True)

    points = batch * resolution**2 * (coarse + fine)
    return step, floating_point_operations(planes, points, backward)


def seconds(call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def interleaved_medians(calls) -> dict[str, float]:
    for call in calls.values():
        call()
    times = {key: [] for key in calls}
    for _ in range(RUNS):
        for key, call in calls.items():
            times[key].append(seconds(call))
    return {key: sorted(values)[RUNS // 2] for key, values in times.items()}


def circumstances() -> dict:
    return {
        "threads": torch.get_num_threads(),
        "ops": compiled.COMPILED.detail,
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {"torch": version("torch")},
        "date": datetime.date.today().isoformat(),
    }


@pytest.mark.bench
@pytest.mark.skipif(not compiled.COMPILED.devices, reason=compiled.COMPILED.detail)
def test_renderer():
    a = torch.randn(2048, 2048)
    rows = {}
    for name in WORK:
        step, operations = steps(name)
        calls = {"ours": lambda s=step: s(False), "twin": lambda s=step: s(True), "product": lambda: a @ a}
        ours, twin, product = interleaved_medians(calls).values()
        *_, peer, asked = WORK[name]
        rows[name] = {
            "peer_S": peer,
            "asked_S": asked,
            "ours_S": round(ours / product, 2),
            "twin_S": round(twin / product, 2),
            "ratio": round(twin / ours, 1),
            "floor_S": round(operations / (2 * 2048**3), 2),
            "ours_ms": round(1e3 * ours, 1),
            "twin_ms": round(1e3 * twin, 1),
            "S_ms": round(1e3 * product, 1),
            "ours_MB": round(memory_peak(calls["ours"]), 1),
            "twin_MB": round(memory_peak(calls["twin"]), 1),
        }
    report = {
        "what": f"medians of {RUNS} interleaved runs, network {CHANNELS}-{HIDDEN}-{1 + OUTPUTS}, fp32",
        "rows": rows,
        **circumstances(),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "render_cpu.json").write_text(json.dumps(report, indent=1) + "\n")
    keys = list(next(iter(rows.values())))
    print("\n" + "".join(f"{key:>17}" for key in ["", *keys]))
    for name, row in rows.items():
        print(f"{name:<30}" + "".join(f"{row[key]!s:>17}" for key in keys))
    assert all(row["ours_S"] > 0 for row in rows.values())


@pytest.mark.bench
@pytest.mark.skipif(not compiled.COMPILED.devices, reason=compiled.COMPILED.detail)
def test_whole_picture():
    """A 512 x 512 picture of semhead-512, whose widths are EG3D's, from a raw picture of 64 x 64."""
    torch.manual_seed(0)
    generator = Generator(PRESETS["semhead-512"]).eval()
    labels, w = orbit_labels(torch.zeros(1), torch.zeros(1)), torch.randn(1, 512)
    a = torch.randn(2048, 2048)
    with torch.no_grad():
        features = generator.backbone(w)
        seen = generator.renderer(features, labels, 64, seed=1)
        calls = {
            "whole": lambda: generator.synthesize(w, labels, raw_resolution=64, seed=1),
            "backbone": lambda: generator.backbone(w),
            "renderer": lambda: generator.renderer(features, labels, 64, seed=1),
            "super-resolution": lambda: generator.refine(seen.features, w),
            "product": lambda: a @ a,
        }
        found = {}
        for memory in ("given back", "kept"):  # what becomes of a freed tensor's memory: see keep_freed_memory
            medians = interleaved_medians(calls)
            product = medians.pop("product")
            found[memory] = {name: round(seconds / product, 2) for name, seconds in medians.items()}
            found[memory]["S_ms"] = round(1e3 * product, 1)
            keep_freed_memory()
    stated = cost(PRESETS["semhead-512"])
    report = {
        "what": f"medians of {RUNS} interleaved runs, batch 1, fp32, raw 64 x 64, 48 + 48 samples",
        "peer_S": "EG3D 55: backbone 11.3, renderer 7.8, super-resolution 38",
        "asked_S": 20,
        "S, freed memory given back": found["given back"],
        "S, freed memory kept": found["kept"],
        "convolutions_floor_S": round(stated.convolution_flops / (2 * 2048**3), 2),
        **circumstances(),
    }
    (OUT / "generator_cpu.json").write_text(json.dumps(report, indent=1) + "\n")
    print("\n" + json.dumps(report, indent=1))
