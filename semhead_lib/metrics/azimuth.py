"""Azimuth bins: metrics for every side of a head beside those for all sides together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from semhead_lib.cameras import orbit_angles


@dataclass(frozen=True)
class AzimuthBins:
    """Bins of equal width, centred at 0, 360/count, ... degrees; the one at the back reaches over
    +-180.

    >>> bins = AzimuthBins(8)
    >>> bins.names
    ('0', '45', '90', '135', '180', '-135', '-90', '-45')
    >>> [bins.names[i] for i in bins.of(torch.tensor([0.0, 22.4, 22.5, -22.5, 179.0, -179.0]))]
    ['0', '0', '45', '0', '180', '180']

    Raises ValueError for fewer than one bin.
    """

    count: int = 8

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count of azimuth bins must be at least 1, got {self.count}")

    @property
    def width(self) -> float:
        """Degrees."""
        return 360 / self.count

    @property
    def centres(self) -> tuple[float, ...]:
        """Degrees in (-180, 180], from the front to the subject's left and around."""
        turned = (i * self.width for i in range(self.count))
        return tuple(angle if angle <= 180 else angle - 360 for angle in turned)

    @property
    def names(self) -> tuple[str, ...]:
        """The centres in words."""
        return tuple(f"{centre:g}" for centre in self.centres)

    def of(self, azimuth: Tensor) -> Tensor:  # [...] degrees -> [...] int64
        """The bin of each azimuth; a bin has its lower edge, not its upper one."""
        return ((azimuth.double() / self.width + 0.5).floor() % self.count).long()

    def nearest_views(self, cameras: Tensor) -> Tensor:  # [N, V, 25] -> [N, count] int64
        """For each head and bin the one view in it that is nearest to the bin's centre; -1 where
        there is none."""
        azimuth = orbit_angles(cameras.flatten(0, 1))[:, 0].reshape(cameras.shape[:2])
        off = (
            azimuth[..., None] - torch.tensor(self.centres, dtype=azimuth.dtype) + 180
        ) % 360 - 180  # [N, V, B]
        inside = self.of(azimuth)[..., None] == torch.arange(self.count)
        nearest = off.abs().masked_fill(~inside, torch.inf).argmin(1)
        return torch.where(inside.any(1), nearest, -1)


@dataclass(frozen=True)
class BinnedFeatures:
    """Features of the views of N heads, and which of them stands for its head in each bin.

    A bin holds one view of a head at most, so what is compared in it is independent, as the metrics
    assume.
    """

    features: Tensor  # [N, V, D]
    view: Tensor  # [N, bins] int64 view of each head, -1: none

    @classmethod
    def of(cls, features: Tensor, cameras: Tensor, bins: AzimuthBins) -> BinnedFeatures:
        """Raises ValueError unless features [N, V, D] and cameras [N, V, 25] are of the same views."""
        if features.ndim != 3 or cameras.shape != (*features.shape[:2], 25):
            raise ValueError(
                f"features must be [N, V, D] and cameras [N, V, 25], got {list(features.shape)}, "
                f"{list(cameras.shape)}"
            )
        return cls(features.double(), bins.nearest_views(cameras))

    @property
    def counts(self) -> Tensor:
        """Heads in each bin, [bins] int64."""
        return (self.view >= 0).sum(0)

    def __len__(self) -> int:
        return len(self.features)

    def in_bin(self, bin: int, order: Tensor, count: int) -> Tensor:  # [count, D]
        """Features of the first `count` heads of `order` (head indices) that have a view in the
        bin.

        Raises ValueError when there are fewer.
        """
        found = order[self.view[order, bin] >= 0][:count]
        if len(found) < count:
            raise ValueError(f"bin {bin} has views of {len(found)} heads, {count} are needed")
        return self.features[found, self.view[found, bin]]

    def joined(self, other: BinnedFeatures) -> BinnedFeatures:
        """The heads of both."""
        return BinnedFeatures(
            torch.cat([self.features, other.features]), torch.cat([self.view, other.view])
        )
