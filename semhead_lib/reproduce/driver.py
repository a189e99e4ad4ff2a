"""The driver: executes the notebooks of a profile, several at a time, and keeps the run folder. The
same command goes on where it was interrupted."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from pathlib import Path

import yaml

from semhead_lib.devices import available_cores, processes_at_once
from semhead_lib.reproduce import metrics, provenance, runs
from semhead_lib.reproduce.profiles import Step, by_prefix, find_profile, load_profile
from semhead_lib.reproduce.settings import ReproduceSettings
from semhead_lib.reproduce.todo import Todo, execute

_MEMORY = 2.5e9  # bytes that a notebook may need


def reproduce(
    profile: str,  # name in papermill_runs/profiles, or path of a YAML file
    run: str = ReproduceSettings.run,  # name of the run folder
    only: str | None = ReproduceSettings.only,  # notebooks to execute, separated by commas
    force: bool = ReproduceSettings.force,  # execute finished notebooks again
    ignore_code: bool = ReproduceSettings.ignore_code,  # changed sources are no reason to repeat
    dry_run: bool = ReproduceSettings.dry_run,  # check, plan and write the parameters only
    html: bool = ReproduceSettings.html,  # write index.html and pages/
    workers: int | None = ReproduceSettings.workers,  # notebooks at a time; None: as fit
    overrides: dict[str, str] | None = None,  # "NOTEBOOK.PARAMETER" -> text
    root: Path | None = None,  # of the checkout; found from the working directory when None
    command: list[str] | None = None,  # what the user typed, for the record
) -> Path:
    """Execute a profile's notebooks; returns the run folder.

    Raises UsageError before anything is executed when profile, notebooks or parameters do not fit
    together, and
    NotebookFailed when a cell fails; what was finished before stays finished.
    """
    root = (root or provenance.find_root(Path.cwd())).resolve()
    path = find_profile(profile, root / "papermill_runs" / "profiles").resolve()
    path = path.relative_to(root) if path.is_relative_to(root) else path
    if not re.fullmatch(r"[\w.-]+", run) or run.startswith("."):
        raise ValueError(f"run={run}: expected letters, digits, '_', '-' and '.'")
    folder = root / "papermill_runs" / path.stem / run
    with contextlib.chdir(root):
        steps = load_profile(
            path, Path("notebooks"), folder.relative_to(root).as_posix(), overrides
        )
    chosen = [step.name for step in steps]
    if only:
        chosen = [by_prefix(word.strip(), chosen) for word in only.split(",")]
    execute_steps(
        runs.Run(folder, root),
        path.stem,
        steps,
        chosen,
        force=force,
        ignore_code=ignore_code,
        dry_run=dry_run,
        html=html,
        workers=workers,
        command=command,
    )
    return folder


def execute_steps(
    this: runs.Run,
    profile: str,  # name, for the record
    steps: list[Step],
    chosen: list[str] | None = None,  # names of those to execute; None = all
    *,
    force: bool = ReproduceSettings.force,
    ignore_code: bool = ReproduceSettings.ignore_code,
    dry_run: bool = ReproduceSettings.dry_run,
    html: bool = ReproduceSettings.html,
    workers: int | None = 1,  # notebooks at a time; None: as cores and memory allow
    command: list[str] | None = None,
) -> None:
    """Execute notebooks into a run folder, each after those that it reads: what `reproduce` does
    once it knows which. Raises as it does."""
    chosen = [step.name for step in steps] if chosen is None else chosen
    _check_inputs(this, steps, chosen)
    with this.lock(), contextlib.chdir(this.root):
        _describe(this, profile, steps, command or sys.argv, dry_run)
        todo = Todo(this, steps, chosen, force, ignore_code)
        if dry_run:
            for step in todo.waiting:
                todo.reason(step)
            return
        shared = bool(this.state["devices"]["gpus"])  # its memory holds one notebook
        workers = workers or (1 if shared else processes_at_once(_MEMORY))
        execute(todo, workers, available_cores() // workers if workers > 1 else None)
        _finish(this, steps, html)


def _check_inputs(this: runs.Run, steps: list[Step], chosen: list[str]) -> None:
    for number, step in enumerate(steps):
        for other in this.reads(step, steps[:number]) if step.name in chosen else []:
            if (
                other.name not in chosen
                and this.notebooks.get(other.name, {}).get("status") != "finished"
            ):
                raise ValueError(
                    f"{step.name} reads the outputs of {other.name}, which has not finished: "
                    "execute it too"
                )


def _describe(
    this: runs.Run, profile: str, steps: list[Step], command: list[str], dry_run: bool
) -> None:
    """Write what is known before anything is executed: the parameters of each notebook; the
    resolved profile and provenance too unless it is a dry run, which leaves the record of an
    earlier run alone."""
    resolved = {step.name: step.parameters for step in steps}
    for name, parameters in resolved.items():
        text = yaml.safe_dump(parameters, sort_keys=False)
        runs.write_text(this.folder / "parameters" / f"{name}.yaml", text)
    if dry_run:
        return
    words = [Path(command[0]).name, *command[1:]]
    described = {
        "profile": profile,
        "run": this.folder.name,
        "command": " ".join(words),
        **provenance.commit(this.root),
    }
    this.state = {
        **described,
        "versions": provenance.versions(),
        "devices": provenance.devices(),
        "notebooks": this.notebooks,
    }
    this.save()
    runs.write_text(this.folder / "config.yaml", yaml.safe_dump(resolved, sort_keys=False))


def _finish(this: runs.Run, steps: list[Step], html: bool) -> None:
    """Write metrics.json and the pages."""
    executed = [
        step.name for step in steps if this.notebooks.get(step.name, {}).get("status") == "finished"
    ]
    read = {name: json.loads(this.executed(name).read_text(encoding="utf-8")) for name in executed}
    found = {name: metrics.collect(notebook) for name, notebook in read.items()}
    runs.write_text(this.folder / "metrics.json", metrics.dumps(found))
    shown = this.folder.relative_to(this.root)
    if html:
        from semhead_lib.reproduce import pages

        pages.write_pages(this, executed, found)
        shown = shown / "index.html"
    print(f"{len(executed)} of {len(steps)} notebooks finished: {shown}", flush=True)
