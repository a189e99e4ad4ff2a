"""The notebooks that are left to execute: which may begin, why, and what is written down of each."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from semhead_lib.reproduce import provenance, runs
from semhead_lib.reproduce.execution import Execution, NotebookFailed
from semhead_lib.reproduce.profiles import Step
from semhead_lib.reproduce.progress import ProgressLine, duration, size

_POLL = 0.5  # seconds


@dataclass
class Todo:
    """The notebooks of a run: what waits, and why each is executed."""

    run: runs.Run
    steps: list[Step]
    chosen: list[str]
    force: bool = False
    ignore_code: bool = False

    def __post_init__(self) -> None:
        self.waiting = [step for step in self.steps if step.name in self.chosen]
        self.library = provenance.library_digest()

    def earlier(self, step: Step) -> list[Step]:
        """The notebooks before one in the profile."""
        return self.steps[: self.steps.index(step)]

    def label(self, step: Step) -> str:
        """What a notebook is called in messages."""
        return f"[{self.steps.index(step) + 1}/{len(self.steps)}] {step.name}"

    def next(self, busy: Iterable[str], alone: bool = True) -> Step | None:
        """One that waits for none that has not ended; it waits no more.

        Where notebooks are executed one at a time (`alone`) it is the first of them. Else the
        run's first notebook begins first, then those that others read, then the last, which take
        longest: so that no long one is left to the end, beside idle cores.
        """
        unfinished = {*busy, *(step.name for step in self.waiting)}
        ready = [s for s in self.waiting if not self._read(s) & unfinished]
        if not ready:
            return None
        step = ready[0]
        if not alone and step is not self.steps[0]:
            read = set().union(*map(self._read, self.waiting))
            step = next((s for s in ready if s.name in read), ready[-1])
        self.waiting.remove(step)
        return step

    def _read(self, step: Step) -> set[str]:
        """Names of the notebooks whose outputs a notebook reads."""
        return {other.name for other in self.run.reads(step, self.earlier(step))}

    def reason(self, step: Step) -> str | None:
        """Why a notebook has to be executed, None when it is finished and fresh; says so."""
        why = self.run.why_execute(step, self.earlier(step), self.library, self.ignore_code)
        why = why or ("forced" if self.force else None)
        print(f"{self.label(step)}: {why or 'finished and unchanged'}", flush=True)
        return why

    def begin(self, step: Step, why: str, threads: int | None) -> Execution:
        """Start a notebook, and its entry of run.json."""
        goes_on = why in (runs.INTERRUPTED, runs.FAILED, runs.INCOMPLETE)
        if self.force or not goes_on:  # else it goes on with what is there
            self.run.set_aside(step)
        self.run.notebooks[step.name] = {
            "status": "running",
            "title": step.notebook.title,
            "parameters": step.parameters,
            "notebook": step.notebook.digest,
            "library": self.library,
            **provenance.commit(self.run.root),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        self.run.save()
        return Execution(self.run, step, self.label(step), threads)

    def end(self, execution: Execution) -> NotebookFailed | None:
        """Complete the entry of a notebook that has ended; what made it fail, if it did."""
        step, progress, failed = execution.step, execution.progress, None
        entry = self.run.notebooks[step.name]
        try:
            execution.check()
            entry["status"] = "finished"
        except NotebookFailed as error:
            entry["status"], failed = "failed", error
        self.keep(execution)
        if failed is None:
            took, peak = duration(progress.seconds), size(progress.peak)
            print(f"{execution.label}: finished in {took}, peak memory {peak}", flush=True)
        return failed

    def keep(self, execution: Execution) -> None:
        """Write down what a notebook took, read and wrote."""
        step, progress = execution.step, execution.progress
        entry = self.run.notebooks[step.name]
        entry["seconds"], entry["peak_memory_bytes"] = round(progress.seconds, 1), progress.peak
        entry["inputs"] = self.run.inputs(step, self.earlier(step))
        entry["outputs"] = runs.listing(self.run.outputs(step))
        self.run.save()


def execute(todo: Todo, workers: int, threads: int | None) -> None:
    """Execute what waits, `workers` notebooks at a time. After a failure none is begun, and those
    that run come to their end.

    Raises NotebookFailed for the first that failed. Ctrl-C interrupts all that run.
    """
    running: list[Execution] = []
    failures: list[NotebookFailed] = []
    line = ProgressLine()
    try:
        while running or (todo.waiting and not failures):
            while not failures and len(running) < workers:
                busy = [execution.step.name for execution in running]
                step = todo.next(busy, alone=workers == 1)
                if step is None:
                    break
                if why := todo.reason(step):
                    running.append(todo.begin(step, why, threads))
            for execution in [*running]:
                if not execution.running(_POLL / len(running)):
                    line.end()
                    running.remove(execution)
                    failures += filter(None, [todo.end(execution)])
            line.show("; ".join(map(str, running)))
    except BaseException:
        line.end()
        for execution in running:
            execution.interrupt()
        for execution in running:
            execution.end()
            todo.keep(execution)
        raise
    if failures:
        raise failures[0]
