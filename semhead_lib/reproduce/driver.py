"""The driver: executes the notebooks of a profile through Papermill, one after another, and keeps
the run folder.

Papermill runs in a thread of its own, so that this one can show progress, measure memory and take
Ctrl-C: the cell being executed is then interrupted (a training cell saves its state), and the same
command goes on from there.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import yaml

from semhead_lib.reproduce import metrics, runs
from semhead_lib.reproduce.profiles import Step, by_prefix, find_profile, load_profile
from semhead_lib.reproduce.progress import Progress, ProgressLine, duration, size
from semhead_lib.reproduce.settings import ReproduceSettings

KERNEL = "python3"  # the kernel of the environment that executes this
_GRACE = 60.0  # seconds that an interrupted cell has for saving what it wants to keep
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class NotebookFailed(RuntimeError):
    """A cell raised, or the kernel died; the message says which notebook, cell and line, and what
    was raised."""


def reproduce(
    profile: str,  # name in papermill_runs/profiles, or path of a YAML file
    run: str = ReproduceSettings.run,  # name of the run folder
    only: str | None = ReproduceSettings.only,  # notebooks to execute, separated by commas
    force: bool = ReproduceSettings.force,  # execute finished notebooks again
    ignore_code: bool = ReproduceSettings.ignore_code,  # changed sources are no reason to repeat
    dry_run: bool = ReproduceSettings.dry_run,  # check, plan and write the parameters only
    html: bool = ReproduceSettings.html,  # write index.html and pages/
    overrides: dict[str, str] | None = None,  # "NOTEBOOK.PARAMETER" -> text
    root: Path | None = None,  # of the checkout; found from the working directory when None
    command: list[str] | None = None,  # what the user typed, for the record
) -> Path:
    """Execute a profile's notebooks; returns the run folder.

    Raises UsageError before anything is executed when profile, notebooks or parameters do not fit
    together, and
    NotebookFailed when a cell fails; what was finished before stays finished.
    """
    root = (root or runs.find_root(Path.cwd())).resolve()
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
    command: list[str] | None = None,
) -> None:
    """Execute notebooks in order into a run folder: what `reproduce` does once it knows which.
    Raises as it does."""
    chosen = [step.name for step in steps] if chosen is None else chosen
    _check_inputs(this, steps, chosen)
    with this.lock(), contextlib.chdir(this.root):
        _describe(this, profile, steps, command or sys.argv, dry_run)
        library = runs.library_digest()
        for number, step in enumerate(steps):
            if step.name not in chosen:
                continue
            earlier, label = steps[:number], f"[{number + 1}/{len(steps)}] {step.name}"
            why = this.why_execute(step, earlier, library, ignore_code)
            if why is None and not force:
                print(f"{label}: finished and unchanged", flush=True)
                continue
            print(f"{label}: {why or 'forced'}", flush=True)
            if dry_run:
                continue
            if force or why not in (
                runs.INTERRUPTED,
                runs.FAILED,
                runs.INCOMPLETE,
            ):  # else it goes on with what is there
                this.set_aside(step)
            _execute(this, step, earlier, library, label)
        if not dry_run:
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
        **runs.commit(this.root),
    }
    this.state = {
        **described,
        "versions": runs.versions(),
        "devices": runs.devices(),
        "notebooks": this.notebooks,
    }
    this.save()
    runs.write_text(this.folder / "config.yaml", yaml.safe_dump(resolved, sort_keys=False))


def _execute(this: runs.Run, step: Step, earlier: list[Step], library: str, label: str) -> None:
    """Execute one notebook and keep its entry of run.json true at every moment."""
    entry = this.notebooks[step.name] = {
        "status": "running",
        "title": step.notebook.title,
        "parameters": step.parameters,
        "notebook": step.notebook.digest,
        "library": library,
        **runs.commit(this.root),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    this.save()
    progress = Progress()
    try:
        _run_papermill(this, step, progress, label)
        entry["status"] = "finished"
    except NotebookFailed:
        entry["status"] = "failed"
        raise
    finally:
        entry["seconds"], entry["peak_memory_bytes"] = round(progress.seconds, 1), progress.peak
        entry["inputs"] = this.inputs(step, earlier)
        entry["outputs"] = runs.listing(this.outputs(step))
        this.save()
    print(
        f"{label}: finished in {duration(progress.seconds)}, peak memory {size(progress.peak)}",
        flush=True,
    )


def _run_papermill(this: runs.Run, step: Step, progress: Progress, label: str) -> None:
    """Run Papermill in a thread and watch it until it ends. Raises NotebookFailed or
    KeyboardInterrupt."""
    import psutil

    others = {child.pid for child in psutil.Process().children()}  # not the kernel's
    raised: list[BaseException] = []
    thread = threading.Thread(target=_papermill, args=(this, step, progress, raised), daemon=True)
    line = ProgressLine(label)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(0.5)
            progress.memory = _memory(others)
            progress.peak = max(progress.peak, progress.memory)
            line.show(str(progress))
    except KeyboardInterrupt:
        line.end()
        print(f"{label}: interrupting cell {progress.cell}", flush=True)
        _interrupt(others, thread)
        raise
    line.end()
    if raised:
        raise NotebookFailed(_report(this, step, raised[0], progress)) from raised[0]


def _papermill(this: runs.Run, step: Step, progress: Progress, raised: list[BaseException]) -> None:
    from papermill import execute_notebook
    from papermill.engines import NBClientEngine, papermill_engines

    class Engine(NBClientEngine):
        """Papermill's own engine, telling `progress` which cell it is at."""

        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **options):
            start, progress.cells = nb_man.cell_start, len(nb_man.nb.cells)

            def cell_start(cell, cell_index=0, **more):
                progress.cell = cell_index + 1
                start(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("semhead", Engine)
    logging.getLogger("papermill").setLevel(
        logging.ERROR
    )  # its warnings are about parameters we have checked
    try:
        execute_notebook(
            os.path.relpath(step.notebook.path),  # what it stores in the executed notebook
            os.path.relpath(this.executed(step.name)),
            parameters=step.parameters,
            engine_name="semhead",
            kernel_name=KERNEL,
            language="python",
            cwd=str(this.root),
            progress_bar=False,
            coalesce_streams=True,  # a progress bar leaves its last state, not one line for each
            extra_arguments=[
                "--IPKernelApp.log_level=50"
            ],  # what cells raise is in the notebook, the rest is noise
        )
    except BaseException as error:  # handed to the thread that watches
        raised.append(error)


def _interrupt(others: set[int], thread: threading.Thread) -> None:
    """Interrupt the running cell, wait for it to save its state, end what is left; a second Ctrl-C
    does not wait."""
    import psutil

    kernels = [child for child in psutil.Process().children() if child.pid not in others]
    for kernel in kernels:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(kernel.pid, signal.SIGINT)
    try:
        thread.join(_GRACE)
    finally:
        for process in [
            p for kernel in kernels if kernel.is_running() for p in [kernel, *kernel.children(True)]
        ]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _memory(others: set[int]) -> int:
    """Bytes held by the kernel and its descendants; memory that processes share counts once, where
    the system tells."""
    import psutil

    total = 0
    for child in psutil.Process().children():
        if child.pid in others:
            continue
        with contextlib.suppress(psutil.Error):
            for process in [child, *child.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    memory = process.memory_full_info()
                    total += getattr(memory, "pss", memory.rss)
    return total


def _report(this: runs.Run, step: Step, error: Any, progress: Progress) -> str:
    """What a person needs to know of a failure: notebook, cell, line, exception, and where to
    look."""
    where = f"executed notebook: {this.executed(step.name).relative_to(this.root)}"
    if not hasattr(error, "ename"):  # not raised by a cell
        dead = type(error).__name__ == "DeadKernelError"
        what = "the kernel died (out of memory?)" if dead else f"{type(error).__name__}: {error}"
        reached = f"cell {progress.cell} of {progress.cells}, peak memory {size(progress.peak)}"
        return f"{step.name} failed at {reached}: {what}\n{where}"
    source = error.source.splitlines()
    traceback = _ANSI.sub("", "\n".join(error.traceback))
    match = re.search(rf"Cell In ?\[{error.exec_count}\], line (\d+)", traceback)
    line = min(int(match[1]), len(source)) if match else 1
    return (
        f"{step.name} failed in cell {progress.cell} of {progress.cells} (In "
        f"[{error.exec_count}]), line {line}:\n"
        f"    {source[line - 1].strip() if source else ''}\n{error.ename}: "
        f"{_ANSI.sub('', error.evalue)}\n{where}"
    )


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
