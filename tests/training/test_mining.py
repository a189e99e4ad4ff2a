import pytest
import torch
from torch.nn.functional import normalize

from semhead_lib.cameras import check_cameras, orbit_angles, orbit_cameras
from semhead_lib.training.mining import view_angles, wrong_cameras, wrong_jointly, wrong_semantics


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_wrong_cameras_are_the_datas_own_and_far():
    cameras = orbit_cameras(torch.linspace(-180, 165, 24), torch.linspace(-30, 45, 24))
    for seed in range(20):
        wrong = wrong_cameras(cameras, rng(seed), 30.0)
        assert view_angles(cameras, wrong).diagonal().min() >= 30
        assert all(any(torch.equal(row, own) for own in cameras) for row in wrong)


def test_every_far_camera_is_drawn_as_often():
    cameras = orbit_cameras(torch.tensor([0.0, 10, 90, 180, 270]), torch.zeros(5))
    counts = torch.zeros(5)
    for seed in range(900):
        wrong = wrong_cameras(cameras, rng(seed), 30.0)[0]
        counts += (cameras - wrong).abs().sum(1) == 0
    assert counts[:2].sum() == 0
    assert (counts[2:] - 300).abs().max() < 60


def test_turned_where_none_is_far():
    cameras = orbit_cameras(
        torch.tensor([5.0, 10, 15]), torch.tensor([20.0, 20, 20]), radius=3.0, focal=4.0
    )
    for seed in range(20):
        wrong = wrong_cameras(cameras, rng(seed), 40.0)
        check_cameras(wrong)
        turn = (orbit_angles(wrong)[:, 0] - orbit_angles(cameras)[:, 0] + 180) % 360 - 180
        assert (turn.abs() >= 39.9).all()
        torch.testing.assert_close(
            orbit_angles(wrong)[:, 1:], orbit_angles(cameras)[:, 1:], atol=1e-4, rtol=0
        )
        assert torch.equal(wrong[:, 16:], cameras[:, 16:])


def test_wrong_semantics_are_of_others_and_not_alike():
    features = normalize(torch.randn(8, 16, generator=rng(1)), dim=1)
    features[1] = normalize(features[0] + 0.1 * features[1], dim=0)  # a twin of the first
    subject = torch.arange(8).repeat_interleave(2)
    semantics = features.repeat_interleave(2, 0)
    for seed in range(50):
        wrong = wrong_semantics(semantics, subject, rng(seed), 0.8)
        assert (wrong * semantics).sum(1).max() < 0.8
        whose = (wrong[:, None] - features[None]).abs().sum(2).argmin(1)
        assert (whose != subject).all()


def test_the_least_alike_where_all_are_alike():
    base = torch.zeros(3, 4)
    base[:, 0] = 1
    base[1, 1], base[2, 1] = 0.1, 0.2
    semantics = normalize(base, dim=1)
    wrong = wrong_semantics(semantics, torch.arange(3), rng(), 0.5)
    assert torch.equal(wrong, semantics[[2, 0, 0]]) or torch.equal(wrong[:2], semantics[[2, 2]])
    assert torch.equal(wrong[0], semantics[2]) and torch.equal(wrong[2], semantics[0])


def test_one_subject_alone_has_no_wrong_condition():
    with pytest.raises(ValueError, match="two subjects or more"):
        wrong_semantics(torch.ones(4, 3), torch.zeros(4, dtype=torch.long), rng())


def test_jointly_a_camera_a_feature_or_both_are_wrong():
    cameras = orbit_cameras(torch.linspace(-180, 165, 24), torch.zeros(24))
    semantics = normalize(torch.randn(8, 64, generator=rng(1)), dim=1).repeat_interleave(3, 0)
    subject, counts = torch.arange(8).repeat_interleave(3), [0, 0, 0]
    for seed in range(40):
        joint = wrong_jointly(cameras, semantics, subject, rng(seed))
        assert joint.shape == (24, 25 + 64)
        turned = (joint[:, :25] != cameras).any(1)
        other = (joint[:, 25:] != semantics).any(1)
        assert bool((turned | other).all()), "none is right"
        angles = view_angles(joint[turned, :25], cameras[turned]).diagonal()
        assert angles.min() > 29.9
        for k, of in enumerate((~turned & other, turned & ~other, turned & other)):
            counts[k] += int(of.sum())
    assert all(abs(count / sum(counts) - 1 / 3) < 0.06 for count in counts)
    without = wrong_jointly(cameras, None, subject, rng(0))
    assert without.shape == (24, 25) and bool((without != cameras).any(1).all())


def test_equal_seeds_draw_alike():
    cameras = orbit_cameras(torch.linspace(-180, 165, 24), torch.zeros(24))
    assert torch.equal(wrong_cameras(cameras, rng(3)), wrong_cameras(cameras, rng(3)))
    assert not torch.equal(wrong_cameras(cameras, rng(3)), wrong_cameras(cameras, rng(4)))
