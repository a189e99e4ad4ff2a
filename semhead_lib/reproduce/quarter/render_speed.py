"""Step `render`: the fused renderer against the reference implementation, eager and compiled; most
important first.

`make bench` runs the same on a machine with a GPU (tests/benchmarks/test_render_gpu_speed.py).
"""

from __future__ import annotations

import copy
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semhead_lib.cameras import orbit_cameras
from semhead_lib.models.generator import DEFAULT, Generator
from semhead_lib.models.planes import REPRESENTATIONS, make_planes
from semhead_lib.models.renderer import Renderer, RenderSettings
from semhead_lib.reproduce.quarter.job import Job
from semhead_lib.reproduce.quarter.measure import Measurements, Meter

_FIRST = ("hyplane", "triplane")
_COMPILED = ("hyplane", "triplane")  # the reference implementation is compiled for these alone:
_NEEDED = {"compiled reference": 45}  # seconds that it takes
_GRID = 32  # nodes a side of the density grid


@dataclass(frozen=True)
class Sizes:
    """Of what is rendered."""

    batch: int = 8
    side: int = 256  # texels of a plane
    raw: int = 128  # pixels
    samples: int = 48  # coarse ones, and as many fine ones
    channels: int = 32
    hidden: int = 64
    outputs: int = 32

    def __str__(self) -> str:
        return (
            f"batch {self.batch}, raw {self.raw}, {self.samples} + {self.samples} samples, planes "
            f"{self.side}, "
            f"network {self.channels}-{self.hidden}-{1 + self.outputs}"
        )


EG3D, TINY = Sizes(), Sizes(1, 32, 16, 8)


def measure(
    path: Path, device: str, left: Callable[[], float], sizes: Sizes = EG3D
) -> Measurements:
    """Write the figures to `path`, row after row, until all are there or `left()` seconds are
    spent."""
    meter = Meter(device, 9 if device == "cuda" else 3)
    figures = Measurements(
        path, f"{sizes}, fp32 unless noted, medians of {meter.runs} runs", device, meter.ceilings()
    )
    cases = list(_cases(sizes, device))
    kinds = ("ours", "reference", "compiled reference", "ours, bf16 map", "ours, density grid")
    most = len(_FIRST) + 1  # cases that matter most have all kinds before the others have any
    for group in (cases[:most], cases[most:]):
        for kind, case in itertools.product(kinds, group):
            render = case.render(kind)
            if render is None:
                continue
            if left() < _NEEDED.get(kind, 5):
                figures.add(case.name, **{kind: "not reached in time"})
                continue
            figures.begin(case.name, kind)
            figures.add(case.name, **_row(kind, render, case.features, meter))
            if kind == "ours":
                figures.add(case.name, **case.shares(figures.rows[case.name], figures.ceilings))
            elif ratios := _ratios(figures.rows[case.name], kind):
                figures.add(case.name, **ratios)
    return figures


@dataclass(frozen=True)
class _Case:
    """One renderer and what it looks at."""

    name: str
    renderer: Renderer
    features: Tensor
    cameras: Tensor
    sizes: Sizes

    def render(self, kind: str) -> Callable[[Tensor], Any] | None:
        """The renderer of that kind; None where this version or this device has none."""
        renderer, cameras, raw = self.renderer, self.cameras, self.sizes.raw
        if kind == "ours":
            return lambda f: renderer(f, cameras, raw, seed=1)
        if kind == "ours, bf16 map":
            return (
                (lambda f: renderer(f.bfloat16(), cameras, raw, seed=1))
                if cameras.is_cuda
                else None
            )
        if kind == "ours, density grid":
            return lambda f: _with(renderer, grid=_GRID)(f, cameras, raw, seed=1)

        def reference(f: Tensor) -> Any:
            return renderer(f, cameras, raw, seed=1, reference=True)

        if kind == "reference":
            return reference
        return torch.compile(reference) if self.name in _COMPILED and cameras.is_cuda else None

    def shares(self, row: dict[str, Any], ceilings: dict[str, float]) -> dict[str, float]:
        """Of what the device can do at most, in the forward pass."""
        if "ours forward ms" not in row:
            return {}
        s, layout = self.sizes, self.renderer.planes.layout
        taps = len(layout.windows) * (8 if layout.depth > 1 else 4)
        points = len(self.cameras) * s.raw**2 * 2 * s.samples
        operations = (
            2 * points * (taps * s.channels + s.channels * s.hidden + s.hidden * (1 + s.outputs))
        )
        seconds = row["ours forward ms"] * 1e-3
        texels = points * taps * s.channels * 4 / seconds / 1e12
        return {
            "share of fp32": operations / seconds / 1e12 / ceilings["fp32_tflops"],
            "texels read TB/s": texels,
            "texels read, times a copy": texels / ceilings["copy_tbps"],
        }


