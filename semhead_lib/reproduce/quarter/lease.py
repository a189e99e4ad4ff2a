"""The lease from its first second to its last: runs the steps, decides what a failure changes,
keeps the summary."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from semhead_lib.atomic import folder_lock
from semhead_lib.reproduce.quarter.plan import SPARE, STEPS, Plan
from semhead_lib.reproduce.quarter.processes import Ended, Log, run

ROOT = Path(__file__).parents[3]
SUMMARY, LOG = "summary.json", "quarter.log"
_PACKAGE = "semhead_lib.reproduce.quarter"
_ATTEMPTS = (  # of the training: what is given up after each that crashed
    {},
    {"graphs": False},
    {"graphs": False, "reference": True},
    {"graphs": False, "reference": True, "fp32": True},
)
_MODULES = {
    "tests": "gpu_tests",
    "render": "render_speed",
    "step": "step_speed",
    "train": "training",
}
_SAVED = ("run/snapshots/step-*.pt", "run/state.pt")  # of a training
_LEAST = 5.0  # seconds of training that are worth a start
_REFRESH = 120.0  # seconds between two states during the training
_LOOK = (
    60.0,
    0.15,
)  # for a look at DATA and SETTINGS before the build: seconds, share of the lease
_PREFIX = "quarter-"  # of the folder for what is too large to bring home
_SAVING = 60.0  # seconds that one may take


def main(words: list[str]) -> int:
    """Exit code: 0 when every step ended well, 1 when one did not, 2 for wrong arguments, DATA or
    SETTINGS, 143 after SIGTERM."""
    if words[:1] == ["--table"]:
        from semhead_lib.reproduce.quarter.table import main as table

        return table(words[1:])
    if words[:1] in (["--help"], ["-h"]):
        print(sys.modules[_PACKAGE].__doc__)
        return 0
    try:
        plan = Plan.read(words)
        lease = Lease(plan)
    except (ValueError, OSError) as error:
        print(
            f"gpu_quarter: {error}\nusage: gpu_quarter.sh MINUTES DATA.tar OUT [STATE]",
            file=sys.stderr,
        )
        return 2
    return lease.run()


class Lease:
    """Runs the steps of a plan."""

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

    def run(self) -> int:
        """All steps in their order. What was reached is in OUT whatever ends it."""
        before = {
            number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            self.log.write(
                "lease",
                f"{self.plan.minutes:g} minutes on {platform.node()}, device {self.plan.device}",
            )
            self._save()
            if self._build():
                return 2
            self._checks()
            self._tests()
            self._step("render", self.plan.limit("render", self.left()))
            self._step("step", self.plan.limit("step", self.left()))
            self._train()
            self._finish()
        finally:
            self._save()
            shutil.rmtree(self.work, ignore_errors=True)
            self._held.close()
            for number, handler in before.items():
                signal.signal(number, handler)
        ended = self.steps.values()
        self.log.write(
            "lease", ", ".join(f"{name} {step['status']}" for name, step in self.steps.items())
        )
        return 143 if self.signalled else int(any(step["status"] != "done" for step in ended))

    def left(self) -> float:
        """Seconds of the lease."""
        return self.plan.seconds - (time.monotonic() - self.began)

    # Steps

    def _build(self) -> bool:
        """Also whether DATA or SETTINGS are such that nothing could be trained: said before the
        time is spent."""
        most = self.plan.limit("build")
        environment = {
            "SEMHEAD_CUDA": "1" if self.plan.device == "cuda" else "0",
            "MAX_JOBS": str(os.cpu_count()),
        }
        limit = max(most, 0) + min(_LOOK[0], _LOOK[1] * self.plan.seconds)
        ended = self._step("build", limit, environment=environment, job={"compile": most > 0})
        found = self._result("build")
        if reason := found.get("refused"):
            self.steps["train"] |= {"status": "failed", "reason": reason}
            self.steps["build"] |= {"status": "skipped", "reason": "nothing could be trained"}
        elif most <= 0:
            self.steps["build"] |= {
                "status": "skipped",
                "reason": ended.reason or "left out: the ops that are there serve",
            }
        if not ended.well and found.get("quick") != "right":
            self._give_up("reference", f"the ops are not built: {ended.reason}")
        return bool(reason)

    def _checks(self) -> None:
        ended = self._step("checks", self.plan.limit("checks", self.left()))
        if self.plan.limit("checks") <= 0:
            return  # left out by who says so
        for name, verdict in self._result("checks").items():
            if verdict != "right":
                self._give_up(
                    {"ops": "reference", "graphs": "graphs", "bf16": "fp32"}[name], verdict
                )
        if ended.well or self.facts["reference"] or "ops" in self._result("checks"):
            return
        if ended.cut_off and self._result("build").get("quick") == "right":
            self.log.write(
                "checks", "not finished: the compiled ops serve, they passed their quick check"
            )
        else:
            self._give_up("reference", f"the compiled ops were not checked: {ended.reason}")

    def _tests(self) -> None:
        if self.facts["reference"] and self.plan.device == "cpu":
            self.steps["tests"]["reason"] = (
                "the reference implementation serves: there are no ops to test"
            )
            return
        self._step("tests", self.plan.limit("tests", self.left()))
        result = self._result("tests")
        self.steps["tests"] |= {key: value for key, value in result.items() if key != "failed_ops"}
        if failed := result.get("failed_ops"):
            self._give_up("reference", f"{len(failed)} tests of the ops fail, {failed[0]} first")

    def _train(self) -> None:
        tries, self._refreshed = [], time.monotonic()
        for attempt in _ATTEMPTS:
            seconds = self.left() - self.plan.reserve
            if self.signalled or (tries and seconds < _LEAST):
                break
            if attempt and all(self.facts[key] == value for key, value in attempt.items()):
                continue  # given up before
            # on its own it stops in time; the limit is for one that hangs
            ended = self._step("train", seconds + SPARE, meanwhile=self._refresh, job=attempt)
            if ended.well or not self._result("train").get("retry", True):
                break
            tries.append(ended.reason)
            self.log.write("train", f"failed: {ended.reason}")
        self.steps["train"] |= self._result("train")
        if tries:
            self.steps["train"]["failed_attempts"] = tries

    def _finish(self) -> None:
        self._step(
            "finish", 60.0 if self.signalled else max(self.left() - 2, 20.0), even_if_signalled=True
        )
        self.steps["finish"] |= self._result("finish")

    def _refresh(self) -> None:
        """Every two minutes the state so far goes to OUT: a lease may end without a word."""
        every, near = (
            min(_REFRESH, self.plan.seconds / 5),
            self.left() < self.plan.reserve + _SAVING,
        )
        if (
            near
            or time.monotonic() - self._refreshed < every
            or not any(path for pattern in _SAVED for path in self.work.glob(pattern))
        ):
            return
        ended = run(
            "finish",
            self._command("finish", _SAVING),
            self.log,
            _SAVING,
            stopped=lambda: self.signalled,
        )
        self.log.write("finish", f"state so far: {ended.reason or 'written'}")
        self._save()
        self._refreshed = time.monotonic()

    # What they have in common

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
        return [sys.executable, "-m", f"{_PACKAGE}.{module}", str(path)]

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
            _bundle(self.results, self.out)


def remove_leftovers(folder: Path) -> None:
    """Delete the folders of leases that were killed: those that no process holds. One made this
    minute may not be held yet."""
    for path in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # held, or another user's
            if path.is_dir() and not path.is_symlink() and time.time() - path.stat().st_mtime > 60:
                with folder_lock(path):
                    shutil.rmtree(path, ignore_errors=True)


def _bundle(results: Path, out: Path) -> None:
    """report.tar of all results but the state, whose files lie beside it."""
    partial = results.parent / "report.tar"
    with tarfile.open(partial, "w") as tar:
        for path in sorted(results.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                tar.add(path, path.name)
    _bring(partial, out / "report.tar")
    state = results / "state"
    for path in sorted(state.glob("*")) if state.is_dir() else []:
        if not path.name.startswith("."):
            (out / "state").mkdir(exist_ok=True)
            _bring(path, out / "state" / path.name)
    for old in (out / "state").glob("*"):
        if not (state / old.name).exists():
            old.unlink()


def _bring(source: Path, target: Path) -> None:
    """Copy under a temporary name, then rename."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(source, partial)
    partial.replace(target)
