"""Artefacts on the backs of heads: a face on the back, or a mirrored front.

face_on_back             share of the pixels that headjudge calls eyes, brows or lips, in views
                         more than 120 degrees from the front (faces_on_backs.py)
heads_with_face_on_back  share of the heads that have more than 0.5 % of such pixels in one of
                         these views; a real front has 1 to 2 %
mirrored_back            where views from behind lie between real backs (0) and real fronts (1),
                         in the extractor's features (metrics/mirrored.py)
"""

from __future__ import annotations

import torch
from torch import Tensor

from semhead_lib.conditioning.semantic import ASSETS
from semhead_lib.evaluation.faces_on_backs import FacesOnBacks
from semhead_lib.evaluation.features import headjudge_identity
from semhead_lib.evaluation.headjudge.recipe import NAME
from semhead_lib.evaluation.reference_statistics import ReferenceStatistics
from semhead_lib.evaluation.samples import Samples
from semhead_lib.evaluation.statistics import Metrics, measured, protocol_of
from semhead_lib.metrics.azimuth import BinnedFeatures
from semhead_lib.metrics.comparison import ALL
from semhead_lib.metrics.mirrored import FrontBackAxis


def faces_on_backs(
    samples: Samples, reference_stats: ReferenceStatistics
) -> tuple[Metrics, Metrics]:
    """face_on_back and heads_with_face_on_back, generated and real."""
    sides, identity = [], headjudge_identity(ASSETS / NAME)
    for found, made in (
        (FacesOnBacks.of(samples, reference_stats.extractor.device), samples.made),
        (reference_stats.faces_on_backs, reference_stats.matched_samples.made),
    ):
        if found is None:
            return {}, {}
        heads, views = len(found.views), int(found.views.sum())
        protocol = protocol_of(reference_stats, made, identity, heads, views, 0)
        statistics = {"face_on_back": found.share, "heads_with_face_on_back": found.rate}
        sides.append(
            {
                ALL: {
                    name: measured(statistic, protocol, reference_stats)
                    for name, statistic in statistics.items()
                }
            }
        )
    return sides[0], sides[1]


def mirrored_backs(
    judged: BinnedFeatures, made: str, reference_stats: ReferenceStatistics
) -> tuple[Metrics, Metrics]:
    """mirrored_back, generated and real, of the views in the bin opposite to the front; the axis is
    fitted to the reference, which has other subjects."""
    opposite, odd = divmod(reference_stats.bins.count, 2)
    if odd:  # no bin is opposite to the front
        return {}, {}
    reference = reference_stats.reference
    if not reference_stats.counts[[0, opposite]].all():  # too few heads are seen from there
        return {}, {}
    fronts, backs = (_in_bin(reference, b) for b in (0, opposite))
    if torch.equal(fronts.mean(0), backs.mean(0)):  # nothing tells them apart
        return {}, {}
    axis, sides = FrontBackAxis.of(fronts, backs), []
    for binned, by in (
        (judged, made),
        (reference_stats.matched, reference_stats.matched_samples.made),
    ):
        index = axis(_in_bin(binned, opposite))
        identity, n = reference_stats.extractor.identity, len(index)
        counts = n, n, len(fronts) + len(backs)
        protocol = protocol_of(reference_stats, by, identity, *counts)
        sides.append(
            {
                ALL: {
                    "mirrored_back": measured(
                        lambda heads, index=index: float(index[heads].mean()),
                        protocol,
                        reference_stats,
                    )
                }
            }
        )
    return sides[0], sides[1]


def _in_bin(binned: BinnedFeatures, bin: int) -> Tensor:  # [n, D]
    heads = torch.arange(len(binned))
    return binned.in_bin(bin, heads, int(binned.counts[bin]))
