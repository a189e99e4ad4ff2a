"""CUDA graphs: a step of thousands of small kernels, launched as one.

The first step of each kind runs eagerly, which also chooses algorithms and makes the optimisers'
state; the second is captured, which computes nothing, and replayed; from then on kinds that are
known are replayed. So every step is computed once, whichever way it takes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Result(NamedTuple):
    """The values that a step returns for the log."""

    names: tuple[str, ...]
    values: Tensor  # [names]


Function = Callable[[Tensor], Result]  # of a buffer with a step's inputs


class Backend(Protocol):
    """Runs and captures functions."""

    def eagerly(self, function: Callable[[], Result]) -> Result:
        """The function's result, computed as a capture would."""
        ...

    def capture(self, function: Callable[[], Result]) -> tuple[Callable[[], None], Result]:
        """A function that computes it again in the same memory, and the result that it fills.
        Nothing is computed yet."""
        ...

    def finish(self) -> None:
        """Wait for all that was captured and runs."""


class Graphs:
    """Steps by their kind: eager, captured or replayed."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.failure: str | None = (
            None  # why a step could not be captured; from then on all are eager
        )
        self._era: Hashable = None
        self._known: set[Hashable] = set()
        self._captured: dict[Hashable, tuple[Tensor, Callable[[], None], Result]] = {}

    def __call__(self, era: Hashable, kind: Hashable, function: Function, buffer: Tensor) -> Result:
        """Run `function(buffer)`.

        Args:
            era: kinds of another era are forgotten, and the memory of their graphs is freed.
            kind: steps of one kind do the same with inputs of the same shapes.
        """
        if era != self._era:
            if self._captured:
                self.backend.finish()
                self._captured.clear()
            self._era, self._known = era, set()
        if kind not in self._captured:
            if kind not in self._known or self.failure:
                self._known.add(kind)
                return self.backend.eagerly(lambda: function(buffer))
            try:
                inputs = buffer.clone()
                self._captured[kind] = (inputs, *self.backend.capture(lambda: function(inputs)))
            except RuntimeError as error:
                self.failure = (
                    "a step cannot be captured: "
                    f"{(str(error).strip() or repr(error)).splitlines()[0]}"
                )
                warnings.warn(f"training without CUDA graphs: {self.failure}", stacklevel=2)
                return self.backend.eagerly(lambda: function(buffer))
        inputs, replay, result = self._captured[kind]
        inputs.copy_(buffer)
        replay()
        return Result(result.names, result.values.clone())


class CudaBackend:
    """Captures on a stream of its own, where eager steps run as well; all graphs share one pool of
    memory.

    They may, because nothing that a step leaves in the pool is used by another: its values are
    copied out at once.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    def eagerly(self, function: Callable[[], Result]) -> Result:
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = function()
        current.wait_stream(self.stream)
        return Result(result.names, result.values.clone())

    def capture(self, function: Callable[[], Result]) -> tuple[Callable[[], None], Result]:
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device)
        try:  # "thread_local": the thread that prepares batches goes on copying
            with torch.cuda.graph(
                graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"
            ):
                result = function()
        finally:
            torch.cuda.set_stream(current)
        return graph.replay, result

    def finish(self) -> None:
        torch.cuda.synchronize(self.device)
