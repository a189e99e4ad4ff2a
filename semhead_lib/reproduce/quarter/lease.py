"""The lease from its first second to its last: the order of the steps, and what a failure changes."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import sys
import time

from semhead_lib.reproduce.quarter.plan import SPARE, Plan
from semhead_lib.reproduce.quarter.processes import run
from semhead_lib.reproduce.quarter.step_runner import PACKAGE, StepRunner

_ATTEMPTS = (  # of the training: what is given up after each that crashed
    {},
    {"graphs": False},
    {"graphs": False, "reference": True},
    {"graphs": False, "reference": True, "fp32": True},
)
_SAVED = ("run/snapshots/step-*.pt", "run/state.pt")  # of a training
_LEAST = 5.0  # seconds of training that are worth a start
_REFRESH = 120.0  # seconds between two states during the training
_LOOK = (
    60.0,
    0.15,
)  # for a look at DATA and SETTINGS before the build: seconds, share of the lease
_SAVING = 60.0  # seconds that one may take


def main(words: list[str]) -> int:
    """Exit code: 0 when every step ended well, 1 when one did not, 2 for wrong arguments, DATA or
    SETTINGS, 143 after SIGTERM."""
    if words[:1] == ["--table"]:
        from semhead_lib.reproduce.quarter.table import main as table

        return table(words[1:])
    if words[:1] in (["--help"], ["-h"]):
        print(sys.modules[PACKAGE].__doc__)
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


class Lease(StepRunner):
    """Runs the steps of a plan."""

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
