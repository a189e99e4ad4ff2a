"""Statistics of the real data in an evaluation, computed once for any number of generators."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from semhead_lib.conditioning.semantic import EMBEDDED
from semhead_lib.evaluation.face_crops import FaceFeatures
from semhead_lib.evaluation.faces_on_backs import FacesOnBacks
from semhead_lib.evaluation.features import FeatureExtractor, stored_features
from semhead_lib.evaluation.samples import Samples, hashed
from semhead_lib.metrics import comparison
from semhead_lib.metrics.azimuth import AzimuthBins, BinnedFeatures
from semhead_lib.metrics.comparison import ALL, ComparisonScale, MetricValues, OrderedHeads
from semhead_lib.metrics.diversity import total_variance
from semhead_lib.metrics.frechet import HeadKernel
from semhead_lib.metrics.intervals import orders
from semhead_lib.metrics.spectrum import head_band_power


@dataclass(frozen=True)
class ReferenceStatistics:
    """Features of the reference and of the matched heads, and the metrics of real heads in a generator's place.

    Bias and intervals depend on the counts, so metrics of two generators can be compared when they
    were measured with the same reference.
    """

    reference: BinnedFeatures
    matched: BinnedFeatures
    matched_samples: Samples
    semantic: tuple[
        Tensor, Tensor
    ]  # of the matched heads by the encoder: views [N, V, D], fronts [N, D]
    subjects: Tensor  # [N, D] of the reference by the encoder: fronts
    fronts: tuple[Tensor, Tensor]  # [N, D] of the reference and the matched heads by the extractor
    faces: tuple[
        FaceFeatures | None, FaceFeatures | None
    ]  # of the reference and the matched heads by the extractor
    power: tuple[
        dict[str, Tensor], dict[str, Tensor]
    ]  # of the reference and the matched heads: band -> [N]
    extractor: FeatureExtractor
    encoder: FeatureExtractor
    bins: AzimuthBins
    data: str  # hash of the real images and cameras
    seed: int
    splits: int  # of the real heads, for what real heads get
    halves: int  # half-samples of an interval
    cameras: Tensor | None = None  # [N, V, 25] of judged heads; None: those of the matched heads

    @classmethod
    def of(
        cls,
        reference: Samples,
        matched: Samples,
        extractor: FeatureExtractor,
        encoder: FeatureExtractor
        | None = None,  # of semantics; None: the extractor if it is a CLIP, else headclip-64
        *,
        bins: AzimuthBins = AzimuthBins(),  # noqa: B008 (frozen)
        seed: int = 0,
        splits: int = 40,
        halves: int = 100,
        store: Path | str | None = None,  # folder that keeps features of real images between runs
        cameras: Tensor | None = None,  # [N, V, 25] of judged heads; None: the matched heads'
        progress: bool = False,
    ) -> ReferenceStatistics:
        """Features of the real images; the metrics of real heads are computed on first use.

        Evaluated heads with `cameras` of their own need not cover all azimuths: bins in which too
        few of them, or of the real heads, have a view are left out.

        With features of thousands of numbers (inception) each Frechet distance over all views takes
        seconds: use fewer splits and halves then. Raises ValueError if the sets differ in heads or
            resolution, or a bin holds too few heads.
        """
        if len(reference) != len(matched) or reference.resolution != matched.resolution:
            raise ValueError(
                "reference and matched need as many heads of one resolution, got "
                f"{len(reference)} of "
                f"{reference.resolution} and {len(matched)} of {matched.resolution}"
            )
        if splits < 2 or halves < 2:
            raise ValueError(f"splits and halves must be at least 2, got {splits} and {halves}")
        if encoder is None:
            encoder = extractor if extractor.unit_length else FeatureExtractor.load(EMBEDDED)
        binned, binned_twins = (
            BinnedFeatures.of(encoded(extractor, s.images, store, progress), s.cameras, bins)
            for s in (reference, matched)
        )
        if cameras is None:
            comparison.comparable_counts(binned, binned_twins, bins)
        same = encoder.identity == extractor.identity
        views = binned_twins.features.float() if same else None
        views = encoded(encoder, matched.images, store, progress) if views is None else views
        subjects, fronts = (encoded(encoder, s.frontal, store) for s in (reference, matched))
        both = (reference, matched)
        own_fronts = (
            [subjects, fronts] if same else [encoded(extractor, s.frontal, store) for s in both]
        )
        faces = [
            FaceFeatures.of(s.images, s.cameras, lambda x: encoded(extractor, x, store))
            for s in both
        ]
        power = [head_band_power(s.images) for s in both]
        data = f"{reference.hash()}-{matched.hash()}"
        if cameras is not None:
            data += f"-{hashed(cameras)}"
        found = cls(
            binned,
            binned_twins,
            matched,
            (views, fronts),
            subjects,
            (own_fronts[0], own_fronts[1]),
            (faces[0], faces[1]),
            (power[0], power[1]),
            extractor,
            encoder,
            bins,
            data,
            seed,
            splits,
            halves,
            cameras,
        )
        if not found.counts.any():
            raise ValueError(
                f"no bin of azimuth has views of {comparison.LEAST_HEADS} judged and as many real "
                f"heads; judged heads have {found.judged_counts.tolist()} in the bins at "
                f"{', '.join(bins.names)}"
            )
        return found

    @property
    def judged_cameras(self) -> Tensor:
        """Cameras that evaluated heads must have, [N, V, 25]."""
        return self.matched_samples.cameras if self.cameras is None else self.cameras

    @cached_property
    def judged_view(self) -> Tensor:
        """View of each evaluated head in each bin, [N, bins] int64, -1: none."""
        own = self.cameras
        return self.matched.view if own is None else self.bins.nearest_views(own)

    @property
    def judged_counts(self) -> Tensor:
        """Judged heads with a view in each bin, [bins]."""
        return (self.judged_view >= 0).sum(0)

    @cached_property
    def counts(self) -> Tensor:
        """Heads that are compared in each bin, [bins]; 0: the bin is left out."""
        if self.cameras is None:
            return comparison.comparable_counts(self.matched, self.reference, self.bins)
        sides = (self.judged_counts, self.reference.counts, self.matched.counts)
        return comparison.counts_of_enough(*sides)

    @cached_property
    def scale(self) -> ComparisonScale:
        """The counts are those of the reference, the matched heads and the cameras of the judged
        ones."""
        pool, variances = self._pool, []
        for b, n in enumerate(pool.heads.counts.tolist()):
            pooled = pool.heads.in_bin(b, pool.order, n)
            variances.append(total_variance(pooled) if self.counts[b] else math.nan)
        variance = torch.tensor(variances, dtype=torch.float64)
        return ComparisonScale(self.bins, self.counts, variance, self.extractor.gamma)

    @cached_property
    def real(self) -> list[MetricValues]:
        """Metrics of real heads, one for each random split into evaluated heads and reference."""
        return [
            comparison.with_bias(numbers, self.floor, self.scale, self.phi)
            for numbers in self._compared_splits
        ]

    @cached_property
    def floor(self) -> Tensor:
        """Frechet distance of real from real in each bin, mean over splits, [bins]; NaN for a bin
        that is left out."""
        rows = [
            [numbers.get((name, "frechet"), math.nan) for name in self.bins.names]
            for numbers in self._compared_splits
        ]
        return torch.tensor(rows, dtype=torch.float64).mean(0)

    @cached_property
    def faces_on_backs(self) -> FacesOnBacks | None:
        """Parts of faces in the matched heads' views from behind; None where there is no view."""
        return FacesOnBacks.of(self.matched_samples, self.extractor.device)

    @property
    def phi(self) -> float:
        """Of the directional bias; half-samples take the same, so that they weigh differences as
        the whole does."""
        return float((self.floor / self.scale.variance).nanmean())

    def measure(
        self, judged: BinnedFeatures, progress: bool = False
    ) -> tuple[MetricValues, list[MetricValues]]:
        """Metrics of heads that have the judged heads' cameras: of all, and of half-samples.

        A half-sample takes half of the judged heads, with their own matches, and half of the
        reference. Raises ValueError for heads with other cameras.
        """
        if not torch.equal(judged.view, self.judged_view):
            whose = "the matched real" if self.cameras is None else "the judged"
            raise ValueError(f"the heads to be measured must have the cameras of {whose} heads")
        n, half = len(judged), len(judged) // 2
        kernel = HeadKernel(torch.cat([judged.features, self.reference.features]), self.scale.gamma)

        def numbers(
            mine: Tensor, its: Tensor, count: int, scale: ComparisonScale, floor: Tensor
        ) -> MetricValues:
            drawn = (
                OrderedHeads(judged, mine),
                OrderedHeads(self.reference, its),
                OrderedHeads(self.matched, mine),
            )
            found = comparison.with_bias(
                comparison.compare(*drawn, count, scale), floor, scale, self.phi
            )
            return found | {(ALL, "kernel"): kernel.distance(mine[:count], n + its[:count])}

        pairs = zip(*(orders(n, self.halves, self.seed + side) for side in (1, 2)), strict=True)
        bar = tqdm(pairs, unit="half", desc="intervals", total=self.halves, disable=not progress)
        whole = torch.arange(n)
        with one_thread():
            parts = [
                numbers(mine, its, half, self.scale.halved(), self._half_floor) for mine, its in bar
            ]
            return numbers(whole, whole, n, self.scale, self.floor), parts

    def half_samples(self, statistic: Callable[[Tensor], float], heads: int) -> list[float]:
        """A statistic of head indices [n], for half-samples of the heads."""
        return [
            statistic(order[: max(heads // 2, 1)])
            for order in orders(heads, self.halves, self.seed + 1)
        ]

    def half_samples_of_both(self) -> list[tuple[Tensor, Tensor]]:
        """Head indices of half of the judged heads, and of half of the reference: the half-samples
        of `measure`."""
        n = len(self.matched)
        one, other = (orders(n, self.halves, self.seed + side)[:, : n // 2] for side in (1, 2))
        return list(zip(one, other, strict=True))

    def real_splits(self) -> list[tuple[Tensor, Tensor]]:
        """Indices of all reference and matched heads in random orders, and the same reversed: the
        first halves of both are two disjoint sets of real heads."""
        return [
            (order, order.flip(0))
            for order in orders(2 * len(self.matched), self.splits, self.seed)
        ]

    @cached_property
    def _pool(self) -> OrderedHeads:
        return OrderedHeads(
            self.reference.joined(self.matched), torch.arange(2 * len(self.matched))
        )

    def _splits(self):
        """Two disjoint sets of all real heads: from the beginning and from the end of a random
        order."""
        for one, other in self.real_splits():
            yield OrderedHeads(self._pool.heads, one), OrderedHeads(self._pool.heads, other)

    @cached_property
    def _compared_splits(self) -> list[MetricValues]:
        n, found = len(self.matched), []
        kernel = HeadKernel(self._pool.heads.features, self.scale.gamma)
        with one_thread():
            for one, other in self._splits():
                distance = kernel.distance(one.order[:n], other.order[:n])
                found.append(
                    comparison.compare(one, other, other, n, self.scale)
                    | {(ALL, "kernel"): distance}
                )
        return found

    @cached_property
    def _half_floor(self) -> Tensor:
        scale = self.scale.halved()
        with one_thread():
            rows = [comparison.frechet_by_bin(one, other, scale) for one, other in self._splits()]
        return torch.stack(rows).mean(0)


def encoded(
    extractor: FeatureExtractor, images: Tensor, store: Path | str | None, progress: bool = False
) -> Tensor:  # [..., 3, H, W] uint8 -> [..., D]
    """Features of images, cached in the folder `store` if there is one."""
    if store is None:
        return extractor.images(images, progress)
    return stored_features(extractor, images, store, progress)


@contextmanager
def one_thread() -> Iterator[None]:
    """For many small matrices: several threads would wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
