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
        "Without a condition, the generator collapses: lower mode coverage",
        "mode_coverage",
        1,
        {},
        {"mode": "none"},
    ),
    Claim(
        "A view condition biases the generator towards a direction; a semantic condition does not",
        "directional_bias",
        -1,
        {},
        {"mode": "view"},
    ),
    Claim("… and less bias than no condition", "directional_bias", -1, {}, {"mode": "none"}),
    Claim(
        "Conditioned on the back instead of the front, the view model generates better backs",
        "frechet",
        -1,
        {"mode": "view"},
        {"mode": "view"},
        scope="180",
        cameras=("180", FRONT),
    ),
    Claim(
        "… and worse fronts",
        "frechet",
        -1,
        {"mode": "view"},
        {"mode": "view"},
        scope="0",
        cameras=(FRONT, "180"),
    ),
    Claim(
        "A semantic condition gives better heads than a view condition, over all views",
        "frechet",
        -1,
        {},
        {"mode": "view"},
    ),
    Claim("… and than no condition", "frechet", -1, {}, {"mode": "none"}),
    Claim(
        "… with more diverse backs than a view condition",
        "diversity",
        1,
        {},
        {"mode": "view"},
        scope="180",
    ),
    Claim(
        "… whose fronts and backs match better",
        "cross_view_recall_5",
        1,
        {},
        {"mode": "view"},
        scope="180",
    ),
    Claim(
        "Training is faster than with a view condition: images to a Fréchet distance both reach",
        "kimg",
        -1,
        {},
        {"mode": "view"},
    ),
    Claim(
        "A view condition added to the semantic condition increases the bias",
        "directional_bias",
        -1,
        {},
        {"mode": "semantic+view"},
    ),
    Claim(
        "ViCiCo: better heads than without", "frechet", -1, {"vicico": "both"}, {"vicico": "off"}
    ),
    Claim(
        "… that follow their condition better",
        "condition_recall_5",
        1,
        {"vicico": "both"},
        {"vicico": "off"},
    ),
    Claim(
        "… whose fronts and backs match better than without ViCiCo",
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
        "… whose backs resemble their fronts less",
        "mirrored_back",
        -1,
        {"vicico": "both"},
        {"vicico": "off"},
    ),
    Claim(
        "The view term of ViCiCo alone: fewer faces on backs than without",
        "face_on_back",
        -1,
        {"vicico": "view"},
        {"vicico": "off"},
    ),
    Claim(
        "The condition term of ViCiCo alone: heads follow their condition better",
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
        "… and heads that follow their condition better, with the joint term",
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
        "… and heads that follow their condition better, with ten times the weight",
        "condition_recall_5",
        1,
        {"vicico": "both-1"},
        {"vicico": "both-0.1"},
    ),
    Claim(
        "A semantic condition gives fewer faces on backs than a view condition",
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
        "Without a condition, training collapses with one view of a subject in a batch: lower mode "
        "coverage than with four",
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
        "… which a semantic condition prevents: higher mode coverage with one view, too",
        "mode_coverage",
        1,
        {"views_per_subject": 1},
        {"mode": "none", "views_per_subject": 1},
    ),
    Claim(
        "… and better heads than without a condition, with one view",
        "frechet",
        -1,
        {"views_per_subject": 1},
        {"mode": "none", "views_per_subject": 1},
    ),
    Claim(
        "Removing the condition in mid-training gives worse heads than keeping it",
        "frechet",
        -1,
        {},
        {"condition_until_kimg": OTHER},
    ),
    Claim(
        "… and lower mode coverage than keeping it",
        "mode_coverage",
        1,
        {},
        {"condition_until_kimg": OTHER},
    ),
    Claim(
        "Balanced views give less bias than views distributed as in photographs",
        "directional_bias",
        -1,
        {},
        {"data": "front_heavy"},
    ),
    Claim(
        "On such views, too, a semantic condition biases less than a view condition",
        "directional_bias",
        -1,
        {"data": "front_heavy"},
        {"data": "front_heavy", "mode": "view"},
    ),
    Claim(
        "At equally many images, more subjects give better heads than more views",
        "frechet",
        -1,
        {"data": "many_subjects_few_views"},
        {"data": "few_subjects_many_views"},
    ),
    Claim(
        "… and higher mode coverage",
        "mode_coverage",
        1,
        {"data": "many_subjects_few_views"},
        {"data": "few_subjects_many_views"},
    ),
    Claim(
        "More subjects with equally many views give better heads",
        "frechet",
        -1,
        {"data": "many_subjects_some_views"},
        {"data": "few_subjects_some_views"},
    ),
    Claim(
        "More views of equally many subjects: fronts and backs match better",
        "cross_view_recall_5",
        1,
        {"data": "some_subjects_many_views"},
        {"data": "some_subjects_few_views"},
        scope="180",
    ),
    Claim(
        "Inconsistent views are filtered out: the Fréchet distance to consistent heads grows by "
        "less than 10 %",
        "frechet",
        -1,
        {"data": "inconsistent"},
        {},
        margin=0.1,
    ),
    Claim(
        "… and multi-view consistency, in dB, falls by less than 3 %",
        "consistency_psnr",
        1,
        {"data": "inconsistent"},
        {},
        margin=0.03,
    ),
    Claim(
        "On inconsistent views, a semantic condition gives better heads than a view condition",
        "frechet",
        -1,
        {"data": "inconsistent"},
        {"data": "inconsistent", "mode": "view"},
    ),
    Claim(
        "The feature of the frontal view for all views: less bias than the feature of each view",
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
