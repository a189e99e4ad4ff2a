"""Features of points: the compiled op is its reference implementation, forward and backward."""

import pytest
import torch
from problems import largest_difference

from semhead_lib.models.planes import REPRESENTATIONS, make_planes
from semhead_lib.ops import compiled, reference_sample_planes, sample_planes

pytestmark = pytest.mark.skipif(not compiled.COMPILED.devices, reason=compiled.COMPILED.detail)


def problem(name: str, *, channels: int = 5, points: int = 131, dtype=torch.float64):
    planes = make_planes(name, 7, channels)
    generator = torch.Generator().manual_seed(4)
    side = planes.map_side
    feature_map = torch.randn(
        2, side, side, planes.map_channels, generator=generator, dtype=torch.float64
    )
    xyz = (
        torch.rand(2, points, 3, generator=generator, dtype=torch.float64) * 2.4 - 1.2
    )  # some beyond the planes
    axes = torch.cat(
        [torch.zeros(1, 3), torch.eye(3), -torch.eye(3)]
    ).double()  # the origin and the poles
    xyz[:, : min(7, points)] = axes[: min(7, points)]
    return feature_map.to(dtype), xyz.to(dtype), planes.layout


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("channels", [1, 16, 35])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_values_and_gradients_are_the_twins(name, channels, dtype, tolerance):
    feature_map, xyz, layout = problem(name, channels=channels, dtype=dtype)
    results = []
    for sample in (sample_planes, reference_sample_planes):
        leaves = [feature_map.clone().requires_grad_(), xyz.clone().requires_grad_()]
        features = sample(*leaves, layout)
        upstream = torch.randn(
            features.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        results.append([features, *torch.autograd.grad(features, leaves, upstream.to(dtype))])
    values, by_map, by_points = zip(*results, strict=True)
    assert largest_difference(*values) < tolerance and largest_difference(*by_map) < tolerance
    assert (
        largest_difference(*(g[:, 7:] for g in by_points)) < tolerance
    )  # at poles any slope is as good
    assert by_points[0].isfinite().all()


@pytest.mark.parametrize("name", ["trigrid", "hyplane-2+2", "spherical"])
def test_derivatives_by_finite_differences(name):
    feature_map, xyz, layout = problem(name, channels=2, points=16)
    leaves = [
        feature_map.requires_grad_(),
        (xyz[:, 7:] * 0.7).requires_grad_(),
    ]  # at poles there is no derivative
    assert torch.autograd.gradcheck(
        lambda m, x: sample_planes(m, x, layout), leaves, eps=1e-7, atol=1e-5, rtol=1e-3
    )


def test_the_op_is_registered_as_torch_asks():
    feature_map, xyz, layout = problem("hyplane", dtype=torch.float32, points=5)
    arguments = (feature_map.requires_grad_(), xyz.requires_grad_(), layout.numbers())
    torch.library.opcheck(torch.ops.semhead.sample_planes.default, arguments)


@pytest.mark.parametrize("sample", [sample_planes, reference_sample_planes])
def test_broken_points_are_broken_alone(sample):
    feature_map, xyz, layout = problem("hyplane")
    whole = sample(feature_map, xyz, layout)
    xyz[0, 3, 1], xyz[1, 5, 0] = torch.nan, torch.inf
    leaves = [feature_map.clone().requires_grad_(), xyz.clone().requires_grad_()]
    features = sample(*leaves, layout)
    broken = features.isnan().all(-1)
    assert broken.sum() == 2 and broken[0, 3] and broken[1, 5]
    assert torch.equal(features[~broken], whole[~broken])
    gradients = torch.autograd.grad(features, leaves, torch.ones_like(features))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_no_points_and_wrong_shapes():
    feature_map, xyz, layout = problem("triplane")
    assert sample_planes(feature_map, xyz[:, :0], layout).shape == (2, 0, 5)
    with pytest.raises(ValueError, match=r"points must be \[2, N, 3\], got \[2, 131, 2\]"):
        sample_planes(feature_map, xyz[..., :2], layout)
