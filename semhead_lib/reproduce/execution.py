"""A notebook executed through Papermill.

Papermill runs in a thread of its own, so that this one can show progress, measure memory and take
Ctrl-C: the cell being executed is then interrupted (a training cell saves its state).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import threading
from typing import Any

from semhead_lib.reproduce import runs
from semhead_lib.reproduce.profiles import Step
from semhead_lib.reproduce.progress import Progress, ProgressLine, size

KERNEL = "python3"  # the kernel of the environment that executes this
_GRACE = 60.0  # seconds that an interrupted cell has for saving what it wants to keep
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class NotebookFailed(RuntimeError):
    """A cell raised, or the kernel died; the message says which notebook, cell and line, and what
    was raised."""


def run_papermill(this: runs.Run, step: Step, progress: Progress, label: str) -> None:
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
