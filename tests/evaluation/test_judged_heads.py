"""Real sets that share nobody, and generated heads in the matched heads' places."""

from dataclasses import replace

import pytest
import torch
from toy_heads import ENCODER, FRONT, small_generator, subjects

from semhead_lib.cameras import orbit_cameras
from semhead_lib.conditioning.modes import MODES, ConditionMode
from semhead_lib.evaluation.samples import Samples, generated_samples, real_samples, styles

DATASET = subjects(20)


def test_two_sets_share_nobody_and_keep_what_belongs_together():
    reference, matched = real_samples(DATASET, 9, seed=3)
    known = {bytes(s.frontal.numpy().tobytes()): s for s in DATASET}
    found = [
        known[bytes(front.numpy().tobytes())]
        for samples in (reference, matched)
        for front in samples.fronts
    ]
    assert len({s.id for s in found}) == 18 and len(reference) == len(matched) == 9
    for samples, dataset in ((reference, found[:9]), (matched, found[9:])):
        for i, subject in enumerate(dataset):
            assert torch.equal(samples.images[i], subject.views) and torch.equal(
                samples.cameras[i], subject.cameras
            )
            assert (
                torch.equal(samples.conditions[i], subject.semantic)
                and samples.encoder == ENCODER.identity
            )


def test_the_seed_decides():
    one, again, other = (real_samples(DATASET, 8, views=2, seed=s)[1] for s in (1, 1, 2))
    assert one.hash() == again.hash() != other.hash() and one.images.shape[1] == 2
    changed = replace(one, images=one.images.clone())
    changed.images[0, 0, 0, 0, 0] ^= 1
    assert changed.hash() != one.hash()


def test_larger_images_are_brought_to_size():
    reference, _ = real_samples(DATASET, 4, resolution=16)
    whole, _ = real_samples(DATASET, 4)
    assert reference.resolution == 16
    middle = [slice(2, 6), slice(10, 14)]  # of the four colours
    for rows in middle:
        for columns in middle:
            small = reference.images[..., rows, columns].float().mean((-1, -2))
            large = whole.images[
                ..., rows.start * 2 : rows.stop * 2, columns.start * 2 : columns.stop * 2
            ]
            assert torch.allclose(small, large.float().mean((-1, -2)), atol=1.5)
    with pytest.raises(ValueError, match="64 pixels a side or more, got 32"):
        real_samples(DATASET, 4, resolution=64)


@pytest.mark.parametrize("name", MODES)
def test_generated_heads_stand_in_the_twins_places(name):
    mode, (_, matched) = ConditionMode(name, 12), real_samples(DATASET, 5)
    generator = small_generator(mode)
    made = generated_samples(generator, mode, matched, seed=4)
    assert made.images.shape == matched.images.shape and torch.equal(made.cameras, matched.cameras)
    assert (made.conditions is not None) == mode.uses_semantics
    assert made.made.startswith("semhead-32 [weights ") and made.made.endswith(
        f"], mode {name}, psi 1, seed 4"
    )
    w = styles(generator, mode, matched, seed=4)
    with torch.no_grad():
        seen = generator.synthesize(w[3:4], torch.cat([matched.cameras[3], FRONT])).image
    expected = (seen * 127.5 + 127.5).round().clamp(0, 255)
    shown = torch.cat([made.images[3], made.fronts[3:4]]).float()
    assert (shown - expected).abs().max() <= 1
    again, other = (generated_samples(generator, mode, matched, seed=s).images for s in (4, 5))
    assert torch.equal(made.images, again) and not torch.equal(made.images, other)


def test_view_modes_are_told_the_frontal_camera():
    mode, (_, matched) = ConditionMode("view", 12), real_samples(DATASET, 5)
    turned = replace(
        matched, cameras=orbit_cameras(torch.rand(20) * 360, torch.zeros(20)).reshape(5, 4, 25)
    )
    generator = small_generator(mode)
    assert torch.equal(styles(generator, mode, matched), styles(generator, mode, turned))


def test_errors():
    with pytest.raises(ValueError, match=r"two sets of 11 heads need 22 subjects .*, got 20"):
        real_samples(DATASET, 11)
    with pytest.raises(ValueError, match=r"views must be 1 to 4, .*; got 5"):
        real_samples(DATASET, 5, views=5)
    with pytest.raises(ValueError, match="features of two encoders cannot be mixed"):
        real_samples([*DATASET[:9], replace(DATASET[9], semantic_encoder="another [weights 1]")], 5)
    mode = ConditionMode("semantic", 12)
    with pytest.raises(ValueError, match="needs semantics"):
        generated_samples(
            small_generator(mode), mode, real_samples(subjects(20, semantic=False), 5)[1]
        )
    _, matched = real_samples(DATASET, 5)
    with pytest.raises(ValueError, match="expected images"):
        Samples(matched.images, matched.cameras[:, :2], matched.fronts, "real")
