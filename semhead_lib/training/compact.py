"""A training's state in a few small files, to be taken over a thin line, and back into a folder
that trains on.

    STATE/state.json            what it is, checksums, and how the tensors fit together
    STATE/part-1.safetensors    tensors, and the small files of the run: settings, log, conditions
    ...

Adam's first moment is the last gradient where beta1 = 0, and is not used again: it is never kept.
Otherwise nothing is lost where it all fits; where it does not, numbers are halved in the order of
`LEVELS`, and `state.json` says which.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from semhead_lib.atomic import write_atomically
from semhead_lib.files import read_bytes
from semhead_lib.training.compact_file import INDEX, Compacted, Level, read_files, write_files
from semhead_lib.training.logs import LOG
from semhead_lib.training.run_folder import MODEL, SETTINGS, SNAPSHOTS
from semhead_lib.training.snapshots import LARGEST, save_snapshot, snapshots, unpack

_KINDS = {"generator": "weights", "discriminator": "weights", "average": "average"}
_FILES = (
    SETTINGS,
    LOG,
    f"{MODEL}/config.json",
    f"{MODEL}/discriminator.json",
    f"{MODEL}/conditions.safetensors",
)
_LARGEST_HALF = 6e4
_MOST_ROOM = 0.01  # of a part for the names and shapes of its tensors

LEVELS = (
    Level("nothing", {}),
    Level(
        "second moments of Adam are rounded to 8 bits (bfloat16), the averaged generator to 11 "
        "(float16)",
        {"moments": torch.bfloat16, "average": torch.float16},
    ),
    Level(
        "second moments of Adam are rounded to 8 bits (bfloat16), weights and the averaged "
        "generator to 11 (float16): "
        "less than a tenth of what one step changes",
        {"moments": torch.bfloat16, "average": torch.float16, "weights": torch.float16},
    ),
    Level(
        "weights are rounded to 11 bits (float16); second moments of Adam and the averaged "
        "generator are not kept and "
        "begin anew, from zero and from the generator",
        {"moments": None, "average": None, "weights": torch.float16},
    ),
)


def compact_state(
    run: Path | str,
    out: Path | str,
    *,
    files: int = 8,  # that `out` may have, state.json among them
    part: float = 16.0,  # MB (10^6 bytes) that each may have
    total: float = 64.0,  # MB of all
) -> Compacted:
    """Write the newest whole snapshot of the training in `run` into the folder `out`, in place of
    what is there.

    Raises FileNotFoundError when there is no snapshot, ValueError when all are damaged or not even
    the networks fit, OSError when it cannot be written; what is there then stays.
    """
    run, out = Path(run), Path(out)
    state = _newest(run)
    tensors: dict[str, Tensor] = {}
    tree = _taken_apart(state, (), tensors, _moments_unused(state))
    for name in _FILES:
        if (run / name).is_file():
            data = np.frombuffer((run / name).read_bytes(), dtype=np.uint8)
            tensors[f"file:{name}"] = torch.from_numpy(data.copy())
    for level in LEVELS:
        stored = {
            name: kept
            for name, t in tensors.items()
            if (kept := _stored(name, t, level)) is not None
        }
        parts = _shared_out(stored, files - 1, part * 1e6, total * 1e6)
        if parts:
            return write_files(out, parts, level, tree, tensors, int(state["step"]))
    raise ValueError(
        f"{run}: not even the networks fit in {files} files of {part:g} MB, {total:g} MB in all"
    )


def restore_state(state: Path | str, run: Path | str) -> int:
    """Write the training in the compact `state` into the new folder `run`, where `semhead train`
    goes on; its step.

    Raises FileNotFoundError or ValueError naming the file and what is wrong with it,
    FileExistsError when `run` is not empty. Nothing is written before all is known to be whole.
    """
    folder, run = Path(state), Path(run)
    index, tensors = read_files(folder)
    if run.exists() and any(run.iterdir()):
        raise FileExistsError(f"{run} is not empty: restore into a new folder")
    try:
        whole = _put_together(index["tree"], tensors)
        files = {
            name.removeprefix("file:"): t for name, t in tensors.items() if name.startswith("file:")
        }
        if not set(files) <= set(_FILES) or SETTINGS not in files:
            raise ValueError(
                f"its files must be {SETTINGS} and of {', '.join(_FILES)}, got {sorted(files)}"
            )
        step = whole["step"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder / INDEX}: does not describe a training: {error!r}") from None
    (run / MODEL).mkdir(parents=True)
    save_snapshot(run / SNAPSHOTS, whole, keep=1)
    for network, name in (("average", "model"), ("discriminator", "discriminator")):
        content = {key: tensor.contiguous() for key, tensor in whole[network].items()}
        write_atomically(
            run / MODEL / f"{name}.safetensors", save(content, metadata={"format": "pt"})
        )
    for name, data in files.items():
        write_atomically(run / name, data.numpy().tobytes())
    return int(step)


def _newest(run: Path) -> dict[str, Any]:
    """The state of the newest snapshot that is whole."""
    found, reasons = snapshots(run / SNAPSHOTS), []
    for path in reversed(found):
        try:
            return unpack(read_bytes(path, LARGEST))
        except (ValueError, OSError) as error:
            reasons.append(f"{path.name}: {error}")
    if reasons:
        raise ValueError(f"{run / SNAPSHOTS}: every snapshot is damaged ({'; '.join(reasons)})")
    raise FileNotFoundError(f"{run / SNAPSHOTS} holds no snapshot")


def _moments_unused(state: dict[str, Any]) -> tuple[str, ...]:
    """The optimisers whose first moments are the last gradients."""
    names = (name for name in state if name.endswith("_optimiser"))
    return tuple(
        n for n in names if all(group["betas"][0] == 0 for group in state[n]["param_groups"])
    )


def _taken_apart(
    value: Any, path: tuple[str, ...], tensors: dict[str, Tensor], unused: tuple[str, ...]
) -> Any:
    """Nested values as JSON, their tensors in `tensors` by name; channels-last tensors keep their
    order in memory."""
    if isinstance(value, Tensor):
        name = ".".join(path)
        if path[-1] == "exp_avg" and path[0] in unused:
            return {"zeros": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        last = value.dim() == 4 and not value.is_contiguous()
        tensors[name] = value
        return {
            "tensor": name,
            "dtype": str(value.dtype).removeprefix("torch."),
            "channels_last": last,
        }
    if isinstance(value, dict):
        items = [
            [key, _taken_apart(item, (*path, str(key)), tensors, unused)]
            for key, item in value.items()
        ]
        return {"dict": items}
    if isinstance(value, list | tuple):
        items = [
            _taken_apart(item, (*path, str(i)), tensors, unused) for i, item in enumerate(value)
        ]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    return {"value": value}


def _put_together(tree: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    """What `_taken_apart` was given; of what was not kept, zeros, and of the average the
    generator."""
    (kind, content), *_ = tree.items()
    if kind == "dict":
        return {key: _put_together(item, tensors) for key, item in content}
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](
            _put_together(item, tensors) for item in content
        )
    if kind == "value":
        return content
    dtype = getattr(torch, tree["dtype"])
    if kind == "zeros":
        return torch.zeros(content, dtype=dtype)
    name = content.replace("average.", "generator.", 1) if content not in tensors else content
    if name not in tensors:  # moments: zeros of the weight's shape, counted from the first step
        return torch.zeros(tree["shape"], dtype=dtype)
    tensor = tensors[name].to(dtype)
    return tensor.contiguous(memory_format=torch.channels_last) if tree["channels_last"] else tensor


def _stored(name: str, tensor: Tensor, level: Level) -> Tensor | None:
    """A tensor as the level keeps it; None where it does not."""
    optimiser = name.partition(".")[0].endswith("_optimiser")
    kind = "moments" if optimiser else _KINDS.get(name.partition(".")[0], "other")
    if not tensor.is_floating_point() or kind not in level.kept:
        return tensor.clone(memory_format=torch.contiguous_format)
    dtype = level.kept[kind]
    if dtype is None:
        return None
    counts = optimiser and tensor.dim() == 0  # steps
    large = dtype == torch.float16 and tensor.numel() and float(tensor.abs().max()) > _LARGEST_HALF
    return tensor.to(tensor.dtype if counts or large else dtype).clone(
        memory_format=torch.contiguous_format
    )


def _shared_out(
    tensors: dict[str, Tensor], files: int, part: float, total: float
) -> list[dict[str, Tensor]] | None:  # None: it does not fit
    """The tensors in as few parts as possible: the largest first, each into the emptiest part."""
    sizes = {name: t.numel() * t.element_size() for name, t in tensors.items()}
    room = part * (1 - _MOST_ROOM)
    whole = sum(sizes.values())
    if whole > total * (1 - _MOST_ROOM):
        return None
    for count in range(max(math.ceil(whole / room), 1), files + 1):
        parts: list[dict[str, Tensor]] = [{} for _ in range(count)]
        filled = [0] * count
        for name in sorted(sizes, key=lambda n: (-sizes[n], n)):
            emptiest = filled.index(min(filled))
            parts[emptiest][name] = tensors[name]
            filled[emptiest] += sizes[name]
        if max(filled) <= room:
            return parts
    return None
