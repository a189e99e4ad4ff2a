"""Names of devices: what "auto" becomes, and clear errors for the rest."""

import subprocess
import sys

import psutil
import pytest
import torch

from semhead_lib import devices
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


@pytest.mark.skipif(sys.platform != "linux", reason="only the GNU C library can be asked")
def test_freed_memory_is_kept_when_asked_for():
    """In a process of its own: a large tensor's memory is still the process's after the tensor is
    gone."""
    code = """
import psutil, torch
from semhead_lib.devices import keep_freed_memory
size = 400_000_000
def held():
    before = psutil.Process().memory_info().rss
    tensor = torch.ones(size // 4)
    del tensor
    return psutil.Process().memory_info().rss - before
assert held() < size / 4, "by default it goes back to the system"
assert keep_freed_memory()
assert held() > size * 3 / 4
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_more_processes_than_there_is_room_for(monkeypatch):
    free = type("Memory", (), {"available": 6e9})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(devices, "available_cores", lambda: 8)
    assert devices.processes_at_once(2.5e9) == 2
    assert devices.processes_at_once(1e9) == 4
    assert devices.processes_at_once(1e9, most=5) == 5
    monkeypatch.setattr(devices, "available_cores", lambda: 1)
    assert devices.processes_at_once(1e9) == 1
    free.available = 1e9
    assert devices.processes_at_once(2.5e9) == 1


@pytest.mark.parametrize(
    ("cores", "share", "asked", "processes"),
    [
        (8, None, 0, 8),
        (8, "4", 0, 4),
        (8, "1", 0, 0),
        (1, None, 0, 0),
        (8, "1", 3, 3),
        (2, "8", 0, 2),
    ]
    + [(4, "", 0, 4), (4, "0", 0, 0), (4, "2,1", 0, 4)],
)
def test_processes_of_a_share(monkeypatch, cores, share, asked, processes):
    monkeypatch.setattr(devices, "available_cores", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if share is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", share)
    assert devices.worker_processes(asked) == processes
