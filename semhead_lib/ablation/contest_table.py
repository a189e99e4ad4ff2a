"""The results of `semhead contest`, as a table and pictures."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean

import pandas

from semhead_lib import old_names
from semhead_lib.ablation.designs import folder_name
from semhead_lib.files import read_json

TABLE, ABOUT, HEADS = "metrics.csv", "designs.json", "heads"
# column -> metric over all views, and the decimals shown
_METRICS = {
    "Fréchet distance": ("frechet", 1),
    "of faces": ("frechet_of_faces", 1),
    "directional bias": ("directional_bias", 3),
    "condition recall@5": ("condition_recall_5", 2),
    "faces found, of real": ("faces_found_ratio", 2),
    "power at 8-12": ("power_8-12", 2),
    "at 32-40": ("power_32-40", 2),
}


def read_designs(folder: Path | str) -> pandas.DataFrame:
    """One row a design, best Fréchet distance first: means over seeds of metrics over all views,
    recall on the worst side, and thousands of images seen (by reconstruction and against a
    discriminator together).

    Raises FileNotFoundError, or ValueError for a folder that holds no results of a contest.
    """
    folder = Path(folder)
    about = read_json(folder / ABOUT)
    try:
        table = pandas.read_csv(old_names.existing(folder / TABLE), dtype=str, na_filter=False)
        rows: list[dict[str, str]] = table.to_dict("records")  # type: ignore[assignment]
        lines = [
            _line(design, [row for row in rows if row["design"] == design])
            for design in about["designs"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} holds no results of a contest: {error!r:.100}") from None
    return pandas.DataFrame(lines).sort_values("Fréchet distance", ignore_index=True)


def _line(design: str, rows: list[dict[str, str]]) -> dict[str, float | str]:
    """A design's line, of the rows of all of its seeds."""
    seeds = sorted({row["seed"] for row in rows})
    images = [
        next(float(r["kimg"]) + float(r["reconstructed_kimg"]) for r in rows if r["seed"] == seed)
        for seed in seeds
    ]
    line: dict[str, float | str] = {
        "design": design,
        "seeds": len(seeds),
        "kimg": round(fmean(images), 1),
    }
    for title, (metric, digits) in _METRICS.items():
        found = [float(r["value"]) for r in rows if (r["scope"], r["metric"]) == ("all", metric)]
        line[title] = round(fmean(found), digits) if found else math.nan
    recalls = [(r["seed"], float(r["value"])) for r in rows if r["metric"] == "recall"]
    worst = [min(value for s, value in recalls if s == seed) for seed in {s for s, _ in recalls}]
    line["recall, worst side"] = round(fmean(worst), 2) if worst else math.nan
    return line


def minutes(folder: Path | str) -> float:
    """Of a training in the contest."""
    return float(read_json(Path(folder) / ABOUT)["minutes"])


def pictures(folder: Path | str, design: str) -> list[Path]:
    """Images of six heads from six azimuths, one a seed of the design."""
    return sorted((Path(folder) / HEADS).glob(f"{folder_name(design)}_seed-*.webp"))
