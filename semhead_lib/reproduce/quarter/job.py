"""What a step is asked, and how it answers: a file each."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """What the lease asks of a step; `content` is its plan and what was found so far."""

    content: dict[str, Any]

    @classmethod
    def read(cls, words: list[str]) -> Job:
        """From the one word of the step's command line."""
        return cls(json.loads(Path(words[1]).read_text(encoding="utf-8")))

    def __getattr__(self, name: str) -> Any:
        try:
            return self.content[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def left(self) -> float:
        """Seconds until the step is cut off."""
        return self.content["deadline"] - time.time()

    def answer(self, **facts: Any) -> None:
        """Write down what the step found; again replaces it."""
        path = Path(self.content["result"])
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(facts), encoding="utf-8")
        partial.replace(path)


def value_of(text: str) -> Any:
    """A number, true, false or null where the text is one."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def use_the_reference() -> None:
    """Have the reference implementation serve in this process, compiled ops or none."""
    from semhead_lib.ops import compiled

    compiled.COMPILED = compiled.Compiled(
        (), "not used: the ops are not built, or failed their checks"
    )
    print(f"the reference implementation serves: {compiled.COMPILED.detail}")