def _cases(sizes: Sizes, device: str) -> Iterator[_Case]:
    cameras = orbit_cameras(torch.linspace(-90, 90, sizes.batch), torch.zeros(sizes.batch)).to(
        device
    )
    order = [*_FIRST, *(name for name in REPRESENTATIONS if name not in _FIRST)]
    for position, name in enumerate(order):
        if position == len(_FIRST):
            yield _shipped(sizes, cameras, device)
        torch.manual_seed(0)
        planes = make_planes(name, sizes.side, sizes.channels)
        settings = RenderSettings(sizes.samples, sizes.samples)
        renderer = Renderer(planes, settings, sizes.hidden, sizes.outputs).to(device)
        shape = (sizes.batch, planes.map_channels, planes.map_side, planes.map_side)
        features = torch.randn(shape, device=device).contiguous(memory_format=torch.channels_last)
        yield _Case(name, renderer, features.requires_grad_(), cameras, sizes)


def _shipped(sizes: Sizes, cameras: Tensor, device: str) -> _Case:
    """Heads of the shipped generator: mostly empty space, as trained ones are."""
    generator = Generator.load(DEFAULT, device)
    renderer, c = generator.renderer, generator.config
    renderer.settings = replace(renderer.settings, coarse=sizes.samples, fine=sizes.samples)
    with torch.no_grad():
        z = torch.randn(sizes.batch, c.z_dim, generator=torch.Generator().manual_seed(0)).to(device)
        condition = torch.randn(
            sizes.batch, c.condition_dim, generator=torch.Generator().manual_seed(1)
        ).to(device)
        condition = torch.nn.functional.normalize(condition, dim=1) if c.condition_dim else None
        features = generator.feature_map(generator.mapping(z, condition)).float()
    own = replace(
        sizes, side=c.plane_side, channels=c.plane_channels, hidden=c.hidden, outputs=c.features
    )
    return _Case(f"heads of {DEFAULT}", renderer, features.requires_grad_(), cameras, own)


def _with(renderer: Renderer, **changes: Any) -> Renderer:
    """The same renderer with other settings, sharing its weights."""
    other = copy.copy(renderer)
    other.settings = replace(renderer.settings, **changes)
    return other


def _row(
    kind: str, render: Callable[[Tensor], Any], features: Tensor, meter: Meter
) -> dict[str, Any]:
    """Time and memory of the forward pass, and of both."""

    def both() -> None:
        out = render(features)
        torch.autograd.grad(
            out.features.square().mean() + out.depth.mean() + out.opacity.mean(), features
        )

    def forward() -> None:
        with torch.no_grad():
            render(features)

    found: dict[str, Any] = {}
    try:
        for name, call in (("forward", forward), ("both", both)):
            began = time.perf_counter()
            call()  # compiles, where that is asked
            meter.wait()
            if kind == "compiled reference":
                found[f"{kind} {name} compiling s"] = time.perf_counter() - began
            found[f"{kind} {name} ms"] = meter.milliseconds(call)
            found[f"{kind} {name} MB"] = meter.peak_megabytes(call)
    except torch.OutOfMemoryError:
        found[kind] = "out of memory"
        torch.cuda.empty_cache()
    except Exception as error:  # of one kind; the others are measured all the same
        if meter.device == "cuda" and "CUDA error" in str(error):
            raise  # nothing works any more in this process
        found[kind] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"
    return {key: value for key, value in found.items() if value is not None}


def _ratios(row: dict[str, Any], kind: str) -> dict[str, float]:
    """How many times as long as ours, and as much memory, another kind takes."""
    names = [f"{what} {unit}" for unit in ("ms", "MB") for what in ("forward", "both")]
    known = [name for name in names if row.get(f"ours {name}") and row.get(f"{kind} {name}")]
    return {
        f"{kind} over ours, {name}": row[f"{kind} {name}"] / row[f"ours {name}"] for name in known
    }


def main(words: list[str]) -> None:
    job = Job.read(words)
    sizes = EG3D if job.device == "cuda" else TINY
    measure(Path(job.out) / f"{job.prefix}_render.json", job.device, lambda: job.left, sizes)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
