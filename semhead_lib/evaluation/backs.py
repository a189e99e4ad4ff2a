"""What is wrong with backs of heads: a face on them, or a front in their place.

    face_on_back             share of the pixels that headjudge calls eyes, brows or lips, in views
                             more than 120 degrees from the front
    heads_with_face_on_back  share of the heads that have more than 0.5 % of such pixels in one of
                             these views; a real front has 1 to 2 %
    mirrored_back            where views from behind lie between real backs (0) and real fronts (1),
                             in the extractor's features (metrics/mirrored.py)

headjudge is the one that ships, whatever the extractor is; it is shown views from behind alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from semhead_lib.cameras import orbit_angles
from semhead_lib.conditioning.semantic import ASSETS
from semhead_lib.data.dataset.batches import to_model_range
from semhead_lib.evaluation.features import headjudge_identity
from semhead_lib.evaluation.headjudge.network import HeadJudge
from semhead_lib.evaluation.headjudge.recipe import NAME
from semhead_lib.evaluation.reference_statistics import ReferenceStatistics
from semhead_lib.evaluation.samples import Samples
from semhead_lib.evaluation.statistics import Metrics, measured, protocol_of
from semhead_lib.metrics.azimuth import BinnedFeatures
from semhead_lib.metrics.comparison import ALL
from semhead_lib.metrics.mirrored import FrontBackAxis

BEYOND = 120.0  # degrees from the front: from there on no real eye, brow or lip is seen
FACE = ("eyes", "brows", "lips")  # classes of the surface
AREA = 0.005  # of an image's pixels: a quarter of what a front has, more than any real back
_AT_ONCE = 64  # images


@dataclass(frozen=True)
class FacesOnBacks:
    """Shares of the pixels of H heads' views from behind that show parts of a face."""

    shares: Tensor  # [H] float64, summed over a head's views from behind
    views: Tensor  # [H] int64, how many these are, at least 1
    largest: Tensor  # [H] float64, in one of them

    @classmethod
    def of(cls, samples: Samples, device: str = "cpu") -> FacesOnBacks | None:
        """Of the heads that are seen from behind; None where there is none."""
        azimuth = orbit_angles(samples.cameras.flatten(0, 1))[:, 0].abs()
        behind = (azimuth > BEYOND).reshape(samples.cameras.shape[:2])
        if not behind.any():
            return None
        found = torch.zeros(behind.shape, dtype=torch.float64)
        found[behind] = face_shares(samples.images[behind], device)
        seen = behind.any(1)
        return cls(found.sum(1)[seen], behind.sum(1)[seen], found.max(1).values[seen])

    def share(self, heads: Tensor) -> float:  # [h] int64
        """Of the pixels of all views of these heads."""
        return float(self.shares[heads].sum() / self.views[heads].sum())

    def rate(self, heads: Tensor) -> float:
        """Share of these heads with more than AREA of a face in one view."""
        return float((self.largest[heads] > AREA).double().mean())


@torch.no_grad()
def face_shares(images: Tensor, device: str = "cpu") -> Tensor:  # [B, 3, S, S] uint8 -> [B]
    """Share of each image's pixels that headjudge calls eyes, brows or lips, float64."""
    judge = _judge(device)
    face = torch.tensor([judge.config.classes.index(name) for name in FACE], device=device)
    shares = []
    for some in images.split(_AT_ONCE):
        classes = judge(to_model_range(some.to(device))).classes.argmax(1)
        shares.append(torch.isin(classes, face).double().mean((1, 2)).cpu())
    return torch.cat(shares)


@cache
def _judge(device: str) -> HeadJudge:
    return HeadJudge.load(ASSETS / NAME, device)


def faces_on_backs(
    samples: Samples, reference_stats: ReferenceStatistics
) -> tuple[Metrics, Metrics]:
    """face_on_back and heads_with_face_on_back, generated and real."""
    sides, identity = [], headjudge_identity(ASSETS / NAME)
    for judged in (samples, reference_stats.matched_samples):
        found = FacesOnBacks.of(judged, reference_stats.extractor.device)
        if found is None:
            return {}, {}
        heads, views = len(found.views), int(found.views.sum())
        protocol = protocol_of(reference_stats, judged.made, identity, heads, views, 0)
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
    that of the reference, which shares nobody with either."""
    opposite = reference_stats.bins.count // 2
    if not opposite:  # there is one bin
        return {}, {}
    reference = reference_stats.reference
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
