"""The results of `semhead contest`, as a table and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pandas

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
        found = pandas.read_csv(folder / TABLE)
        rows = []
        for design, own in found[found["design"].isin(about["designs"])].groupby("design"):
            all_views, sides = own[own["scope"] == "all"], own[own["scope"] != "all"]
            by_seed = own.groupby("seed")
            row = {
                "design": design,
                "seeds": own["seed"].nunique(),
                "kimg": round(
                    float((by_seed["kimg"].first() + by_seed["reconstructed_kimg"].first()).mean()),
                    1,
                ),
            }
            for title, (metric, digits) in _METRICS.items():
                values = all_views[all_views["metric"] == metric]["value"]
                row[title] = round(float(values.mean()), digits)
            worst = sides[sides["metric"] == "recall"].groupby("seed")["value"].min()
            row["recall, worst side"] = round(float(worst.mean()), 2)
            rows.append(row)
        return pandas.DataFrame(rows).sort_values("Fréchet distance", ignore_index=True)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} holds no results of a contest: {error!r:.100}") from None


def minutes(folder: Path | str) -> float:
    """Of a training in the contest."""
    return float(json.loads((Path(folder) / ABOUT).read_text())["minutes"])


def pictures(folder: Path | str, design: str) -> list[Path]:
    """Images of six heads from six azimuths, one a seed of the design."""
    return sorted((Path(folder) / HEADS).glob(f"{folder_name(design)}_seed-*.webp"))
