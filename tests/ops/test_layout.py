"""Where points are read: each projection against its definition, and the near-equal-area map
against the sphere."""

import math

import pytest
import torch

from semhead_lib.models.planes import REPRESENTATIONS, make_planes
from semhead_lib.ops import Layout, Projection, Window, reference_sample_planes, sample_planes
from semhead_lib.ops.layout import direction_of_square, project, square_of_direction

SIDE = 16
CENTRES = (torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE * 2 - 1  # of texels, in [-1, 1]
SPHERES = {
    Projection.TOP: (0.0, 1.0, 0.0),
    Projection.FRONT: (0.0, 0.0, 1.0),
}  # plane -> the centre of its square


def directions(n: int = 20000, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(
        torch.randn(n, 3, generator=generator, dtype=torch.float64), dim=-1
    )


@pytest.mark.parametrize("sample", [sample_planes, reference_sample_planes])
@pytest.mark.parametrize(
    ("projection", "axes"),
    [(Projection.XY, (0, 1)), (Projection.XZ, (0, 2)), (Projection.YZ, (1, 2))],
)
def test_one_lit_texel_lights_one_line_along_the_third_axis(sample, projection, axes):
    """The mistake of EG3D's published projection, where the third plane is a second XZ, would fail
    here."""
    row, column = 3, 11
    feature_map = torch.zeros(1, SIDE, SIDE, 1, dtype=torch.float64)
    feature_map[0, row, column] = 1.0
    layout = Layout(SIDE, SIDE, 1, (Window(projection),))
    points = torch.zeros(SIDE * SIDE, 3, dtype=torch.float64)
    grid = torch.cartesian_prod(CENTRES, CENTRES)
    points[:, axes[0]], points[:, axes[1]] = grid[:, 0], grid[:, 1]
    for along in (-0.9, 0.0, 0.7):
        points[:, 3 - sum(axes)] = along
        lit = sample(feature_map, points[None], layout)[0, :, 0]
        expected = torch.zeros(SIDE, SIDE, dtype=torch.float64)
        expected[column, row] = 1.0
        assert torch.allclose(lit.view(SIDE, SIDE), expected, atol=1e-12)


def test_a_triplane_with_a_lit_texel_in_each_plane_lights_one_point():
    target = (12, 4, 9)  # texel along x, y, z
    planes = make_planes("triplane", SIDE, 1)
    feature_map = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.float64)
    for channel, (a, b) in enumerate(((0, 1), (0, 2), (1, 2))):
        feature_map[0, target[b], target[a], channel] = 1.0
    points = torch.cartesian_prod(CENTRES, CENTRES, CENTRES)
    read = sample_planes(feature_map, points[None], planes.layout)[0, :, 0].view(SIDE, SIDE, SIDE)
    assert read[target] == pytest.approx(1.0)
    assert (read > 0.99).sum() == 1 and (read > 0.34).sum() == 1, (
        "elsewhere at most one plane in three is lit"
    )


@pytest.mark.parametrize("slice_", [0, 1, 2])
def test_slices_of_a_trigrid_follow_the_third_axis(slice_):
    layout = Layout(SIDE, SIDE, 1, (Window(Projection.XY),), depth=3)
    feature_map = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.float64)
    feature_map[..., slice_] = 1.0
    z = torch.linspace(-1, 1, 13, dtype=torch.float64)
    points = torch.stack([torch.zeros_like(z), torch.zeros_like(z), z], -1)
    read = sample_planes(feature_map, points[None], layout)[0, :, 0]
    assert torch.allclose(read, (1 - ((z * 1.5 + 1).clamp(0, 2) - slice_).abs()).clamp(0, 1))


def test_the_square_of_directions_is_centred_where_it_says_and_its_edge_is_the_opposite():
    for projection, centre in SPHERES.items():
        pole = torch.tensor(centre, dtype=torch.float64)
        at, _ = project(torch.stack([0.4 * pole, 1.0 * pole]), projection)
        assert at[:, :2].abs().max() < 1e-12, "and the radius does not matter"
        close = torch.nn.functional.normalize(-pole + 1e-4 * directions(500), dim=-1)
        assert project(close, projection)[0][:, :2].abs().amax(-1).min() > 1 - 1e-3


@pytest.mark.parametrize("projection", SPHERES)
def test_no_direction_is_lost_at_the_poles_the_axes_or_the_origin(projection):
    special = torch.cartesian_prod(*[torch.tensor([-1.0, -1e-8, 0.0, 1e-8, 1.0])] * 3)
    for dtype in (torch.float32, torch.float64):
        points = special.to(dtype).requires_grad_()
        at, _ = project(points, projection)
        (gradient,) = torch.autograd.grad(at[:, :2].sum(), points)
        assert (
            at.isfinite().all() and at[:, :2].abs().max() <= 1 + 1e-6 and gradient.isfinite().all()
        )


