"""What a study found, in a folder of its own that is small enough to keep:

results/
    metrics.csv      a row for each run, measurement, scope (an azimuth or "all") and metric
    runs.csv         a row for each run: levels of the factors, state, seconds, images a second
    study.json       plan, protocol of the metrics, commit, versions, devices
    heads/RUN.webp   the same six heads of every run: those subjects' conditions, those latents
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from semhead_lib import old_names
from semhead_lib.ablation.plan import FACTORS, NOTEBOOK, PlannedRun, Study
from semhead_lib.ablation.results import read_results
from semhead_lib.atomic import remove_leftovers, write_atomically
from semhead_lib.files import read_bytes, read_json_lines
from semhead_lib.reproduce import runs

RESULTS, TABLE, RUNS, STUDY, HEADS = "results", "metrics.csv", "runs.csv", "study.json", "heads"
LEVELS = (*FACTORS, "seed")
COLUMNS = (
    "run",
    *LEVELS,
    "kimg",
    "condition_camera",
    "scope",
    "metric",
    "value",
    "low",
    "high",
    "real",
    "real_low",
    "real_high",
)
RUN_COLUMNS = ("run", *LEVELS, "state", "seconds", "kimg", "images_per_second")


@dataclass(frozen=True)
class Finished:
    """A run that was finished elsewhere, from the results there (`ablation.merging`)."""

    metrics: list[list[str]]  # its rows of metrics.csv
    row: list[str]  # its row of runs.csv
    heads: list[Path]  # its images
    about: dict[str, Any]  # the study.json there


def write_results(study: Study, root: Path, elsewhere: Mapping[str, Finished] | None = None) -> int:
    """Write the results of all runs that have any, those finished elsewhere included; the number of
    rows of metrics.csv."""
    folder = root / study.folder / RESULTS
    (folder / HEADS).mkdir(parents=True, exist_ok=True)
    for place in (folder, folder / HEADS):  # of one that was killed while it wrote
        remove_leftovers(place)
    taken = {
        name: run
        for name, run in (elsewhere or {}).items()
        if _state(root / study.folder / name, root) != "finished"
    }
    rows, of_runs = [], []
    for run in study.runs:
        there = taken.get(run.name)
        rows += there.metrics if there else metric_rows(study, run, root)
        of_runs.append(there.row if there else _run_row(study, run, root))
    about = _described(study, root, taken)
    write_csv(folder / TABLE, COLUMNS, rows)
    write_csv(folder / RUNS, RUN_COLUMNS, of_runs)
    write_atomically(folder / STUDY, (json.dumps(about, indent=1) + "\n").encode())
    for run in study.runs:
        if run.name in taken:
            for path in taken[run.name].heads:
                name = path.name.replace(*old_names.HEADS)
                write_atomically(folder / HEADS / name, read_bytes(path))
            continue
        for path in sorted(_trained(study, run, root).glob("heads*.png")):
            end = path.stem.removeprefix("heads").replace(*old_names.HEADS)
            keep_image(path, folder / HEADS / f"{run.name}{end}.webp")
    return len(rows)


def _state(folder: Path, root: Path) -> str:
    """Of the run in that folder."""
    return runs.Run(folder, root).notebooks.get(NOTEBOOK, {}).get("status", "not begun")


def _trained(study: Study, run: PlannedRun, root: Path) -> Path:
    """What the notebook of a run wrote."""
    return old_names.existing(root / study.folder / run.name / NOTEBOOK)


def metric_rows(study: Study, run: PlannedRun, root: Path) -> Iterator[list[Any]]:
    """The rows of one run, as COLUMNS."""
    levels = [run.levels[name] for name in LEVELS]
    for result in read_results(old_names.existing(_trained(study, run, root) / "metrics")):
        for scope, metrics in result.evaluation.generated.items():
            for name, metric in metrics.items():
                real = result.evaluation.real.get(scope, {}).get(name)
                numbers = [
                    metric.value,
                    metric.low,
                    metric.high,
                    *((real.value, real.low, real.high) if real else ()),
                ]
                shown = [f"{number:.5g}" for number in numbers]
                yield [
                    run.name,
                    *levels,
                    f"{result.kimg:g}",
                    result.condition_camera,
                    scope,
                    name,
                    *shown,
                ]


def _run_row(study: Study, run: PlannedRun, root: Path) -> list[Any]:
    entry = runs.Run(root / study.folder / run.name, root).notebooks.get(NOTEBOOK, {})
    log = _trained(study, run, root) / "run" / "log.jsonl"
    lines = read_json_lines(log)
    speeds = sorted(line["images_per_second"] for line in lines)
    last = [lines[-1]["kimg"], speeds[len(speeds) // 2]] if lines else []
    state = entry.get("status", "not begun")
    return [
        run.name,
        *(run.levels[name] for name in LEVELS),
        state,
        entry.get("seconds", ""),
        *last,
    ]


def _described(study: Study, root: Path, taken: Mapping[str, Finished]) -> dict[str, Any]:
    """What has to be known to judge the metrics, and to measure them again."""
    protocols: dict[str, dict[str, Any]] = {}
    here = [run for run in study.runs if run.name not in taken]
    for run in here:
        for result in read_results(old_names.existing(_trained(study, run, root) / "metrics")):
            for metric in result.evaluation.generated["all"].values():
                protocol = {
                    k: v
                    for k, v in asdict(metric.protocol).items()
                    if k not in ("judged", "heads", "images")
                }
                protocols.setdefault(json.dumps(protocol, sort_keys=True), protocol)
    states = [runs.Run(root / study.folder / run.name, root).state for run in here]
    begun = [state for state in states if state["notebooks"]]
    origins: dict[int, dict[str, Any]] = {}  # of what was taken: an entry for each folder
    for name, run in taken.items():
        kept = {key: run.about.get(key) for key in ("commits", "versions", "devices")}
        origins.setdefault(id(run.about), {"runs": [], **kept})["runs"].append(name)
        for protocol in run.about.get("protocols", []):
            protocols.setdefault(json.dumps(protocol, sort_keys=True), protocol)
    about = {
        "study": study.name,
        "command": f"semhead ablate {study.name}",
        "baseline": study.baseline,
        "plan": (root / study.file).read_text(encoding="utf-8"),
        "commits": sorted(
            {
                entry["commit"]
                for s in begun
                for entry in s["notebooks"].values()
                if entry.get("commit")
            }
        ),
        "versions": begun[0]["versions"] if begun else {},
        "devices": begun[0]["devices"] if begun else {},
        "protocols": list(protocols.values()),
    }
    if not begun and origins:  # all of it from elsewhere
        first = next(iter(origins.values()))
        about |= {key: first[key] for key in ("commits", "versions", "devices")}
    return about | ({"merged": list(origins.values())} if origins else {})


def write_csv(path: Path, columns: Sequence[str], rows: list[list[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(row + [""] * (len(columns) - len(row)) for row in rows)
    write_atomically(path, text.getvalue().encode())


def keep_image(source: Path, target: Path, largest: int | None = None, quality: int = 92) -> None:
    """Write an image as WebP, at most `largest` pixels a side."""
    content = io.BytesIO()
    with Image.open(source) as image:
        if largest is not None:
            image.thumbnail((largest, largest))
        image.save(content, format="WEBP", quality=quality, method=6)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, content.getvalue())
