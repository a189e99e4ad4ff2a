"""What a study's metrics say: means over seeds with intervals, learning curves, differences of two
levels.

Intervals are by a bootstrap in two stages: seeds are drawn with replacement, and to each drawn
run's metric noise is added as large as its own interval says (two metrics of one seed never have it
in common). With two or three seeds that is a rough guide, on the small side: so a difference counts
as shown only when every seed agrees with it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from semhead_lib import old_names
from semhead_lib.ablation.plan import ADDED, FACTORS
from semhead_lib.ablation.table import COLUMNS, HEADS, RUNS, STUDY, TABLE
from semhead_lib.conditioning.cameras import FRONT, condition_camera_name
from semhead_lib.conditioning.modes import MODES
from semhead_lib.files import read_json, read_rows

_NUMBERS = ("seed", "kimg", "value", "low", "high", "real", "real_low", "real_high")
_DRAWS, _NORMAL = 4000, 3.92  # bootstrap samples; width of a 95 % interval in standard deviations


@dataclass(frozen=True)
class Results:
    """The results folder of a study."""

    metrics: pd.DataFrame  # metrics.csv
    runs: pd.DataFrame  # runs.csv
    study: dict[str, Any]  # study.json
    heads: dict[str, Path]  # run, or run-azimuth-DEGREES -> image of its heads

    @property
    def baseline(self) -> dict[str, Any]:
        """The level of each factor from which the runs differ."""
        return FACTORS | self.study.get("baseline", {})

    def of(self, **levels: Any) -> pd.DataFrame:
        """Metrics of the runs at these levels of factors, all other factors as in the baseline; any
        seed.

        Raises ValueError for a factor that there is none of.
        """
        if unknown := sorted(set(levels) - set(FACTORS)):
            raise ValueError(f"factors are {', '.join(FACTORS)}, got {unknown[0]}")
        rows = self.metrics
        for name, level in {**self.baseline, **levels}.items():
            rows = rows[rows[name].astype(str) == str(level)]
        return rows

    def levels(self, factor: str) -> list[str]:
        """Levels of a factor that have finished runs, all else as in the baseline; the baseline's
        first."""
        others = {name: level for name, level in self.baseline.items() if name != factor}
        rows = self.metrics
        for name, level in others.items():
            rows = rows[rows[name].astype(str) == str(level)]
        found = list(dict.fromkeys(rows[factor].astype(str)))
        first = str(self.baseline[factor])
        return sorted(found, key=lambda level: (level != first, found.index(level)))


def load_results(folder: Path | str) -> Results:
    """Read a results folder. Raises FileNotFoundError, or ValueError naming the file that is not
    one of a study, or is damaged."""
    folder = Path(folder)
    path = old_names.existing(folder / TABLE)
    for file in (path, folder / RUNS, folder / STUDY):
        if not file.is_file():
            raise FileNotFoundError(f"{file}: not there; 'semhead ablate STUDY' writes it")
    read_rows(path, _NUMBERS)
    read_rows(folder / RUNS, ("seconds", "kimg", "images_per_second"))
    metrics = _table(path, {"scope": str, "seed": int})
    if tuple(metrics.columns) != COLUMNS:
        raise ValueError(
            f"{path}: expected the columns {', '.join(COLUMNS)}, got {', '.join(metrics.columns)}"
        )
    if wrong := sorted({str(mode) for mode in metrics["mode"]} - set(MODES)):
        raise ValueError(f"{path}: mode must be one of {', '.join(MODES)}, got {wrong[0]!r}")
    try:
        metrics["condition_camera"] = metrics["condition_camera"].map(condition_camera_name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    study = read_json(folder / STUDY)
    metrics["metric"] = metrics["metric"].replace(old_names.METRICS)
    heads = {
        path.stem.replace(*old_names.HEADS): path
        for path in sorted((folder / HEADS).glob("*.webp"))
    }
    return Results(metrics, _table(folder / RUNS, {}), study, heads)


def _table(path: Path, kinds: dict[str, type]) -> pd.DataFrame:
    """With columns of today: the runs of an earlier version are at the baseline's level of factors
    that it lacks."""
    table = pd.read_csv(path, dtype=kinds | dict.fromkeys(ADDED, str))
    table = table.rename(columns=old_names.COLUMNS)
    if set(FACTORS) - set(ADDED) <= set(table.columns):
        for place, (factor, level) in enumerate(FACTORS.items(), 1):
            if factor in ADDED and factor not in table:
                table.insert(place, factor, level)
    return table


def final(rows: pd.DataFrame, condition_camera: str = FRONT) -> pd.DataFrame:
    """The last measurement of every run, with that condition camera."""
    rows = rows[rows["condition_camera"] == condition_camera]
    return rows[rows["kimg"] == rows.groupby("run")["kimg"].transform("max")]


def pick(rows: pd.DataFrame, metric: str, scope: str = "all") -> pd.DataFrame:
    """One metric in one scope, a row a run, by seed."""
    return rows[(rows["metric"] == metric) & (rows["scope"] == scope)].sort_values("seed")


@dataclass(frozen=True)
class Spread:
    """A metric over seeds."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]  # of each seed

    def __str__(self) -> str:
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"


def spread(rows: pd.DataFrame) -> Spread:  # a row a run
    """Mean over runs with its bootstrap interval. Raises ValueError when there is none."""
    if rows.empty:
        raise ValueError("there is no run with this metric")
    values = rows["value"].to_numpy(float)
    noise = (rows["high"] - rows["low"]).to_numpy(float) / _NORMAL
    low, high = np.percentile(_bootstrap(values, noise), (2.5, 97.5))
    mean = values.mean()
    return Spread(
        float(mean), float(min(low, mean)), float(max(high, mean)), tuple(values.tolist())
    )


