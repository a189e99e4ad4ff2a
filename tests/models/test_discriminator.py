import json

import pytest
import torch

from semhead_lib.cameras import orbit_cameras
from semhead_lib.models.config import PRESETS
from semhead_lib.models.discriminator import Discriminator, DiscriminatorInput
from semhead_lib.models.discriminator_config import DiscriminatorConfig
from semhead_lib.models.discriminator_layers import detail_bands, minibatch_stddev

SMALL = dict(resolution=16, raw_resolution=8, base=128, most=16)


def seen(b=4, side=16, raw=8):
    g = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.rand(*shape, generator=g) * 2 - 1  # noqa: E731
    return DiscriminatorInput(
        draw(b, 3, side, side), draw(b, 3, raw, raw), draw(b, 1, raw, raw) / 2 + 0.5
    )


def conditions(b=4, semantic=6):
    cameras = orbit_cameras(torch.linspace(-150, 150, b), torch.linspace(-20, 30, b))
    unit = torch.nn.functional.normalize(
        torch.randn(b, semantic, generator=torch.Generator().manual_seed(2)), dim=1
    )
    return torch.cat([cameras, unit], dim=1)


def make(**changes):
    torch.manual_seed(0)
    return Discriminator(DiscriminatorConfig(**(SMALL | dict(semantic_dim=6) | changes)))


def test_every_input_and_every_part_of_the_condition_matters():
    d, s, c = make(), seen(), conditions()
    logits = d(s, c)
    assert logits.shape == (4,) and logits.isfinite().all()
    for changed in (
        DiscriminatorInput(-s.image, s.image_raw, s.mask),
        DiscriminatorInput(s.image, -s.image_raw, s.mask),
        DiscriminatorInput(s.image, s.image_raw, 1 - s.mask),
    ):
        assert (d(changed, c) - logits).abs().min() > 1e-4
    for other in (
        torch.cat([c[:, :25].roll(1, 0), c[:, 25:]], 1),
        torch.cat([c[:, :25], c[:, 25:].roll(1, 0)], 1),
    ):
        assert (d(s, other) - logits).abs().min() > 1e-4


def test_the_parts_of_the_condition_add_up():
    d, s, c = make(), seen(), conditions()
    features = d.features(s)
    camera, semantic = c[:, :25], c[:, 25:]

    def logit(a, b):
        return d.logits(features, torch.cat([a, b], 1))

    one, other = camera.roll(1, 0), semantic.roll(1, 0)
    mixed = logit(one, semantic) + logit(camera, other) - logit(camera, semantic)
    torch.testing.assert_close(mixed, logit(one, other), atol=1e-5, rtol=1e-5)


def test_features_serve_any_condition():
    d, s, c = make(), seen(), conditions()
    torch.testing.assert_close(d.logits(d.features(s), c.roll(1, 0)), d(s, c.roll(1, 0)))


def test_second_derivatives_are_those_of_finite_differences():
    d = make(resolution=8, raw_resolution=4, base=32, most=8).double()
    s = seen(2, 8, 4)
    inputs = [t.double().requires_grad_() for t in s.tensors]
    c = conditions(2).double()
    assert torch.autograd.gradgradcheck(
        lambda *t: d(DiscriminatorInput(*t), c), inputs, atol=1e-6, rtol=1e-4, fast_mode=True
    )


@pytest.mark.parametrize("squares", [64, 4])
def test_patterns_are_seen_from_the_first_step(squares):
    """A faint checkered pattern on a light image, of single pixels or of wide squares, changes the
    first logits.

    A blur before each step down, and half of the variance past the convolutions, leave 0.014 and
    0.002 of it.
    """
    where = torch.arange(64) * squares // 64
    pattern = 0.1 * ((where[:, None] + where) % 2 * 2.0 - 1).expand(8, 3, 64, 64)
    light, c, changes = torch.full((8, 3, 64, 64), 0.6), conditions(8)[:, :25], []
    for seed in range(5):
        torch.manual_seed(seed)
        d = Discriminator(DiscriminatorConfig(64, 64, 2048, 64, sees_mask=False))
        changes.append(
            (d(DiscriminatorInput(light + pattern), c) - d(DiscriminatorInput(light), c))
            .abs()
            .mean()
        )
    assert torch.stack(changes).mean() > 0.04


def test_bands_hold_detail_and_no_colour():
    """A constant has no detail. The bands of a pattern add up to what a blur to an eighth of the
    size takes away."""
    assert detail_bands(torch.full((1, 3, 32, 32), 0.7)).abs().max() < 1e-5
    assert detail_bands(torch.rand(2, 3, 64, 64)).shape == (2, 18, 32, 32)
    fine = (torch.arange(32) % 2 * 2.0 - 1).expand(
        1, 3, 32, 32
    )  # 16 cycles an image: the finest octave alone
    bands = detail_bands(fine)
    assert bands[:, :12].square().mean().sqrt() == pytest.approx(8.0, rel=1e-4)
    assert bands[:, 12:].abs().max() < 1e-5
    d, s, c = make(sees_bands=True), seen(), conditions()
    assert (
        d(s, c).shape == (4,)
        and d.from_picture.weight.shape[1] == make().from_picture.weight.shape[1] + 18
    )
    inputs = [t.double().requires_grad_() for t in seen(2).tensors]
    small = d.double()
    assert torch.autograd.gradgradcheck(
        lambda *t: small(DiscriminatorInput(*t), conditions(2).double()),
        inputs,
        atol=1e-6,
        rtol=1e-4,
        fast_mode=True,
    )


