"""A dataset of noise that the smallest preset trains on, and one thread for it."""

import pytest
import torch
from small_training import make_noise

from semhead_lib.data.dataset.memory import SubjectsInMemory


@pytest.fixture(scope="session")
def noise_folder(tmp_path_factory):
    """8 subjects with 4 views of 32 x 32, masks and features of 16 numbers. Not to be changed."""
    return make_noise(tmp_path_factory.mktemp("noise") / "noise")


@pytest.fixture(scope="session")
def data(noise_folder) -> SubjectsInMemory:
    return SubjectsInMemory.load(noise_folder)


@pytest.fixture(autouse=True)
def one_thread():
    """Several threads would wait for each other most of the time, the networks are so small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
