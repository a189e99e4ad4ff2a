import math

import pytest
import torch

from semhead_lib.data.portraits.photographic import Photographer, backgrounds, normals_of_depth

NEVER = dict(light=0, background=0, occlusion=0, lens=0, sensor=0, file=0)


def ball(side=48, radius=0.3, focal=4.0, distance=2.7):
    """Depth [1, 1, S, S] of a ball before a camera, and its normals from the equation."""
    axis = (torch.arange(side) + 0.5) / side - 0.5
    v, u = torch.meshgrid(axis / focal, axis / focal, indexing="ij")
    direction = torch.stack([u, v, torch.ones_like(u)])
    a, b = (direction**2).sum(0), -2 * distance * direction[2]
    inside = b * b - 4 * a * (distance**2 - radius**2)
    z = torch.where(inside > 0, (-b - inside.clamp_min(0).sqrt()) / (2 * a), 0.0)
    points = direction * z
    normals = (points - torch.tensor([0, 0, distance])[:, None, None]) / radius
    return z[None, None], normals[None] * (z > 0)


def test_normals_of_depth_are_those_of_a_ball():
    depth, truth = ball()
    found = normals_of_depth(depth, 4.0)
    known = found.abs().sum(1) > 0
    assert known.sum() > 0.8 * (depth > 0).sum()
    angle = torch.rad2deg(torch.acos((found * truth).sum(1).clamp(-1, 1)))[known]
    assert angle.median() < 2 and angle.quantile(0.9) < 8
    assert (found[:, 2][known] < 0).all(), "they look at the camera"


def heads(count=4, side=48):
    """Brown balls before grey, and their masks."""
    depth, normals = ball(side)
    masks = (depth > 0).float().expand(count, -1, -1, -1)
    images = torch.lerp(torch.tensor(0.82), torch.tensor([0.5, 0.3, 0.2])[:, None, None], masks)
    return (images * 255).round().to(torch.uint8), masks, normals.expand(count, -1, -1, -1)


def test_without_a_step_nothing_changes_and_equal_seeds_are_equal():
    images, masks, normals = heads()
    assert (Photographer(**NEVER)(images, masks, 0, normals).int() - images.int()).abs().max() <= 1
    one, same, other = (Photographer()(images, masks, seed, normals) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.shape == images.shape and one.dtype == torch.uint8


@pytest.mark.parametrize("step", NEVER)
def test_each_step_changes_what_it_is_about(step):
    images, masks, normals = heads(8)
    changed = Photographer(**NEVER | {step: 1})(images, masks, 3, normals)
    off = (changed.int() - images.int()).abs().float().mean(1, keepdim=True)
    head, behind = (off * masks).sum() / masks.sum(), (off * (1 - masks)).sum() / (1 - masks).sum()
    if step == "light":
        assert head > 5 > 1 > behind
        sides = (changed.float() * masks).unfold(-1, 24, 24).sum((1, 2, 4))
        assert (sides[:, 0] / sides[:, 1]).log().abs().max() > 0.1, "from one side more"
    elif step == "background":
        assert behind > 20 > 1 >= head
    else:
        assert off.mean() > 0.5


def test_backgrounds_differ_and_have_structure():
    made = backgrounds(16, 32, torch.Generator().manual_seed(0))
    assert made.shape == (16, 3, 32, 32) and made.min() >= 0 and made.max() <= 1
    assert made.mean((2, 3)).std(0).min() > 0.05 and made.flatten(2).std(2).mean() > 0.05


def test_what_is_no_image_is_named():
    images, masks, _ = heads()
    with pytest.raises(ValueError, match=r"images must be uint8 \[B, 3, S, S\], got torch.float32"):
        Photographer()(images.float(), masks, 0)
    with pytest.raises(ValueError, match=r"masks must be \[4, 1, 48, 48\], got \[4, 48, 48\]"):
        Photographer()(images, masks[:, 0], 0)
    with pytest.raises(ValueError, match=r"lens must lie in 0\.\.\.1, got nan"):
        Photographer(lens=math.nan)