def floor(rows: pd.DataFrame, metric: str, scope: str = "all") -> Spread:
    """What real heads get in the generators' place, with its interval. Raises ValueError where
    nothing does."""
    its = pick(rows, metric, scope)[["real", "real_low", "real_high"]].dropna()
    if its.empty:
        raise ValueError(f"real heads have no {metric} in scope {scope}")
    mean, low, high = its.mean()
    return Spread(float(mean), float(low), float(high), ())


def difference(one: pd.DataFrame, other: pd.DataFrame) -> Spread:  # a row a run each
    """`one` - `other`, paired by seed where both have it. Raises ValueError when no seed has both."""
    both = one.merge(other, on="seed", suffixes=("", "_other"))
    if both.empty:
        raise ValueError("no seed has both")
    values = (both["value"] - both["value_other"]).to_numpy(float)
    widths = [
        (both[f"high{end}"] - both[f"low{end}"]).to_numpy(float) / _NORMAL for end in ("", "_other")
    ]
    low, high = np.percentile(_bootstrap(values, np.hypot(*widths)), (2.5, 97.5))
    mean = values.mean()
    return Spread(
        float(mean), float(min(low, mean)), float(max(high, mean)), tuple(values.tolist())
    )


def ratio(one: pd.DataFrame, other: pd.DataFrame) -> Spread:  # a row a run each, values > 0
    """`one` / `other`, paired by seed where both have it: the geometric mean over seeds. Raises
    ValueError when no seed has both, or a value is not positive."""
    for table in (one, other):
        if (table[["value", "low"]] <= 0).any(axis=None):
            raise ValueError("a ratio needs values and intervals above 0")
    logs = difference(*(t.assign(**np.log(t[["value", "low", "high"]])) for t in (one, other)))
    mean, low, high, *seeds = np.exp([logs.mean, logs.low, logs.high, *logs.seeds]).tolist()
    return Spread(mean, low, high, tuple(seeds))


def _bootstrap(values: np.ndarray, noise: np.ndarray) -> np.ndarray:  # [S], [S] -> [draws] means
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(values), (_DRAWS, len(values)))
    return (values[drawn] + rng.normal(0, 1, drawn.shape) * noise[drawn]).mean(1)


def curve(rows: pd.DataFrame, metric: str, scope: str = "all") -> tuple[list[float], list[Spread]]:
    """A metric along the training: thousands of images shown, and its spread over seeds at each."""
    rows = rows[rows["condition_camera"] == FRONT]
    stops = sorted(rows["kimg"].unique().tolist())
    return stops, [spread(pick(rows[rows["kimg"] == stop], metric, scope)) for stop in stops]


def means_and_bands(
    curves: Mapping[str, Sequence[Spread]],
) -> tuple[dict[str, list[float]], dict[str, tuple[list[float], list[float]]]]:
    """Named curves as plots take them: the means, and the low and high ends of the intervals."""
    means = {name: [s.mean for s in spreads] for name, spreads in curves.items()}
    bands = {
        name: ([s.low for s in spreads], [s.high for s in spreads])
        for name, spreads in curves.items()
    }
    return means, bands


def kimg_to_reach(rows: pd.DataFrame, level: float, metric: str = "frechet") -> pd.DataFrame:
    """When each run's falling metric first is at `level`, linear between measurements; a row a run
    that gets there.

    Its value is in thousands of images; low and high are those of the measurements around it.
    """
    found = []
    for run, its in rows[
        (rows["condition_camera"] == FRONT) & (rows["metric"] == metric) & (rows["scope"] == "all")
    ].groupby("run"):
        its = its.sort_values("kimg")
        kimg, value = its["kimg"].to_numpy(float), its["value"].to_numpy(float)
        reached = np.nonzero(value <= level)[0]
        if not len(reached):
            continue
        i = int(reached[0])
        part = 1.0 if i == 0 else (value[i - 1] - level) / (value[i - 1] - value[i])
        before = 0.0 if i == 0 else kimg[i - 1]
        at = kimg[i] if i == 0 else before + part * (kimg[i] - before)
        found.append(
            {"run": run, "seed": its["seed"].iloc[0], "value": at, "low": before, "high": kimg[i]}
        )
    return pd.DataFrame(found, columns=["run", "seed", "value", "low", "high"])


def around(rows: pd.DataFrame, metric: str) -> tuple[list[float], list[Spread], list[float]]:
    """A metric at each azimuth bin: azimuths in degrees, spreads over seeds, and what real heads
    get there."""
    scopes = sorted(
        {s for s in rows.loc[rows["metric"] == metric, "scope"] if s != "all"}, key=float
    )
    picked = [pick(rows, metric, scope) for scope in scopes]
    return (
        [float(s) for s in scopes],
        [spread(p) for p in picked],
        [float(p["real"].mean()) for p in picked],
    )


def table(
    results: Results, factor: str, metrics: Mapping[str, str]
) -> pd.DataFrame:  # metric -> title
    """A row a level of a factor, a column a metric over all views: mean over seeds, interval, and
    number of seeds."""
    shown = []
    for level in results.levels(factor):
        rows = final(results.of(**{factor: level}))
        seeds = rows["seed"].nunique()
        cells = {title: pick(rows, metric) for metric, title in metrics.items()}
        shown.append(
            {
                factor: level,
                "seeds": seeds,
                **{t: "–" if c.empty else str(spread(c)) for t, c in cells.items()},
            }
        )
    return pd.DataFrame(shown)
