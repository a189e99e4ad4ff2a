"""Several processes: the first one's files are enough, and all stop together."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_training import small

from semhead_lib.training.distributed import AGREE_EVERY, agree_to_stop
from semhead_lib.training.logs import read_log
from semhead_lib.training.snapshots import snapshots
from semhead_lib.training.trainer import train


@pytest.mark.slow
def test_two_processes_without_a_shared_disk(data, noise_folder, tmp_path):
    init = train(small(kimg=0.004), data, tmp_path / "first", device="cpu", progress=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = os.environ | dict(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2", OMP_NUM_THREADS="1"
    )
    script = Path(__file__).with_name("two_trainers.py")
    processes = [
        subprocess.Popen(
            [sys.executable, script, noise_folder, tmp_path, init],
            env=known | dict(RANK=str(rank), LOCAL_RANK=str(rank)),
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [p.communicate(timeout=300)[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0]
    first, second = (json.loads(text.splitlines()[-1]) for text in printed)
    assert first["begun"][0] == 1 and first["resumed"][0] == 3, (
        "steps counted from where it stopped"
    )
    assert first["begun"] == second["begun"] and first["resumed"] == second["resumed"], (
        "other weights"
    )
    assert first["files"] and not second["files"]
    assert (
        "seed is 0 there, 1 here" in first["refused"]
        and "the first process cannot begin" in second["refused"]
    )
    assert (
        "step 6: the losses are" in first["error"]
        and "and nan; the last snapshot" in first["error"]
    )
    assert "step 6: the losses are" in second["error"]
    assert [line["step"] for line in read_log(tmp_path / "rank-0")] == [2, 4]
    assert snapshots(tmp_path / "rank-0" / "snapshots")[-1].name == "step-00000004.pt"


class TwoProcesses(SimpleNamespace):
    """Accelerate's part that is asked here; the other process says `other`."""

    num_processes, device, other, asked = 2, "cpu", 1.0, 0

    def reduce(self, flag, how):
        assert how == "mean"
        self.asked += 1
        return (flag + self.other) / 2


def test_stopping_is_agreed_now_and_then():
    calm, told = TwoProcesses(), TwoProcesses(other=0.0)
    assert not any(agree_to_stop(False, step, 1000, calm) for step in range(1, 101))
    assert calm.asked == 100 // AGREE_EVERY
    stops = [step for step in range(1, 51) if agree_to_stop(False, step, 50, told)]
    assert stops == [16, 32, 48, 50], "the other one wants to"
    assert [agree_to_stop(True, step, 50, calm) for step in (15, 16)] == [False, True]
    alone = SimpleNamespace(num_processes=1, device=torch.device("cpu"))
    assert agree_to_stop(True, 3, 50, alone) and not agree_to_stop(False, 16, 50, alone)
