"""Loads the compiled ops when imported, or says in `COMPILED.detail` why they are not there."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

PACKAGE = Path(__file__).parents[1]
LIBRARY, RECORD = (
    "_ops.so",
    "_ops.json",
)  # the record, by setup.py, says what the library was built for, or why it was not


@dataclass(frozen=True)
class Compiled:
    """Whether the compiled ops are loaded, for which devices, and what to say of it."""

    devices: tuple[str, ...]  # of "cpu", "cuda"; empty: the reference implementations serve
    detail: str


def load(folder: Path = PACKAGE) -> Compiled:
    """Load the compiled ops in `folder`; never raises: what is wrong stands in `detail`."""
    library = folder / LIBRARY
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if "missing" in record or not library.exists():
            return Compiled((), f"not built: {record.get('missing', f'{LIBRARY} was removed')}")
        reason = _mismatch(record)
        if reason:
            return Compiled((), f"{LIBRARY} is for {reason}")
        torch.ops.load_library(str(library))
    except FileNotFoundError:
        return Compiled((), f"not built: neither {LIBRARY} nor {RECORD} is in {folder}")
    except (OSError, ValueError, KeyError) as error:
        return Compiled(
            (), f"{LIBRARY} does not load: {(str(error).strip() or repr(error)).splitlines()[0]}"
        )
    cuda = record["cuda_arch_list"]
    detail = (
        f"built for torch {record['torch']}, {record['cpu_flags']}, "
        f"{f'CUDA {cuda}' if cuda else 'CPU only'}"
    )
    return Compiled(("cpu", "cuda") if cuda else ("cpu",), detail)


def usable(tensor: torch.Tensor) -> bool:
    """Whether the compiled ops take tensors like this one."""
    kind = tensor.device.type
    dtypes = (
        (torch.float32, torch.float64)
        if kind == "cpu"
        else (torch.float32, torch.float16, torch.bfloat16)
    )
    return kind in COMPILED.devices and tensor.dtype in dtypes


def cpu_features() -> list[str]:
    """Instruction sets of this processor, as the kernel of the operating system lists them; []
    where it does not."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return sorted(line.split(":", 1)[1].split())
    except OSError:
        pass
    return []


def _mismatch(record: dict) -> str | None:
    """What the library was built for, when that is not what runs here."""
    if record["torch"] != torch.__version__:
        return f"torch {record['torch']}, this is {torch.__version__}"
    if record["machine"] != platform.machine():
        return f"{record['machine']}, this is {platform.machine()}"
    missing = set(record["cpu_features"]) - set(cpu_features())
    if missing:
        return f"a processor with {' '.join(sorted(missing))}, which this one lacks"
    return None


COMPILED = load()
