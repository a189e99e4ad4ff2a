"""Whether a training is still one: losses, weights and moments that are no numbers end it."""

from __future__ import annotations

import math
from pathlib import Path

from accelerate import Accelerator

from semhead_lib.training.distributed import everywhere
from semhead_lib.training.logs import IntervalMeans
from semhead_lib.training.networks import Networks
from semhead_lib.training.run_folder import SNAPSHOTS
from semhead_lib.training.snapshots import all_finite, snapshots, state_of


def finite_means(
    interval: IntervalMeans,
    networks: Networks,
    step: int,
    out: Path,
    accelerator: Accelerator,
    *,
    weights: bool,
) -> dict[str, float]:
    """Means of the terms since the last line, over all processes. Raises FloatingPointError in all
    of them when a loss of one was not finite, or, with `weights`, when a weight is not: nothing of
    that is ever saved."""
    means = interval.read(accelerator)
    wrong = None
    if means.pop("finite", 1.0) < 1 or not all(
        math.isfinite(means[name]) for name in ("loss_g", "loss_d")
    ):
        others = [
            f"{n} is {x}"
            for n, x in means.items()
            if not (math.isfinite(x) or n in ("loss_g", "loss_d"))
        ]
        wrong = ", ".join(
            [f"the losses are {means['loss_g']:.5g} and {means['loss_d']:.5g}", *others]
        )
    elif weights and not everywhere(all_finite(state_of(networks, step)), accelerator):
        wrong = "weights of the networks, or their optimisers' moments, are not finite"
    if wrong:
        saved = snapshots(out / SNAPSHOTS)
        kept = (
            f"the last snapshot, {saved[-1]}, is finite and is kept"
            if saved
            else "there is no snapshot yet"
        )
        raise FloatingPointError(
            f"step {step}: {wrong}; {kept}. Lower the learning rates or raise r1_gamma, "
            "into a new folder"
        )
    return means
