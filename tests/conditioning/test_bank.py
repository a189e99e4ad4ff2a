import pytest
import torch
from torch.nn.functional import normalize

from semhead_lib.cameras import orbit_cameras
from semhead_lib.conditioning.bank import FILE, ConditionBank
from semhead_lib.conditioning.modes import ConditionMode


def bank(mode="semantic", n=12, d=8):
    features = normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(0)), dim=1)
    subjects = tuple(f"p{i}" for i in range(n))
    return ConditionBank(
        ConditionMode(mode, d), "an encoder [weights 1; input 2]", features, subjects
    )


def test_saved_and_loaded(tmp_path):
    bank().save(tmp_path)
    loaded = ConditionBank.load(tmp_path)
    assert loaded.mode == bank().mode and loaded.encoder == bank().encoder
    assert loaded.subjects[11] == "p11"
    torch.testing.assert_close(loaded.features, bank().features, atol=1e-3, rtol=0)
    torch.testing.assert_close(loaded.features.norm(dim=1), torch.ones(12))
    first = (tmp_path / FILE).read_bytes()
    for _ in range(5):
        bank().save(tmp_path)
        assert (tmp_path / FILE).read_bytes() == first


def test_what_is_near_in_the_data():
    known = bank().features
    assert torch.allclose(bank().nearby(known[3:4], count=1), known[3:4], atol=1e-6)
    found = bank().nearby(known[:5] + 0.1, count=4)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(5))
    assert ((found @ known.T).argmax(1) == torch.arange(5)).all(), "the nearest weighs most"
    assert bank().nearby(known[:1], count=99).shape == (1, 8)


def test_what_each_mode_is_told():
    semantics, front = bank().features[:2], orbit_cameras(torch.zeros(1), torch.zeros(1))
    assert bank("none").mapping_condition(None, 2) is None
    assert torch.equal(bank("view").mapping_condition(None, 2), front.expand(2, -1))
    assert torch.equal(bank("semantic").mapping_condition(semantics, 2), semantics)
    assert torch.equal(
        bank("semantic+view").mapping_condition(semantics, 2),
        torch.cat([semantics, front.expand(2, -1)], 1),
    )


def test_samples_are_seeded_features():
    drawn = bank().sample(5, "data", seed=3)
    assert drawn.shape == (5, 8) and torch.equal(drawn, bank().sample(5, "data", seed=3))
    assert ((drawn @ bank().features.T).amax(1) > 0.9999).all()
    assert bank("none").sample(5) is None


def test_says_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"conditions\.safetensors is missing"):
        ConditionBank.load(tmp_path)
    (tmp_path / FILE).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"conditions\.safetensors holds no conditions"):
        ConditionBank.load(tmp_path)
