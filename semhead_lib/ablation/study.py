"""`semhead ablate`: a study from its plan to its table and its notebook."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semhead_lib.ablation import merging, queue
from semhead_lib.ablation.job import DATASETS
from semhead_lib.ablation.plan import Study, load_study
from semhead_lib.ablation.settings import StudySettings
from semhead_lib.ablation.table import RESULTS, TABLE, write_results
from semhead_lib.atomic import folder_lock
from semhead_lib.errors import UsageError
from semhead_lib.reproduce import provenance, runs
from semhead_lib.reproduce.notebooks import read_notebook
from semhead_lib.reproduce.profiles import Step, check_parameters

REPORT = "05_ablations"


def ablate(
    study: str,
    only: str | None = StudySettings.only,
    ignore_code: bool = StudySettings.ignore_code,
    dry_run: bool = StudySettings.dry_run,
    merge: str
    | None = StudySettings.merge,  # results folders with runs that were finished elsewhere
    report: bool = StudySettings.report,  # execute notebook 05 on the results
    launcher: Mapping[str, Any] | None = None,  # fields of conf.runs.Local or Slurm
    root: Path | None = None,
) -> bool:
    """Execute what is left of a study, write its table and its report; whether every run is
    finished.

    Raises UsageError for mistakes in the study or runs that cannot be merged, BlockingIOError when
    another process executes it.
    """
    root = (root or provenance.find_root(Path.cwd())).resolve()
    plan = load_study(study, root)
    chosen = _chosen(plan, only)
    elsewhere = merging.read_finished(plan, merge, root)

    def left_to_do() -> dict[str, str]:
        wanted = [name for name in chosen if name not in elsewhere]
        return queue.left_to_do(plan, wanted, root, ignore_code)

    why = left_to_do()
    print(f"{plan.name}: {len(chosen)} runs, {len(why)} to execute, into {plan.folder}", flush=True)
    if dry_run:
        done = {name: "finished elsewhere" if name in elsewhere else "finished" for name in chosen}
        print("\n".join(f"  {name}: {why.get(name, done[name])}" for name in chosen))
        return not why
    (root / plan.folder).mkdir(parents=True, exist_ok=True)
    with folder_lock(root / plan.folder):
        if why:
            _execute(plan, [*why], root, launcher or {"devices": "auto"}, ignore_code)
        left = left_to_do()
        rows = write_results(plan, root, elsewhere)
        print(f"{plan.folder / RESULTS / TABLE}: {rows} rows", flush=True)
        if rows and report:
            _report(plan, root)
    if left:
        print(f"{len(left)} of {len(chosen)} runs are not finished: {', '.join(left)}", flush=True)
    return not left


def _chosen(plan: Study, only: str | None) -> list[str]:
    names = [run.name for run in plan.runs]
    if not only:
        return names
    words = [word.strip() for word in only.split(",")]
    for word in words:
        if not any(name.startswith(word) for name in names):
            raise UsageError(f"only={word}: no run begins so; there are {', '.join(names)}")
    return [name for name in names if name.startswith(tuple(words))]


def _execute(
    plan: Study, names: list[str], root: Path, launcher: Mapping[str, Any], ignore_code: bool
) -> None:
    """The datasets first, then the runs. Raises RuntimeError when the datasets could not be made."""
    for jobs in ([DATASETS], names) if not plan.has_datasets(root) else (names,):
        if "devices" in launcher:
            failed = queue.execute_here(plan, jobs, root, launcher["devices"], ignore_code)
            if jobs == [DATASETS] and failed:
                raise RuntimeError(
                    f"the datasets could not be made: see {plan.folder / DATASETS / queue.LOG}"
                )
        else:
            queue.execute_on_cluster(plan, jobs, root, launcher, ignore_code)


def _report(plan: Study, root: Path) -> None:
    """Execute the notebook that reads the table."""
    from semhead_lib.reproduce.driver import execute_steps

    path = root / "notebooks" / f"{REPORT}.ipynb"
    notebook = read_notebook(path)
    folder = plan.folder / "report"
    given = {
        "results": (plan.folder / RESULTS).as_posix(),
        "table": (plan.folder / RESULTS).as_posix(),
        "out": (folder / REPORT).as_posix(),
        "longer": "",
    }
    step = Step(notebook, check_parameters(notebook, given, plan.file))
    this = runs.Run(root / folder, root)
    execute_steps(
        this, f"ablations/{plan.name}", [step], force=True, command=["semhead", "ablate", plan.name]
    )
