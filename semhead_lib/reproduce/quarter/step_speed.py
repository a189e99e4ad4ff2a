"""Step `step`: the whole training step of each preset in images a second, as a graph and
eagerly."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from semhead_lib.reproduce.quarter.job import Job, use_the_reference
from semhead_lib.reproduce.quarter.measure import Measurements, Meter
from semhead_lib.reproduce.quarter.trial_step import TrialStep

Kind = tuple[str, dict[str, Any]]
BF16, FP32 = dict(precision="bf16"), dict(precision="fp32")
# Preset, how it is run; the most important first. semhead-512 last: a step of it takes most of a
# second.
_ON_A_GPU: tuple[tuple[str, Kind], ...] = (
    ("semhead-64", ("graphed bf16", BF16 | dict(graphs=True))),
    ("semhead-128", ("graphed bf16", BF16 | dict(graphs=True))),
    ("semhead-64", ("eager bf16", BF16 | dict(graphs=False))),
    ("semhead-128", ("eager bf16", BF16 | dict(graphs=False))),
    ("semhead-64", ("graphed fp32", FP32 | dict(graphs=True))),
    ("semhead-128", ("graphed fp32", FP32 | dict(graphs=True))),
    ("semhead-32", ("graphed bf16", BF16 | dict(graphs=True))),
    ("semhead-512", ("graphed bf16", BF16 | dict(graphs=True))),
    ("semhead-512", ("eager bf16", BF16 | dict(graphs=False))),
)
_ON_A_CPU: tuple[tuple[str, Kind], ...] = (
    ("semhead-32", ("eager fp32", FP32 | dict(subjects_per_batch=2))),
)


def measure(path: Path, device: str, left: Callable[[], float]) -> Measurements:
    """Write the figures to `path`, row after row, until all are there or `left()` seconds are
    spent."""
    meter = Meter(device)
    what = (
        "whole training steps on noise: both networks, wrong conditions, R1 and density "
        "regularisation in turn"
    )
    figures = Measurements(path, what, device, meter.ceilings() if device == "cuda" else {})
    for preset, (kind, changes) in _ON_A_GPU if device == "cuda" else _ON_A_CPU:
        if left() < 8:
            figures.add(preset, **{kind: "not reached in time"})
            continue
        figures.begin(preset, kind)
        try:
            figures.add(preset, **_row(preset, kind, changes, meter))
        except torch.OutOfMemoryError:
            figures.add(preset, **{kind: "out of memory"})
        except Exception as error:
            if device == "cuda" and "CUDA error" in str(error):
                raise  # nothing works any more in this process
            figures.add(
                preset,
                **{kind: f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"},
            )
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
    return figures


def _row(preset: str, kind: str, changes: dict[str, Any], meter: Meter) -> dict[str, Any]:
    """Images a second over whole cycles of the lazy terms, after one to warm up, and the most
    memory held."""
    if meter.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trial = TrialStep(preset, meter.device, **changes)
    cycle = trial.settings.r1_interval if meter.device == "cuda" else 2
    with trial.feed(0) as batches:
        number = 0

        def steps(count: int) -> None:
            nonlocal number
            for _ in range(count):
                trial.step(number, next(batches))
                number += 1

        slow = meter.seconds(lambda: steps(cycle + 1))  # compiles, captures, chooses algorithms
        first = meter.seconds(lambda: steps(cycle))
        cycles = max(min(round(1.5 / max(first, 1e-3)), 20), 1) if first < 1.5 else 0
        taken = meter.seconds(lambda: steps(cycles * cycle)) if cycles else first
    if "graphed" in kind and trial.why_eager:
        return {kind: f"eager: {trial.why_eager}"}
    images = trial.settings.batch * cycle * max(cycles, 1)
    found = {
        f"{kind} images/s": images / taken,
        f"{kind} warm-up s": slow,
        "batch": trial.settings.batch,
    }
    if meter.device == "cuda":
        found[f"{kind} peak MB"] = torch.cuda.max_memory_allocated() / 1e6
    return found


def main(words: list[str]) -> None:
    job = Job.read(words)
    torch.set_float32_matmul_precision("high")  # as the training does
    if job.reference:
        use_the_reference()
    measure(Path(job.out) / f"{job.prefix}_step.json", job.device, lambda: job.left)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
