"""One of two processes that train together, as on machines that share no disk: `two_trainers.py
DATA FOLDER INIT`.

Each has a folder of its own, and INIT is the first one's. They train two steps, go on to four in
another call, ask for another seed in vain, and meet a loss that is not finite, in the second
process alone. Each prints a JSON line of what came of it.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from small_training import small

from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.training import trainer
from semhead_lib.training.step import Step


def main(data: str, folder: Path, init: Path) -> None:
    torch.set_num_threads(1)
    rank = PartialState(cpu=True).process_index
    subjects, out, last = SubjectsInMemory.load(data), folder / f"rank-{rank}", []
    whole = Step.__call__

    def step(self, number, batch):
        last[:] = [number, self.networks]
        values = whole(self, number, batch)
        return values | (
            {"loss_d": values["loss_d"] * float("nan")} if rank and number == 5 else {}
        )

    Step.__call__ = step

    def train(steps, seed=0, **options):
        settings = small(kimg=0.008 * steps, snapshot_kimg=0.016, log_every=2, seed=seed)
        trainer.train(settings, subjects, out, device="cpu", progress=False, **options)
        weights = [p.detach().numpy().tobytes() for p in last[1].average.parameters()]
        return [last[0], hashlib.sha256(b"".join(weights)).hexdigest()]

    found = {"rank": rank, "begun": train(2, init=init if rank == 0 else folder / "nowhere")}
    found["resumed"] = train(4)
    found["files"] = out.exists()
    try:
        train(4, seed=1)
    except (ValueError, RuntimeError) as error:
        found["refused"] = str(error)
    try:
        train(8)
    except FloatingPointError as error:
        found["error"] = str(error)
    print(json.dumps(found), flush=True)
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
