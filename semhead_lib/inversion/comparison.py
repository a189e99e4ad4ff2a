"""Comparison of inversion methods on subjects with known ground truth at every azimuth: metrics
with intervals over subjects."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from tqdm import tqdm

from semhead_lib import old_names
from semhead_lib.atomic import write_atomically
from semhead_lib.cameras import degrees_apart, orbit_angles
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.files import file_digest, read_json, read_rows
from semhead_lib.inversion import judging
from semhead_lib.inversion.held_out import KnownSubject
from semhead_lib.inversion.inverter import Initialisation, Inverter
from semhead_lib.inversion.search import Inverted, Search
from semhead_lib.inversion.settings import InversionSettings
from semhead_lib.inversion.targets import Target, prepare, prepare_portraits
from semhead_lib.models.generator import DEFAULT, WEIGHTS

if TYPE_CHECKING:
    import pandas

STAGES = ("start", "style", "tuned")  # before the search, after it, after tuning
CAMERAS = ("known", "estimated", "landmarks")
_COLUMNS = ("method", "subject", "stage", "scope", "metric", "value")
_RESAMPLES = 1000


@dataclass(frozen=True)
class Method:
    """One method of inversion."""

    name: str
    model: str = DEFAULT
    start: str = "best"
    cameras: str = "known"  # or "estimated", as any photograph's; or by its landmarks alone
    space: str = "w+"
    front: str = "predicted"  # or "own": what the condition is (start.condition_of)
    azimuths: tuple[float, ...] = ()  # of its photographs; none: one near the front (held_out)

    def __post_init__(self) -> None:
        if self.cameras not in CAMERAS:
            raise ValueError(f"cameras must be one of {', '.join(CAMERAS)}, got {self.cameras!r}")
        object.__setattr__(self, "azimuths", tuple(self.azimuths))


class Draw(Protocol):
    """The same subjects, rendered as photographs at a given resolution from given azimuths."""

    def __call__(
        self, resolution: int, /, *, azimuths: Sequence[float] = ()
    ) -> Iterable[KnownSubject]: ...


def compare(
    methods: Sequence[Method],
    subjects: Draw,
    out: Path | str,
    settings: InversionSettings | None = None,
    *,
    extractor: FeatureExtractor
    | None = None,  # whose maps judge how alike images look; None: headjudge
    device: str = "auto",
    progress: bool = False,
) -> pandas.DataFrame:
    """Invert every subject with every method; finished results in `out` are read. One row per
    metric: `table_of`.

    `subjects` is `held_out.held_out` for a count of subjects, or like it.

    OUT/METHOD/SUBJECT.json keeps the metrics of one inversion; Ctrl-C ends without that at hand.
    Raises ValueError where such a file is of other settings, or of another generator.
    """
    out, settings = Path(out), settings or InversionSettings()
    extractor = extractor or FeatureExtractor.load(device=device)
    rows = []
    for method in methods:
        chosen = replace(settings, space=method.space)
        if method.cameras == "known":  # there is nothing to refine
            chosen = replace(chosen, camera_lr=0.0)
        about = {
            "method": asdict(method) | {"azimuths": list(method.azimuths)},
            "settings": asdict(chosen),
            "features": extractor.identity,
        }
        how = dict(start_at=method.start, front=method.front, device=device)
        inverter = Inverter(method.model, chosen, **how)
        about["generator"] = file_digest(inverter.folder / WEIGHTS)
        drawn = subjects(inverter.generator.config.resolution, azimuths=method.azimuths)
        for subject in tqdm(drawn, desc=method.name, disable=not progress):
            path = out / method.name / f"{subject.name}.json"
            kept = _kept(path) if path.is_file() else None
            if kept is not None and {"generator": about["generator"], **kept["about"]} != about:
                raise ValueError(
                    f"{path} was made by other settings or weights: delete it, or write to "
                    "another folder"
                )
            if kept is None:
                kept = {"about": about, "rows": judged(inverter, method, subject, extractor)}
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, json.dumps(kept).encode())
            rows += [
                {"method": method.name, "subject": subject.name, **row} for row in kept["rows"]
            ]
    return table_of(rows)


def _kept(path: Path) -> dict:
    """What OUT/METHOD/SUBJECT.json holds, by today's names."""
    content = read_json(path)
    try:
        about = old_names.today(old_names.COLUMNS, content["about"])
        about["settings"] = old_names.today(old_names.SETTINGS, about["settings"])
        about["method"].setdefault("azimuths", [])  # of a table made before there was a choice
        rows = [old_names.today(old_names.COLUMNS, row) for row in content["rows"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: holds no metrics of an inversion: {error!r:.100}") from None
    return {"about": about, "rows": rows}


def judged(
    inverter: Inverter, method: Method, subject: KnownSubject, extractor: FeatureExtractor
) -> list[dict]:
    """Invert one subject; returns the metrics of every stage. If its face is not found, one row
    says so. Raises KeyboardInterrupt after Ctrl-C."""
    target, off = target_of(inverter, method, subject)
    if target is None:
        return [_row("start", "all", "face_found", 0.0)]
    began = time.perf_counter()
    initialisation = inverter.begin(target)
    stages = {
        "start": Inverted(
            inverter.generator, initialisation.w, initialisation.objective.target.cameras, Search()
        )
    }
    seconds = {"start": time.perf_counter() - began}
    stages["style"] = inverter.search(initialisation)
    seconds["style"] = time.perf_counter() - began
    if inverter.settings.tuning_steps:
        stages["tuned"] = inverter.tune(stages["style"], initialisation)
        seconds["tuned"] = time.perf_counter() - began
    last = [*stages.values()][-1]
    if "interrupted" in (last.style.stopped, last.tuning.stopped):
        raise KeyboardInterrupt  # what was found so far is no result of these settings
    rows = [_row("start", "all", "face_found", 1.0), _row("start", "all", "camera_error", off)]
    for stage, fitted in stages.items():
        rows.append(_row(stage, "all", "seconds", seconds[stage]))
        rows += _metrics(stage, method, fitted, initialisation, subject, inverter, extractor)
    return rows


def target_of(
    inverter: Inverter, method: Method, subject: KnownSubject
) -> tuple[Target | None, float]:
    """The input of the method for a subject, and the camera's error in degrees; None if no face is
    found."""
    generator = inverter.generator
    if method.cameras == "known":
        return prepare(generator, [*subject.photos], [*subject.masks], subject.cameras), 0.0
    from semhead_lib.data.portraits.alignment import align

    finder, portraits, errors = "landmarks", [], []
    if method.cameras == "estimated":
        finder = "auto"
    for photo, mask, camera in zip(subject.photos, subject.masks, subject.cameras, strict=True):
        how = dict(name=subject.name, resolution=photo.shape[-1], finder=finder, mask=mask)
        with contextlib.suppress(ValueError):  # no head is found
            portraits.append(align(photo, **how))
            true, found = orbit_angles(torch.stack([camera, portraits[-1].camera])).tolist()
            errors.append(degrees_apart(true[:2], found[:2]))
    if not portraits:
        return None, float("nan")
    return prepare_portraits(generator, portraits), sum(errors) / len(errors)


def _metrics(
    stage: str,
    method: Method,
    fitted: Inverted,
    initialisation: Initialisation,
    subject: KnownSubject,
    inverter: Inverter,
    extractor: FeatureExtractor,
) -> list[dict]:
    azimuths = orbit_angles(subject.around.cameras)[:, 0]
    here = (
        subject.here
        if method.cameras == "known"
        else judging.as_aligned(initialisation.objective.target, fitted)
    )
    rows = [
        _row(stage, scope, name, float(value))
        for truth, scopes in (
            (here, ["input"] * len(here.images)),
            (subject.around, [f"{a:g}" for a in azimuths.round().tolist()]),
        )
        for name, values in judging.view_metrics(fitted, truth, inverter.encoder, extractor).items()
        for scope, value in zip(scopes, values, strict=True)
    ]
    rows.append(
        _row(stage, "all", "identity", judging.identity_metric(fitted, subject.around, azimuths))
    )
    return [*rows, _row(stage, "all", "chamfer", judging.shape_metric(fitted, subject.around))]


def _row(stage: str, scope: str, metric: str, value: float) -> dict:
    return {
        "stage": stage,
        "scope": scope,
        "metric": metric,
        "value": None if value != value else round(value, 6),
    }


def table_of(rows: list[dict]) -> pandas.DataFrame:
    """One row a method, subject, stage, scope ("input", an azimuth in degrees, or "all") and
    metric."""
    import pandas

    table = pandas.DataFrame(rows, columns=list(_COLUMNS))
    return table.astype({"value": float})


def read_table(path: Path | str) -> pandas.DataFrame:
    """Read a `table_of` that was written as CSV, or as `NAME.csv.gz`. Raises
    FileNotFoundError, or ValueError naming the file for another table, or a damaged one."""
    import pandas

    path = old_names.existing(Path(path))
    read_rows(path, ("value",))
    table = pandas.read_csv(  # a text that reads "nan" stays one
        path, dtype={"scope": str}, keep_default_na=False, na_values={"value": ["", "nan"]}
    ).rename(columns=old_names.COLUMNS)
    if list(table.columns) != list(_COLUMNS):
        raise ValueError(
            f"{path}: expected the columns {', '.join(_COLUMNS)}, got {', '.join(table.columns)}"
        )
    return table


@dataclass(frozen=True)
class MeanOverSubjects:
    """The mean over subjects, with a bootstrap interval of 95 %; NaN where none has the metric."""

    value: float
    low: float
    high: float
    subjects: int

    def __str__(self) -> str:
        if not self.subjects:
            return "–"
        digits = (
            1
            if abs(self.value) >= 10
            else 4
            if abs(self.value) < 0.05
            else 2
            if abs(self.value) >= 1
            else 3
        )
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def mean_over_subjects(table: pandas.DataFrame, seed: int = 0) -> MeanOverSubjects:
    """Of rows of one method, stage and metric: first the mean over each subject's scopes, then over
    subjects."""
    values = table.dropna(subset="value").groupby("subject")["value"].mean().to_numpy()
    if not len(values):
        return MeanOverSubjects(float("nan"), float("nan"), float("nan"), 0)
    drawn = np.random.default_rng(seed).integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(1), [2.5, 97.5])
    return MeanOverSubjects(float(values.mean()), float(low), float(high), len(values))


def metric(
    table: pandas.DataFrame, name: str, where: str, method: str, stage: str
) -> MeanOverSubjects:
    """Mean of one metric for a method and stage: `where` is "input", "around" or "all"."""
    part = table[
        (table["method"] == method) & (table["stage"] == stage) & (table["metric"] == name)
    ]
    return mean_over_subjects(around(part) if where == "around" else part[part["scope"] == where])


def gain(
    table: pandas.DataFrame, name: str, where: str, before: tuple[str, str], after: tuple[str, str]
) -> MeanOverSubjects:  # (method, stage) twice
    """Difference of a metric between two methods or stages, paired by subject."""
    each = []
    for method, stage in (before, after):
        part = table[
            (table["method"] == method) & (table["stage"] == stage) & (table["metric"] == name)
        ]
        part = around(part) if where == "around" else part[part["scope"] == where]
        each.append(part.dropna(subset="value").groupby("subject")["value"].mean())
    difference = (each[1] - each[0]).dropna().rename("value").reset_index()
    return mean_over_subjects(difference)


def around(table: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of single azimuths."""
    return table[~table["scope"].isin(["input", "all"])]


def summary(table: pandas.DataFrame, metrics: dict[str, str]) -> pandas.DataFrame:
    """One row per method and stage; for each metric (name -> heading), its mean [interval] on the
    input view and around, or over all if it is not measured per view."""
    import pandas

    rows = []
    for (method, stage), part in table.groupby(["method", "stage"], sort=False):
        row = {"method": method, "stage": stage, "subjects": part["subject"].nunique()}
        for name, heading in metrics.items():
            chosen = part[part["metric"] == name]
            if (chosen["scope"] == "all").all():
                row[heading] = str(mean_over_subjects(chosen)) if len(chosen) else ""
            else:
                row[f"{heading}, input"] = str(
                    mean_over_subjects(chosen[chosen["scope"] == "input"])
                )
                row[f"{heading}, around"] = str(mean_over_subjects(around(chosen)))
        rows.append(row)
    return pandas.DataFrame(rows)
