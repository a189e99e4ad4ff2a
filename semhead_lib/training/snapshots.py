"""Snapshots: everything a training needs to go on as if it had not stopped. Read without executing
anything in them.

A file is one line, `semhead snapshot 2 sha256 HEX` with the SHA-256 of what follows, and then what
`torch.save` wrote. Older files lack the line; they are checked by the CRC-32 that their archive
keeps of each tensor.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semhead_lib.atomic import remove_leftovers, write_atomically
from semhead_lib.files import read_bytes
from semhead_lib.training.step import Networks

LARGEST = 1 << 40  # bytes of a snapshot
_NAME = re.compile(r"step-(\d{8})\.pt")
_HEAD = re.compile(rb"semhead snapshot 2 sha256 ([0-9a-f]{64})\n")
_OLD = b"PK\x03\x04"  # what torch.save writes begins like this
_PARTS = ("generator", "average", "discriminator", "g_optimiser", "d_optimiser")
State = dict[str, Any]


def state_of(networks: Networks, step: int, log: State | None = None) -> State:
    """The state after `step` steps: networks, average, optimisers, torch's random state, and what
    the next line of the log has gathered. What the steps draw and the place in the data follow from
    `step`."""
    state: State = {name: getattr(networks, name).state_dict() for name in _PARTS}
    return state | {"step": step, "random": torch.get_rng_state(), "log": log or {}}


def put_state(state: State, networks: Networks) -> None:
    """Bring the networks to a state; the optimisers keep their own settings. Raises what torch does
    when it is none."""
    for name in _PARTS[:3]:
        getattr(networks, name).load_state_dict(state[name])
    for name in _PARTS[3:]:
        optimiser = getattr(networks, name)
        own = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state[name]["state"], "param_groups": own})
    torch.set_rng_state(state["random"])


def pack(state: State) -> bytes:
    """A state as the bytes of a snapshot."""
    content = io.BytesIO()
    torch.save(state, content)
    content = content.getvalue()
    return (
        b"semhead snapshot 2 sha256 %s\n" % hashlib.sha256(content).hexdigest().encode() + content
    )


def unpack(data: bytes) -> State:
    """The state in the bytes of a snapshot, on the CPU. Raises ValueError when they are damaged, or
    numbers in them not finite."""
    head, content = _HEAD.match(data), data
    if head:
        content = memoryview(data)[head.end() :]
        if hashlib.sha256(content).hexdigest().encode() != head[1]:
            raise ValueError("its checksum is another one")
    elif not data.startswith(_OLD):
        raise ValueError("it does not begin as one")
    try:
        if not head and (name := zipfile.ZipFile(io.BytesIO(content)).testzip()):
            raise ValueError(f"{name} in it has another checksum")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        step, parts = state["step"], [state[name] for name in _PARTS]
    except Exception as error:  # damaged files fail in many ways
        raise ValueError(
            (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        ) from error
    if not bool(all_finite(parts)):
        raise ValueError(f"numbers in it are not finite, after {step} steps")
    return state


def all_finite(state: Any) -> Tensor:  # [] bool
    """Whether every number in the tensors of nested dictionaries and lists is finite; on their
    device."""
    tensors = [t for t in _tensors(state) if t.is_floating_point()]
    return (
        torch.stack([t.isfinite().all() for t in tensors]).all() if tensors else torch.tensor(True)
    )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def save_snapshot(folder: Path, state: State, keep: int) -> Path:
    """Write a state and delete all but the `keep` newest up to it. A reader never sees a part of
    one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{state['step']:08d}.pt"
    write_atomically(path, pack(state))
    for old in [other for other in snapshots(folder) if other.name <= path.name][:-keep]:
        old.unlink(missing_ok=True)
    remove_leftovers(folder)
    return path


def snapshots(folder: Path) -> list[Path]:
    """Those of a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*.pt") if _NAME.fullmatch(path.name))


def load_snapshot(folder: Path, networks: Networks) -> State | None:
    """Bring the networks to the newest snapshot that is whole; returns its state, None when there
    is no snapshot.

    Damaged ones are named in a warning and put aside, as NAME.damaged. Raises ValueError when all
    are damaged, and then touches none; or when a whole one is of other networks.
    """
    damaged: dict[Path, str] = {}
    for path in reversed(snapshots(folder)):
        try:
            state = unpack(read_bytes(path, LARGEST))
        except (ValueError, OSError) as error:
            damaged[path] = str(error)
            continue
        try:  # a failure here is no damage: the bytes are right
            put_state(state, networks)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise ValueError(f"{path} is no snapshot of these networks ({reason})") from error
        for other, reason in damaged.items():
            other.replace(other.with_name(f"{other.name}.damaged"))
            warnings.warn(f"{other} is damaged ({reason}); going on from {path.name}", stacklevel=2)
        return state
    if damaged:
        reasons = "; ".join(f"{path.name}: {reason}" for path, reason in damaged.items())
        raise ValueError(
            f"every snapshot in {folder} is damaged ({reasons}). Nothing was changed: put back a "
            "copy of one, or begin "
            "in another folder"
        )
    return None
