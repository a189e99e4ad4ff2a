"""What gradient-based searches share: settings, an interruptible loop, and the best result so
far."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

from semhead_lib.inversion.settings import InversionSettings
from semhead_lib.models.generator import Generator

# Shares of the steps over which rates rise and fall (Karras et al., 2020, appendix D).
_RISE, _FALL = 0.05, 0.25


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

    generator: Generator  # tuned, when tuning steps were taken
    w: Tensor  # [1, W] or w+: [1, sum(num_ws), W]
    cameras: Tensor  # [K, 25] of the photographs, refined
    style: Search
    tuning: Search = field(default_factory=Search)


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
        self.last = False  # whether the step at hand is
        self._bar = tqdm(total=count, unit="step", desc=name, disable=not progress)

    def __iter__(self) -> Iterator[float]:
        """The share of the steps that is done. A search whose coarse steps bring nothing more goes
        on with the others, and ends where they bring nothing more."""
        step, begun = 0, 0
        while step < self._count:
            self.last = step == self._count - 1
            yield step / self._count
            step += 1
            losses = [terms["all"] for terms in self._search.losses[begun:]]
            if not plateau(losses, self._settings.patience, self._settings.gain):
                continue
            exact = math.ceil((self._settings.coarse_share or 0.0) * self._count)
            if step >= exact:
                self._search.stopped = "plateau"
                return
            self._bar.total -= exact - step
            step, begun = exact, len(self._search.losses)

    def saw(self, terms: dict[str, Tensor]) -> None:  # [H] each
        """Keep a step's terms. Raises ValueError if they are no longer finite."""
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
    """A search's steps; Ctrl-C ends them, and the best result so far is kept."""
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
        """Keep a copy of the tensors if this loss is the lowest so far."""
        if float(loss.detach()) < self._loss:
            self._loss = float(loss.detach())
            torch._foreach_copy_(self._kept, [t.detach() for t in self._tensors])

    def judge_anew(self) -> None:
        """Restore the kept tensors; the next loss seen replaces theirs."""
        self.restore()
        self._loss = math.inf

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the kept tensors."""
        torch._foreach_copy_([t.data for t in self._tensors], self._kept)
