"""The build backend (PEP 517): setuptools', with the ops compiled against the torch that they will
run with.

An isolated build does not see the packages of the environment that it is for. Ops that are compiled
against one version of torch do not load beside another, and to download the newest for every build
takes gigabytes. So the torch of the environment is used where it has one that the project takes;
where it has none, both get the newest. (uv isolates further: there
`tool.uv.extra-build-dependencies` in pyproject.toml brings the environment's version.)
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from setuptools import build_meta

PYPROJECT = tomllib.loads(
    (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
)
TORCH = next(need for need in PYPROJECT["project"]["dependencies"] if need.startswith("torch>="))
LEAST = tuple(int(part) for part in TORCH.removeprefix("torch>=").split("."))
ASK = (
    "import importlib.metadata as m; torch = m.distribution('torch'); print(torch.version, "
    "torch.locate_file(''))"
)


def torch_folder() -> str | None:
    """Where Python finds torch outside of an isolated build; None where there is none, or one that
    is too old."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    asked = subprocess.run([sys.executable, "-c", ASK], env=plain, capture_output=True, text=True)
    if asked.returncode:
        return None
    version, folder = asked.stdout.strip().split(maxsplit=1)
    return (
        folder if tuple(int(part) for part in version.split(".")[: len(LEAST)]) >= LEAST else None
    )


FOLDER = torch_folder()
if FOLDER:
    sys.path.append(FOLDER)  # after what the isolated build has


def get_requires_for_build_wheel(config_settings=None) -> list[str]:
    return [] if FOLDER else [TORCH]


get_requires_for_build_editable = get_requires_for_build_sdist = get_requires_for_build_wheel
build_wheel, build_editable, build_sdist = (
    build_meta.build_wheel,
    build_meta.build_editable,
    build_meta.build_sdist,
)
prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable
