"""What a lease is for: its arguments, and how its time is shared out."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

STEPS = ("build", "checks", "tests", "render", "step", "train", "finish")
# Seconds of each step at most, and its share of the lease: the smaller holds. Training takes what
# is left.
_LIMITS = {
    "build": (240, 0.25),
    "checks": (60, 0.15),
    "tests": (90, 0.15),
    "render": (70, 0.15),
    "step": (50, 0.15),
}
SPARE = 20.0  # seconds that a training has for its last snapshot
_RESERVE = (120, 0.25)  # for grids and state
_TRAINING = 0.25  # of the lease, which steps before the training leave to it


@dataclass(frozen=True)
class Plan:
    """One lease. Raises ValueError naming the argument that is wrong."""

    minutes: float
    data: str
    out: str
    state: str | None = None
    device: str = "cuda"
    preset: str | None = None  # None: semhead-128, or that of the data's size
    settings: dict[str, str] = field(default_factory=dict)  # of the training, as text
    training: str = "adversarial"  # or reconstruct
    files: int | None = None  # that `out` may have
    state_mb: float = 64.0
    tests: str = ""  # further words for pytest
    limits: dict[str, float] = field(
        default_factory=dict
    )  # seconds of steps, in place of the usual ones; 0: left out

    def __post_init__(self) -> None:
        if not 1 <= self.minutes < math.inf:
            raise ValueError(f"MINUTES must be at least 1, got {self.minutes:g}")
        if self.device not in ("cuda", "cpu"):
            raise ValueError(f"DEVICE must be cuda or cpu, got {self.device!r}")
        if self.training not in ("adversarial", "reconstruct"):
            raise ValueError(f"TRAINING must be adversarial or reconstruct, got {self.training!r}")
        if not 0 < self.state_mb < math.inf:
            raise ValueError(f"STATE_MB must be positive, got {self.state_mb:g}")
        if self.state is not None and not Path(self.state).is_dir():
            raise ValueError(
                f"STATE must be the folder state/ of a lease before, there is none at {self.state}"
            )
        if not Path(self.data).is_file():
            raise ValueError(
                f"DATA must be a file of 'semhead data pack', there is none at {self.data}"
            )
        if unknown := self.limits.keys() - _LIMITS.keys():
            raise ValueError(
                f"LIMITS may name {', '.join(_LIMITS)}, got {', '.join(sorted(unknown))}"
            )
        if self.files is not None and self.files < 3:
            raise ValueError(
                f"FILES must be at least 3 (report.tar and two of the state), got {self.files}"
            )
        if Path(self.out).exists() and not Path(self.out).is_dir():
            raise ValueError(f"OUT must be a folder, {self.out} is a file")
        if Path(self.out).is_dir() and any(Path(self.out).iterdir()):
            raise ValueError(f"OUT must be new or empty, {self.out} is not")

    @classmethod
    def read(cls, words: list[str], environment: Mapping[str, str] | None = None) -> Plan:
        """From the words of the command line and the environment."""
        env = os.environ if environment is None else environment
        if not 3 <= len(words) <= 4:
            raise ValueError("expected MINUTES DATA.tar OUT [STATE]")
        try:
            minutes = float(words[0])
            files = int(env["FILES"]) if env.get("FILES") else None
            state_mb = float(env.get("STATE_MB") or 64)
            limits = {step: float(seconds) for step, seconds in _pairs(env, "LIMITS").items()}
        except ValueError as error:
            raise ValueError(
                f"MINUTES, FILES, STATE_MB and those of LIMITS must be numbers: {error}"
            ) from None
        state = words[3] if len(words) > 3 else None
        return cls(
            minutes,
            words[1],
            words[2],
            state,
            env.get("DEVICE") or "cuda",
            env.get("PRESET") or None,
            _pairs(env, "SETTINGS"),
            env.get("TRAINING") or "adversarial",
            files,
            state_mb,
            env.get("TESTS", ""),
            limits,
        )

    @property
    def seconds(self) -> float:
        """Of the whole lease."""
        return 60 * self.minutes

    @property
    def reserve(self) -> float:
        """Seconds kept for the end."""
        return min(_RESERVE[0], _RESERVE[1] * self.seconds)

    def limit(self, step: str, left: float = math.inf) -> float:
        """Seconds that a step before the training may take when `left` seconds of the lease are
        left."""
        most, share = _LIMITS[step]
        spare = left - self.reserve - _TRAINING * self.seconds
        return self.limits.get(step, min(most, share * self.seconds, spare))

    @property
    def table_prefix(self) -> str:
        """Of the names of benchmark files: figures of a processor never pass for those of a card."""
        return "gpu" if self.device == "cuda" else "cpu"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _pairs(environment: Mapping[str, str], name: str) -> dict[str, str]:
    """The key=value words of a variable."""
    pairs = [word.partition("=") for word in environment.get(name, "").split()]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise ValueError(f"{name} must be key=value words, got {wrong[0]!r}")
    return {key: value for key, _, value in pairs}