def test_batches_are_split_without_a_trace():
    d = make(group=2, views=2)
    s, c = seen(8), conditions(8)
    whole = d(s, c)
    halves = [
        d(DiscriminatorInput(*(t[part] for t in s.tensors)), c[part])
        for part in (slice(0, 4), slice(4, 8))
    ]
    torch.testing.assert_close(torch.cat(halves), whole, atol=1e-5, rtol=1e-5)


def test_spread_is_that_of_the_same_place_of_neighbouring_subjects():
    x = torch.zeros(8, 1, 2, 2)  # 4 subjects of 2 views; groups of 2 subjects
    x[:, 0] = torch.tensor([0.0, 5, 2, 5, 1, 1, 1, 9])[:, None, None]
    channel = minibatch_stddev(x, group=2, views=2)[:, 1, 0, 0]
    # first view: subjects 0 and 1 differ by 2 (deviation 1), 2 and 3 not; second view: 0 and 1 not,
    # 2 and 3 by 8
    torch.testing.assert_close(channel, torch.tensor([1.0, 0, 1, 0, 0, 4, 0, 4]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("b", [2, 4, 6, 8])
def test_sets_in_one_pass_are_not_mixed(b):
    """Real and generated images together give what each give alone, groups that do not fill up
    included."""
    d, s, c = make(views=1), seen(b), conditions(b)
    other = DiscriminatorInput(*(t.flip(0) * 0.5 for t in s.tensors))
    real, generated = d.features(s.and_then(other), sets=2).chunk(2)
    torch.testing.assert_close(real, d.features(s), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(d.logits(generated, c), d(other, c), atol=1e-5, rtol=1e-5)
    mixed = d.features(s.and_then(other)).chunk(2)[0]
    assert b == 8 or b == 4 or (mixed - real).abs().max() > 1e-4, (
        "one group of both would have been another"
    )


@pytest.mark.parametrize(("b", "group", "views"), [(1, 4, 1), (3, 4, 1), (6, 4, 4), (5, 4, 2)])
def test_spread_takes_any_batch(b, group, views):
    assert minibatch_stddev(torch.randn(b, 3, 4, 4), group, views).shape == (b, 4, 4, 4)


def test_alike_images_have_no_spread():
    x = torch.randn(1, 3, 4, 4).expand(8, -1, -1, -1)
    assert minibatch_stddev(x, 4, 1)[:, 3].max() < 1e-3


def test_first_weights_keep_the_variance():
    torch.manual_seed(3)
    d = Discriminator(DiscriminatorConfig(32, 32, 1024, 64, sees_mask=False))
    x = torch.randn(8, 3, 32, 32)
    logits = d(DiscriminatorInput(x), conditions(8)[:, :25])
    assert 0.05 < logits.std() < 20


@pytest.mark.parametrize("name", PRESETS)
def test_one_for_every_generator(name):
    with torch.device("meta"):
        config = DiscriminatorConfig.of(PRESETS[name], semantic_dim=128)
        d = Discriminator(config)
        assert config.is_dual == bool(PRESETS[name].super_channels)
        raw = (
            torch.empty(2, 3, config.raw_resolution, config.raw_resolution)
            if config.is_dual
            else None
        )
        mask = torch.empty(2, 1, config.mask_resolution, config.mask_resolution)
        image = torch.empty(2, 3, config.resolution, config.resolution)
        assert d(DiscriminatorInput(image, raw, mask), torch.empty(2, 153)).shape == (2,)


def test_saved_and_loaded(tmp_path):
    d, s, c = make(), seen(), conditions()
    d.save(tmp_path)
    assert torch.equal(Discriminator.load(tmp_path)(s, c), d(s, c))
    content = json.loads((tmp_path / "discriminator.json").read_text())
    del content["group"]
    (tmp_path / "discriminator.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"discriminator\.json: has 10 fields, was written with 11"
    ):
        Discriminator.load(tmp_path)
    (tmp_path / "discriminator.json").write_text(
        '{"resolution": 32, "raw_resolution": 8, "base": 128, "most": 16}'
    )
    with pytest.raises(ValueError, match=r"discriminator\.safetensors does not fit"):
        Discriminator.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(image=torch.zeros(4, 3, 8, 8)),
            r"image must be \[4, 3, 16, 16\], got \[4, 3, 8, 8\]",
        ),
        (dict(image_raw=None), r"image_raw must be \[4, 3, 8, 8\], got None"),
        (dict(mask=torch.zeros(4, 3, 8, 8)), r"mask must be \[4, 1, 8, 8\]"),
    ],
)
def test_says_what_does_not_fit(change, message):
    s = seen()
    parts = dict(image=s.image, image_raw=s.image_raw, mask=s.mask) | change
    if "image" in change:
        parts["image"] = change["image"]
    with pytest.raises(ValueError, match=message):
        make()(DiscriminatorInput(**parts), conditions())


def test_says_which_condition_it_wants():
    d = make()
    with pytest.raises(ValueError, match=r"condition must be \[4, 31\], got \[4, 25\]"):
        d(seen(), conditions()[:, :25])
    for bad in (dict(resolution=12), dict(resolution=4), dict(raw_resolution=32)):
        with pytest.raises(ValueError, match="resolution must be"):
            make(**bad)


def test_config_counts_its_channels():
    assert DiscriminatorConfig(**SMALL).channels == 7
    assert DiscriminatorConfig(**(SMALL | dict(raw_resolution=16))).channels == 4
    assert DiscriminatorConfig(**SMALL, sees_mask=False).channels == 6
