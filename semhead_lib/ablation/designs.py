"""The plan of a contest: a YAML file in papermill_runs/profiles/designs, and the trainings that it
asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semhead_lib import old_names
from semhead_lib.errors import UsageError, check_name, did_you_mean, usage_errors
from semhead_lib.files import read_yaml
from semhead_lib.reproduce.profiles import find_profile
from semhead_lib.training.reconstruction.settings import OF_BOTH, ReconstructionSettings
from semhead_lib.training.settings import TrainSettings

METRICS_FILE = "metrics.json"
_SECTIONS = {"minutes", "datasets", "resolution", "heads", "common", "parts", "designs"}
_ENDLESS = 1e6  # kimg: time ends a training


def folder_name(design: str) -> str:
    """A design's name as that of a folder.

    >>> folder_name("crops, box, grid")
    'crops-box-grid'
    """
    return re.sub(r"[^a-z0-9.]+", "-", design.lower())


@dataclass(frozen=True)
class Entry:
    """One training of one design."""

    design: str
    seed: int
    parts: tuple[str, ...]
    train: dict[str, Any]  # settings of `semhead train`
    # settings of `semhead reconstruct`, `share` of the minutes, and what `then` differs; empty: none
    reconstruct: dict[str, Any]

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{folder_name(self.design)}_seed-{self.seed}"

    @property
    def settings(self) -> TrainSettings:
        return TrainSettings(**self.train, kimg=_ENDLESS, seed=self.seed)

    @property
    def beginning(self) -> ReconstructionSettings | None:
        """Settings of the reconstruction that it begins with."""
        return self._reconstruction({}) if self.reconstruct else None

    @property
    def ending(self) -> ReconstructionSettings | None:
        """Settings of the reconstruction that follows, in place of an adversarial training."""
        then = self.reconstruct.get("then")
        return None if then is None else self._reconstruction(then)

    def _reconstruction(self, changes: dict[str, Any]) -> ReconstructionSettings:
        given = {name: value for name, value in self.train.items() if name in OF_BOTH}
        own = {k: v for k, v in self.reconstruct.items() if k not in ("share", "then")}
        return ReconstructionSettings(
            **given,
            **own | changes,
            kimg=_ENDLESS,
            fall=0.0,
            save_every=10**9,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Contest:
    """All designs, and where they go."""

    name: str
    file: Path
    minutes: float
    datasets: dict[str, dict[str, Any]]
    resolution: int
    heads: int
    entries: tuple[Entry, ...]

    @property
    def folder(self) -> Path:
        return Path("papermill_runs") / "designs" / self.name

    def dataset(self, name: str, root: Path) -> Path:
        return old_names.existing(root / self.folder / "datasets" / name)

    def finished(self, entry: Entry, root: Path) -> bool:
        return old_names.existing(root / self.folder / entry.name / METRICS_FILE).is_file()


def load_contest(name: str, root: Path) -> Contest:
    """The contest `name`, or that in the YAML file of that path. Raises UsageError on any mistake
    in it."""
    from yaml import YAMLError, safe_load

    path = find_profile(name, root / "papermill_runs" / "profiles" / "designs").resolve()
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    try:
        content = safe_load(read_yaml(path))
    except YAMLError as error:
        raise UsageError(f"{shown}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or set(content) != _SECTIONS:
        raise UsageError(f"{shown}: expected the sections {', '.join(sorted(_SECTIONS))}")
    if isinstance(content["datasets"], dict):
        content["datasets"] = old_names.today(old_names.DATASETS, content["datasets"])
    _check_numbers(content, str(shown))
    entries = []
    for design, asked in content["designs"].items():
        if not isinstance(asked, dict) or set(asked) != {"parts", "seeds"} or not asked["seeds"]:
            raise UsageError(f"{shown}: {design}: expected parts and seeds, got {asked!r:.60}")
        for seed in asked["seeds"]:
            with usage_errors(f"{shown}: {design}"):
                entries.append(_entry(design, seed, asked["parts"], content, f"{shown}: {design}"))
    if not entries:
        raise UsageError(f"{shown}: designs must name one at least")
    return Contest(
        path.stem,
        shown,
        content["minutes"],
        content["datasets"],
        content["resolution"],
        content["heads"],
        tuple(entries),
    )


def _check_numbers(content: dict[str, Any], where: str) -> None:
    """Raise UsageError for sections of another kind, and numbers that no contest can have."""
    for name in ("datasets", "common", "parts", "designs"):
        if not isinstance(content[name], dict):
            raise UsageError(f"{where}: {name} must be a mapping, got {content[name]!r:.60}")
    for name, part in content["parts"].items():
        if not isinstance(part, dict):
            raise UsageError(f"{where}: part {name} must be a mapping, got {part!r:.60}")
    if set(content["datasets"]) != {"training", "unseen"}:
        named = ", ".join(map(str, content["datasets"]))
        raise UsageError(f"{where}: datasets needs training and unseen, got {named}")
    whole: dict[str, Any] = {name: content[name] for name in ("resolution", "heads")}
    for name, plan in content["datasets"].items():
        if not isinstance(plan, dict) or not {"subjects", "seed"} <= set(plan):
            raise UsageError(f"{where}: dataset {name} needs subjects and seed, got {plan!r:.60}")
        whole |= {f"{name}.{key}": plan[key] for key in ("subjects", "seed")}
    for name, value in whole.items():
        low = 0 if name.endswith(".seed") else 1
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value < 1 << 31:
            raise UsageError(f"{where}: {name} must be an integer >= {low}, got {value!r:.60}")
    minutes = content["minutes"]
    if not isinstance(minutes, int | float) or not 0 < minutes < 1e6 or isinstance(minutes, bool):
        raise UsageError(f"{where}: minutes must be a number > 0, got {minutes!r:.60}")


def _entry(design: str, seed: int, parts: list[str], content: dict[str, Any], where: str) -> Entry:
    train = {
        **old_names.today(old_names.SETTINGS, content["common"]),
        "generator": dict(content["common"].get("generator", {})),
    }
    reconstruct: dict[str, Any] = {}
    for part in parts:
        if part not in content["parts"]:
            hint = (
                did_you_mean(part, [*content["parts"]])
                or f": there are {', '.join(content['parts'])}"
            )
            raise UsageError(f"{where}: no part '{part}'{hint}")
        changes = old_names.today(old_names.SETTINGS, content["parts"][part])
        train["generator"] |= changes.pop("generator", {})
        reconstruct |= old_names.today(old_names.SETTINGS, changes.pop("reconstruct", {}))
        train |= changes
    entry = Entry(str(design), seed, tuple(parts), train, reconstruct)
    check_name(entry.name, f"{where}: its folder")
    try:
        _ = entry.settings, entry.beginning, entry.ending
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from None
    return entry
