"""Commands that execute notebooks, studies and contests, and look at the machine."""

from __future__ import annotations

from semhead_lib.conf import runs
from semhead_lib.settings import values_of


def reproduce(config: runs.Reproduce) -> None:
    """`semhead reproduce PROFILE`."""
    from semhead_lib.reproduce.driver import reproduce as execute

    execute(**values_of(config))


def ablate(config: runs.Ablate) -> int:
    """`semhead ablate STUDY`."""
    from semhead_lib.ablation.study import ablate as execute

    done = execute(**values_of(config, "launcher"), launcher=values_of(config.launcher))
    return 0 if done else 1


def contest(config: runs.Contest) -> int:
    """`semhead contest CONTEST`."""
    from semhead_lib.ablation.contest import contest as execute

    return 0 if execute(config.contest, **values_of(config, "contest")) else 1


def doctor(config: runs.Doctor) -> int:
    """`semhead doctor`."""
    from semhead_lib.doctor import main

    return main(as_json=config.json)
