"""Step `tests`: pytest on what needs this device, counted; a test of the ops that fails stops their
use."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from semhead_lib.reproduce.quarter.job import Job

_OF_THE_OPS = (
    "tests/ops/test_render_rays.py",
    "tests/ops/test_sample_planes.py",
    "tests/ops/test_render_with_grid.py",
)
_OPTIONS = ("-p", "no:cacheprovider", "--continue-on-collection-errors")
_OF_THE_STEP = ("tests/training", "tests/models")


def main(words: list[str]) -> str | None:
    """What failed first; None when nothing did."""
    job, counts, failed = (
        Job.read(words),
        {"passed": 0, "failed": 0, "skipped": 0, "not_collected": 0},
        [],
    )
    root = Path(job.root)
    ops = [name for name in _OF_THE_OPS if (root / name).exists()]
    rest = [name for name in _OF_THE_STEP if (root / name).exists()] if job.device == "cuda" else []
    runs = (
        [("ops", [*ops, "-k", job.device, "-m", "not bench and not slow"])]
        if ops and not job.reference
        else []
    )
    runs += [("step", [*rest, "-m", "gpu and not bench"])] if rest else []
    if not runs:
        return f"no tests for {job.device} lie in {root / 'tests'}"
    for name, selection in runs:
        report = Path(job.work) / f"tests-{name}.xml"
        words = ["-q", *_OPTIONS, f"--junitxml={report}", *selection, *shlex.split(job.tests)]
        environment = os.environ | {
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"
        }  # they may want what is not there
        command = [sys.executable, "-m", "pytest", *words]
        code = subprocess.run(command, cwd=root, env=environment, check=False).returncode
        if not report.is_file():
            return f"pytest on the {name} wrote no report (exit code {code})"
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag: child.get("message", "") for child in case}
            outcome = (
                "failed"
                if kinds.keys() & {"failure", "error"}
                else "skipped"
                if "skipped" in kinds
                else "passed"
            )
            if kinds.get("error") == "collection failure":  # most often a package that is not there
                outcome = "not_collected"
            counts[outcome] += 1
            if outcome == "failed":
                failed.append(
                    (name, f"{case.get('classname', '').replace('.', '/')}::{case.get('name')}")
                )
        of_ops = [test for kind, test in failed if kind == "ops"]
        job.answer(**counts, failed_tests=[test for _, test in failed][:20], failed_ops=of_ops)
    return f"{len(failed)} tests fail, {failed[0][1]} first" if failed else None


if __name__ == "__main__":
    sys.exit(main(sys.argv))
