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
from semhead_lib.ablation.plan import FACTORS
from semhead_lib.conditioning.cameras import FRONT

SUPPORTED, NOT_SUPPORTED, OPPOSITE, OPEN = (
    "supported",
    "not supported",
    "the opposite is supported",
    "not run",
)


OTHER = "another"  # of a factor: the first level beside the baseline's that a study has runs of


@dataclass(frozen=True)
class Claim:
    """`better` has more (sign 1) or less (sign -1) of a metric than `worse`, levels of factors
    both; with a margin, it has not that much less or more."""

    text: str
    metric: str
    sign: int
    better: dict[str, Any]
    worse: dict[str, Any]
    scope: str = "all"
    cameras: tuple[str, str] = (FRONT, FRONT)  # that better and worse are conditioned on
    margin: float = 0.0  # share of the value of `worse` that `better` may fall behind it


CLAIMS = (
    Claim(
        "With no condition the model collapses: fewer modes are covered",
        "mode_coverage",
        1,
        {},
        {"mode": "none"},
    ),
    Claim(
        "A view condition biases the model towards a direction; a semantic one does not",
        "directional_bias",
        -1,
        {},
        {"mode": "view"},
    ),
    Claim("… nor does it next to none at all", "directional_bias", -1, {}, {"mode": "none"}),
    Claim(
        "Told the back instead of the front, a view model's backs get better",
        "frechet",
        -1,
        {"mode": "view"},
        {"mode": "view"},
        scope="180",
        cameras=("180", FRONT),
    ),
    Claim(
        "… and its fronts get worse",
        "frechet",
        -1,
        {"mode": "view"},
        {"mode": "view"},
        scope="0",
        cameras=(FRONT, "180"),
    ),
    Claim(
        "A semantic condition gives better heads than the view, over all sides",
        "frechet",
        -1,
        {},
        {"mode": "view"},
    ),
    Claim("… and than none", "frechet", -1, {}, {"mode": "none"}),
    Claim(
        "… with more diverse backs than under the view",
        "diversity",
        1,
        {},
        {"mode": "view"},
        scope="180",
    ),
    Claim(
        "… and front and back belong to one head",
        "cross_view_recall_5",
        1,
        {},
        {"mode": "view"},
        scope="180",
    ),
    Claim(
        "Training is faster than under the view: images to the Fréchet distance that both reach",
        "kimg",
        -1,
        {},
        {"mode": "view"},
    ),
    Claim(
        "Telling the view beside the semantics brings bias back",
        "directional_bias",
        -1,
        {},
        {"mode": "semantic+view"},
    ),
    Claim("ViCiCo: better heads than without", "frechet", -1, {}, {"vicico": "off"}),
    Claim("… that follow their condition more", "condition_recall_5", 1, {}, {"vicico": "off"}),
    Claim("… whose sides agree more", "cross_view_recall_5", 1, {}, {"vicico": "off"}, scope="180"),
    Claim("… with fewer faces on their backs", "face_on_back", -1, {}, {"vicico": "off"}),
    Claim("… whose backs are less like fronts", "mirrored_back", -1, {}, {"vicico": "off"}),
    Claim(
        "Its view term alone: fewer faces on backs than without",
        "face_on_back",
        -1,
        {"vicico": "view"},
        {"vicico": "off"},
    ),
    Claim(
        "Its condition term alone: heads follow their condition more",
        "condition_recall_5",
        1,
        {"vicico": "condition"},
        {"vicico": "off"},
    ),
    Claim(
        "One joint term, as reported: fewer faces on backs than without",
        "face_on_back",
        -1,
        {"vicico": "joint"},
        {"vicico": "off"},
    ),
    Claim(
        "… and heads that follow their condition more, with the joint term",
        "condition_recall_5",
        1,
        {"vicico": "joint"},
        {"vicico": "off"},
    ),
    Claim(
        "Ten times the weight of ViCiCo: fewer faces on backs",
        "face_on_back",
        -1,
        {"vicico": "both-1"},
        {"vicico": "both-0.1"},
    ),
    Claim(
        "… and heads that follow their condition more, with ten times the weight",
        "condition_recall_5",
        1,
        {"vicico": "both-1"},
        {"vicico": "both-0.1"},
    ),
    Claim(
        "A semantic condition stops faces on backs that a view condition lets through",
        "face_on_back",
        -1,
        {},
        {"mode": "view"},
    ),
    Claim(
        "Four views of a subject in a batch: better heads than one",
        "frechet",
        -1,
        {},
        {"views_per_subject": 1},
    ),
    Claim(
        "Without a condition, training collapses with one view of a subject in a batch: fewer modes "
        "are covered than with four",
        "mode_coverage",
        1,
        {"mode": "none"},
        {"mode": "none", "views_per_subject": 1},
    ),
    Claim(
        "… and its heads are worse than with four",
        "frechet",
        -1,
        {"mode": "none"},
        {"mode": "none", "views_per_subject": 1},
    ),
    Claim(
        "… where a semantic condition keeps it from that: with one view, too, it covers more modes",
        "mode_coverage",
        1,
        {"views_per_subject": 1},
        {"mode": "none", "views_per_subject": 1},
    ),
    Claim(
        "… and its heads are better than none's with one view",
        "frechet",
        -1,
        {"views_per_subject": 1},
        {"mode": "none", "views_per_subject": 1},
    ),
    Claim(
        "Removing the condition in mid-training hurts: worse heads than with it to the end",
        "frechet",
        -1,
        {},
        {"condition_until_kimg": OTHER},
    ),
    Claim(
        "… that cover fewer modes",
        "mode_coverage",
        1,
        {},
        {"condition_until_kimg": OTHER},
    ),
    Claim(
        "Balanced views: less bias than views as in photographs",
        "directional_bias",
        -1,
        {},
        {"data": "front_heavy"},
    ),
    Claim(
        "On photographs' views too, semantics bias less than the view",
        "directional_bias",
        -1,
        {"data": "front_heavy"},
        {"data": "front_heavy", "mode": "view"},
    ),
    Claim(
        "As many images of more subjects: better heads than more views of fewer",
        "frechet",
        -1,
        {"data": "many_subjects_few_views"},
        {"data": "few_subjects_many_views"},
    ),
    Claim(
        "… of which more modes are covered",
        "mode_coverage",
        1,
        {"data": "many_subjects_few_views"},
        {"data": "few_subjects_many_views"},
    ),
    Claim(
        "More subjects at as many views each: better heads",
        "frechet",
        -1,
        {"data": "many_subjects_some_views"},
        {"data": "few_subjects_some_views"},
    ),
    Claim(
        "More views of as many subjects: sides agree more",
        "cross_view_recall_5",
        1,
        {"data": "some_subjects_many_views"},
        {"data": "some_subjects_few_views"},
        scope="180",
    ),
    Claim(
        "Views that contradict each other are filtered out: the Fréchet distance from consistent "
        "heads grows by less than 10 %",
        "frechet",
        -1,
        {"data": "inconsistent"},
        {},
        margin=0.1,
    ),
    Claim(
        "… and heads are as consistent as from consistent views, but for 3 % of the decibels",
        "consistency_psnr",
        1,
        {"data": "inconsistent"},
        {},
        margin=0.03,
    ),
    Claim(
        "On views that contradict each other, a semantic condition gives better heads than the view",
        "frechet",
        -1,
        {"data": "inconsistent"},
        {"data": "inconsistent", "mode": "view"},
    ),
    Claim(
        "The front's feature for all views: less bias than each view's own",
        "directional_bias",
        -1,
        {},
        {"source": "view"},
    ),
    Claim("… and better heads", "frechet", -1, {}, {"source": "view"}),
    Claim(
        "Hy-planes: better heads than tri-planes", "frechet", -1, {}, {"representation": "triplane"}
    ),
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
    least = -claim.sign * claim.margin * abs(compared_to.mean)  # difference to be told from
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
        found = [level for level in results.levels(factor) if level != str(FACTORS[factor])]
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
    return {"claim": claim.text, "metric": claim.metric.replace("_", " ") + where}
