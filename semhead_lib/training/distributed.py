"""What the processes of one training agree on. With one process nothing is sent, and everything is
settled at once."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor

AGREE_EVERY = 16  # steps after which the processes agree on whether to stop


def everywhere(flag: Tensor, accelerator: Accelerator) -> bool:  # [] bool
    """Whether it is so in every process. All must ask."""
    flag = flag.to(accelerator.device).float()
    if accelerator.num_processes > 1:
        return bool(accelerator.reduce(flag, "mean") == 1)
    return bool(flag == 1)


def agree_to_stop(wanted: bool, step: int, last: int, accelerator: Accelerator) -> bool:
    """Whether to stop after `step` of `last` steps. Several processes agree on it every
    `AGREE_EVERY` steps and after the last: if one of them wants to, all stop after the same
    step."""
    if accelerator.num_processes == 1:
        return wanted
    if step % AGREE_EVERY and step != last:
        return False
    return not everywhere(torch.tensor(not wanted), accelerator)


def from_the_first(content: bytes | None, accelerator: Accelerator) -> bytes | None:
    """The first process's bytes, in all processes. None from it says that it fails: the others
    raise RuntimeError."""
    if accelerator.num_processes == 1:
        return content
    main, device = accelerator.is_main_process, accelerator.device
    length = torch.tensor(-1 if content is None else len(content), device=device)
    torch.distributed.broadcast(length, src=0)
    if length < 0:
        if main:
            return None
        raise RuntimeError("the first process cannot begin; it says why")
    if content is not None and main:
        data = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(device)
    else:
        data = torch.empty(int(length), dtype=torch.uint8, device=device)
    torch.distributed.broadcast(data, src=0)
    return data.cpu().numpy().tobytes()
