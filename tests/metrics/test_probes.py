"""Variance splits, probes and spread on features whose answers are known by construction."""

import math

import pytest
import torch

from semhead_lib.metrics import probes

RNG = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=RNG)


def test_variance_split_recovers_the_parts_it_was_made_of():
    subject, view, rest = 3.0 * normal(400, 1, 16), 2.0 * normal(1, 12, 16), normal(400, 12, 16)
    view = view - view.mean(1, keepdim=True)
    split = probes.variance_split(subject + view + rest)
    sizes = [part.square().sum(-1).mean().item() for part in (subject, view, rest)]
    assert split.subject + split.view + split.rest == pytest.approx(1.0, abs=1e-5)
    for got, size in zip((split.subject, split.view, split.rest), sizes, strict=True):
        assert got == pytest.approx(size / sum(sizes), abs=0.05)
    assert split.view_at.mean().item() == pytest.approx(split.view, abs=1e-5)
    assert split.view_at.argmax() == view[0].norm(dim=-1).argmax()


@pytest.mark.parametrize("shape", [(1, 4, 3), (4, 1, 3), (4, 3)])
def test_variance_split_needs_subjects_and_views(shape):
    with pytest.raises(ValueError, match="N >= 2"):
        probes.variance_split(torch.zeros(shape))


def test_variance_split_of_constant_features():
    with pytest.raises(ValueError, match="all equal"):
        probes.variance_split(torch.ones(3, 3, 2))


def test_azimuth_probe_reads_what_is_there_and_nothing_else():
    azimuth = torch.arange(-180.0, 180.0, 45.0).expand(60, 8)
    angle = torch.deg2rad(azimuth)
    told = torch.stack([angle.sin(), angle.cos(), *normal(3, 60, 8)], dim=-1)
    assert probes.azimuth_probe(told, azimuth).median_error < 2
    shared = normal(60, 1, 5).expand(60, 8, 5)
    blind = probes.azimuth_probe(shared, azimuth)
    assert 60 < blind.median_error < 120 and blind.explained < 0.05


def test_attribute_skill():
    truth = ["hat" if i % 3 else "none" for i in range(150)]
    features = normal(150, 6)
    assert abs(probes.attribute_skill(features, truth)) < 0.35
    features[:, 2] += torch.tensor([6.0 if t == "hat" else 0.0 for t in truth])
    assert probes.attribute_skill(features, truth) > 0.9
    assert math.isnan(probes.attribute_skill(features, ["none"] * 148 + ["hat"] * 2)), (
        "too few to say"
    )


def test_value_probe():
    features = normal(200, 5)
    assert probes.value_probe(features, (features @ normal(5)).tolist()) > 0.98
    assert probes.value_probe(features, normal(200).tolist()) < 0.1


def test_spread_counts_dimensions():
    flat = torch.nn.functional.normalize(
        torch.cat([normal(500, 4), torch.zeros(500, 12)], dim=1), dim=-1
    )
    found = probes.spread(flat)
    assert found.effective_dimensions == pytest.approx(4.0, abs=0.3)
    assert found.common < 0.2 and found.variances.sum().item() == pytest.approx(1.0, abs=1e-4)
    cone = torch.nn.functional.normalize(flat + torch.eye(16)[15] * 3, dim=-1)
    assert probes.spread(cone).common > 0.9


def test_angles_to_nearest():
    axes = torch.eye(3)
    assert probes.angles_to_nearest(axes).tolist() == pytest.approx([90.0] * 3)
    halfway = torch.nn.functional.normalize(torch.tensor([[1.0, 1.0, 0.0]]), dim=-1)
    assert probes.angles_to_nearest(halfway, axes).item() == pytest.approx(45.0, abs=1e-3)


def test_flat_map_keeps_groups_together():
    centre = torch.nn.functional.normalize(normal(3, 8), dim=-1).repeat_interleave(20, dim=0)
    points = probes.flat_map(torch.nn.functional.normalize(centre + 0.05 * normal(60, 8), dim=-1))
    assert points.shape == (60, 2)
    nearest = torch.cdist(points, points).fill_diagonal_(math.inf).argmin(1)
    assert ((nearest // 20) == torch.arange(60) // 20).float().mean() > 0.95
