"""Settings of a run of a profile's notebooks."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.settings import setting


@dataclass(frozen=True)
class ReproduceSettings:
    """Which notebooks are executed, into which run folder."""

    run: str = setting("main", "text", "name of the run folder: another name starts another run")
    only: str | None = setting(
        None,
        "text or null",
        "notebooks to execute, by name or its beginning, separated by commas; null = all",
    )
    force: bool = setting(False, "bool", "execute finished notebooks again from scratch")
    ignore_code: bool = setting(
        False,
        "bool",
        "keep results that were made with other source code of semhead_lib, csrc or the notebook",
    )
    dry_run: bool = setting(
        False,
        "bool",
        "check the parameters, print what would be executed, write parameters/*.yaml, and stop",
    )
    workers: int | None = setting(
        None,
        "int >= 1 or null",
        "notebooks at a time; null = as many as cores and memory have room for, one on a GPU",
    )
    html: bool = setting(True, "bool", "write index.html with a page for each notebook")
