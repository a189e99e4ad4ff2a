"""`semhead contest`: designs of a generator and its training, each for the same minutes of one core
(or one GPU).

A study (`semhead ablate`) gives all runs the same number of images, to tell what the method's parts
do. A contest gives them the same time, to tell what is worth having: a design that costs twice as
much sees half as much. On a CPU it is time of the processor, which other processes do not take
away. A contest is a YAML file in papermill_runs/profiles/designs; `cpu.yaml` there says what is in
it.

    papermill_runs/designs/NAME/
        datasets/       training/ and unseen/: subjects to train on, and others
        DESIGN_seed-S/  begin/ (by reconstruction), run/, metrics.json, heads.png
        results/        metrics.csv, designs.json, heads/*.webp: small enough to keep
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from semhead_lib import old_names
from semhead_lib.ablation.contest_design import HEADS
from semhead_lib.ablation.designs import METRICS_FILE, Contest, Entry, load_contest
from semhead_lib.ablation.settings import ContestSettings
from semhead_lib.ablation.table import keep_image, write_csv
from semhead_lib.atomic import folder_lock, write_atomically
from semhead_lib.errors import UsageError
from semhead_lib.files import read_json
from semhead_lib.reproduce import provenance
from semhead_lib.reproduce.progress import ProgressLine, duration

LOG = "job.log"
_PICTURE = 310  # pixels a side of the pictures that are kept: six heads by six
_COLUMNS = (
    "design",
    "seed",
    "kimg",
    "reconstructed_kimg",
    "scope",
    "metric",
    "value",
    "low",
    "high",
    "real",
    "real_low",
    "real_high",
)


def contest(
    name: str,
    only: str | None = ContestSettings.only,
    workers: int = ContestSettings.workers,
    dry_run: bool = ContestSettings.dry_run,
    root: Path | None = None,
) -> bool:
    """Train and judge what is left of a contest, `workers` designs at a time; whether all are
    finished.

    Raises UsageError for mistakes in the contest, BlockingIOError when another process executes it.
    """
    root = (root or provenance.find_root(Path.cwd())).resolve()
    plan = load_contest(name, root)
    chosen = [
        e
        for e in plan.entries
        if not only or any(e.name.startswith(w.strip()) for w in only.split(","))
    ]
    if not chosen:
        raise UsageError(
            f"only={only}: no design begins so; there are {', '.join(e.name for e in plan.entries)}"
        )
    waiting = [entry for entry in chosen if not plan.finished(entry, root)]
    print(
        f"{plan.name}: {len(chosen)} trainings, {len(waiting)} to execute, into {plan.folder}",
        flush=True,
    )
    if dry_run:
        return not waiting
    (root / plan.folder).mkdir(parents=True, exist_ok=True)
    with folder_lock(root / plan.folder):
        if waiting:
            _make_datasets(plan, root, workers)
            _execute(plan, waiting, root, workers)
        rows = write_results(plan, root)
    print(f"{plan.folder / 'results' / 'metrics.csv'}: {rows} rows", flush=True)
    return all(plan.finished(entry, root) for entry in chosen)


def _make_datasets(plan: Contest, root: Path, workers: int) -> None:
    from functools import partial

    from semhead_lib.conditioning.semantic import SemanticEncoder
    from semhead_lib.data.dataset.semantics import fill_semantics
    from semhead_lib.data.jobs.synthesis import synthesize
    from semhead_lib.data.parametric.source import ParametricSource

    encoder = SemanticEncoder.load()
    for name, asked in plan.datasets.items():
        settings = {"views_per_subject": 8} | {
            key: value for key, value in asked.items() if key != "subjects"
        }
        source = partial(ParametricSource, resolution=plan.resolution, **settings)
        folder = plan.dataset(name, root)
        synthesize(source, folder, asked["subjects"], image_format="webp", workers=workers)
        fill_semantics(folder, encoder.images, str(encoder.identity), batch=encoder.batch)


def _execute(plan: Contest, waiting: list[Entry], root: Path, workers: int) -> None:
    """One process for each design; a Ctrl-C ends them all, and those that were not finished begin
    anew."""
    running: dict[str, tuple[subprocess.Popen, float]] = {}
    line, waiting = ProgressLine("contest", every=60.0), list(waiting)
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1"}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                entry = waiting.pop(0)
                folder = root / plan.folder / entry.name
                folder.mkdir(parents=True, exist_ok=True)
                command = [
                    sys.executable,
                    "-m",
                    "semhead_lib.ablation.contest_design",
                    str(plan.file),
                    entry.name,
                    str(root),
                    str(os.getpid()),
                ]
                with open(folder / LOG, "wb") as log:
                    process = subprocess.Popen(
                        command, cwd=root, env=environment, stdout=log, stderr=log
                    )
                running[entry.name] = process, time.monotonic()
            for name, (process, began) in list(running.items()):
                if process.poll() is not None:
                    line.end()
                    how = (
                        "finished"
                        if process.returncode == 0
                        else f"failed, see {plan.folder / name / LOG}"
                    )
                    print(f"{name}: {how} after {duration(time.monotonic() - began)}", flush=True)
                    del running[name]
            line.show(
                "; ".join(
                    f"{name}, {duration(time.monotonic() - t)}" for name, (_, t) in running.items()
                )
            )
            time.sleep(0.5)
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.wait()


def write_results(plan: Contest, root: Path) -> int:
    """Write the metrics of all designs that have any; the number of rows."""
    from semhead_lib.evaluation.result import Evaluation

    folder, rows, designs = root / plan.folder / "results", [], {}
    for entry in plan.entries:
        if not plan.finished(entry, root):
            continue
        own = root / plan.folder / entry.name
        kept = old_names.existing(own / METRICS_FILE)
        found = read_json(kept)
        try:
            evaluation = Evaluation.from_json(found["evaluation"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{kept}: holds no metrics of a design: {error!r:.100}") from None
        for scope, named in evaluation.generated.items():
            for name, metric in named.items():
                real = evaluation.real.get(scope, {}).get(name)
                numbers = [
                    x for each in (metric, real) if each for x in (each.value, each.low, each.high)
                ]
                rows.append(
                    [
                        entry.design,
                        entry.seed,
                        found["kimg"],
                        found["reconstructed_kimg"],
                        scope,
                        name,
                        *(f"{number:.5g}" for number in numbers),
                    ]
                )
        keep_image(own / HEADS, folder / "heads" / f"{entry.name}.webp", _PICTURE, quality=75)
        designs[entry.design] = {
            "parts": entry.parts,
            "train": entry.train,
            "reconstruct": entry.reconstruct,
        }
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "metrics.csv", _COLUMNS, rows)
    about = {
        "contest": plan.name,
        "command": f"semhead contest {plan.name}",
        "minutes": plan.minutes,
        "plan": (root / plan.file).read_text(encoding="utf-8"),
        "designs": designs,
    }
    write_atomically(folder / "designs.json", (json.dumps(about, indent=1) + "\n").encode())
    return len(rows)
