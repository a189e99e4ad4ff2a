"""The real data's side of an evaluation: computed once, then any number of generators are measured with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from semhead_lib.conditioning.semantic import EMBEDDED
from semhead_lib.evaluation import comparison
from semhead_lib.evaluation.azimuth import AzimuthBins, BinnedFeatures
from semhead_lib.evaluation.comparison import ALL, Drawn, Numbers, Scale
from semhead_lib.evaluation.diversity import total_variance
from semhead_lib.evaluation.face_crops import FaceFeatures
from semhead_lib.evaluation.features import FeatureExtractor, stored_features
from semhead_lib.evaluation.frechet import HeadKernel
from semhead_lib.evaluation.intervals import orders
from semhead_lib.evaluation.samples import Samples
from semhead_lib.evaluation.spectrum import head_band_power


@dataclass(frozen=True)
class Yardstick:
    """Features of the reference and of the twins, and what real heads get in a generator's place.

    Bias and intervals depend on the counts, so figures of two generators can be compared when they were measured with
    the same yardstick.
    """

    reference: BinnedFeatures
    twins: BinnedFeatures
    twin_samples: Samples
    semantic: tuple[Tensor, Tensor]  # of the twins by the encoder: views [N, V, D], fronts [N, D]
    people: Tensor  # [N, D] of the reference by the encoder: fronts
    faces: tuple[FaceFeatures | None, FaceFeatures | None]  # of the reference and the twins by the extractor
    power: tuple[dict[str, Tensor], dict[str, Tensor]]  # of the reference and the twins: band -> [N]
    extractor: FeatureExtractor
    encoder: FeatureExtractor
    bins: AzimuthBins
    data: str  # hash of the real pictures and cameras
    seed: int
    splits: int  # of the real heads, for what real heads get
    halves: int  # half-samples of an interval

    @classmethod
    def of(
        cls,
        reference: Samples,
        twins: Samples,
        extractor: FeatureExtractor,
        encoder: FeatureExtractor | None = None,  # of semantics; None: the extractor if it is a CLIP, else headclip-64
        *,
        bins: AzimuthBins = AzimuthBins(),  # noqa: B008 (frozen)
        seed: int = 0,
        splits: int = 40,
        halves: int = 100,
        store: Path | str | None = None,  # folder that keeps features of real pictures between runs
        progress: bool = False,
    ) -> Yardstick:
        """Features of the real pictures; the figures of real heads are computed when first asked for.

        With features of thousands of numbers (inception) each Frechet distance over all views takes seconds: take fewer
        splits and halves then. Raises ValueError when the sets differ in heads or resolution, or a bin holds too few
        heads.
        """
        if len(reference) != len(twins) or reference.resolution != twins.resolution:
            raise ValueError(
                f"reference and twins need as many heads of one resolution, got {len(reference)} of "
                f"{reference.resolution} and {len(twins)} of {twins.resolution}"
            )
        if splits < 2 or halves < 2:
            raise ValueError(f"splits and halves must be at least 2, got {splits} and {halves}")
        if encoder is None:
            encoder = extractor if extractor.unit_length else FeatureExtractor.load(EMBEDDED)
        binned, binned_twins = (
            BinnedFeatures.of(encoded(extractor, s.pictures, store, progress), s.cameras, bins)
            for s in (reference, twins)
        )
        comparison.comparable_counts(binned, binned_twins, bins)
        views = binned_twins.features.float() if encoder.identity == extractor.identity else None
        views = encoded(encoder, twins.pictures, store, progress) if views is None else views
        people, fronts = (encoded(encoder, s.fronts, store) for s in (reference, twins))
        both = (reference, twins)
        faces = [FaceFeatures.of(s.pictures, s.cameras, lambda x: encoded(extractor, x, store)) for s in both]
        power = [head_band_power(s.pictures) for s in both]
        data = f"{reference.hash()}-{twins.hash()}"
        return cls(binned, binned_twins, twins, (views, fronts), people, (faces[0], faces[1]), (power[0], power[1]),
                   extractor, encoder, bins, data, seed, splits, halves)  # fmt: skip

    @cached_property
    def scale(self) -> Scale:
        """The counts are those of the reference and the twins; a generated head has its twin's cameras."""
        counts = comparison.comparable_counts(self.twins, self.reference, self.bins)
        every = self._pool.order
        pooled = [self._pool.heads.in_bin(b, every, int(n)) for b, n in enumerate(self._pool.heads.counts)]
        variance = torch.tensor([total_variance(x) for x in pooled], dtype=torch.float64)
        return Scale(self.bins, counts, variance, self.extractor.gamma)

    @cached_property
    def real(self) -> list[Numbers]:
        """What real heads get, once for each split of all of them at random into judged heads and reference."""
        return [comparison.with_bias(numbers, self.floor, self.scale, self.phi) for numbers in self._compared_splits]

    @cached_property
    def floor(self) -> Tensor:
        """Frechet distance of real from real in each bin, mean over splits, [bins]."""
        rows = [[numbers[name, "frechet"] for name in self.bins.names] for numbers in self._compared_splits]
        return torch.tensor(rows, dtype=torch.float64).mean(0)

    @property
    def phi(self) -> float:
        """Of the directional bias; half-samples take the same, so that they weigh differences as the whole does."""
        return float((self.floor / self.scale.variance).mean())

    def measure(self, judged: BinnedFeatures, progress: bool = False) -> tuple[Numbers, list[Numbers]]:
        """Figures of heads that have the twins' cameras: of all, and of half-samples.

        A half-sample takes half of the judged heads, with their own twins, and half of the reference. Raises ValueError
        for heads with other cameras.
        """
        if not torch.equal(judged.view, self.twins.view):
            raise ValueError("the heads to be measured must have the cameras of the yardstick's twins")
        n, half = len(judged), len(judged) // 2
        kernel = HeadKernel(torch.cat([judged.features, self.reference.features]), self.scale.gamma)

        def numbers(mine: Tensor, its: Tensor, count: int, scale: Scale, floor: Tensor) -> Numbers:
            drawn = Drawn(judged, mine), Drawn(self.reference, its), Drawn(self.twins, mine)
            found = comparison.with_bias(comparison.compare(*drawn, count, scale), floor, scale, self.phi)
            return found | {(ALL, "kernel"): kernel.distance(mine[:count], n + its[:count])}

        pairs = zip(*(orders(n, self.halves, self.seed + side) for side in (1, 2)), strict=True)
        bar = tqdm(pairs, unit="half", desc="intervals", total=self.halves, disable=not progress)
        whole = torch.arange(n)
        with one_thread():
            parts = [numbers(mine, its, half, self.scale.halved(), self._half_floor) for mine, its in bar]
            return numbers(whole, whole, n, self.scale, self.floor), parts

    def half_samples(self, statistic: Callable[[Tensor], float], heads: int) -> list[float]:
        """A statistic of head indices [n], for half-samples of the heads."""
        return [statistic(order[: max(heads // 2, 1)]) for order in orders(heads, self.halves, self.seed + 1)]

    def half_samples_of_both(self) -> list[tuple[Tensor, Tensor]]:
        """Head indices of half of the judged heads, and of half of the reference: the half-samples of `measure`."""
        n = len(self.twins)
        one, other = (orders(n, self.halves, self.seed + side)[:, : n // 2] for side in (1, 2))
        return list(zip(one, other, strict=True))

    def real_splits(self) -> list[tuple[Tensor, Tensor]]:
        """The reference's and the twins' heads, counted through, in random orders and the same backwards: the first
        half of each are two sets of real heads that share nobody."""
        return [(order, order.flip(0)) for order in orders(2 * len(self.twins), self.splits, self.seed)]

    @cached_property
    def _pool(self) -> Drawn:
        return Drawn(self.reference.joined(self.twins), torch.arange(2 * len(self.twins)))

    def _splits(self):
        """Two disjoint sets of all real heads: from the beginning and from the end of a random order."""
        for one, other in self.real_splits():
            yield Drawn(self._pool.heads, one), Drawn(self._pool.heads, other)

    @cached_property
    def _compared_splits(self) -> list[Numbers]:
        n, found = len(self.twins), []
        kernel = HeadKernel(self._pool.heads.features, self.scale.gamma)
        with one_thread():
            for one, other in self._splits():
                distance = kernel.distance(one.order[:n], other.order[:n])
                found.append(comparison.compare(one, other, other, n, self.scale) | {(ALL, "kernel"): distance})
        return found

    @cached_property
    def _half_floor(self) -> Tensor:
        scale = self.scale.halved()
        with one_thread():
            rows = [comparison.frechet_by_bin(one, other, scale) for one, other in self._splits()]
        return torch.stack(rows).mean(0)


def encoded(
    extractor: FeatureExtractor, pictures: Tensor, store: Path | str | None, progress: bool = False
) -> Tensor:  # [..., 3, H, W] uint8 -> [..., D]
    """Features of pictures, kept in the folder `store` where there is one."""
    if store is None:
        return extractor.pictures(pictures, progress)
    return stored_features(extractor, pictures, store, progress)


@contextmanager
def one_thread() -> Iterator[None]:
    """For many small matrices: several threads would wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
