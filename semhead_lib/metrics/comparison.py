"""Distances, coverage and diversity of judged heads against real ones, bin by bin and over all
views, as plain numbers.

Everything is compared at the same counts: in bin b the first m_b heads of an order that have a view
there, so that halves of heads, real halves and generated heads meet the reference on equal terms.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from semhead_lib.metrics.azimuth import AzimuthBins, BinnedFeatures
from semhead_lib.metrics.bias import directional_bias
from semhead_lib.metrics.coverage import Neighbourhoods
from semhead_lib.metrics.diversity import diversity_ratio
from semhead_lib.metrics.frechet import frechet_distance, kernel_distance

ALL = "all"  # the scope of metrics over all views; the others are names of bins
LEAST_HEADS = 24  # in a bin: half-samples of fewer have no neighbourhoods to speak of
MetricValues = dict[tuple[str, str], float]  # (scope, metric) -> number


class OrderedHeads(NamedTuple):
    """Heads in an order, of which comparisons take as many from the beginning as they need."""

    heads: BinnedFeatures
    order: Tensor  # [<= N] int64


class ComparisonScale(NamedTuple):
    """What the real data and the extractor fix, for all comparisons alike."""

    bins: AzimuthBins
    counts: Tensor  # [bins] heads compared in each bin; 0: none, the bin is left out
    variance: Tensor  # [bins] total variance of the real features
    gamma: float  # of the kernel distance

    def halved(self) -> ComparisonScale:
        """For half-samples."""
        return self._replace(counts=self.counts // 2)


def compare(
    judged: OrderedHeads,
    reference: OrderedHeads,
    matched: OrderedHeads,
    heads: int,
    scale: ComparisonScale,
) -> MetricValues:
    """All metrics but the directional bias and the kernel distance over all views; `heads` are
    compared over all views.

    Raises ValueError when a bin has fewer heads than the scale says.
    """
    x, y = (
        drawn.heads.features[drawn.order[:heads]].flatten(0, 1) for drawn in (judged, reference)
    )
    numbers: MetricValues = {(ALL, "frechet"): frechet_distance(y, x)}
    for b, name in enumerate(scale.bins.names):
        count = int(scale.counts[b])
        if not count:
            continue
        x, y, match = (
            drawn.heads.in_bin(b, drawn.order, count) for drawn in (judged, reference, matched)
        )
        neighbours = Neighbourhoods(y, x)
        lie, reach = neighbours.density_coverage(), neighbours.precision_recall()
        metrics = {
            "frechet": frechet_distance(y, x),
            "kernel": kernel_distance(y, x, scale.gamma),
            "precision": reach.precision,
            "recall": reach.recall,
            "density": lie.density,
            "coverage": lie.coverage,
            "diversity": diversity_ratio(match, x, float(scale.variance[b])),
        }
        numbers |= {(name, metric): number for metric, number in metrics.items()}
    return numbers


def frechet_by_bin(
    judged: OrderedHeads, reference: OrderedHeads, scale: ComparisonScale
) -> Tensor:  # [bins]
    """The Frechet distances of `compare` alone; NaN for a bin that is left out."""
    distances = []
    for b, n in enumerate(scale.counts.tolist()):
        pair = [d.heads.in_bin(b, d.order, n) for d in (reference, judged)]
        distances.append(frechet_distance(*pair) if n else math.nan)
    return torch.tensor(distances, dtype=torch.float64)


def with_bias(
    numbers: MetricValues, floor: Tensor, scale: ComparisonScale, phi: float
) -> MetricValues:
    """The numbers and the directional bias that they make; `floor` [bins] is the Frechet distance
    of real from real at the same counts. There is no bias where a bin is left out."""
    if not scale.counts.all():
        return numbers
    rows = [
        [numbers[name, metric] for name in scale.bins.names] for metric in ("frechet", "diversity")
    ]
    bias = directional_bias(
        torch.tensor(rows[0]), floor, scale.variance, torch.tensor(rows[1]), phi
    )
    return numbers | {
        (ALL, "directional_bias"): bias.value,
        (ALL, "directional_bias_of_quality"): bias.quality,
        (ALL, "directional_bias_of_diversity"): bias.diversity,
    }


def counts_of_enough(
    judged: Tensor, reference: Tensor, matched: Tensor
) -> Tensor:  # [bins] each -> [bins]
    """Heads that can be compared in each bin; 0 where there are fewer than `LEAST_HEADS`, for heads
    that are not seen from all around.

    >>> counts_of_enough(*torch.tensor([[30, 20, 0], [40, 40, 40], [25, 40, 40]])).tolist()
    [25, 0, 0]
    """
    counts = torch.minimum(torch.minimum(judged, reference), matched)
    return torch.where(counts < LEAST_HEADS, 0, counts)


def comparable_counts(
    judged: BinnedFeatures, reference: BinnedFeatures, bins: AzimuthBins
) -> Tensor:  # [bins]
    """Heads that can be compared in each bin. Raises ValueError naming a bin that has too few."""
    counts = torch.minimum(judged.counts, reference.counts)
    if int(counts.min()) < LEAST_HEADS:
        b = int(counts.argmin())
        raise ValueError(
            f"the bin at azimuth {bins.names[b]} has views of {int(judged.counts[b])} judged and "
            f"{int(reference.counts[b])} reference heads, {LEAST_HEADS} of each are needed: more "
            "heads, or fewer bins"
        )
    return counts
