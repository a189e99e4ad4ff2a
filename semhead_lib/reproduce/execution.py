"""A notebook executed through Papermill.

Papermill runs in a thread of its own, so that the main one can show progress, measure memory, take
Ctrl-C and execute other notebooks meanwhile. A cell that is interrupted saves its state if it trains.
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
from semhead_lib.reproduce.progress import Progress, size

KERNEL = "python3"  # the kernel of the environment that executes this
_GRACE = 60.0  # seconds that an interrupted cell has for saving what it wants to keep
_START = 120  # seconds that a kernel has for starting
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class NotebookFailed(RuntimeError):
    """A cell raised, or the kernel died; the message says which notebook, cell and line, and what
    was raised."""


class Execution:
    """A notebook that Papermill executes in a thread of its own."""

    def __init__(self, this: runs.Run, step: Step, label: str, threads: int | None = None) -> None:
        """Start it. `threads` of a kernel's libraries; None = as they like."""
        self.step, self.label, self.progress = step, label, Progress()
        self._this = this
        self._raised: list[BaseException] = []
        self._client: Any = None
        self._interrupted = False
        self._environment = dict(os.environ)
        if threads is not None:
            self._environment.setdefault("OMP_NUM_THREADS", str(threads))
        self._ended = threading.Event()  # a `Thread.join` that Ctrl-C ends takes it for ended
        threading.Thread(target=self._papermill, daemon=True).start()

    def __str__(self) -> str:
        return f"{self.label}: {self.progress}"

    def running(self, seconds: float = 0.0) -> bool:
        """Whether it still runs after so many seconds; measures its memory."""
        ended = self._ended.wait(seconds)
        self.progress.look(self._kernel)
        return not ended

    def check(self) -> None:
        """Raises NotebookFailed where the notebook, which has ended, failed."""
        if self._raised:
            raised = self._raised[0]
            raise NotebookFailed(_report(self._this, self.step, raised, self.progress)) from raised

    def interrupt(self) -> None:
        """Interrupt the cell that runs, and begin no other; `end` waits for it."""
        self._interrupted = True
        print(f"{self.label}: interrupting cell {self.progress.cell}", flush=True)
        if kernel := self._kernel:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(kernel, signal.SIGINT)

    def end(self, grace: float = _GRACE) -> None:
        """Wait until the interrupted cell has saved its state, and end what is left; a second
        Ctrl-C does not wait."""
        import psutil

        processes: list[psutil.Process] = []
        if kernel := self._kernel:
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = psutil.Process(kernel)
                processes = [parent, *parent.children(True)]
        try:
            self._ended.wait(grace)
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    @property
    def _kernel(self) -> int | None:
        """The kernel's process, None before it has started."""
        manager = getattr(self._client, "km", None)
        return getattr(getattr(manager, "provisioner", None), "pid", None)

    def _papermill(self) -> None:
        from papermill import execute_notebook
        from papermill.clientwrap import PapermillNotebookClient
        from papermill.engines import Engine, papermill_engines

        execution, progress, step = self, self.progress, self.step

        class Watched(Engine):
            """As Papermill's own engine. It tells `progress` which cell it is at."""

            @classmethod
            def execute_managed_notebook(cls, nb_man, kernel_name, **options):
                start, progress.cells = nb_man.cell_start, len(nb_man.nb.cells)

                def cell_start(cell, cell_index=0, **more):
                    if execution._interrupted:  # the cell before it caught the interruption
                        raise KeyboardInterrupt
                    progress.cell = cell_index + 1
                    start(cell, cell_index, **more)

                nb_man.cell_start = cell_start
                execution._client = PapermillNotebookClient(
                    nb_man,
                    kernel_name=kernel_name,
                    startup_timeout=_START,
                    coalesce_streams=True,  # of a progress bar its last state, not a line for each
                    extra_arguments=["--IPKernelApp.log_level=50"],  # what cells raise is in them
                )
                return execution._client.execute(env=execution._environment)

        papermill_engines.register(f"semhead {step.name}", Watched)
        logging.getLogger("papermill").setLevel(
            logging.ERROR
        )  # its warnings are about parameters we have checked
        try:
            execute_notebook(
                os.path.relpath(step.notebook.path),  # what it stores in the executed notebook
                os.path.relpath(self._this.executed(step.name)),
                parameters=step.parameters,
                engine_name=f"semhead {step.name}",
                kernel_name=KERNEL,
                language="python",
                cwd=str(self._this.root),
                progress_bar=False,
            )
        except BaseException as error:  # handed to the thread that watches
            self._raised.append(error)
        finally:
            self._ended.set()


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
