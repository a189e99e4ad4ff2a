"""The fused renderer against its reference implementation: `make bench` prints the table,
papermill_runs/benchmarks/ keeps it.

The reference takes the steps of EG3D's renderer in plain torch: grid_sample of every plane, the
network, sort and gather, marching. Both are measured in one process, in turns, once with freed
memory given back to the system, as a process has it by default, and once with `keep_freed_memory`
for both. Times are medians of one thread's CPU time, which other work on the machine lengthens
little, in units of S, that of one fp32 2048 x 2048 matrix product in the same process.
"""

import ctypes
import datetime
import gc
import json
import os
import platform
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from semhead_lib.cameras import orbit_cameras
from semhead_lib.devices import keep_freed_memory
from semhead_lib.models.config import PRESETS
from semhead_lib.models.cost import cost
from semhead_lib.models.generator import ASSETS, DEFAULT, Generator
from semhead_lib.models.planes import make_planes
from semhead_lib.models.renderer import Renderer, RenderSettings
from semhead_lib.ops import compiled

OUT = Path(__file__).parents[2] / "papermill_runs" / "benchmarks"
RUNS = 9
MEMORY = {"given back": "freed memory given back", "kept": "keep_freed_memory"}
# work: planes, their side, heads, cameras of each, pixels a side, coarse and fine samples of the
# reference, backward too, and ours on trained heads: nodes a side of the density grid, strata
# looked up in it, samples. The grid's time is counted.
WORK = {
    "triplane, random, forward": ("triplane", 256, 1, 1, 64, 48, 48, False, None),
    "triplane, random, forward + backward": ("triplane", 64, 4, 1, 64, 24, 24, True, None),
    "trigrid, random, forward": ("trigrid", 256, 1, 1, 64, 48, 48, False, None),
    "spherical, random, forward": ("spherical", 256, 1, 1, 64, 48, 48, False, None),
    "hyplane, random, forward": ("hyplane", 256, 1, 1, 64, 48, 48, False, None),
    "hyplane, trained, forward": ("trained", 256, 1, 1, 64, 48, 48, False, (64, 64, 40)),
    "hyplane, trained, forward + backward": ("trained", 64, 4, 1, 64, 24, 24, True, (40, 48, 12)),
    "semhead-128, 4 heads x 4 views, forward": (
        "shipped",
        64,
        4,
        4,
        64,
        16,
        16,
        False,
        (24, 32, 10),
    ),
    "semhead-128, 4 heads x 4 views, forward + backward": (
        "shipped",
        64,
        4,
        4,
        64,
        16,
        16,
        True,
        (24, 32, 10),
    ),
    "semhead-128, 16 heads, forward": ("shipped", 64, 16, 1, 64, 16, 16, False, (24, 32, 10)),
    "semhead-128, 16 heads, forward + backward": (
        "shipped",
        64,
        16,
        1,
        64,
        16,
        16,
        True,
        (24, 32, 10),
    ),
}
RENDER_RUNS = 3
CONVERGED = 256  # coarse and as many fine samples
CHANNELS, HIDDEN, OUTPUTS = 32, 64, 32


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


