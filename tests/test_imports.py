"""Importing is light: heavy libraries load only in the part that owns them, when that part is
imported."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "semhead_lib"
HEAVY = ("anny", "warp", "diffusers", "transformers", "xformers", "k3d", "dlib")
OWNERS = (
    "semhead_lib.data.parametric",
    "semhead_lib.data.kontext",
    "semhead_lib.viz",
    "semhead_lib.explore",
)

REPORT = """
import importlib, json, sys, time
if sys.argv[1] == "after torch":  # torch's own time is not ours to answer for
    import torch
began = time.perf_counter()
for name in sys.argv[2:]:
    importlib.import_module(name)
print(json.dumps({"seconds": time.perf_counter() - began, "modules": sorted(sys.modules)}))
"""

MODULES = """
import pkgutil, semhead_lib
for module in pkgutil.walk_packages(semhead_lib.__path__, "semhead_lib.", onerror=lambda name: None):
    if module.name != "semhead_lib._ops":  # the compiled operators: a library for torch, no Python module
        print(module.name)
"""


def fresh(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "name", ["semhead_lib", "semhead_lib.cameras", "semhead_lib.data.subjects", "semhead_lib.cli"]
)
def test_import_is_quick_and_light(name):
    reports = []
    while len(reports) < 3 and (
        not reports or reports[-1]["seconds"] >= 3
    ):  # the first may read a cold disk
        reports.append(
            json.loads(fresh(REPORT, "alone" if name == "semhead_lib" else "after torch", name))
        )
    assert min(report["seconds"] for report in reports) < 3
    assert set(HEAVY) & set(reports[0]["modules"]) == set()


def test_importing_the_package_does_not_import_torch():
    assert "torch" not in json.loads(fresh(REPORT, "alone", "semhead_lib"))["modules"]


def test_only_owners_import_heavy_libraries():
    names = [
        name
        for name in fresh(MODULES).split()
        if not name.startswith(OWNERS) and not name.endswith("__main__")
    ]
    assert "semhead_lib.data.subjects" in names
    loaded = json.loads(fresh(REPORT, "alone", *names))["modules"]
    assert set(HEAVY) & set(loaded) <= {"transformers"}, (
        "open_clip and torchmetrics load that themselves"
    )
    words = re.compile(r"^\s*(from|import) transformers\b", re.M)
    sources = {
        path.relative_to(PACKAGE).as_posix(): path.read_text() for path in PACKAGE.rglob("*.py")
    }
    assert {name for name, text in sources.items() if words.search(text)} == set(), (
        "diffusers alone needs it"
    )
