"""One of several processes that take one step together: `two_processes.py DATA OUT SETTINGS`;
writes its gradients, and whether the step's losses were finite, and those of another step that the
last process alone spoils."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.training.settings import TrainSettings
from semhead_lib.training.step import Networks, Step


def main(data: str, out: Path, settings: TrainSettings) -> None:
    torch.set_num_threads(1)
    subjects = SubjectsInMemory.load(data)
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    rank = accelerator.process_index
    networks = Networks(settings, 16, accelerator.device)
    batch = subjects.batch(
        0, settings.subjects_per_batch, settings.views_per_subject, rank=rank, world_size=2
    )
    step = Step(settings, networks, settings.condition_mode(16), accelerator)
    finite = [step(0, batch)["finite"]]
    found = {}
    for name in ("generator", "discriminator"):
        named = getattr(networks, name).named_parameters()
        found[name] = {key: p.grad.clone(memory_format=torch.contiguous_format) for key, p in named}
    if rank == 1:
        draw = step.draws

        def spoilt(number, batch):
            variant, inputs = draw(number, batch)
            return variant, replace(inputs, z=inputs.z * float("nan"))

        step.draws = spoilt
    finite.append(step(1, batch)["finite"])
    for name, gradients in found.items():
        save_file(gradients | {"finite": torch.stack(finite)}, out / f"{name}-{rank}.safetensors")
    accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), TrainSettings(**json.loads(sys.argv[3])))
