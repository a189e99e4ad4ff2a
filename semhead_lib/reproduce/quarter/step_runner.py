"""How a step of a lease is run, and what is kept of it: the summary, and what is brought home."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from semhead_lib.atomic import folder_lock
from semhead_lib.reproduce.quarter.bundle import bundle
from semhead_lib.reproduce.quarter.plan import SPARE, STEPS, Plan
from semhead_lib.reproduce.quarter.processes import Ended, Log, run

ROOT = Path(__file__).parents[3]
SUMMARY, LOG = "summary.json", "quarter.log"
PACKAGE = "semhead_lib.reproduce.quarter"
_MODULES = {
    "tests": "gpu_tests",
    "render": "render_speed",
    "step": "step_speed",
    "train": "training",
}
_PREFIX = "quarter-"  # of the folder for what is too large to bring home


class StepRunner:
    """The state of a lease, and what its steps have in common."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.began, self.signalled = plan, time.monotonic(), False
        self.out = Path(plan.out).resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        remove_leftovers(Path(tempfile.gettempdir()))
        self.work = Path(
            tempfile.mkdtemp(prefix=_PREFIX)
        )  # snapshots and all that is too large to bring home
        self._held = contextlib.ExitStack()
        self._held.enter_context(folder_lock(self.work))
        self.results = self.work / "results" if plan.files else self.out
        self.results.mkdir(exist_ok=True)
        self.log = Log(self.results / LOG)
        self.steps: dict[str, dict[str, Any]] = {
            name: {"status": "skipped", "seconds": 0.0, "reason": "not reached"} for name in STEPS
        }
        self.facts: dict[str, Any] = {
            "reference": False,
            "graphs": True,
            "fp32": False,
        }  # of the training
        self._refreshed = time.monotonic()

    def left(self) -> float:
        """Seconds of the lease."""
        return self.plan.seconds - (time.monotonic() - self.began)

    def _command(self, name: str, limit: float, **job: Any) -> list[str]:
        """The command of a step: its module, and a file that says what it needs."""
        content = (
            self.plan.as_json()
            | {
                "work": str(self.work),
                "out": str(self.results),
                "prefix": self.plan.table_prefix,
                "root": str(ROOT),
                "result": str(self.work / f"{name}.result.json"),
                "deadline": time.time() + limit,
            }
            | {key: self.facts[key] for key in ("reference", "graphs", "fp32")}
            | job
        )
        path = self.work / f"{name}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        module = _MODULES.get(name, name)
        if name == "train" and self.plan.training == "reconstruct":
            module = "reconstruction"
        return [sys.executable, "-m", f"{PACKAGE}.{module}", str(path)]

    def _step(
        self,
        name: str,
        limit: float,
        *,
        even_if_signalled: bool = False,
        job: dict[str, Any] | None = None,
        **how: Any,
    ) -> Ended:
        """Run a step and note how it ended."""
        reason = "stopped by a signal before" if self.signalled and not even_if_signalled else ""
        if reason or limit <= 0:
            given = "given" if self.plan.limits.get(name) == 0 else "left"
            self.steps[name]["reason"] = reason or f"left out: no time was {given}"
            return Ended(-1, 0.0, self.steps[name]["reason"], cut_off=not reason)
        self.log.write(name, f"begins, {limit:.0f} s at most")
        asked = (lambda: False) if even_if_signalled else (lambda: self.signalled)
        grace = SPARE if name == "train" else 5
        command = self._command(name, limit, **(job or {}))
        ended = run(name, command, self.log, limit, stopped=asked, grace=grace, **how)
        status = (
            "done"
            if ended.well
            else "stopped"
            if asked()
            else "unfinished"
            if ended.cut_off
            else "failed"
        )
        seconds = round(self.steps[name]["seconds"] + ended.seconds, 1)
        self.steps[name] = {"status": status, "seconds": seconds, "reason": ended.reason}
        self.log.write(
            name,
            f"{status} after {ended.seconds:.1f} s{': ' if ended.reason else ''}{ended.reason}",
        )
        self._save()
        return ended

    def _result(self, name: str) -> dict[str, Any]:
        """What a step wrote down; {} when it did not come to that."""
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.work / f"{name}.result.json").read_text(encoding="utf-8"))
        return {}

    def _give_up(self, what: str, why: str) -> None:
        """Train without something, and say why."""
        self.facts[what] = what != "graphs"
        self.facts.setdefault("given_up", {}).setdefault(what, why)
        text = {
            "reference": "trains with the reference implementation",
            "graphs": "trains eagerly",
            "fp32": "trains in fp32",
        }[what]
        self.log.write("lease", f"{text}: {why}")

    def _note(self, number: int, frame: object) -> None:
        self.signalled = True

    def _save(self) -> None:
        """`_write`; a disk that is full stops nothing."""
        try:
            self._write()
        except OSError as error:
            self.log.write("lease", f"{self.out} cannot be written: {error}")

    def _write(self) -> None:
        """summary.json, and, where few files may go home, report.tar and the state."""
        ops = "reference" if self.facts["reference"] else "compiled"
        content = {
            "plan": self.plan.as_json(),
            "steps": self.steps,
            "training": {
                "ops": ops,
                "graphs": self.facts["graphs"],
                "fp32": self.facts["fp32"],
                "given_up": self.facts.get("given_up", {}),
            },
            "seconds": round(time.monotonic() - self.began, 1),
            "signalled": self.signalled,
        }
        partial = self.results / f".{SUMMARY}.partial"
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.results / SUMMARY)
        if self.plan.files:
            bundle(self.results, self.out)


def remove_leftovers(folder: Path) -> None:
    """Delete the folders of leases that were killed: those that no process holds. One made this
    minute may not be held yet."""
    for path in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # held, or another user's
            if path.is_dir() and not path.is_symlink() and time.time() - path.stat().st_mtime > 60:
                with folder_lock(path):
                    shutil.rmtree(path, ignore_errors=True)