def test_the_inverse_is_exact():
    d = directions().float()
    u, v = square_of_direction(*d.unbind(-1))
    back = torch.stack(direction_of_square(u, v), -1)
    assert (back - d).abs().amax(-1).quantile(0.99) < 1e-5 and (back - d).abs().max() < 1e-4, (
        "float32, edge included"
    )
    d = directions()
    back = torch.stack(direction_of_square(*square_of_direction(*d.unbind(-1))), -1)
    assert (back - d).abs().max() < 1e-5
    u, v = (
        torch.rand(2, 5000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ) * 0.9999
    again = torch.stack(square_of_direction(*direction_of_square(u, v)), -1)
    assert (again - torch.stack([u, v], -1)).abs().max() < 1e-5


def area_ratio(n: int) -> torch.Tensor:  # [n, n]
    """Area on the sphere of each cell of the square, over the mean: by the derivative of the
    inverse."""
    c = (torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 1
    u, v = (x.clone().requires_grad_() for x in torch.meshgrid(c, c, indexing="xy"))
    d = direction_of_square(u, v)
    by = [
        torch.stack([torch.autograd.grad(x.sum(), t, retain_graph=True)[0] for x in d], -1)
        for t in (u, v)
    ]
    area = torch.linalg.cross(*by).norm(dim=-1)
    return area / (math.pi)  # the sphere's 4 pi over the square's 4


def test_areas_are_nearly_equal():
    """Lambert's map keeps areas, the elliptical grid not quite: largest in the middle, nought in
    the corners alone."""
    ratio = area_ratio(256)
    assert ratio.mean() == pytest.approx(1.0, abs=1e-3), "together they are the sphere"
    assert ratio.max() == pytest.approx(4 / math.pi, abs=1e-3)
    assert ratio.std() < 0.22
    assert (ratio > 0.5).double().mean() > 0.96 and (ratio > 0.75).double().mean() > 0.87


def test_a_texel_serves_two_places_only_near_the_seam():
    """The map is one to one: directions that fall into one texel are near each other."""
    d = directions(60000)
    u, v = square_of_direction(*d.unbind(-1))
    cell = ((u + 1) * 8).long().clamp(0, 15) * 16 + ((v + 1) * 8).long().clamp(0, 15)
    for texel in range(256):
        inside = d[cell == texel]
        if len(inside) > 1:
            assert (inside @ inside.mean(0) / inside.mean(0).norm()).min() > 0.6


@pytest.mark.parametrize("pole", ["POLAR", "TURNED"])
def test_spherical_planes_hand_over_before_their_seam_and_poles(pole):
    d = directions()
    own = project(d, Projection[f"{pole}_TP"])[1]
    other = project(d, Projection["TURNED_TP" if pole == "POLAR" else "POLAR_TP"])[1]
    assert torch.allclose(own + other, torch.full_like(own, 2.0)) and own.min() >= 0
    y, z = (0, 1, 0), (0, 0, -1)  # a pole and the middle of the seam of the polar planes
    weak = torch.tensor([y, z] if pole == "POLAR" else [(1, 0, 0), (0, 0, 1)], dtype=torch.float64)
    assert project(weak, Projection[f"{pole}_TP"])[1].max() < 1e-6


def test_spherical_features_are_continuous_over_the_whole_sphere():
    planes = make_planes("spherical", 32, 2)
    generator = torch.Generator().manual_seed(2)
    coarse = torch.randn(1, 6 * 2, 4, 4, generator=generator, dtype=torch.float64)
    features = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic")
    d = directions(4000) * 0.8
    step = 1e-4 * directions(4000, seed=1)
    read = [
        sample_planes(planes.map(features), p[None].contiguous(), planes.layout)
        for p in (d, d + step)
    ]
    jumps = (read[0] - read[1]).abs().amax(-1)
    assert jumps.max() < 0.02, "no seam: a step of 1e-4 changes little, everywhere"


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_planes_are_views_of_the_map_and_cover_it(name):
    planes = make_planes(name, 6, 4)
    features = torch.randn(2, planes.map_channels, planes.map_side, planes.map_side).contiguous(
        memory_format=torch.channels_last
    )
    feature_map = planes.map(features)
    assert feature_map.data_ptr() == features.data_ptr() and feature_map.is_contiguous()
    covered = torch.zeros(feature_map.shape)
    for window in planes.layout.windows:
        planes.layout.plane(covered, window).add_(1)
    assert (covered == 1).all(), "every number of the feature map belongs to one plane"


def test_wrong_names_sizes_and_shapes_are_refused():
    with pytest.raises(
        ValueError, match=r"representation must be one of triplane, .*got 'quadplane'"
    ):
        make_planes("quadplane", 4, 4)
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        Layout(1, 0, 1, (Window(Projection.XY),))
    with pytest.raises(
        ValueError, match=r"triplane needs features \[B, \*\(12, 6, 6\)\], got \[1, 12, 6, 5\]"
    ):
        make_planes("triplane", 6, 4).map(torch.zeros(1, 12, 6, 5))
