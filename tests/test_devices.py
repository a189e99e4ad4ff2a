"""Names of devices: what "auto" becomes, and clear errors for the rest."""

import pytest
import torch

from semhead_lib.devices import available_cores, pick_device


def test_auto_and_cpu():
    assert pick_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == "cpu"
    assert available_cores() >= 1


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "mps"])
def test_names_that_are_no_device(name):
    with pytest.raises(ValueError, match=f"device must be auto, cpu, cuda or cuda:N, got '{name}'"):
        pick_device(name)


def test_a_device_that_is_not_there():
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ValueError, match=f"device '{missing}' is not there"):
        pick_device(missing)