@torch.no_grad()
def shipped_heads(heads: int) -> tuple[Renderer, torch.Tensor]:
    """The shipped generator's renderer, and feature maps of its heads."""
    generator = Generator.load(DEFAULT)
    conditions = load_file(ASSETS / DEFAULT / "conditions.safetensors")["features"].float()
    torch.manual_seed(0)
    condition = conditions[:: len(conditions) // heads][:heads]
    return generator.renderer, generator.feature_map(
        generator.mapping(torch.randn(heads, 128), condition, 0.7)
    )


@torch.no_grad()
def trained_heads(side: int, heads: int) -> tuple[Renderer, torch.Tensor]:
    """The same at EG3D's sizes: planes interpolated to `side`, more channels, hidden units and
    colours of zeros."""
    small, features = shipped_heads(heads)
    quarters = (
        features.unflatten(-1, (2, -1))
        .unflatten(-3, (2, -1))
        .permute(0, 2, 4, 1, 3, 5)
        .flatten(0, 2)
    )
    larger = torch.nn.functional.interpolate(quarters, size=(side, side), mode="bilinear")
    larger = (
        larger.unflatten(0, (heads, 2, 2)).permute(0, 3, 1, 4, 2, 5).flatten(-2).flatten(-3, -2)
    )
    padded = torch.zeros(heads, CHANNELS, 2 * side, 2 * side).contiguous(
        memory_format=torch.channels_last
    )
    padded[:, : features.shape[1]] = larger
    planes = make_planes("hyplane", side, CHANNELS)
    renderer = Renderer(planes, RenderSettings(ball=small.settings.ball), HIDDEN, OUTPUTS)
    w1, b1, w2, b2 = small.network
    for to, from_, gain in ((renderer.w1, w1, CHANNELS**0.5), (renderer.w2, w2, HIDDEN**0.5)):
        to.zero_()[: len(from_), : from_.shape[1]] = from_ * gain
    for to, from_ in ((renderer.b1, b1), (renderer.b2, b2)):
        to.zero_()[: len(from_)] = from_
    return renderer, padded


def random_planes(name: str, side: int, heads: int) -> tuple[Renderer, torch.Tensor]:
    torch.manual_seed(0)
    planes = make_planes(name, side, CHANNELS)
    features = torch.randn(heads, planes.map_channels, planes.map_side, planes.map_side)
    return Renderer(planes, RenderSettings(), HIDDEN, OUTPUTS), features.contiguous(
        memory_format=torch.channels_last
    )


def steps(name: str):
    """What is timed: name of the way -> call, and the image's error of each way, dB."""
    kind, side, heads, views, resolution, coarse, fine, backward, grid = WORK[name]
    made = {"trained": lambda: trained_heads(side, heads), "shipped": lambda: shipped_heads(heads)}
    renderer, features = made.get(kind, lambda: random_planes(kind, side, heads))()
    renderer.requires_grad_(backward)
    features.requires_grad_(backward)
    azimuths = (
        torch.linspace(-60, 60, views).repeat(heads)
        if views > 1
        else torch.linspace(-60, 120, heads)
    )
    cameras = orbit_cameras(azimuths, torch.zeros(len(azimuths)))
    plain = replace(renderer.settings, coarse=coarse, fine=fine)
    settings = {"reference": plain, "two passes": plain}
    if grid:
        settings["grid"] = replace(renderer.settings, grid=grid[0], coarse=grid[1], fine=grid[2])

    def render(way: str):
        renderer.settings = settings[way]
        return renderer(features, cameras, resolution, seed=1, reference=way == "reference")

    def step(way: str):
        with torch.set_grad_enabled(backward):
            out = render(way)
            if backward:
                (out.features.square().mean() + out.depth.mean() + out.opacity.mean()).backward()
                features.grad = None
                renderer.zero_grad(set_to_none=True)

    errors = {}
    if grid:
        with torch.no_grad():
            settings["converged"] = replace(plain, coarse=CONVERGED, fine=CONVERGED)
            truth = render("converged")
            for way in ("reference", "grid"):
                found = render(way)
                for what, a, b in (
                    ("image", found.features[:, :3], truth.features[:, :3]),
                    ("opacity", found.opacity, truth.opacity),
                ):
                    errors[f"{way} {what} dB"] = round(
                        -10 * (a - b).square().mean().log10().item(), 1
                    )
    return {way: lambda way=way: step(way) for way in settings if way != "converged"}, errors


def seconds(call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def cpu_seconds(call) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def interleaved_medians(calls, runs: int = RUNS, measure=seconds) -> dict[str, float]:
    for call in calls.values():
        call()
    times = {key: [] for key in calls}
    for _ in range(runs):
        for key, call in calls.items():
            times[key].append(measure(call))
    return {key: sorted(values)[runs // 2] for key, values in times.items()}


def circumstances() -> dict:
    return {
        "threads": torch.get_num_threads(),
        "ops": compiled.COMPILED.detail,
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {"torch": version("torch")},
        "date": datetime.date.today().isoformat(),
    }


def measure(memory: str) -> dict:
    """All rows, in this process, with freed memory given back or kept."""
    torch.set_num_threads(1)
    if memory == "kept":
        keep_freed_memory()
    a, rows = torch.randn(2048, 2048), {}
    for name in WORK:
        calls, errors = steps(name)
        found = interleaved_medians(calls | {"product": lambda: a @ a}, RENDER_RUNS, cpu_seconds)
        product = found.pop("product")
        best = "grid" if "grid" in found else "two passes"
        rows[name] = {
            **{f"{way} S": round(seconds / product, 2) for way, seconds in found.items()},
            "ratio": round(found["reference"] / found[best], 1),
            **{f"{way} MB": round(memory_peak(call), 1) for way, call in calls.items()},
            **errors,
            "S ms": round(1e3 * product, 1),
        }
        if best == "grid":
            rows[name]["two passes / grid"] = round(found["two passes"] / found["grid"], 2)
        print(name, rows[name], file=sys.stderr, flush=True)
    return rows


@pytest.mark.bench
@pytest.mark.skipif(not compiled.COMPILED.devices, reason=compiled.COMPILED.detail)
def test_renderer():
    found = {}
    for memory in MEMORY:
        command = [sys.executable, __file__, memory]
        ran = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        found[memory] = json.loads(ran.stdout)
    report = {
        "what": f"medians of {RENDER_RUNS} interleaved runs, CPU time of one thread, fp32; random "
        "and trained planes "
        f"with a network {CHANNELS}-{HIDDEN}-{1 + OUTPUTS}, semhead-128 with its own; errors "
        "against "
        f"{CONVERGED} + {CONVERGED} samples",
        **{said: found[memory] for memory, said in MEMORY.items()},
        **circumstances(),
        "threads": 1,
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "render_cpu.json").write_text(json.dumps(report, indent=1) + "\n")
    print("\n" + json.dumps(report, indent=1))
    assert all(row["ratio"] > 0 for rows in found.values() for row in rows.values())


@pytest.mark.bench
@pytest.mark.skipif(not compiled.COMPILED.devices, reason=compiled.COMPILED.detail)
def test_whole_image():
    """A 512 x 512 image of semhead-512, whose widths are EG3D's, from a raw image of 64 x 64."""
    torch.manual_seed(0)
    generator = Generator(PRESETS["semhead-512"]).eval()
    cameras, w = orbit_cameras(torch.zeros(1), torch.zeros(1)), torch.randn(1, 512)
    a = torch.randn(2048, 2048)
    with torch.no_grad():
        features = generator.backbone(w)
        seen = generator.renderer(features, cameras, 64, seed=1)
        calls = {
            "whole": lambda: generator.synthesize(w, cameras, raw_resolution=64, seed=1),
            "backbone": lambda: generator.backbone(w),
            "renderer": lambda: generator.renderer(features, cameras, 64, seed=1),
            "super-resolution": lambda: generator.refine(seen.features, seen.opacity, w),
            "product": lambda: a @ a,
        }
        found = {}
        for memory in (
            "given back",
            "kept",
        ):  # what becomes of a freed tensor's memory: see keep_freed_memory
            medians = interleaved_medians(calls)
            product = medians.pop("product")
            found[memory] = {name: round(seconds / product, 2) for name, seconds in medians.items()}
            found[memory]["S_ms"] = round(1e3 * product, 1)
            keep_freed_memory()
    stated = cost(PRESETS["semhead-512"])
    report = {
        "what": f"medians of {RUNS} interleaved runs, batch 1, fp32, raw 64 x 64, 48 + 48 samples",
        "S, freed memory given back": found["given back"],
        "S, freed memory kept": found["kept"],
        "convolutions_floor_S": round(stated.convolution_flops / (2 * 2048**3), 2),
        **circumstances(),
    }
    (OUT / "generator_cpu.json").write_text(json.dumps(report, indent=1) + "\n")
    print("\n" + json.dumps(report, indent=1))


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
