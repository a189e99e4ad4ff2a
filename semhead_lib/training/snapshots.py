"""Snapshots: everything a training needs to go on as if it had not stopped. Read without executing anything in them."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import torch

from semhead_lib.data.files import remove_leftovers, write_atomically
from semhead_lib.training.step import Networks

_NAME = re.compile(r"step-(\d{8})\.pt")


def save_snapshot(folder: Path, networks: Networks, step: int, keep: int) -> Path:
    """Write the state after `step` steps and delete all but the `keep` newest. A reader never sees a part of one.

    The state is: networks, average, optimisers and torch's random state. What the steps draw and the place in the data
    follow from `step`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state: dict[str, Any] = {name: getattr(networks, name).state_dict() for name in _PARTS}
    state |= {"step": step, "random": torch.get_rng_state()}
    data = io.BytesIO()
    torch.save(state, data)
    path = folder / f"step-{step:08d}.pt"
    write_atomically(path, data.getvalue())
    for old in snapshots(folder)[:-keep]:
        old.unlink(missing_ok=True)
    remove_leftovers(folder)
    return path


def snapshots(folder: Path) -> list[Path]:
    """Those of a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*.pt") if _NAME.fullmatch(path.name))


def load_snapshot(folder: Path, networks: Networks) -> int:
    """Bring the networks to the newest snapshot; returns its step, 0 when there is none.

    Raises ValueError naming the file when it is no snapshot of such networks.
    """
    found = snapshots(folder)
    if not found:
        return 0
    try:
        state = torch.load(found[-1], map_location="cpu", weights_only=True)
        for name in _PARTS:
            getattr(networks, name).load_state_dict(state[name])
        torch.set_rng_state(state["random"])
        return int(state["step"])
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ValueError(
            f"{found[-1]} is no snapshot of these networks ({reason}); delete it to go on from the one before"
        ) from error


_PARTS = ("generator", "average", "discriminator", "g_optimiser", "d_optimiser")
