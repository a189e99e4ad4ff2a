"""Networks from their weights' file, and the file of their configuration."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from semhead_lib.atomic import write_atomically
from semhead_lib.files import in_file, read_json, read_tensors

Network = TypeVar("Network", bound=nn.Module)
_FACTORIES = (torch.randn, torch.rand, torch.zeros, torch.ones, torch.empty, torch.full)
_SLACK = 1 << 20  # numbers, beside twice those of the file
_COUNT = "fields"  # how many a config's file has


def write_config(path: Path, config: dict[str, Any]) -> None:
    """Write a network's configuration as JSON, with the number of its fields."""
    content = json.dumps({_COUNT: len(config), **config}, indent=1)
    write_atomically(path, content.encode() + b"\n")


def read_config(path: Path) -> dict[str, Any]:
    """What `write_config` wrote.

    Fields that were introduced after a file was written are not in it, and have their defaults. A
    field that was lost looks the same, but the number of fields tells; files from before there was
    one are read as they are. Raises FileNotFoundError, or ValueError naming the file.
    """
    config = read_json(path)
    count = config.pop(_COUNT, len(config))
    if not isinstance(count, int) or len(config) < count:
        raise ValueError(f"{path}: has {len(config)} fields, was written with {count!r:.40}")
    return config


def packed(network: nn.Module, half: bool) -> dict[str, Tensor]:
    """A network's tensors as they are saved; with `half` in half precision, but for counts. Raises
    ValueError for numbers that it does not hold, whose file could not be read."""
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    if not half:
        return state
    halves = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    for name, t in halves.items():
        if t.is_floating_point() and not bool(t.isfinite().all()):
            most = state[name].abs().max()
            raise ValueError(f"{name} has {most:.3g}, which half precision does not hold")
    return halves


def fitted(make: Callable[[], Network], path: Path, config: str) -> Network:
    """The network that `make` builds of the file `config`, with the weights in `path`.

    A small file's config can ask for a network of any size: building ends as soon as it is larger
    than its weights. Raises FileNotFoundError, or ValueError naming the file, for what is no file
    of weights or does not fit.
    """
    tensors = read_tensors(path)
    held = sum(tensor.numel() for tensor in tensors.values())
    try:
        with _AtMost(2 * held + _SLACK):
            network = make()
    except ValueError as error:
        raise ValueError(in_file(path.with_name(config), error)) from None
    found = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    try:
        network.load_state_dict(found)
    except RuntimeError as error:
        words = " ".join(str(error).split())
        raise ValueError(f"{path} does not fit its {config}: {words[:300]}") from None
    return network


class _AtMost(TorchFunctionMode):
    """Raises ValueError before tensors of more than `most` numbers in all are made."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.made = most, 0

    def _count(self, numbers: int) -> None:
        self.made += numbers
        if self.made > self.most:
            raise ValueError("asks for a larger network than its weights are of")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.eye and args:
            self._count(args[0] * (args[1] if len(args) > 1 else args[0]))
        elif func in _FACTORIES and args:
            size = args[:1] if func is torch.full else args
            self._count(math.prod(size[0] if isinstance(size[0], (tuple, list)) else size))
        return func(*args, **(kwargs or {}))
