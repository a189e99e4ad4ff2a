"""Figures of what people look at: the faces of heads, and how much detail images have at each spatial frequency.

Figures over all views say little of a face, which fills a twentieth of them. What cannot be measured is left out: faces
in images of less than 64 pixels a side (`face_crops.LEAST_SIDE`), or of too few heads; frequencies above half the
pixels; how often faces are found where hardly one is found on real heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semhead_lib.evaluation.comparison import ALL, LEAST_HEADS
from semhead_lib.evaluation.face_crops import FaceFeatures
from semhead_lib.evaluation.frechet import frechet_distance
from semhead_lib.evaluation.identity import find_identities, frontal_views
from semhead_lib.evaluation.samples import Samples
from semhead_lib.evaluation.spectrum import head_band_power
from semhead_lib.evaluation.statistics import (
    Figures,
    compared,
    interval_of_splits,
    measured,
    of_splits,
    protocol_of,
)
from semhead_lib.evaluation.yardstick import Yardstick, one_thread

_NETWORK = "dlib face recognition resnet v1"
_LUMA = "power spectrum of the luma"


def face_distance(samples: Samples, yardstick: Yardstick) -> tuple[Figures, Figures]:
    """frechet_of_faces, generated and real: the Frechet distance of features of face crops, at equal counts."""
    reference, twins = yardstick.faces
    if reference is None or twins is None or min(reference.with_face, twins.with_face) < LEAST_HEADS:
        return {}, {}
    extractor, n = yardstick.extractor, len(yardstick.twins)
    judged = FaceFeatures.of(samples.pictures, samples.cameras, extractor.pictures)
    if judged is None:
        return {}, {}

    def distance(one: FaceFeatures, mine: Tensor, other: FaceFeatures, its: Tensor) -> float:
        x, y = one.of_heads(mine), other.of_heads(its)
        count = min(len(x), len(y))
        return frechet_distance(y[:count], x[:count])

    identity, count = f"{extractor.identity}, of face crops", min(len(judged), len(reference))
    counts = (judged.with_face, count, count)
    pool = reference.joined(twins)
    with one_thread():
        found = compared(
            lambda mine, its: distance(judged, mine, reference, its),
            protocol_of(yardstick, samples.made, identity, *counts),
            yardstick,
        )
        real = [distance(pool, one[:n], pool, other[:n]) for one, other in yardstick.real_splits()]
    interval = interval_of_splits(yardstick)
    protocol = protocol_of(yardstick, yardstick.twin_samples.made, identity, *counts, interval=interval)
    return {ALL: {"frechet_of_faces": found}}, {ALL: {"frechet_of_faces": of_splits(real, protocol)}}


def power_ratios(samples: Samples, yardstick: Yardstick) -> tuple[Figures, Figures]:
    """power_8-12 and so on, generated and real: power of all views over that of the reference, by bands of cycles an
    image; 1 is as it should be, less is blurred."""
    reference, twins = yardstick.power
    judged, n = head_band_power(samples.pictures), len(yardstick.twins)
    pictures, interval = n * samples.pictures.shape[1], interval_of_splits(yardstick)
    of_real = yardstick.twin_samples.made, _LUMA, n, pictures, pictures, interval
    protocol = protocol_of(yardstick, samples.made, _LUMA, n, pictures, pictures)
    generated, real = {}, {}
    for band, power in reference.items():
        if not power.min() > 0:  # a real head has no detail there
            continue
        found = compared(
            lambda mine, its, b=band: float(judged[b][mine].mean() / reference[b][its].mean()), protocol, yardstick
        )
        pool = torch.cat([power, twins[band]])
        splits = [float(pool[one[:n]].mean() / pool[other[:n]].mean()) for one, other in yardstick.real_splits()]
        generated[f"power_{band}"], real[f"power_{band}"] = found, of_splits(splits, protocol_of(yardstick, *of_real))
    return {ALL: generated}, {ALL: real}


def identities(samples: Samples, heads: int, yardstick: Yardstick, progress: bool = False) -> tuple[Figures, Figures]:
    """faces_found and identity_auc of the first `heads` heads near their fronts, generated and real; and
    faces_found_ratio of the generated ones, over the real ones that have the same cameras.

    Raises ModuleNotFoundError without the extra `faces`.
    """
    sides, shares = [], []
    for judged in (samples, yardstick.twin_samples):
        pictures = frontal_views(judged.pictures[:heads], judged.cameras[:heads])
        found = find_identities(pictures, progress)
        protocol = protocol_of(yardstick, judged.made, _NETWORK, len(pictures), found.pictures, 0)
        share = torch.tensor([[(found.head == i).sum(), len(p)] for i, p in enumerate(pictures)], dtype=torch.float64)
        statistics = {"faces_found": lambda h, s=share: _rate(s, h), "identity_auc": found.auc}
        whole = torch.arange(len(pictures))
        kept = {name: s for name, s in statistics.items() if math.isfinite(s(whole))}
        sides.append({ALL: {name: measured(s, protocol, yardstick) for name, s in kept.items()}})
        shares.append(share)
    generated, real = sides
    ours, theirs = shares
    rate = real[ALL].get("faces_found")
    if rate is not None and rate.low > 0:
        count = int(ours[:, 1].sum())
        beside = protocol_of(yardstick, samples.made, _NETWORK, len(ours), count, count)
        generated[ALL]["faces_found_ratio"] = measured(lambda h: _rate(ours, h) / _rate(theirs, h), beside, yardstick)
    return generated, real


def _rate(share: Tensor, heads: Tensor) -> float:  # [H, 2] found and searched, [h]
    return float(share[heads, 0].sum() / share[heads, 1].sum())
