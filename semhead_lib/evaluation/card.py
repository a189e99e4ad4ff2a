"""The metrics of a generator as a section of its card."""

from __future__ import annotations

from semhead_lib.evaluation.result import Evaluation
from semhead_lib.metrics.comparison import ALL

_OF_SIDES = (
    "frechet",
    "precision",
    "recall",
    "density",
    "coverage",
    "diversity",
    "cross_view_recall_1",
    "consistency_psnr",
)
_LEFT_OUT = ("consistency_l1", "consistency_seen_twice")  # of all views: psnr says it


def metrics_section(found: Evaluation, subjects: str) -> str:
    """Markdown: the protocol and the features, all metrics over all views, and those of each
    azimuth bin.

    `subjects` describes the evaluation subjects, such as "parametric, seed 2".
    """
    overall = found.generated[ALL]
    p = overall["frechet"].protocol
    kept = [name for name in overall if name not in _LEFT_OUT]
    semantic = overall["mode_coverage"].protocol.features
    sides = found.table(_OF_SIDES, [scope for scope in found.generated if scope != ALL])
    return f"""\
On {p.heads} subjects ({subjects}) that were never trained on: heads at their conditions and from their
{p.images // p.heads} cameras each, against {p.reference // (p.images // p.heads)} others, at {p.resolution} pixels.
Distances, coverage, diversity and bias are in features by `{p.features}`; cross-view recall, conditions and mode
coverage in features by `{semantic}`. Intervals: {p.interval}. `metrics.json` has every metric with its protocol.

{found.overall(kept)}

Each side by itself (azimuth in degrees, generated / real):

{sides}"""
