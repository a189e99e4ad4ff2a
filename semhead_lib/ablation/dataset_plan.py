"""The datasets of a study: made whole, or as parts of others that are made once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.errors import UsageError, check_name, check_numbers
from semhead_lib.view_samplers import VIEW_SAMPLERS

UNSEEN = "unseen"  # the dataset that everybody is judged on


@dataclass(frozen=True)
class DatasetPlan:
    """One dataset of parametric heads, or a part of one: its first subjects, and of each as many
    views, spread around the head."""

    subjects: int
    seed: int | None = None  # needed, but for a part
    views_per_subject: int = 8
    view_sampling: str = "balanced"
    inconsistency: float = 0.0  # of the views of a subject (data/parametric/drift.py)
    part_of: str | None = None  # another dataset of the study


def dataset_plans(where: str, content: Mapping[str, Any]) -> dict[str, DatasetPlan]:
    """Plans by the section of a study. Raises UsageError naming the dataset that is wrong."""
    for name, settings in content.items():
        if not isinstance(settings, Mapping):
            raise UsageError(f"{where}: dataset {name} must be a mapping, got {settings!r:.60}")
    try:
        plans = {name: DatasetPlan(**settings) for name, settings in content.items()}
        for name, plan in plans.items():
            check_name(str(name), f"{where}: dataset")
            _check_kinds(f"{where}: dataset {name}", plan)
            if plan.part_of is None:
                _check_whole(f"{where}: dataset {name}", plan)
            else:
                _check_part(f"{where}: dataset {name}", name, plan, plans)
    except (TypeError, AttributeError) as error:
        raise UsageError(f"{where}: datasets: {error}") from None
    return plans


def _check_kinds(where: str, plan: DatasetPlan) -> None:
    """Refuse what is no number where one is expected, which would fail when datasets are made."""
    for name in ("subjects", "views_per_subject", "seed"):
        value = getattr(plan, name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole and (name != "seed" or value is not None):
            raise UsageError(f"{where}: {name} must be an integer, got {value!r:.60}")
    try:
        check_numbers(inconsistency=plan.inconsistency)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def _check_whole(where: str, plan: DatasetPlan) -> None:
    if plan.seed is None:
        raise UsageError(f"{where}: needs a seed, or another dataset that it is part_of")
    if not min(plan.subjects, plan.views_per_subject) >= 1 or plan.seed < 0:
        raise UsageError(
            f"{where}: expected subjects and views_per_subject >= 1 and seed >= 0, got {plan}"
        )
    if not 0 <= plan.inconsistency < inf:
        raise UsageError(f"{where}: expected inconsistency >= 0, got {plan.inconsistency}")
    if str(plan.view_sampling) not in VIEW_SAMPLERS:
        raise UsageError(
            f"{where}: view_sampling must be one of {', '.join(VIEW_SAMPLERS)}, got "
            f"{plan.view_sampling!r:.60}"
        )


def _check_part(where: str, name: str, plan: DatasetPlan, plans: Mapping[str, DatasetPlan]) -> None:
    whole = plans.get(str(plan.part_of))
    if whole is None or whole.part_of is not None:
        known = ", ".join(name for name, other in plans.items() if other.part_of is None)
        raise UsageError(
            f"{where}: part_of must name a dataset that is made whole ({known}), got "
            f"{plan.part_of!r}"
        )
    if UNSEEN in (name, plan.part_of):
        raise UsageError(
            f"{where}: {UNSEEN} shares no subjects with another dataset, since all generators are "
            "judged on it"
        )
    bare = DatasetPlan(plan.subjects, None, plan.views_per_subject, part_of=plan.part_of)
    if plan != bare:
        raise UsageError(
            f"{where}: of a part only subjects and views_per_subject are given, the rest is as in "
            f"{plan.part_of}"
        )
    for key in ("subjects", "views_per_subject"):
        own, most = getattr(plan, key), getattr(whole, key)
        if not 1 <= own <= most:
            raise UsageError(f"{where}: {key} must be 1 to {most}, what {plan.part_of} has")


def is_made(
    folder: Path, plan: DatasetPlan, plans: Mapping[str, DatasetPlan], resolution: int, encoder: str
) -> bool:
    """Whether the dataset in `folder` is as planned, with features by an encoder of that name."""
    try:
        manifest = Manifest.load(folder)
    except (OSError, ValueError):
        return False
    whole = plans[plan.part_of] if plan.part_of else plan
    wanted = {k: v for k, v in asdict(whole).items() if k != "part_of"}
    wanted |= {"subjects": plan.subjects, "views_per_subject": plan.views_per_subject}
    wanted["resolution"] = resolution
    made = {"inconsistency": 0.0} | manifest.plan.source["settings"]
    made |= {"subjects": manifest.subjects}
    if bool(plan.part_of) != ("part_of" in made):
        return False
    identity = (manifest.layout.semantic or {}).get("encoder", "")
    return identity.startswith(encoder) and all(
        made.get(name) == value for name, value in wanted.items()
    )
