"""The paper's own table from the results of a study: Fréchet distances by what the generator is
conditioned on.

FID-view: the generator is conditioned on the camera that it is rendered from. FID-random: on a
camera drawn at random. FID-front: conditioned on the front and compared from the front. This is our
reading of the paper; its exact definitions were not available to us. Without a view condition, the
first two are equal.
"""

from __future__ import annotations

import pandas as pd

from semhead_lib.ablation.analysis import (
    Results,
    Spread,
    difference,
    final,
    floor,
    pick,
    ratio,
    spread,
)
from semhead_lib.conditioning.cameras import FRONT, RANDOM, RENDERED
from semhead_lib.conditioning.modes import ConditionMode

Row = tuple[str, str]  # mode and ViCiCo level
VIEW, BOTH = ("view", "off"), ("semantic+view", "off")
SEMANTIC, JOINT = ("semantic", "off"), ("semantic", "joint")
# FID-view, FID-random and FID-front, as notes on the paper report them.
REPORTED: dict[Row, tuple[float | None, float, float]] = {
    VIEW: (9.67, 13.82, 8.42),
    BOTH: (8.63, 46.24, 5.90),
    SEMANTIC: (None, 4.45, 4.11),
    JOINT: (None, 3.67, 3.51),
}
NAMES = ("FID-view", "FID-random", "FID-front")
# What the table is read for: one cell over another.
COMPARISONS: dict[str, tuple[tuple[Row, str], tuple[Row, str]]] = {
    "view: random / rendered camera": ((VIEW, "FID-random"), (VIEW, "FID-view")),
    "semantic+view: random / rendered camera": ((BOTH, "FID-random"), (BOTH, "FID-view")),
    "FID-random: semantic / view": ((SEMANTIC, "FID-random"), (VIEW, "FID-random")),
    "FID-front: semantic / view": ((SEMANTIC, "FID-front"), (VIEW, "FID-front")),
    "FID-random, semantic: with / without ViCiCo": (
        (JOINT, "FID-random"),
        (SEMANTIC, "FID-random"),
    ),
    "FID-front, semantic: with / without ViCiCo": ((JOINT, "FID-front"), (SEMANTIC, "FID-front")),
}
AGREES, DIFFERS, NOT_DECIDED, ONE_SEED, NOT_RUN = (
    "agrees",
    "differs",
    "not decided",
    "one seed only",
    "not run",
)


def picked(
    results: Results, row: Row, name: str, metric: str = "frechet"
) -> pd.DataFrame:  # a row a run
    """The runs' values of one cell of the table; empty where it was not measured.

    `metric` is frechet or kernel (for KID).
    """
    mode, vicico = row
    rows = results.of(mode=mode, vicico=vicico)
    if name == "FID-front":
        return pick(final(rows, FRONT), f"{metric}_front")
    camera = RENDERED if name == "FID-view" else RANDOM
    if not ConditionMode(mode, semantic_dimension=1).shows_view:
        camera = FRONT  # any camera gives the same images
    return pick(final(rows, camera), metric)


def paper_rows(results: Results, metric: str = "frechet") -> dict[Row, dict[str, Spread]]:
    """For each mode and ViCiCo level of the study, otherwise as in its baseline: the distances of
    NAMES and, for modes with a view, `gap`: FID-random - FID-view. A distance that was not measured
    is missing."""
    found: dict[Row, dict[str, Spread]] = {}
    pairs = results.metrics[["mode", "vicico"]].drop_duplicates()
    for row in pairs.itertuples(index=False, name=None):
        if results.of(mode=row[0], vicico=row[1]).empty:
            continue
        cells = {name: picked(results, row, name, metric) for name in NAMES}
        its = {name: spread(cell) for name, cell in cells.items() if not cell.empty}
        of_view = ConditionMode(row[0], semantic_dimension=1).shows_view
        if of_view and len(its) == len(NAMES):
            its["gap"] = difference(cells["FID-random"], cells["FID-view"])
        found[row] = its
    order = [("none", "off"), *REPORTED]
    first = [pair for pair in order if pair in found]
    return {pair: found[pair] for pair in [*first, *(p for p in found if p not in order)]}


def paper_table(results: Results, metric: str = "frechet") -> pd.DataFrame:
    """One row per condition: this study's distances with the number of seeds, and beside them those
    that the paper reports; last, the floor: real heads in place of generated ones."""
    shown, columns = [], (*NAMES, "gap")
    for (mode, vicico), its in paper_rows(results, metric).items():
        reported = REPORTED.get((mode, vicico), (None, None, None)) if metric == "frechet" else ()
        seeds = len(next(iter(its.values())).seeds) if its else 0
        row = {"condition": mode, "ViCiCo": vicico, "seeds": str(seeds)}
        row |= {name: str(its.get(name, "–")) for name in columns}
        for name, value in zip(NAMES, reported, strict=False):
            row[f"{name}, paper"] = "–" if value is None else f"{value:g}"
        shown.append(row)
    if shown:
        rows = final(results.metrics, FRONT)
        last = dict.fromkeys(shown[0], "–") | {"condition": "real heads"}
        for name, its in (("FID-random", metric), ("FID-front", f"{metric}_front")):
            if not pick(rows, its)["real"].dropna().empty:
                last[name] = str(floor(rows, its))
        shown.append(last)
    return pd.DataFrame(shown)


def paper_comparisons(results: Results) -> pd.DataFrame:
    """One row per entry of COMPARISONS: the paper's ratio, this study's with its 95 % interval, and
    whether they agree.

    They agree, or differ, where the interval excludes 1 and all seeds (two or more) lie on one
    side of it.
    """
    shown = []
    for text, pair in COMPARISONS.items():
        reported = [REPORTED[row][NAMES.index(name)] for row, name in pair]
        assert reported[0] is not None and reported[1] is not None  # of those compared
        paper = reported[0] / reported[1]
        one, other = (picked(results, row, name) for row, name in pair)
        row = {"comparison": text, "paper": f"{paper:.2f}", "here": "–", "verdict": NOT_RUN}
        if set(one["seed"]) & set(other["seed"]):
            here = ratio(one, other)
            row |= {"here": str(here), "verdict": _verdict(here, paper)}
        shown.append(row)
    return pd.DataFrame(shown)


def _verdict(here: Spread, paper: float) -> str:
    if len(here.seeds) < 2:
        return ONE_SEED
    above = {value > 1 for value in here.seeds}
    if here.low <= 1 <= here.high or len(above) > 1:
        return NOT_DECIDED
    return AGREES if above.pop() == (paper > 1) else DIFFERS
