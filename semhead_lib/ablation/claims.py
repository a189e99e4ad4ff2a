"""The method's claims as rows of a table: what was compared, the difference, and whether this study
shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from semhead_lib.ablation.analysis import (
    Results,
    Spread,
    difference,
    final,
    kimg_to_reach,
    pick,
    spread,
)
from semhead_lib.ablation.claim_list import CLAIMS, OTHER, Claim
from semhead_lib.conditioning.cameras import FRONT
from semhead_lib.metrics.names import display_name

SUPPORTED, NOT_SUPPORTED, OPPOSITE, OPEN = (
    "supported",
    "not supported",
    "the opposite is supported",
    "not run",
)


@dataclass(frozen=True)
class Verdict:
    """What a study says of a claim."""

    claim: Claim
    better: Spread | None
    worse: Spread | None
    difference: Spread | None  # better - worse
    result: str  # SUPPORTED, NOT_SUPPORTED, OPPOSITE or OPEN


def judge(results: Results, claims: Sequence[Claim] = CLAIMS) -> list[Verdict]:
    """A verdict a claim. Shown, or its opposite: the interval of the difference leaves 0 (with a
    margin, the margin) out, and every seed agrees."""
    return [_verdict(results, claim) for claim in claims]


def _verdict(results: Results, claim: Claim) -> Verdict:
    sides = [results.of(**_named_levels(results, side)) for side in (claim.better, claim.worse)]
    if claim.metric == "kimg":
        better, worse = _until_both(*sides)
    else:
        better, worse = (
            pick(final(rows, camera), claim.metric, claim.scope)
            for rows, camera in zip(sides, claim.cameras, strict=True)
        )
    if better.empty or worse.empty or not set(better["seed"]) & set(worse["seed"]):
        return Verdict(claim, None, None, None, OPEN)
    apart = difference(better, worse)
    compared_to = spread(worse)
    # The difference that has to be exceeded.
    least = -claim.sign * claim.margin * abs(compared_to.mean)
    one_sided = apart.low > least or apart.high < least
    agree = len({value > least for value in apart.seeds}) == 1 and len(apart.seeds) > 1
    result = NOT_SUPPORTED
    if one_sided and agree:
        result = SUPPORTED if (apart.mean > least) == (claim.sign > 0) else OPPOSITE
    return Verdict(claim, spread(better), compared_to, apart, result)


def _named_levels(results: Results, side: Mapping[str, Any]) -> dict[str, Any]:
    """With the level of this study in place of OTHER, which stays where there is none."""
    levels = dict(side)
    for factor in [name for name, level in side.items() if level == OTHER]:
        found = [
            level for level in results.levels(factor) if level != str(results.baseline[factor])
        ]
        levels[factor] = found[0] if found else OTHER
    return levels


def _until_both(one: pd.DataFrame, other: pd.DataFrame) -> list[pd.DataFrame]:
    """Images that the runs of both sides need to the least Frechet distance that all of them
    reach."""
    both = pd.concat([one, other])
    whole = both[
        (both["metric"] == "frechet")
        & (both["scope"] == "all")
        & (both["condition_camera"] == FRONT)
    ]
    level = whole.groupby("run")["value"].min().max()
    return [kimg_to_reach(side, level) for side in (one, other)]


def compared(
    studies: Mapping[str, Results], claims: Sequence[Claim] = CLAIMS
) -> pd.DataFrame:  # name -> its results
    """A row a claim that all studies can judge: the difference of its two sides in each, and what
    each shows."""
    each = {name: judge(results, claims) for name, results in studies.items()}
    rows = []
    for verdicts in zip(*each.values(), strict=True):
        if all(v.result != OPEN for v in verdicts):
            row = _named(verdicts[0].claim)
            for name, v in zip(each, verdicts, strict=True):
                row |= {f"difference, {name}": str(v.difference), name: v.result}
            rows.append(row)
    return pd.DataFrame(rows)


def as_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """A row a claim, as a notebook shows it."""
    return pd.DataFrame(
        [
            _named(v.claim)
            | {
                "expected better": "–" if v.better is None else str(v.better),
                "expected worse": "–" if v.worse is None else str(v.worse),
                "difference": "–" if v.difference is None else str(v.difference),
                "at this scale": v.result,
            }
            for v in verdicts
        ]
    )


def _named(claim: Claim) -> dict[str, str]:
    where = "" if claim.scope == "all" else f" at {claim.scope}°"
    return {"claim": claim.text, "metric": display_name(claim.metric) + where}
