"""The paper's own table from the results of a study: Fréchet distances by what the generator is
conditioned on.

FID-view: the generator is conditioned on the camera that it is rendered from. FID-random: on a
camera drawn at random. FID-front: conditioned on the front and compared from the front. This is our
reading of the paper; its exact definitions were not available to us. Without a view condition, the
first two are equal.
"""

from __future__ import annotations

import pandas as pd

from semhead_lib.ablation.analysis import Results, Spread, difference, final, pick, spread
from semhead_lib.conditioning.cameras import FRONT, RANDOM, RENDERED
from semhead_lib.conditioning.modes import ConditionMode

# Mode and ViCiCo -> FID-view, FID-random and FID-front, as notes on the paper report them.
REPORTED: dict[tuple[str, str], tuple[float | None, float, float]] = {
    ("view", "off"): (9.67, 13.82, 8.42),
    ("semantic+view", "off"): (8.63, 46.24, 5.90),
    ("semantic", "off"): (None, 4.45, 4.11),
    ("semantic", "joint"): (None, 3.67, 3.51),
}
NAMES = ("FID-view", "FID-random", "FID-front")


def paper_rows(
    results: Results, metric: str = "frechet"
) -> dict[tuple[str, str], dict[str, Spread]]:
    """For each mode and ViCiCo level of the study, otherwise as in its baseline: the distances of
    NAMES and, for modes with a view, `gap`: FID-random - FID-view.

    `metric` is frechet or kernel (for KID). A distance that was not measured is missing.
    """
    found: dict[tuple[str, str], dict[str, Spread]] = {}
    pairs = results.metrics[["mode", "vicico"]].drop_duplicates()
    for mode, vicico in pairs.itertuples(index=False):
        rows = results.of(mode=mode, vicico=vicico)
        if rows.empty:
            continue
        of_view = ConditionMode(mode, semantic_dimension=1).shows_view
        cameras = (RENDERED, RANDOM) if of_view else (FRONT, FRONT)
        picked = {
            name: pick(final(rows, camera), metric)
            for name, camera in zip(NAMES, cameras, strict=False)
        }
        picked["FID-front"] = pick(final(rows, FRONT), f"{metric}_front")
        its = {name: spread(table) for name, table in picked.items() if not table.empty}
        if of_view and len(its) == len(NAMES):
            its["gap"] = difference(picked["FID-random"], picked["FID-view"])
        found[mode, vicico] = its
    order = [("none", "off"), *REPORTED]
    first = [pair for pair in order if pair in found]
    return {pair: found[pair] for pair in [*first, *(p for p in found if p not in order)]}


def paper_table(results: Results, metric: str = "frechet") -> pd.DataFrame:
    """One row per condition: this study's distances, and beside them those that the paper reports."""
    shown = []
    for (mode, vicico), its in paper_rows(results, metric).items():
        reported = REPORTED.get((mode, vicico), (None, None, None)) if metric == "frechet" else ()
        row = {"condition": mode, "ViCiCo": vicico}
        row |= {name: str(its.get(name, "–")) for name in (*NAMES, "gap")}
        for name, value in zip(NAMES, reported, strict=False):
            row[f"{name}, paper"] = "–" if value is None else f"{value:g}"
        shown.append(row)
    return pd.DataFrame(shown)
