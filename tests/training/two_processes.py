"""One of several processes that take one step together: `two_processes.py DATA OUT SETTINGS`; writes its gradients."""

import json
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from semhead_lib.data.memory import SubjectsInMemory
from semhead_lib.training.settings import TrainSettings
from semhead_lib.training.step import Networks, Step


def main(data: str, out: Path, settings: TrainSettings) -> None:
    torch.set_num_threads(1)
    subjects = SubjectsInMemory.load(data)
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    rank = accelerator.process_index
    networks = Networks(settings, 16, accelerator.device)
    batch = subjects.batch(0, settings.subjects_per_batch, settings.views_per_subject, rank=rank, world_size=2)
    Step(settings, networks, settings.condition_mode(16), accelerator)(0, batch)
    for name in ("generator", "discriminator"):
        named = getattr(networks, name).named_parameters()
        gradients = {key: p.grad.contiguous() for key, p in named if p.grad is not None}
        save_file(gradients, out / f"{name}-{rank}.safetensors")
    accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), TrainSettings(**json.loads(sys.argv[3])))
