"""Filters that score images by a function of the user's: the quality of photographs and of views,
and artefacts of views.

Such a function is named `package.module:function`. It is called as `function(images, prompts)` with
N images [3, H, W] uint8 and the N prompts that they were made by ("" for a photograph), and returns
N numbers from 0 (to be dropped) to 1 (nothing is wrong), as a tensor, an array or a list.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

Score = Callable[[Sequence[Tensor], Sequence[str]], Any]
NONE, CLIP = "none", "clip"


@dataclass(frozen=True)
class Filter:
    """Drops images whose score is too low."""

    name: str  # of the setting that asks for it: quality or artefacts
    function: str  # what the setting is
    least: float  # of scores that pass
    score: Score

    def __call__(
        self, images: Sequence[Tensor], prompts: Sequence[str]
    ) -> list[float]:  # N of [3, H, W] uint8, N -> N in [0, 1]
        """The scores. Raises ValueError when the function gave something else, RuntimeError when it
        failed."""
        try:
            given = self.score(images, prompts)
        except Exception as error:
            raise RuntimeError(
                f"{self.name}={self.function} failed: {type(error).__name__}: {error}"
            ) from error
        try:
            scores = torch.as_tensor(given).detach().double().cpu()
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(self._expected(len(images), repr(given)[:60])) from None
        if scores.shape != (len(images),):
            raise ValueError(self._expected(len(images), f"shape {list(scores.shape)}"))
        if not bool(((scores >= 0) & (scores <= 1)).all()):
            wrong = scores[~((scores >= 0) & (scores <= 1))][0]
            raise ValueError(self._expected(len(images), f"{float(wrong):g}"))
        return scores.tolist()

    def _expected(self, count: int, came: str) -> str:
        return (
            f"{self.name}={self.function} must return {count} numbers in 0...1 for {count} images, "
            f"got {came}"
        )


def is_plug_in(function: str) -> bool:
    """Whether a setting names a function, rather than none or clip."""
    return function not in (NONE, CLIP)


@cache
def load_score(name: str, function: str) -> Score:
    """The function `package.module:function` of the setting `name`. Raises ValueError naming both
    when it is written otherwise, or cannot be imported."""
    module, colon, attribute = function.partition(":")
    if not (module and colon and attribute):
        raise ValueError(
            f"{name} must be none, clip where there is an encoder, or package.module:function, "
            f"got {function!r}"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # a module may be a program that ends when imported
        raise ValueError(
            f"{name}={function} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not callable(found):
        raise ValueError(f"{name}={function} is no function, but {type(found).__name__}")
    return found
