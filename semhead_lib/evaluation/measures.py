"""Metrics of evaluated heads: distances, cross-view recall, adherence to conditions, mode coverage,
multi-view consistency."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from semhead_lib.evaluation.protocol import Metric
from semhead_lib.evaluation.reference_statistics import ReferenceStatistics
from semhead_lib.evaluation.statistics import (
    Metrics,
    interval_of_splits,
    measured,
    of_splits,
    protocol_of,
)
from semhead_lib.metrics.comparison import ALL, LEAST_HEADS, MetricValues
from semhead_lib.metrics.consistency import Differences
from semhead_lib.metrics.diversity import mode_coverage
from semhead_lib.metrics.intervals import half_sample_interval
from semhead_lib.metrics.retrieval import condition_adherence, cross_view_ranks, recall


def distances(
    numbers: MetricValues,
    halves: list[MetricValues],
    reference_stats: ReferenceStatistics,
    made: str,
) -> Metrics:
    """Distances and diversity over all views and in each bin, with intervals of half samples."""
    metrics: Metrics = {}
    for (scope, name), value in numbers.items():
        low, high = half_sample_interval(value, [half[scope, name] for half in halves])
        protocol = protocol_of(
            reference_stats,
            made,
            reference_stats.extractor.identity,
            *_counts(scope, reference_stats),
        )
        metrics.setdefault(scope, {})[name] = Metric(value, low, high, protocol)
    return metrics


def reference_distances(reference_stats: ReferenceStatistics) -> Metrics:
    """The same for real heads, as means over splits."""
    metrics: Metrics = {}
    for scope, name in reference_stats.real[0]:
        values = [numbers[scope, name] for numbers in reference_stats.real]
        made, identity = reference_stats.matched_samples.made, reference_stats.extractor.identity
        interval = interval_of_splits(reference_stats)
        protocol = protocol_of(
            reference_stats, made, identity, *_counts(scope, reference_stats), interval=interval
        )
        metrics.setdefault(scope, {})[name] = of_splits(values, protocol)
    return metrics


def agreement(
    views: Tensor,  # [N, V, D]
    fronts: Tensor,  # [N, D]
    in_bins: Tensor,  # [N, bins] which view of each head is in which bin, -1: none
    reference_stats: ReferenceStatistics,
    made: str,
) -> Metrics:
    """Cross-view recall in each bin."""
    ranks, metrics = cross_view_ranks(views, fronts), {}
    for b, scope in enumerate(reference_stats.bins.names):
        view = in_bins[:, b]
        found = ranks[view >= 0, view[view >= 0]]
        if len(found) < LEAST_HEADS:
            continue
        protocol = protocol_of(
            reference_stats,
            made,
            reference_stats.encoder.identity,
            len(found),
            len(found),
            len(fronts),
        )
        metrics[scope] = {
            f"cross_view_recall_{at}": measured(
                lambda heads, at=at, f=found: recall(f[heads], at), protocol, reference_stats
            )
            for at in (1, 5)
        }
    return metrics


def adherence(
    fronts: Tensor, conditions: Tensor, reference_stats: ReferenceStatistics, made: str
) -> Metrics:
    """How well frontal images follow their conditions."""
    found = condition_adherence(fronts, conditions)
    n = len(fronts)
    protocol = protocol_of(reference_stats, made, reference_stats.encoder.identity, n, n, n)
    statistics: dict[str, Callable[[Tensor], float]] = {
        "condition_cosine": lambda heads: float(found.cosine[heads].mean()),
        "condition_cosine_of_others": lambda heads: float(found.others[heads].mean()),
        "condition_recall_1": lambda heads: recall(found.rank[heads], 1),
        "condition_recall_5": lambda heads: recall(found.rank[heads], 5),
    }
    return {
        ALL: {
            name: measured(statistic, protocol, reference_stats)
            for name, statistic in statistics.items()
        }
    }


def covered_modes(fronts: Tensor, reference_stats: ReferenceStatistics, made: str) -> Metrics:
    """Mode coverage, relative to real heads."""
    subjects, real = reference_stats.subjects, reference_stats.semantic[1]
    protocol = protocol_of(
        reference_stats,
        made,
        reference_stats.encoder.identity,
        len(fronts),
        len(fronts),
        len(subjects),
    )

    def ratio(heads: Tensor) -> float:
        return mode_coverage(fronts[heads], subjects) / mode_coverage(real[heads], subjects)

    return {ALL: {"mode_coverage": measured(ratio, protocol, reference_stats)}}


def consistency(
    found: Differences, heads: int, reference_stats: ReferenceStatistics, made: str
) -> Metrics:
    """Multi-view consistency over all pairs and in each bin."""
    bins, metrics = reference_stats.bins, {}
    pair = torch.arange(heads * bins.count).reshape(heads, bins.count)
    for scope, pairs in ((ALL, pair), *zip(bins.names, pair.T, strict=True)):
        protocol = protocol_of(reference_stats, made, "pixels", heads, pairs.numel(), pairs.numel())
        statistics = {"psnr": found.psnr, "l1": found.l1, "seen_twice": found.seen_twice}
        metrics[scope] = {
            f"consistency_{name}": measured(
                lambda h, s=s, p=pairs: s(p[h].flatten()), protocol, reference_stats
            )
            for name, s in statistics.items()
            if math.isfinite(s(pairs.flatten()))
        }
    return metrics


def _counts(scope: str, reference_stats: ReferenceStatistics) -> tuple[int, int, int]:
    """Heads, images and reference images of a distance."""
    n, v, _ = reference_stats.matched.features.shape
    if scope == ALL:
        return n, n * v, n * v
    count = int(reference_stats.scale.counts[reference_stats.bins.names.index(scope)])
    return count, count, count
