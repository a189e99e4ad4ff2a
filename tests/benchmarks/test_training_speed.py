"""A whole training step, fused against the reference implementations: `make bench` prints the
tables.

A step is what `semhead_lib.training.step` does with a batch: both networks, ViCiCo, density
regularisation and R1 as often as they come. The floor is what its convolutions and matrix products
alone would take at the rate of one fp32 2048 x 2048 matrix product, S. papermill_runs/benchmarks/
keeps the metrics.
"""

import json
from collections import defaultdict

import psutil
import pytest
import torch
from accelerate import Accelerator
from test_render_speed import OUT, circumstances, seconds
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from semhead_lib.cameras import orbit_cameras
from semhead_lib.data.subjects import Batch
from semhead_lib.devices import keep_freed_memory
from semhead_lib.training.settings import TrainSettings
from semhead_lib.training.step import Networks, Step

ROUNDS, SEMANTIC = 5, 128
ASKED = {"semhead-32": 40.0, "semhead-64": 12.0}  # images a second where S is 57 ms
USUAL = 0.057  # seconds
KINDS = {  # of what the profiler saw, by the beginning of an operator's name
    "convolutions": ("aten::convolution_backward", "aten::mkldnn", "aten::thnn", "aten::slow"),
    "renderer": ("semhead::", "GeneratedBackwardFor_semhead"),
    "matrix products": ("aten::addmm", "aten::mm", "aten::bmm", "aten::linear"),
    "interpolation": ("aten::upsample", "aten::_upsample", "aten::avg_pool"),
    "optimisers and average": ("aten::_fused_adam", "aten::_foreach"),
    "copies": (
        "aten::copy_",
        "aten::cat",
        "aten::contiguous",
        "aten::clone",
        "aten::fill_",
        "aten::zero_",
    ),
    "element by element": (
        "aten::mul",
        "aten::add",
        "aten::leaky",
        "aten::sum",
        "aten::div",
        "aten::pow",
        "aten::sub",
    ),
}


def batch_of(settings: TrainSettings, resolution: int, seed: int) -> Batch:
    """Noise seen from all around: what is in the images does not change how long a step takes."""
    rng = torch.Generator().manual_seed(seed)
    b, k = settings.batch, settings.views_per_subject
    azimuth, elevation = torch.rand(2, b, generator=rng)
    semantics = torch.nn.functional.normalize(torch.randn(b // k, SEMANTIC, generator=rng), dim=1)
    return Batch(
        images=torch.randint(256, (b, 3, resolution, resolution), generator=rng, dtype=torch.uint8),
        cameras=orbit_cameras(azimuth * 360 - 180, elevation * 75 - 30),
        subject=torch.arange(b // k).repeat_interleave(k),
        semantics=semantics.repeat_interleave(k, 0),
        masks=torch.randint(256, (b, 1, resolution, resolution), generator=rng, dtype=torch.uint8),
    )


def floating_point_operations(step: Step, batch: Batch, settings: TrainSettings) -> float:
    """Of convolutions and matrix products in a step, R1 and density regularisation as often as they
    come."""

    def counted(number: int) -> float:
        with FlopCounterMode(display=False) as counter:
            step(number, batch)
        return counter.get_total_flops()

    both, density, none = counted(0), counted(settings.density_interval), counted(1)
    return (
        none
        + (both - density) / settings.r1_interval
        + (density - none) / settings.density_interval
    )


def where_time_goes(step: Step, batch: Batch, settings: TrainSettings) -> dict[str, float]:
    """Share of the processor time of r1_interval steps by kind of operator."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for number in range(settings.r1_interval):
            step(number, batch)
    times = defaultdict(float)
    for event in seen.key_averages():
        kind = next((k for k, names in KINDS.items() if event.key.startswith(names)), "other")
        times[kind] += event.self_cpu_time_total
    whole = sum(times.values())
    return {
        kind: round(time / whole, 3)
        for kind, time in sorted(times.items(), key=lambda item: -item[1])
    }


@pytest.mark.bench
@pytest.mark.parametrize(
    ("name", "views_per_head"), [("semhead-32", 4), ("semhead-64", 4), ("semhead-64", 1)]
)
def test_training_step(name, views_per_head):
    keep_freed_memory()
    settings = TrainSettings(preset=name, views_per_head=views_per_head)
    resolution = settings.generator_config(SEMANTIC).resolution
    networks = Networks(settings, SEMANTIC, "cpu")
    step = Step(settings, networks, settings.condition_mode(SEMANTIC), Accelerator(cpu=True))
    batch, matrix = batch_of(settings, resolution, 0), torch.randn(2048, 2048)

    def run(number: int, reference: bool) -> float:
        step.reference = reference
        return seconds(lambda: step(number, batch))

    run(0, False), run(0, True)
    with torch.no_grad():
        products, fused, reference = [], defaultdict(list), defaultdict(list)
        for _ in range(ROUNDS):
            products.append(seconds(lambda: matrix @ matrix))
            with torch.enable_grad():
                for number in (0, 1, settings.density_interval):
                    fused[number].append(run(number, False))
                    reference[number].append(run(number, True))

    def whole(times) -> float:  # seconds of the mean step, from medians of its kinds
        r1, none, density = (
            sorted(times[k])[ROUNDS // 2] for k in (0, 1, settings.density_interval)
        )
        return (
            none
            + (density - none) / settings.density_interval
            + (r1 - density) / settings.r1_interval
        )

    s = sorted(products)[ROUNDS // 2]
    step.reference = False
    floor = floating_point_operations(step, batch, settings) / (2 * 2048**3 / s)
    ours, theirs = whole(fused), whole(reference)
    speed = settings.batch / ours
    row = {
        "images a second": round(speed, 1),
        "the same where S is 57 ms": round(speed * s / USUAL, 1),
        "asked there": ASKED[name],
        "S an image": round(ours / s / settings.batch, 3),
        "reference implementations, times slower": round(theirs / ours, 2),
        "share of the convolutions' floor": round(floor / ours, 2),
        "GFLOP an image": round(floor / s * 2 * 2048**3 / settings.batch / 1e9, 2),
        "peak memory, MB": round(psutil.Process().memory_info().rss / 1e6),
        "batch": settings.batch,
        "images of a head": views_per_head,
        "where the time goes": where_time_goes(step, batch, settings),
    }
    path = OUT / "training_cpu.json"
    stored = json.loads(path.read_text()) if path.exists() else {"rows": {}}
    stored |= circumstances() | {"S_seconds": round(s, 4)}
    stored["rows"][f"{name}, {views_per_head} images of a head"] = row
    OUT.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(stored, indent=1) + "\n")
    print(f"\n{name}: {json.dumps(row, indent=1)}")
