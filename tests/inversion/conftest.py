"""A small generator with random weights, and photographs of its own heads: what made them is
known."""

import pytest
import torch
from own_heads import SMALL
from torch.nn.functional import normalize

from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.inversion.start import other_styles
from semhead_lib.models.config import preset
from semhead_lib.models.generator import Generator


@pytest.fixture(scope="session")
def clip():
    return SemanticEncoder.load("headclip-64", device="cpu")


@pytest.fixture(scope="session")
def folder(tmp_path_factory, clip):
    """A generator's folder, as `semhead train` leaves it."""
    path = tmp_path_factory.mktemp("generator")
    torch.manual_seed(0)
    Generator(preset("semhead-32", condition_dim=128, **SMALL)).save(path)
    features = normalize(torch.randn(32, 128), dim=1)
    ConditionBank(ConditionMode("semantic", 128), str(clip.identity), features).save(path)
    return path


@pytest.fixture(scope="session")
def generator(folder):
    return Generator.load(folder).requires_grad_(False)


@pytest.fixture(scope="session")
def bank(folder):
    return ConditionBank.load(folder)


@pytest.fixture(scope="session")
def others(generator, bank):
    return other_styles(generator, bank, 64)
