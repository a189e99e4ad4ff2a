"""Runs of a study that were finished on another machine or another day: they are taken from its
results folder there instead of being executed again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from semhead_lib import old_names
from semhead_lib.ablation.plan import UNSEEN, PlannedRun, Study, read_study
from semhead_lib.ablation.table import (
    COLUMNS,
    HEADS,
    RUN_COLUMNS,
    RUNS,
    STUDY,
    TABLE,
    Finished,
)
from semhead_lib.errors import UsageError
from semhead_lib.files import checked_yaml, read_json, read_rows

_NUMBERS = ("kimg", "value", "low", "high", "real", "real_low", "real_high")


def read_finished(study: Study, folders: str | None, root: Path) -> dict[str, Finished]:
    """The finished runs of results folders (separated by commas; relative to root) by name, as far
    as they are in the study; of a run in several folders, the first.

    Raises FileNotFoundError; ValueError naming the file that is damaged; UsageError for a run that
    was made with other settings, other data or another encoder.
    """
    found: dict[str, Finished] = {}
    for folder in (folders or "").split(","):
        if folder.strip():
            for name, run in _finished(study, root / folder.strip()):
                found.setdefault(name, run)
    return found


def _finished(study: Study, folder: Path) -> Iterable[tuple[str, Finished]]:
    table, about = old_names.existing(folder / TABLE), folder / STUDY
    for file in (table, folder / RUNS, about):
        if not file.is_file():
            raise FileNotFoundError(f"{file}: not there; merge= takes results of 'semhead ablate'")
    metrics, rows = read_rows(table, _NUMBERS), read_rows(folder / RUNS, ("seconds", "kimg"))
    for file, found, columns in ((table, metrics, COLUMNS), (folder / RUNS, rows, RUN_COLUMNS)):
        if found and (lacking := sorted(set(columns) - set(found[0]))):
            raise ValueError(f"{file}: has no column {lacking[0]}; of an earlier version?")
    described = read_json(about)
    protocols = described.get("protocols")
    if not isinstance(protocols, list) or not all(isinstance(p, dict) for p in protocols):
        raise ValueError(f"{about}: protocols must be a list of objects, got {protocols!r:.60}")
    origins = _origins(described, about)
    theirs = read_study(checked_yaml(str(described.get("plan", "")), about), about)
    planned = {run.name: run for run in study.runs}
    for row in rows:
        name = row["run"]
        if name not in planned or row["state"] != "finished":
            continue
        _check_same(study, planned[name], theirs, about)
        its = [[line[c] for c in COLUMNS] for line in metrics if line["run"] == name]
        heads = [p for p in sorted((folder / HEADS).glob("*.webp")) if run_of_image(p) == name]
        if its:  # else nothing is known of it
            origin = origins.get(name, described)
            yield name, Finished(its, [row[c] for c in RUN_COLUMNS], heads, origin)


def _origins(described: dict[str, Any], about: Path) -> dict[str, dict[str, Any]]:
    """Of runs that were themselves merged there: where they were made, with that folder's protocols.
    Raises ValueError."""
    entries = described.get("merged", [])
    try:
        made = [dict(entry) | {"protocols": described["protocols"]} for entry in entries]
        return {str(name): entry for entry in made for name in entry["runs"]}
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{about}: merged must be a list of origins: {error!r:.100}") from None


def run_of_image(path: Path) -> str:
    """The run whose heads an image of a results folder shows.

    >>> run_of_image(Path("heads/view_seed-0-azimuth-90.webp"))
    'view_seed-0'
    """
    return path.stem.replace(*old_names.HEADS).partition("-azimuth-")[0]


def _check_same(ours: Study, run: PlannedRun, theirs: Study, about: Path) -> None:
    """That a run there is this one. Raises UsageError naming what differs."""
    other = theirs.run(run.name)
    here, there = ({**r.levels, **r.parameters} for r in (run, other))
    pairs = [(key, here.get(key), there.get(key)) for key in sorted(here.keys() | there)]
    pairs += [
        (f"dataset {name}", ours.datasets.get(name), theirs.datasets.get(name))
        for name in (run.data, UNSEEN)
    ]
    pairs.append(("resolution", ours.resolution, theirs.resolution))
    for name, mine, its in pairs:
        if mine != its:
            raise UsageError(
                f"{about}: {run.name} was made with other settings, so it cannot be merged: {name} "
                f"is {mine} in {ours.file}, {its} there"
            )
