"""Metrics of faces, and of the detail in images at each spatial frequency.

Metrics over all views say little about faces, which fill a twentieth of the pixels. What cannot be
measured is left out: faces in images of less than 64 pixels a side (`face_crops.LEAST_SIDE`), or of
too few heads; frequencies above the Nyquist limit; the rate of detected faces if hardly any face is
found on real heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from semhead_lib.evaluation.face_crops import FaceFeatures, frontal
from semhead_lib.evaluation.identity import find_identities, frontal_views
from semhead_lib.evaluation.reference_statistics import ReferenceStatistics, one_thread
from semhead_lib.evaluation.samples import Samples
from semhead_lib.evaluation.statistics import (
    Metrics,
    compared,
    interval_of_splits,
    measured,
    of_splits,
    protocol_of,
)
from semhead_lib.metrics.comparison import ALL, LEAST_HEADS
from semhead_lib.metrics.frechet import frechet_distance, kernel_distance
from semhead_lib.metrics.spectrum import head_band_power

_NETWORK = "dlib face recognition resnet v1"
_LUMA = "power spectrum of the luma"


def face_distance(
    samples: Samples, reference_stats: ReferenceStatistics
) -> tuple[Metrics, Metrics]:
    """frechet_of_faces, generated and real: the Frechet distance of features of face crops, at
    equal counts."""
    reference, matched = reference_stats.faces
    if (
        reference is None
        or matched is None
        or min(reference.with_face, matched.with_face) < LEAST_HEADS
    ):
        return {}, {}
    extractor, n = reference_stats.extractor, len(reference_stats.matched)
    judged = FaceFeatures.of(samples.images, samples.cameras, extractor.images)
    if judged is None:
        return {}, {}

    def distance(one: FaceFeatures, mine: Tensor, other: FaceFeatures, its: Tensor) -> float:
        x, y = one.of_heads(mine), other.of_heads(its)
        count = min(len(x), len(y))
        return frechet_distance(y[:count], x[:count])

    identity, count = f"{extractor.identity}, of face crops", min(len(judged), len(reference))
    counts = (judged.with_face, count, count)
    pool = reference.joined(matched)
    with one_thread():
        found = compared(
            lambda mine, its: distance(judged, mine, reference, its),
            protocol_of(reference_stats, samples.made, identity, *counts),
            reference_stats,
        )
        real = [
            distance(pool, one[:n], pool, other[:n]) for one, other in reference_stats.real_splits()
        ]
    interval = interval_of_splits(reference_stats)
    protocol = protocol_of(
        reference_stats, reference_stats.matched_samples.made, identity, *counts, interval=interval
    )
    return {ALL: {"frechet_of_faces": found}}, {
        ALL: {"frechet_of_faces": of_splits(real, protocol)}
    }


def front_distances(
    fronts: Tensor,  # [N, D] features of the judged heads' frontal images
    made: str,
    reference_stats: ReferenceStatistics,
) -> tuple[Metrics, Metrics]:
    """frechet_front and kernel_front, generated and real: the distances of frontal images alone, at
    azimuth and elevation 0.

    With the front as condition camera, the first is FID-front as we understand the paper.
    """
    reference, matched = reference_stats.fronts
    n, gamma = len(matched), reference_stats.extractor.gamma
    pool = torch.cat([reference, matched])
    identity, interval = reference_stats.extractor.identity, interval_of_splits(reference_stats)
    protocol = protocol_of(reference_stats, made, identity, n, n, n)
    of_real = reference_stats.matched_samples.made, identity, n, n, n, interval
    distances: dict[str, Callable[[Tensor, Tensor], float]] = {
        "frechet_front": frechet_distance,
        "kernel_front": lambda y, x: kernel_distance(y, x, gamma),
    }
    generated, real = {}, {}
    with one_thread():
        for name, distance in distances.items():
            generated[name] = compared(
                lambda mine, its, d=distance: d(reference[its], fronts[mine]),
                protocol,
                reference_stats,
            )
            splits = [
                distance(pool[other[:n]], pool[one[:n]])
                for one, other in reference_stats.real_splits()
            ]
            real[name] = of_splits(splits, protocol_of(reference_stats, *of_real))
    return {ALL: generated}, {ALL: real}


def power_ratios(samples: Samples, reference_stats: ReferenceStatistics) -> tuple[Metrics, Metrics]:
    """power_8-12 and so on, generated and real: power of all views over that of the reference, by
    bands of cycles an image; 1 is ideal, less means blur."""
    reference, matched = reference_stats.power
    judged, n = head_band_power(samples.images), len(reference_stats.matched)
    images, interval = n * samples.images.shape[1], interval_of_splits(reference_stats)
    of_real = reference_stats.matched_samples.made, _LUMA, n, images, images, interval
    protocol = protocol_of(reference_stats, samples.made, _LUMA, n, images, images)
    generated, real = {}, {}
    for band, power in reference.items():
        if not power.min() > 0:  # a real head has no detail there
            continue
        found = compared(
            lambda mine, its, b=band: float(judged[b][mine].mean() / reference[b][its].mean()),
            protocol,
            reference_stats,
        )
        pool = torch.cat([power, matched[band]])
        splits = [
            float(pool[one[:n]].mean() / pool[other[:n]].mean())
            for one, other in reference_stats.real_splits()
        ]
        generated[f"power_{band}"], real[f"power_{band}"] = (
            found,
            of_splits(splits, protocol_of(reference_stats, *of_real)),
        )
    return {ALL: generated}, {ALL: real}


def identities(
    samples: Samples, heads: int, reference_stats: ReferenceStatistics, progress: bool = False
) -> tuple[Metrics, Metrics]:
    """faces_found and identity_auc of the first `heads` heads near their fronts, generated and
    real; and faces_found_ratio of the generated ones, over the real ones that have the same
    cameras.

    Raises ModuleNotFoundError without the extra `faces`.
    """
    sides, shares = [], []
    both = (samples, reference_stats.matched_samples)
    if not all(frontal(s.cameras[:heads].flatten(0, 1)).any() for s in both):
        return {}, {}
    for judged in both:
        images = frontal_views(judged.images[:heads], judged.cameras[:heads])
        found = find_identities(images, progress)
        protocol = protocol_of(reference_stats, judged.made, _NETWORK, len(images), found.images, 0)
        share = torch.tensor(
            [[(found.head == i).sum(), len(p)] for i, p in enumerate(images)], dtype=torch.float64
        )
        statistics = {"faces_found": lambda h, s=share: _rate(s, h), "identity_auc": found.auc}
        whole = torch.arange(len(images))
        kept = {name: s for name, s in statistics.items() if math.isfinite(s(whole))}
        sides.append(
            {ALL: {name: measured(s, protocol, reference_stats) for name, s in kept.items()}}
        )
        shares.append(share)
    generated, real = sides
    ours, theirs = shares
    rate = real[ALL].get("faces_found")
    if rate is not None and rate.low > 0:
        count = int(ours[:, 1].sum())
        beside = protocol_of(reference_stats, samples.made, _NETWORK, len(ours), count, count)
        generated[ALL]["faces_found_ratio"] = measured(
            lambda h: _rate(ours, h) / _rate(theirs, h), beside, reference_stats
        )
    return generated, real


def _rate(share: Tensor, heads: Tensor) -> float:  # [H, 2] found and searched, [h]
    return float(share[heads, 0].sum() / share[heads, 1].sum())
