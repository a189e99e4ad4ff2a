"""Layers against the formulas they are written from."""

import math

import pytest
import torch
import torch.nn.functional as F

from semhead_lib.models.backbone import Backbone, Background, SuperResolution
from semhead_lib.models.layers import EqualLinear, equalised, upsample
from semhead_lib.models.mapping import MappingNetwork, unit_variance
from semhead_lib.models.style_layers import BlendMaps, ModulatedConv, StyleLayer


def modulated_by_weights(layer: ModulatedConv, x, w):
    """The same with weights scaled for every sample, one at a time: Karras et al. (2020), equations
    1 to 3."""
    results = []
    for one, style in zip(x, layer.affine(w), strict=True):
        weight = layer.weight * layer.scale * style[None, :, None, None]
        if layer.demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if layer.up:
            large = F.conv_transpose2d(one[None], weight.transpose(0, 1), stride=2)
            results.append(F.conv2d(large, layer.blur, padding=1, groups=large.shape[1]))
        else:
            results.append(F.conv2d(one[None], weight, padding=weight.shape[-1] // 2))
    return torch.cat(results)


@pytest.mark.parametrize("up", [False, True, "polyphase"])
@pytest.mark.parametrize("demodulate", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("learning", [False, True])
def test_modulation_is_that_of_the_weights_of_every_sample(learning, batch, kernel, demodulate, up):
    if up and kernel == 1:
        pytest.skip("only 3 x 3 layers double the size")
    torch.manual_seed(0)
    layer = ModulatedConv(5, 7, kernel, 6, bool(up), demodulate).double()
    layer.polyphase = up == "polyphase"
    x, w = torch.randn(batch, 5, 8, 8).double(), torch.randn(batch, 6).double()
    bias = torch.randn(7).double()
    with torch.set_grad_enabled(learning):
        out = layer(x, w, bias, gain=1.5)
    assert out.shape == ((batch, 7, 16, 16) if up else (batch, 7, 8, 8))
    expected = modulated_by_weights(layer, x, w)
    assert torch.allclose(out, expected * 1.5 + bias[:, None, None], atol=1e-6)
    assert torch.allclose(layer(x, w), expected, atol=1e-6)
    layer.requires_grad_(False)  # as in inversion: only the style learns
    assert torch.allclose(layer(x, w.requires_grad_()), expected, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("up", [False, True, "polyphase", "places"])
def test_derivatives_of_a_style_layer_by_finite_differences(up, batch):
    torch.manual_seed(0)
    places, up = up == "places", up != "places" and up
    layer = StyleLayer(3, 4, 5, 8 if up else 4, bool(up), place_gain=10.0 * places).double()
    layer.conv.polyphase = up == "polyphase"
    with torch.no_grad():
        layer.noise_strength.fill_(0.3)
        if places:
            layer.places.normal_(std=0.1)
    x = torch.randn(batch, 3, 4, 4).double().requires_grad_()
    w = torch.randn(batch, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(layer, (x, w))
    assert torch.autograd.gradcheck(layer.requires_grad_(False), (x, w))


def test_scaled_weights_are_made_together_and_once():
    """Within `equalised` layers give what they give without it, and so do gradients; weights are
    those of its begin."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(EqualLinear(5, 6, bias=0.3, rate=0.1), EqualLinear(6, 2)).double()
    x = torch.randn(4, 5).double()
    network(x).square().sum().backward()
    expected, network[0].weight.grad = network[0].weight.grad, None
    out = network(x)
    with equalised(network):
        made = network(x)
        assert torch.equal(made, out)
        made.square().sum().backward()
        with torch.no_grad():
            network[1].bias.add_(1.0)
            assert torch.equal(network(x), out)
    torch.testing.assert_close(network[0].weight.grad, expected)
    torch.testing.assert_close(network(x), out + 1.0)


def test_doubling_keeps_a_constant_and_the_place():
    assert torch.allclose(upsample(torch.full((1, 1, 4, 4), 3.0)), torch.full((1, 1, 8, 8), 3.0))
    torch.manual_seed(0)
    layer = ModulatedConv(1, 1, 3, 2, up=True, demodulate=False)
    with torch.no_grad():
        layer.weight.copy_(
            torch.tensor([[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]) / 4 / layer.scale
        )
        layer.affine.weight.zero_()
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 8, 8)
    large = layer(ramp, torch.zeros(1, 2))[0, 0, 8, 3:-3]
    assert torch.allclose(large, (torch.arange(16.0)[3:-3] - 0.5) / 2, atol=1e-5), (
        "pixels stay where they were"
    )


def test_activations_keep_unit_variance():
    torch.manual_seed(0)
    linear, style = EqualLinear(512, 512), StyleLayer(64, 64, 32, 16)
    assert linear(torch.randn(64, 512)).std().item() == pytest.approx(1, abs=0.1)
    out = style(torch.randn(4, 64, 16, 16), torch.randn(4, 32))
    assert out.square().mean().item() == pytest.approx(1, abs=0.3)
    slow = EqualLinear(512, 512, bias=0.5, rate=0.01)
    assert slow.weight.std().item() == pytest.approx(100, rel=0.05)
    assert slow(torch.zeros(1, 512))[0, 0].item() == pytest.approx(0.5)


def test_backbones_draw_maps_and_refuse_odd_sides():
    backbone = Backbone(w_dim=8, side=32, features=6, base=256, most=16)
    out = backbone(torch.randn(2, 8))
    assert out.shape == (2, 6, 32, 32) and len(backbone.blocks) == 4
    assert Backbone(8, 4, 3, 64, 8)(torch.randn(1, 8)).shape == (1, 3, 4, 4)
    for side in (2, 24, 0):
        with pytest.raises(ValueError, match=f"power of two, at least 4, got {side}"):
            Backbone(8, side, 3, 64, 8)


def test_maps_of_places_begin_at_zero_and_lie_where_they_are_learnt():
    torch.manual_seed(0)
    plain = Backbone(w_dim=8, side=16, features=6, base=128, most=16)
    torch.manual_seed(0)
    placed = Backbone(w_dim=8, side=16, features=6, base=128, most=16, place_gain=10.0)
    placed.load_state_dict(plain.state_dict(), strict=False)
    w = torch.randn(2, 8)
    assert torch.equal(placed(w), plain(w))
    with torch.no_grad():
        placed.blocks[-1].second.places[:, 5, 7] = 0.1
    changed = (placed(w) - plain(w)).abs().sum((0, 1)) > 1e-6
    assert changed[5, 7] and changed.sum() == 1
    assert sum("places" in name for name, _ in placed.named_parameters()) == len(placed.blocks)


def test_blend_maps_begin_at_zero_and_move_with_the_style():
    torch.manual_seed(0)
    sizes = dict(w_dim=8, side=16, features=6, base=128, most=16)
    plain, blended = Backbone(**sizes), Backbone(**sizes, blend_maps=12)
    missing = blended.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing and all(".second.blend." in name for name in missing)
    w = torch.randn(2, 8)
    assert torch.allclose(blended(w), plain(w), atol=1e-6)
    blend = blended.blocks[-1].second.blend
    with torch.no_grad():
        blend.maps[5 * 16 + 7, 3] = 0.1
    moved = (blended(w) - plain(w)).abs().sum(1) > 1e-6
    assert moved[:, 5, 7].all() and moved.sum() == 2
    with torch.no_grad():  # what is added is as large as its coefficient
        blend.affine.weight[3], blend.affine.bias[3] = 0, 0
    assert torch.allclose(blended(w), plain(w), atol=1e-6)


def test_blend_maps_are_the_sum_that_their_docstring_states():
    torch.manual_seed(0)
    blend = BlendMaps(count=3, channels=4, w_dim=5, side=6, gain=10.0)
    with torch.no_grad():
        blend.maps.normal_()
    x, w = torch.randn(2, 4, 6, 6), torch.randn(2, 5)
    expected = torch.einsum("bk,kc,pk->bcp", blend.affine(w), blend.directions, blend.maps)
    expected = x + 2 * 10 / math.sqrt(3) * expected.view(2, 4, 6, 6)
    assert torch.allclose(blend.added(x, w, 2.0), expected, atol=1e-5)


def test_super_resolution_and_background():
    refine = SuperResolution(8, 5, 16, 64, (12, 8))
    assert refine(torch.rand(2, 5, 16, 16), torch.zeros(2, 3, 16, 16), torch.randn(2, 8)).shape == (
        2,
        3,
        64,
        64,
    )
    with pytest.raises(ValueError, match="2 blocks lead from 16 to 64 pixels, not 32"):
        SuperResolution(8, 5, 16, 32, (12, 8))
    background = Background(8, 5)
    for side in (4, 8, 24, 64):
        drawn = background(torch.randn(2, 8), side)
        assert drawn.shape == (2, 5, side, side) and drawn.min() >= 0 and drawn.max() <= 1


def test_mapping_uses_the_condition_and_truncates_towards_a_mean():
    torch.manual_seed(0)
    mapping = MappingNetwork(z_dim=16, condition_dim=4, w_dim=8)
    z, c = torch.randn(3, 16), torch.randn(3, 4)
    w = mapping(z, c)
    assert w.shape == (3, 8) and not torch.allclose(w, mapping(z, c.flip(0)))
    assert torch.allclose(w, mapping(5 * z, c), atol=1e-4), "only the direction of z counts"
    assert torch.allclose(mapping(z, c, psi=0.0), mapping.w_mean.expand(3, 8))
    mean = mapping.mean(c)
    assert mean.shape == (3, 8) and torch.equal(mean, mapping.mean(c)), (
        "the same seed, the same mean"
    )
    half = mapping(z, c, psi=0.5, towards=mean)
    assert torch.allclose(half, (w + mean) / 2, atol=1e-5)
    for _ in range(50):
        mapping.track(w, beta=0.8)
    assert torch.allclose(mapping.w_mean, w.mean(0), atol=1e-4)
    bare = MappingNetwork(16, 0, 8)
    assert bare(z, None).shape == (3, 8) and bare.mean(None).shape == (1, 8)
    assert unit_variance(torch.full((1, 9), 7.0)).allclose(torch.ones(1, 9))


def test_mapping_refuses_what_does_not_fit():
    mapping = MappingNetwork(16, 4, 8)
    with pytest.raises(ValueError, match=r"z must be \[B, 16\], got \[2, 15\]"):
        mapping(torch.randn(2, 15), torch.randn(2, 4))
    with pytest.raises(ValueError, match=r"condition must be \[2, 4\], got None"):
        mapping(torch.randn(2, 16), None)
    with pytest.raises(ValueError, match=r"condition must be \[2, 4\], got \[2, 5\]"):
        mapping(torch.randn(2, 16), torch.randn(2, 5))
