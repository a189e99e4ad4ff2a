"""An inversion of one photograph against the same steps without any shortcut, by the reference
renderer, all at full size and without a density grid: `make bench` prints the table.

The photograph is a head of the generator itself, seen from 20 degrees: what is in it does not
change how long a step takes, and no search ends early. papermill_runs/benchmarks/ keeps the
metrics.
"""

import json
from dataclasses import replace

import psutil
import pytest
import torch
from test_render_speed import OUT, circumstances, seconds

from semhead_lib.cameras import orbit_cameras
from semhead_lib.inversion.inverter import Inverter
from semhead_lib.inversion.settings import InversionSettings
from semhead_lib.inversion.targets import Target

ROUNDS, STEPS = 3, 20  # of the steps as many are coarse, in shares, as in the default schedule
ASKED = 25.0  # seconds for the default schedule


@pytest.mark.bench
def test_inversion():
    default = InversionSettings()
    few = replace(default, steps=STEPS, tuning_steps=STEPS, gain=0.0)
    inverter = Inverter("semhead-128", few, device="cpu")
    plain = Inverter("semhead-128", replace(few, coarse_share=0.0, grid=0), device="cpu")
    camera = orbit_cameras(torch.tensor([20.0]), torch.tensor([5.0]))
    seen = inverter.generator.synthesize(inverter.others[:1], camera)
    everywhere = torch.ones_like(seen.image[:, :1])
    mask = torch.nn.functional.interpolate(
        seen.opacity.clamp(0, 1), size=seen.image.shape[-1], mode="bilinear"
    )
    target = Target(seen.image.clamp(-1, 1), mask, everywhere, camera)
    initialisation, matrix = inverter.begin(target), torch.randn(2048, 2048)
    fitted = inverter.search(initialisation)

    products, begins, times = (
        [],
        [],
        {(stage, reference): [] for stage in ("style", "tuning") for reference in (False, True)},
    )
    for _ in range(ROUNDS):
        products.append(seconds(lambda: matrix @ matrix))
        begins.append(seconds(lambda: inverter.begin(target)))
        for reference in (False, True):
            times["style", reference].append(
                seconds(
                    lambda reference=reference: (plain if reference else inverter).search(
                        initialisation, reference=reference
                    )
                )
            )
            times["tuning", reference].append(
                seconds(
                    lambda reference=reference: (plain if reference else inverter).tune(
                        fitted, initialisation, reference=reference
                    )
                )
            )
    s, begin = (sorted(x)[ROUNDS // 2] for x in (products, begins))
    step = {key: sorted(values)[ROUNDS // 2] / STEPS for key, values in times.items()}

    def whole(reference: bool) -> float:
        return (
            begin
            + (default.steps or 0) * step["style", reference]
            + (default.tuning_steps or 0) * step["tuning", reference]
        )

    row = {
        "seconds a photograph": round(whole(False), 1),
        "asked": ASKED,
        f"of it, the best of {inverter.candidates} starts": round(begin, 2),
        "milliseconds a step of the style": round(1e3 * step["style", False], 1),
        "milliseconds a step of the planes": round(1e3 * step["tuning", False], 1),
        "by the reference renderer, every step exact, times slower": round(
            whole(True) / whole(False), 2
        ),
        "peak memory, MB": round(psutil.Process().memory_info().rss / 1e6),
    }
    kept = {
        **circumstances(),
        "S_seconds": round(s, 4),
        "rows": {f"semhead-128, {default.steps} + {default.tuning_steps} steps": row},
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "inversion_cpu.json").write_text(json.dumps(kept, indent=1) + "\n")
    print(f"\ninversion: {json.dumps(row, indent=1)}")
