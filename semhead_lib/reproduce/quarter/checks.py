"""Step `checks`: do the compiled ops run, and are they, the graphs and bf16 right on this card?

Each verdict is "right" or a sentence, written down at once. It takes seconds, where the tests take
a minute or two.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from semhead_lib.cameras import orbit_cameras
from semhead_lib.models.config import PRESETS
from semhead_lib.models.planes import make_planes
from semhead_lib.models.renderer import Renderer, RenderSettings
from semhead_lib.ops import compiled
from semhead_lib.reproduce.quarter.job import Job, use_the_reference
from semhead_lib.reproduce.quarter.trial_step import TrialStep

IMAGE, GRADIENT = (
    1e-3,
    1e-3,
)  # differences allowed: of an image's values; of gradients, relative to the largest
HALF_MAP = 0.1  # of an image's values, from planes of noise
GRAPHED, HALVED = (
    0.02,
    0.25,
)  # of losses, relative: sums on a card have no fixed order, and Adam enlarges that


def main(words: list[str]) -> int:
    """Exit code: 0 when everything is right."""
    job, verdicts = Job.read(words), {}
    wanted: dict[str, Callable[[str], str]] = {"ops": ops, "graphs": graphs, "bf16": bf16}
    if job.reference:
        del wanted["ops"]
        use_the_reference()
    if job.device == "cpu":
        del wanted["graphs"]
        print("graphs: there are none on a CPU")
    for name, check in wanted.items():
        try:
            verdicts[name] = check(job.device)
        except Exception as error:
            verdicts[name] = (
                f"{name}: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
            )
        job.answer(**verdicts)
        print(f"{name}: {verdicts[name]}")
    return int(any(verdict != "right" for verdict in verdicts.values()))


def quick(device: str) -> str:
    """The compiled renderer agrees with the reference implementation on a few rays; well below a
    second."""
    torch.manual_seed(0)
    planes = make_planes("hyplane", 8, 16)
    renderer = Renderer(planes, RenderSettings(6, 6), 32, 8).to(device)
    shape = (2, planes.map_channels, planes.map_side, planes.map_side)
    features = (
        torch.randn(shape, device=device)
        .contiguous(memory_format=torch.channels_last)
        .requires_grad_()
    )
    cameras = orbit_cameras(torch.tensor([0.0, 100.0]), torch.zeros(2)).to(device)
    found = []
    try:
        for reference in (False, True):
            seen = renderer(features, cameras, 8, seed=1, reference=reference)
            loss = seen.features.square().mean() + seen.depth.mean()
            found.append((seen.features, *torch.autograd.grad(loss, (features, renderer.w1))))
    except RuntimeError as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
    off = [_apart(a, b, relative=i > 0) for i, (a, b) in enumerate(zip(*found, strict=True))]
    if not (off[0] <= IMAGE and max(off[1:]) <= GRADIENT):
        return f"the compiled renderer is off the reference's by {max(off):.2g}"
    return "right"


def ops(device: str) -> str:
    """The renderer runs the compiled op, seen by the profiler, and agrees with the reference
    implementation."""
    if device not in compiled.COMPILED.devices:
        return f"the compiled ops are not in use: {compiled.COMPILED.detail}"
    for name in ("semhead-64", "semhead-128"):
        c = PRESETS[name]
        torch.manual_seed(0)
        planes = make_planes(c.representation, c.plane_side, c.plane_channels)
        renderer = Renderer(planes, RenderSettings(c.coarse, c.fine), c.hidden, c.features).to(
            device
        )
        shape = (2, planes.map_channels, planes.map_side, planes.map_side)
        features = (
            torch.randn(shape, device=device)
            .contiguous(memory_format=torch.channels_last)
            .requires_grad_()
        )
        cameras = orbit_cameras(torch.tensor([0.0, 100.0]), torch.zeros(2)).to(device)

        def outputs(
            reference: bool, r=renderer, f=features, c=cameras, w=renderer.w1
        ) -> tuple[list, list]:
            seen = r(f, c, 32, seed=1, reference=reference)
            loss = seen.features.square().mean() + seen.depth.mean() + seen.opacity.mean()
            return [t.detach() for t in seen], list(torch.autograd.grad(loss, (f, w)))

        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            ours = outputs(False)
        names = {event.key for event in profile.key_averages()}
        if "semhead::render_rays" not in names:
            return "the renderer did not run semhead::render_rays"
        theirs = outputs(True)
        for what, limit, pairs in (("image", IMAGE, 0), ("gradient", GRADIENT, 1)):
            off = max(
                _apart(a, b, relative=what == "gradient")
                for a, b in zip(ours[pairs], theirs[pairs], strict=True)
            )
            if not off <= limit:
                return (
                    f"{name}: the compiled renderer's {what} is off the reference's by "
                    f"{off:.2g}, allowed {limit:g}"
                )
        half = renderer(features.detach().to(torch.bfloat16), cameras, 32, seed=1).features
        off = _apart(half, ours[0][0])
        if not off <= HALF_MAP:
            return (
                f"{name}: with a bf16 map the renderer's image is off by {off:.2g}, allowed "
                f"{HALF_MAP:g}"
            )
    return "right"


def graphs(device: str) -> str:
    """Steps replayed as CUDA graphs give the losses of eager ones: each kind of step often enough
    to be replayed."""
    lazy = dict(r1_interval=4, density_interval=2)
    eager, graphed = (
        TrialStep("semhead-32", device, graphs=graphs, **lazy) for graphs in (False, True)
    )
    verdict = _same_losses(eager, graphed, 13, GRAPHED, "graphs")
    return f"the step is not run as a graph: {graphed.why_eager}" if graphed.why_eager else verdict


def bf16(device: str) -> str:
    """Steps in bf16 stay near those in fp32."""
    common: dict[str, Any] = dict(device=device, graphs=False)
    common |= (
        dict(preset="semhead-64")
        if device == "cuda"
        else dict(preset="semhead-32", subjects_per_batch=2)
    )
    one, other = TrialStep(**common, precision="fp32"), TrialStep(**common, precision="bf16")
    return _same_losses(one, other, 5 if device == "cuda" else 2, HALVED, "bf16")


def _same_losses(one: TrialStep, other: TrialStep, steps: int, limit: float, what: str) -> str:
    for number in range(steps):
        a, b = (trial.run(number) for trial in (one, other))
        for name in ("loss_g", "loss_d"):
            x, y = float(a[name]), float(b[name])
            if not abs(x - y) <= limit * max(abs(x), 0.1):
                return (
                    f"{what}: {name} of step {number} is {y:.5g}, expected {x:.5g} within "
                    f"{100 * limit:g} %"
                )
    return "right"


def _apart(one: Tensor, other: Tensor, relative: bool = False) -> float:
    one, other = one.detach().float(), other.detach().float()
    off = (one - other).abs().max()
    return float(off / other.abs().max().clamp_min(1e-12) if relative else off)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
