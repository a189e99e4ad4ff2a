"""What searches by gradients share: their settings, a loop that can be interrupted, and the best of
what it saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from tqdm import tqdm

from semhead_lib.inversion.settings import InversionSettings
from semhead_lib.models.generator import Generator

# Shares of the steps over which rates rise and fall (Karras et al., 2020, appendix D).
_RISE, _FALL = 0.05, 0.25
_FEWEST = 12  # samples of a ray, placed by a density grid


@dataclass
class Search:
    """How a search went."""

    losses: list[dict[str, float]] = field(
        default_factory=list
    )  # the terms and "all", of each step
    stopped: str = "finished"  # or "plateau", "interrupted"


@dataclass(frozen=True)
class Inverted:
    """A fitted head."""

    generator: Generator  # tuned, when pivotal steps were taken
    w: Tensor  # [1, W] or w+: [1, sum(num_ws), W]
    cameras: Tensor  # [K, 25] of the photographs, refined
    style: Search
    pivotal: Search = field(default_factory=Search)


@contextmanager
def density_grids(generators: list[Generator], nodes: int) -> Iterator[Callable[[float], bool]]:
    """Render by density grids of so many nodes a side, where a generator has none. What is given
    is called before each step with the share of the steps that is done. The last quarter goes
    without, and it says at its first step that losses compare no more with those before.

    A step spends most of its time in the backward pass of samples that are in empty space. The
    grid (`semhead_lib.ops.density_grid`) places fewer: a step of semhead-128 takes half the time.
    """
    usual = [generator.renderer.settings for generator in generators]
    fast = [
        s
        if s.grid or not nodes
        else replace(s, grid=nodes, coarse=max(s.coarse, nodes), fine=max(s.fine, _FEWEST))
        for s in usual
    ]

    def switch(along: float) -> bool:
        wanted, changed = fast if along < 0.75 else usual, False
        for generator, settings in zip(generators, wanted, strict=True):
            changed |= generator.renderer.settings != settings
            generator.renderer.settings = settings
        return changed and along > 0

    try:
        yield switch
    finally:
        switch(1.0)


def schedule(along: float) -> float:
    """The rate's factor at a share of the steps: rises linearly, stays, falls as a cosine.

    >>> [round(schedule(a), 2) for a in (0.0, 0.025, 0.5, 0.875, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - along) / _FALL))
    return falling * min(1.0, along / _RISE)


def plateau(losses: list[float], patience: int, gain: float) -> bool:
    """Whether the last `patience` losses brought less than `gain` of the best before them.

    >>> plateau([1.0, 0.5, 0.499, 0.4999], patience=2, gain=0.01), plateau([1.0, 0.5, 0.4, 0.45], 2, 0.01)
    (True, False)
    """
    if len(losses) <= patience or not gain:
        return False
    before = min(losses[:-patience])
    return before - min(losses[-patience:]) < gain * before


class Steps:
    """The steps of a search: iterate over them and call `saw` at the end of each."""

    def __init__(
        self, search: Search, count: int, settings: InversionSettings, name: str, progress: bool
    ) -> None:
        self._search, self._count, self._settings = search, count, settings
        self._bar = tqdm(total=count, unit="step", desc=name, disable=not progress)

    def __iter__(self) -> Iterator[int]:
        for step in range(self._count):
            yield step
            losses = [terms["all"] for terms in self._search.losses]
            if plateau(losses, self._settings.patience, self._settings.gain):
                self._search.stopped = "plateau"
                return

    def saw(self, terms: dict[str, Tensor]) -> None:  # [H] each
        """Keep a step's terms. Raises ValueError when they are no numbers any more."""
        values = {name: float(value.detach().mean()) for name, value in terms.items()}
        if not math.isfinite(values["all"]):
            raise ValueError(
                f"step {len(self._search.losses)}: the loss is no number ({values}); lower the rate"
            )
        self._search.losses.append(values)
        self._bar.update()
        self._bar.set_postfix_str(f"loss {values['all']:.4f}")

    def close(self) -> None:
        self._bar.close()


@contextmanager
def steps_of(
    search: Search, count: int, settings: InversionSettings, name: str, progress: bool
) -> Iterator[Steps]:
    """A search's steps; Ctrl-C ends them, and what was best so far stays."""
    steps = Steps(search, count, settings, name, progress)
    try:
        yield steps
    except KeyboardInterrupt:
        search.stopped = "interrupted"
    finally:
        steps.close()


class Best:
    """The tensors at the lowest loss so far."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors, self._loss = tensors, math.inf
        self._kept = [t.detach().clone() for t in tensors]

    def see(self, loss: Tensor) -> None:
        """Keep the tensors as they are, if this is their loss and the lowest."""
        if float(loss.detach()) < self._loss:
            self._loss = float(loss.detach())
            torch._foreach_copy_(self._kept, [t.detach() for t in self._tensors])

    def judge_anew(self) -> None:
        """Go back to what was kept; its loss is what the next one seen will be."""
        self.restore()
        self._loss = math.inf

    @torch.no_grad()
    def restore(self) -> None:
        """Write what was kept back."""
        torch._foreach_copy_([t.data for t in self._tensors], self._kept)
