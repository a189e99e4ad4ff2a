"""The files of a compacted state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from semhead_lib.atomic import partial_path, publish

FORMAT, VERSION, INDEX = "semhead-compact-state", 1, "state.json"


@dataclass(frozen=True)
class Level:
    """How much of a state is kept."""

    lost: str  # in words
    kept: dict[str, torch.dtype | None]  # kind of tensor -> what it is stored as; None: not at all


@dataclass(frozen=True)
class Compacted:
    """What was written."""

    step: int
    parts: int
    bytes: int
    lost: str


def write_files(
    out: Path,
    parts: list[dict[str, Tensor]],
    level: Level,
    tree: Any,
    tensors: dict[str, Tensor],
    step: int,
) -> Compacted:
    """Write parts and their index into a folder, whole or not at all."""
    for node in _leaves(tree):  # what is not kept is made anew in its shape
        if "tensor" in node:
            node["shape"] = list(tensors[node["tensor"]].shape)
    data = {f"part-{i}.safetensors": save(part) for i, part in enumerate(parts, 1)}
    index = {
        "format": FORMAT,
        "version": VERSION,
        "step": step,
        "lost": level.lost,
        "parts": {name: {"bytes": len(d), "sha256": _sha256(d)} for name, d in data.items()},
        "tree": tree,
    }
    index["sha256"] = own_checksum(index)
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(index).encode() + b"\n"
    files = data | {INDEX: text}
    try:
        for name, content in files.items():
            partial_path(out / name).write_bytes(content)
    except OSError as error:
        for name in files:
            partial_path(out / name).unlink(missing_ok=True)
        raise OSError(error.errno, f"cannot write: {error.strerror}", str(out)) from error
    for name in (
        files
    ):  # at one moment, as nearly as can be; a mixture of two states is found by its checksums
        publish(partial_path(out / name), out / name)
    for old in out.glob("part-*.safetensors"):
        if old.name not in data:
            old.unlink()
    return Compacted(step, len(parts), sum(map(len, data.values())) + len(text), level.lost)


def read_files(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The index and all tensors, compared with their checksums."""
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {folder} is no compact state")
    try:
        index = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not JSON: {error}") from None
    if not isinstance(index, dict) or (index.get("format"), index.get("version")) != (
        FORMAT,
        VERSION,
    ):
        raise ValueError(f"{path}: expected format {FORMAT!r}, version {VERSION}")
    if index.get("sha256") != own_checksum(index) or not isinstance(index.get("parts"), dict):
        raise ValueError(f"{path}: damaged: its checksum is not that of its content")
    tensors: dict[str, Tensor] = {}
    for number in range(1, len(index["parts"]) + 1):
        part = folder / f"part-{number}.safetensors"
        if not part.is_file():
            raise ValueError(f"{part}: missing")
        data = part.read_bytes()
        if _sha256(data) != index["parts"].get(part.name, {}).get("sha256"):
            raise ValueError(
                f"{part}: damaged, or of another state: its checksum is not that of {INDEX}"
            )
        tensors |= load(data)
    return index, tensors


def _leaves(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    (kind, content), *_ = tree.items()
    if kind == "dict":
        for _, item in content:
            yield from _leaves(item)
    elif kind in ("list", "tuple"):
        for item in content:
            yield from _leaves(item)
    else:
        yield tree


def own_checksum(index: dict[str, Any]) -> str:
    rest = {name: value for name, value in index.items() if name != "sha256"}
    return _sha256(json.dumps(rest, sort_keys=True).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
