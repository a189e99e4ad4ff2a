"""How long one waits in the explorer: `make bench` prints the table.

Slider to image is the whole way in the kernel: the control's change, the thread beside it, the
image in the widget. The first image is counted from the start of Python. papermill_runs/benchmarks/
keeps the metrics.
"""

import json
import subprocess
import sys
import time

import psutil
import pytest
import torch
from test_render_speed import OUT, circumstances, seconds

from semhead_lib.explore.explorer import HeadExplorer

ROUNDS = 9
FIRST = (
    "from semhead_lib.viz.heads import HeadRequest, HeadModel; m = HeadModel('semhead-128', "
    "device='cpu'); "
    "m.image(m.style(HeadRequest()), 20.0, 5.0)"
)


@pytest.mark.bench
def test_explorer():
    matrix, explorer = torch.randn(2048, 2048), HeadExplorer("semhead-128", device="cpu", mesh=96)
    assert explorer.wait(120)
    waits = {
        name: []
        for name in ("turned", "other seed", "other words", "S", "mesh 96", "volume 64", "page")
    }

    def until_drawn(change) -> float:
        shown, began = explorer.image.value, time.perf_counter()
        change()
        while explorer.image.value == shown:
            time.sleep(0.001)
        return time.perf_counter() - began

    def say(control, value):
        return lambda: setattr(control, "value", value)

    for k in range(ROUNDS):
        waits["S"].append(seconds(lambda: matrix @ matrix))
        waits["turned"].append(until_drawn(say(explorer.azimuth, 5.0 + 13 * k)))
        explorer.wait()
        waits["other seed"].append(until_drawn(say(explorer.seed, 10 + k)))
        explorer.wait()
        words = f"a {'wo' * (k % 2)}man with {('red', 'black', 'grey', 'blond')[k % 4]} hair"
        waits["other words"].append(until_drawn(say(explorer.condition, words)))
        explorer.wait()
        model, w = (
            explorer._model("semhead-128"),
            explorer._model("semhead-128").style(explorer.asked()),
        )
        waits["mesh 96"].append(seconds(lambda model=model, w=w: model.mesh(w, 96)))
        waits["volume 64"].append(seconds(lambda model=model, w=w: model.volume(w, 64)))
        waits["page"].append(seconds(lambda: explorer.still("a head")))
    explorer.close()
    first = [
        seconds(lambda: subprocess.run([sys.executable, "-c", FIRST], check=True)) for _ in range(3)
    ]
    middle = {name: sorted(values)[ROUNDS // 2] for name, values in waits.items()}
    row = {
        "slider to image, turned, s": round(middle["turned"], 3),
        "slider to image, another seed, s": round(middle["other seed"], 3),
        "words to image, s": round(middle["other words"], 3),
        "mesh of 96 points a side, s": round(middle["mesh 96"], 3),
        "density of 64 points a side, s": round(middle["volume 64"], 3),
        "still for a saved notebook, s": round(middle["page"], 3),
        "Python's start to the first image, s": round(sorted(first)[1], 2),
        "asked, s": {"slider to image": 0.7, "mesh of 96 points a side": 1.5, "first image": 20.0},
        "memory of the process, MB": round(psutil.Process().memory_info().rss / 1e6),
    }
    kept = {**circumstances(), "S_seconds": round(middle["S"], 4), "rows": {"semhead-128": row}}
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "explorer_cpu.json").write_text(json.dumps(kept, indent=1) + "\n")
    print(f"\nexplorer: {json.dumps(row, indent=1)}")
