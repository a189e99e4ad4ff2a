"""What the trainings of small networks by a recipe share: folders that are begun once, the learning
rate, the log."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from semhead_lib.atomic import write_atomically
from semhead_lib.files import LARGEST_LOG, read_bytes, read_json


def begin(recipe: Any, out: Path, settings: str, what: str, **about: Any) -> None:
    """Write a recipe (a dataclass) into a new folder, in the file `settings`, or compare it with
    the one begun there.

    `about` stands beside it and is not compared. Raises ValueError for another recipe,
    FileExistsError for a folder that holds something else than a training of `what`.
    """
    here, path = asdict(recipe), out / settings
    if path.exists():
        there = read_json(path).get("recipe")
        if not isinstance(there, dict):
            raise ValueError(f"{path} is damaged: expected a recipe, got {there!r:.60}")
        different = [
            f"{k} is {there.get(k)} there, {v} here" for k, v in here.items() if there.get(k) != v
        ]
        if different:
            raise ValueError(
                f"{out} was begun with another recipe: {'; '.join(different)}. Use another folder"
            )
    elif any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise FileExistsError(
            f"{out} is not empty and holds no training of {what}; use another folder ({path.name} is "
            "missing)"
        )
    else:
        write_atomically(path, json.dumps({"recipe": here, **about}, indent=2).encode() + b"\n")


def learning_rate(step: int, highest: float, warmup: int, steps: int) -> float:
    """Linear warm-up over `warmup` steps, then half a cosine down to 0 at the last of `steps`.

    >>> [round(learning_rate(step, 1.0, 2, 10), 3) for step in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return highest * (step + 1) / warmup
    done = (step - warmup) / max(steps - warmup, 1)
    return highest * 0.5 * (1 + math.cos(math.pi * done))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for AdamW: matrices and kernels decay, biases, norms and single numbers do not."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def cut_log(path: Path, step: int) -> None:
    """Keep the first `step` lines of a log, one a step: those after the saved state are written
    again."""
    lines = read_bytes(path, LARGEST_LOG).split(b"\n") if path.exists() else []
    write_atomically(path, b"".join(line + b"\n" for line in lines[:step] if line))
