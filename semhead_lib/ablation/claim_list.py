"""The claims of the paper, and those that its readers ask about, as data: what is compared with
what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from semhead_lib.conditioning.cameras import FRONT

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
    Claim(
        "ViCiCo: better heads than without", "frechet", -1, {"vicico": "both"}, {"vicico": "off"}
    ),
    Claim(
        "… that follow their condition more",
        "condition_recall_5",
        1,
        {"vicico": "both"},
        {"vicico": "off"},
    ),
    Claim(
        "… whose sides agree more",
        "cross_view_recall_5",
        1,
        {"vicico": "both"},
        {"vicico": "off"},
        scope="180",
    ),
    Claim(
        "… with fewer faces on their backs",
        "face_on_back",
        -1,
        {"vicico": "both"},
        {"vicico": "off"},
    ),
    Claim(
        "… whose backs are less like fronts",
        "mirrored_back",
        -1,
        {"vicico": "both"},
        {"vicico": "off"},
    ),
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
