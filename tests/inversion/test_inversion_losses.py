"""What images are compared by, against values worked by hand and what the terms must not see."""

from dataclasses import replace

import pytest
import torch
from own_heads import FRONT, photographs

from semhead_lib.inversion import losses
from semhead_lib.inversion.losses import Objective, Weights
from semhead_lib.inversion.targets import Target, background_of, prepare
from semhead_lib.metrics.reconstruction import map_distance


def test_a_perfect_head_has_no_distance(generator, others, clip):
    target = photographs(generator, others[:1], (-30.0, 40.0))
    terms = Objective(target, clip)(generator.synthesize(others[:1], target.cameras))
    assert set(terms) == {"image", "image_raw", "mask", "perceptual", "semantic", "all"}
    assert all(value.shape == (1,) and value.abs() < 1e-4 for value in terms.values())


def test_several_heads_are_judged_at_once(generator, others, clip):
    target = photographs(generator, others[:1], (-30.0, 40.0))
    objective = Objective(target, clip)
    together = objective(generator.synthesize(others[:3], target.cameras.repeat(3, 1)))
    for i in range(3):
        alone = objective(generator.synthesize(others[i : i + 1], target.cameras))
        for name, value in alone.items():
            torch.testing.assert_close(together[name][i], value[0], rtol=1e-3, atol=1e-5)
    assert together["all"].argmin() == 0


def test_what_the_photograph_does_not_reach_does_not_count(generator, others, clip):
    target = photographs(generator, others[:1])
    half = torch.zeros_like(target.inside)
    half[..., :16] = 1
    spoilt = torch.where(half > 0, target.images, -target.images)
    render = generator.synthesize(others[:1], target.cameras)
    seen = Objective(replace(target, images=spoilt, inside=half), clip)(render)
    everything = Objective(replace(target, images=spoilt), clip)(render)
    assert (
        seen["image"] < 1e-6 < everything["image"]
        and seen["perceptual"] < 1e-4 < everything["perceptual"]
    )


def test_terms_by_hand():
    x, y, v = torch.full((1, 3, 2, 2), 0.5), torch.zeros(1, 3, 2, 2), torch.ones(1, 1, 2, 2)
    assert losses.image_distance(x, y, v).item() == pytest.approx(0.25)
    one, other = (
        torch.tensor([[1.0, 0.0]]).view(1, 2, 1, 1),
        torch.tensor([[0.0, 3.0]]).view(1, 2, 1, 1),
    )
    assert map_distance([one, one], [one, other]).item() == pytest.approx((0 + 2) / 2)


def test_weights_scale_the_terms_and_must_not_be_negative(generator, others, clip):
    target = photographs(generator, others[:1])
    render = generator.synthesize(others[1:2], target.cameras)
    only = Objective(
        target, clip, Weights(image=2.0, image_raw=0, perceptual=0, semantic=0, mask=0)
    )(render)
    assert only["all"].item() == pytest.approx(2 * only["image"].item())
    assert "perceptual" not in only and "semantic" not in only
    with pytest.raises(ValueError, match="the weight mask must not be negative, got -1"):
        Weights(mask=-1)
    with pytest.raises(ValueError, match="perceptual must be one of encoder, lpips, got 'vgg'"):
        Objective(target, clip, perceptual="vgg")


def test_lpips_reads_its_backbone_safely_or_says_where_it_belongs(
    tmp_path, monkeypatch, generator, others, clip
):
    torchvision = pytest.importorskip("torchvision")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    target = photographs(generator, others[:1])
    with pytest.raises(FileNotFoundError, match=r"LPIPS needs .*alexnet.*perceptual=encoder"):
        Objective(target, clip, perceptual="lpips")
    torch.manual_seed(0)
    path = tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth"
    path.parent.mkdir()
    torch.save(torchvision.models.alexnet().state_dict(), path)
    objective = Objective(target, clip, perceptual="lpips")
    same, other = (
        objective(generator.synthesize(others[i : i + 1], target.cameras))["perceptual"].item()
        for i in (0, 1)
    )
    assert abs(same) < 1e-6 < other


def test_photographs_get_the_generators_background(generator):
    image = torch.full((3, 64, 64), 255, dtype=torch.uint8)
    mask = torch.zeros(64, 64, dtype=torch.uint8)
    mask[:, :32] = 255
    target = prepare(generator, [image], [mask], FRONT)
    behind = background_of(generator)
    torch.testing.assert_close(target.images[0, :, :, 20:], behind[:, :, 20:])
    assert (target.images[0, :, :, :14] == 1).all() and target.masks.shape == (1, 1, 32, 32)


def test_images_that_do_not_fit_are_refused(generator):
    wide, mask = torch.zeros(3, 32, 48, dtype=torch.uint8), torch.zeros(32, 48, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"expected a uint8 image \[3, S, S\]"):
        prepare(generator, [wide], [mask], FRONT)
    good = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"expected \[K, 3, S, S\]"):
        Target(good, good, good[:, :1], FRONT)
    with pytest.raises(ValueError, match="cameras of the photographs, row 0"):
        Target(good, good[:, :1], good[:, :1], torch.zeros(1, 25))
