"""The generator as a whole: images, saving and loading, costs, meshes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from semhead_lib.cameras import orbit_cameras
from semhead_lib.models.config import PRESETS, GeneratorConfig, preset
from semhead_lib.models.cost import cost
from semhead_lib.models.generator import Generator
from semhead_lib.models.mesh import mesh, surface
from semhead_lib.models.planes import REPRESENTATIONS
from semhead_lib.models.renderer import box_bounds
from semhead_lib.ops import Box

LABELS = orbit_cameras(torch.tensor([0.0, 120.0]), torch.tensor([0.0, 20.0]))
TINY = preset(
    "semhead-64",
    plane_side=16,
    plane_channels=4,
    backbone_base=256,
    backbone_most=16,
    super_channels=(8,),
    condition_dim=6,
    coarse=6,
    fine=4,
    z_dim=10,
    w_dim=12,
)


def make(config=TINY, seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    return Generator(config).eval()


def inputs(config=TINY, batch: int = 2):
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(batch, config.z_dim, generator=generator)
    condition = (
        torch.randn(batch, config.condition_dim, generator=generator)
        if config.condition_dim
        else None
    )
    return z, condition, LABELS[:batch]


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_images_of_every_representation(representation):
    generator = make(replace(TINY, representation=representation))
    with torch.no_grad():
        seen = generator(*inputs(), seed=0)
    assert seen.image.shape == (2, 3, 64, 64) and seen.image_raw.shape == (2, 3, 32, 32)
    assert seen.features.shape == (2, 16, 32, 32) and seen.depth.shape == seen.opacity.shape == (
        2,
        1,
        32,
        32,
    )
    assert (
        seen.opacity.min() >= -0.01
        and seen.opacity.max() <= 1.001
        and seen.image_raw.abs().max() <= 1.01
    )
    assert seen.opacity.std() > 0.05, "the soft ball is there from the beginning"
    assert seen.depth.min() > 2.0 and seen.depth.max() < 3.6


def test_the_same_seeds_give_the_same_image_and_other_latents_another():
    generator, (z, condition, cameras) = make(), inputs()
    with torch.no_grad():
        images = [generator(z, condition, cameras, seed=s).image for s in (3, 3, 4)]
        other = generator(z.flip(0), condition, cameras, seed=3).image
        unseeded = [generator(z, condition, cameras).image for _ in range(2)]
    assert torch.equal(images[0], images[1]) and torch.equal(*unseeded)
    assert not torch.equal(images[0], images[2]) and not torch.allclose(images[0], other)
    assert torch.equal(
        make().state_dict()["backbone.constant"], generator.state_dict()["backbone.constant"]
    )


def test_the_reference_twin_draws_the_same():
    generator, (z, condition, cameras) = make(), inputs()
    with torch.no_grad():
        w = generator.mapping(z, condition)
        ours, expected = (
            generator.synthesize(w, cameras, seed=0, reference=r) for r in (False, True)
        )
    assert torch.allclose(ours.image, expected.image, atol=1e-4) and torch.allclose(
        ours.depth, expected.depth, atol=1e-4
    )


def test_a_style_for_each_layer():
    """w+ of equal styles is w; the backbone's change the volume, the background's what is behind,
    the last ones the final image alone."""
    generator, (z, condition, cameras) = make(), inputs()
    assert generator.num_ws == (8, 4, 2), (
        "16 texels a plane, four planes in a map of 32: 4, 8, 16, 32"
    )
    with torch.no_grad():
        w = generator.mapping(z, condition)
        every = w[:, None].repeat(1, 14, 1)
        one, same = generator.synthesize(w, cameras), generator.synthesize(every, cameras)
        for a, b in zip(vars(one).values(), vars(same).values(), strict=True):
            torch.testing.assert_close(a, b)
        points = torch.rand(2, 50, 3) - 0.5
        torch.testing.assert_close(
            generator.sample_density(every, points), generator.sample_density(w, points)
        )
        changed = {layer: every.clone() for layer in (0, 7, 8, 13)}
        for layer, styles in changed.items():
            styles[:, layer] += 1.0
        seen = {layer: generator.synthesize(styles, cameras) for layer, styles in changed.items()}
    assert all((seen[layer].opacity - one.opacity).abs().max() > 1e-3 for layer in (0, 7))
    assert (
        torch.equal(seen[8].opacity, one.opacity)
        and (seen[8].image_raw - one.image_raw).abs().max() > 1e-3
    )
    assert (
        torch.equal(seen[13].image_raw, one.image_raw)
        and (seen[13].image - one.image).abs().max() > 1e-4
    )
    with pytest.raises(
        ValueError, match=r"styles must be \[H, W\] or \[H, 14, W\], got \[2, 13, 12\]"
    ):
        generator.synthesize(every[:, 1:], cameras)


def test_every_weight_learns():
    generator = make().train()
    seen = generator(*inputs(), seed=0)
    (
        seen.image.square().mean()
        + seen.image_raw.square().mean()
        + seen.opacity.mean()
        + seen.depth.mean()
    ).backward()
    idle = [
        name
        for name, p in generator.named_parameters()
        if p.grad is None or not p.grad.isfinite().all()
    ]
    assert idle == []


def test_raw_images_of_another_size_and_a_plain_background():
    generator = make(replace(TINY, background="plain"))
    w = generator.mapping(*inputs()[:2])
    with torch.no_grad():
        for side in (16, 32, 48):
            seen = generator.synthesize(w, LABELS, raw_resolution=side)
            assert seen.image_raw.shape[-1] == side and seen.image.shape[-1] == 64
        empty = seen.opacity < 0.02
    assert empty.any() and (seen.image_raw[empty.expand_as(seen.image_raw)] > 0.9).all(), (
        "white where nothing is"
    )
    assert not [name for name, _ in generator.named_parameters() if name.startswith("background")]


def test_saved_and_loaded_it_is_the_same(tmp_path):
    generator = make()
    generator.save(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    again = Generator.load(tmp_path / "model")
    assert again.config == generator.config and not again.training
    with torch.no_grad():
        assert torch.equal(again(*inputs(), seed=0).image, generator(*inputs(), seed=0).image)


def test_what_cannot_be_loaded_says_why(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no generator 'semhead-7': .*config.json is missing"
    ):
        Generator.load("semhead-7")
    make().save(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {"w_dim": 14}))
    with pytest.raises(ValueError, match=r"model.safetensors does not fit its config.json"):
        Generator.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(content | {"colour": 1}))
    with pytest.raises(ValueError, match="a generator's config has no colour"):
        Generator.load(tmp_path)
    del content["coarse"], content["fields"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"config is incomplete: .*coarse"):
        Generator.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 128}, "1 super-resolution blocks make 32 pixels 64, not 128"),
        ({"background": "green"}, "background must be one of learnt, plain, got 'green'"),
        ({"features": 2}, "features must be at least 3"),
        ({"representation": "cube"}, "representation must be one of"),
    ],
)
def test_configs_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        Generator(replace(TINY, **changes))
    with pytest.raises(ValueError, match=r"preset must be one of semhead-32, .*got 'semhead-33'"):
        preset("semhead-33")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_state_their_cost(name):
    stated = cost(PRESETS[name])
    with torch.device("meta"):
        assert stated.parameters == sum(p.numel() for p in Generator(PRESETS[name]).parameters())
    assert stated.flops == stated.convolution_flops + stated.renderer_flops > 1e8
    assert stated.bytes > 4 * stated.parameters
    assert (
        GeneratorConfig.from_json(json.loads(json.dumps(PRESETS[name].as_json()))) == PRESETS[name]
    )


def test_the_cost_of_a_convolution_is_what_it_is_by_hand():
    small = preset(
        "semhead-32",
        background="plain",
        representation="triplane",
        plane_side=4,
        backbone_base=32,
        backbone_most=8,
        mapping_layers=1,
        z_dim=8,
        w_dim=8,
    )
    convolutions = (
        4 * 4 * 2 * (2 * 8 * 8 * 9 + 8 * 48)
    )  # two 3 x 3 and one 1 x 1 layer on 4 x 4 pixels
    linear = (
        2 * 8 * 8 + 3 * 2 * 8 * 8 + 2 * 2 * 8 * 8
    )  # mapping; three affine layers; two demodulations
    assert cost(small).convolution_flops == convolutions + linear


def test_rays_meet_the_box_where_they_should():
    origins = torch.tensor([[[0.0, 0.0, 2.7], [0.0, 0.0, 0.0], [3.0, 0.0, 2.7], [0.0, 0.0, -2.0]]])
    directions = torch.tensor(
        [[[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 0.0, -1.0]]]
    )
    near, far = box_bounds(origins, directions, Box())
    assert near[0, :2].tolist() == pytest.approx([2.2, 0.0]) and far[
        0, :2
    ].tolist() == pytest.approx([3.2, 0.5])
    assert (far <= near)[0].tolist() == [False, False, True, True], (
        "beside it, and behind the camera"
    )


def test_the_mesh_of_a_sphere_is_a_sphere():
    def ball(points):
        return 10 * (0.3 - (points - torch.tensor([0.05, -0.1, 0.02])).norm(dim=-1))

    vertices, faces = surface(ball, 64, Box(), level=0.0)
    offsets = vertices - np.array([0.05, -0.1, 0.02])
    radii = np.linalg.norm(offsets, axis=1)
    assert abs(radii - 0.3).max() < 1e-3, "a half-cell shift would be 0.008"
    a, b, c = (offsets[faces[:, k]] for k in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * 0.3**3, rel=5e-3), (
        "and its triangles face outwards"
    )
    with pytest.raises(ValueError, match=r"no surface: density lies in .*, the level is 99"):
        surface(ball, 16, Box(), level=99.0)
    with pytest.raises(ValueError, match="at least 2, got 1"):
        surface(ball, 1, Box(), level=0.0)


def test_the_mesh_of_a_head_lies_where_its_images_show_it():
    generator = make(replace(TINY, ball_slope=2000.0, coarse=24, fine=24))
    w = generator.mapping(*inputs()[:2])[:1]
    made = mesh(generator, w[0], resolution=48)
    assert made.vertices.dtype == np.float32 and made.colours.shape == made.vertices.shape
    with torch.no_grad():
        seen = generator.synthesize(w, LABELS[:1])
        density = generator.sample_density(w, torch.tensor([[[0.0, 0.0, 0.0], [0.49, 0.49, 0.49]]]))
    assert density[0, 0] > 10 > density[0, 1]
    assert (
        abs(made.vertices[:, 2].max() - (2.7 - seen.depth[seen.opacity > 0.9].min().item())) < 0.03
    )


def test_vertices_lie_on_the_surface_of_a_density_that_is_no_straight_line():
    """Of a ball whose density falls 20 times faster outside than inside: linear interpolation
    between nodes puts vertices up to 0.6 steps off."""
    radius = 0.3

    def ball(points):
        inside = radius - points.norm(dim=-1)
        return torch.where(inside > 0, 300 * inside, 6000 * inside)

    vertices, _ = surface(ball, 24, Box(), level=0.0)
    off = np.linalg.norm(vertices, axis=1) - radius
    assert np.abs(off).max() < 0.03 / 23


def test_the_surface_of_a_steep_density_has_no_terraces(monkeypatch):
    """Of a ball whose raw density falls within less than a step of the grid."""
    generator = Generator(TINY)
    radius, center = 0.3, torch.tensor(generator.config.box_center)

    def field(features, points):
        away = (points - center).norm(dim=-1)
        return 1 + 4000 * (radius - away), points.new_zeros(*points.shape[:2], 3)

    monkeypatch.setattr(generator.renderer, "field", field)
    found = mesh(generator, torch.zeros(TINY.w_dim), 24)
    off = np.linalg.norm(found.vertices - center.numpy(), axis=1) - radius
    step = 2 * max(generator.config.box_half) / 23
    assert np.abs(off).max() < 0.08 * step
    with pytest.raises(ValueError, match=r"no surface: the density is nowhere, or .* level 1e"):
        mesh(generator, torch.zeros(TINY.w_dim), 24, level=1e6)
    with pytest.raises(ValueError, match="level must be above 0, got 0"):
        mesh(generator, torch.zeros(TINY.w_dim), 24, level=0.0)


def test_numbers_that_half_precision_does_not_hold_are_not_saved(tmp_path):
    generator = Generator(preset("semhead-32", plane_side=16))
    with torch.no_grad():
        generator.backbone.constant[0, 0] = 1e5
    with pytest.raises(ValueError, match=r"backbone\.constant has 1e\+05, which half precision"):
        generator.save(tmp_path, half=True)
    assert not list(tmp_path.iterdir())
