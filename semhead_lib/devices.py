"""What this machine offers: processor cores, accelerators, and memory that stays at hand."""

from __future__ import annotations

import ctypes
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # parameters of glibc's mallopt


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_processes(asked: int = 0) -> int:
    """How many processes make something together: `asked`, for 0 one a core of this process's share.

    The share is what OMP_NUM_THREADS says, as for notebooks that are executed together; without it,
    all cores. Of a single core the answer is 0: the work is done in this process, which saves the
    seconds that another one takes to start.
    """
    share = os.environ.get("OMP_NUM_THREADS", "")
    cores = min(available_cores(), max(int(share), 1)) if share.isdigit() else available_cores()
    return asked or (cores if cores > 1 else 0)


def processes_at_once(bytes_each: float, most: int = 4) -> int:
    """How many processes, each of one core at least, this machine has room for: cores and free
    memory, at most `most`, at least 1."""
    import psutil

    room = int(psutil.virtual_memory().available // bytes_each)
    return max(min(available_cores(), room, most), 1)


def pick_device(name: str) -> str:
    """ "auto" becomes "cuda" where there is one, else "cpu"; other names are checked and returned.

    Raises ValueError for a name that is no device, or a CUDA device that is not there.
    """
    import torch  # here, so that counting cores stays light

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r} is not there: this machine has {torch.cuda.device_count()} CUDA "
            "devices"
        )
    return name


def threads_of_one_core(count: int) -> ThreadPoolExecutor:
    """Threads whose tensor operations take one core each. Otherwise torch gives each of them a team
    as large as the machine, and beside another busy process the teams wait for each other: 25 times
    as long, measured on two cores."""
    import torch

    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


def moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on `device`; from a CPU to a GPU through page-locked memory, without waiting."""
    if tensor.device.type != "cpu" or not str(device).startswith("cuda"):
        return tensor.to(device)  # a copy to the CPU that is not waited for could be read too early
    return tensor.pin_memory().to(device, non_blocking=True)


def keep_freed_memory() -> bool:
    """Keep the memory of freed tensors for the next ones, in this process, from now on; whether
    that could be arranged.

    Large CPU tensors otherwise go back to the system when freed, and getting them again costs
    several times what is then computed in them: without that a 512 x 512 image takes a seventh less
    time. The price: the process does not shrink between steps. Only the GNU C library can be asked
    for it.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_MMAP_MAX, 0))
