"""Bins of azimuth, and which view stands for a head in each."""

import pytest
import torch

from semhead_lib.cameras import orbit_cameras
from semhead_lib.metrics.azimuth import AzimuthBins, BinnedFeatures


def around(*azimuths: float) -> torch.Tensor:  # [1, V, 25]
    return orbit_cameras(torch.tensor(azimuths), torch.full((len(azimuths),), 20.0))[None]


@pytest.mark.parametrize("count", [1, 3, 8, 12])
def test_every_azimuth_lies_within_half_a_width_of_its_bin(count):
    bins = AzimuthBins(count)
    azimuth = torch.linspace(-540, 540, 4321, dtype=torch.float64)
    centre = torch.tensor(bins.centres, dtype=torch.float64)[bins.of(azimuth)]
    off = (azimuth - centre + 180) % 360 - 180
    assert off.abs().max() <= bins.width / 2 + 1e-9
    assert len(set(bins.names)) == count and all(-180 < c <= 180 for c in bins.centres)
    assert bins.of(azimuth).bincount(minlength=count).float().std(correction=0) < 3


def test_the_nearest_view_in_a_bin_stands_for_the_head():
    heads = torch.cat([around(-20.0, 5.0, 170.0, -178.0), around(22.0, 23.0, 50.0, -90.0)])
    views = AzimuthBins(8).nearest_views(heads)
    assert views.tolist() == [[1, -1, -1, -1, 3, -1, -1, -1], [0, 2, -1, -1, -1, -1, 3, -1]]


def test_heads_are_taken_in_order_and_only_once():
    cameras = torch.cat([around(0.0, 180.0), around(10.0, 5.0), around(175.0, -1.0)])
    features = torch.arange(6.0).reshape(3, 2, 1)
    binned = BinnedFeatures.of(features, cameras, AzimuthBins(2))
    assert binned.counts.tolist() == [3, 2] and len(binned) == 3
    assert binned.in_bin(0, torch.tensor([2, 1, 0]), 2).flatten().tolist() == [5, 3]
    assert binned.in_bin(1, torch.tensor([1, 2, 0]), 2).flatten().tolist() == [4, 1], (
        "head 1 has no view of the back"
    )
    both = binned.joined(binned)
    assert both.in_bin(1, torch.arange(6), 4).flatten().tolist() == [1, 4, 1, 4]
    with pytest.raises(ValueError, match="views of 2 heads, 3 are needed"):
        binned.in_bin(1, torch.arange(3), 3)


def test_errors():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        AzimuthBins(0)
    with pytest.raises(ValueError, match=r"got \[2, 3, 4\], \[1, 3, 25\]"):
        BinnedFeatures.of(torch.zeros(2, 3, 4), around(0.0, 1.0, 2.0), AzimuthBins())
