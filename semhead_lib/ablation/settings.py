"""Settings of studies and contests, beside their plans."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.settings import setting


@dataclass(frozen=True)
class StudySettings:
    """Which runs of a study are executed."""

    only: str | None = setting(
        None,
        "text or null",
        "runs to execute, by name or its beginning, separated by commas; null = all",
    )
    ignore_code: bool = setting(False, "bool", "keep results that were made with other source code")
    dry_run: bool = setting(False, "bool", "list the runs and what would be executed, and stop")
    merge: str | None = setting(
        None,
        "text or null",
        "results folders of the same study from other machines, separated by commas: runs that are "
        "finished there are taken over, not executed",
    )
    report: bool = setting(True, "bool", "execute notebook 05 on the results")


@dataclass(frozen=True)
class ContestSettings:
    """Which designs of a contest are trained."""

    only: str | None = setting(
        None,
        "text or null",
        "designs to train, by name or its beginning, separated by commas; null = all",
    )
    workers: int = setting(2, "int >= 1", "designs at a time, one core each")
    dry_run: bool = setting(
        False, "bool", "print the number of trainings and what is left, and stop"
    )
