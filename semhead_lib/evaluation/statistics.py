"""From statistics of heads to metrics with protocol and interval."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from semhead_lib.evaluation.protocol import Metric, Protocol
from semhead_lib.evaluation.reference_statistics import ReferenceStatistics
from semhead_lib.metrics.intervals import half_sample_interval, percentiles

Metrics = dict[str, dict[str, Metric]]  # scope -> metric -> value with protocol


def protocol_of(
    reference_stats: ReferenceStatistics,
    made: str,  # what made the images
    features: str,
    heads: int,
    images: int,
    reference: int,
    interval: str | None = None,
) -> Protocol:
    """How something was measured against this reference, by half-samples unless `interval` says
    otherwise."""
    interval = interval or f"95 % by {reference_stats.halves} half-samples of heads"
    resolution = reference_stats.matched_samples.resolution
    return Protocol(
        made,
        features,
        heads,
        images,
        reference,
        resolution,
        reference_stats.seed,
        reference_stats.data,
        interval,
    )


def measured(
    statistic: Callable[[Tensor], float], protocol: Protocol, reference_stats: ReferenceStatistics
) -> Metric:
    """A statistic of head indices with its interval; half-samples without a value are left out."""
    value = statistic(torch.arange(protocol.heads))
    halves = [
        x for x in reference_stats.half_samples(statistic, protocol.heads) if math.isfinite(x)
    ] or [value]
    return Metric(value, *half_sample_interval(value, halves), protocol)


def compared(
    statistic: Callable[[Tensor, Tensor], float],
    protocol: Protocol,
    reference_stats: ReferenceStatistics,
) -> Metric:
    """A statistic of the indices of evaluated heads and of the reference, with its interval
    by half-samples of both."""
    whole = torch.arange(len(reference_stats.matched))
    value, halves = (
        statistic(whole, whole),
        [statistic(*half) for half in reference_stats.half_samples_of_both()],
    )
    return Metric(value, *half_sample_interval(value, halves), protocol)


def of_splits(values: list[float], protocol: Protocol) -> Metric:
    """Metric of real heads: the mean over splits, and the range of 95 % of the splits."""
    mean, (low, high) = sum(values) / len(values), percentiles(values)
    return Metric(mean, min(low, mean), max(high, mean), protocol)


def interval_of_splits(reference_stats: ReferenceStatistics) -> str:
    """Description of the interval of such a metric."""
    return f"95 % of {reference_stats.splits} splits of real heads, and their mean"


def merge(metrics: Metrics, more: Metrics) -> None:
    """Put `more` among `metrics`."""
    for scope, named in more.items():
        metrics.setdefault(scope, {}).update(named)
