"""Where a run comes from: the repository, the library's digest, commit, versions and devices."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import semhead_lib
from semhead_lib import old_names
from semhead_lib.devices import available_cores

PACKAGE = Path(semhead_lib.__file__).parent


def find_root(start: Path) -> Path:
    """The repository's root: the nearest folder at or above `start` with notebooks and profiles,
    else the package's.

    Raises ValueError when neither has them.
    """
    for folder in [start, *start.parents, PACKAGE.parent]:
        if (folder / "notebooks").is_dir() and (folder / "papermill_runs" / "profiles").is_dir():
            return folder
    raise ValueError(
        f"{start}: expected to be inside a checkout with notebooks/ and papermill_runs/profiles/"
    )


def start_at_root() -> None:
    """Make the repository's root the working directory where that is its folder notebooks/, in
    which JupyterLab starts kernels; any other stays. Parameters that Papermill was given by earlier
    names are set by today's."""
    here, names = Path.cwd(), vars(sys.modules["__main__"])  # of the notebook
    if here.name == "notebooks" and here.parent == find_root(here):
        os.chdir(here.parent)
    for earlier in old_names.PARAMETERS.values():
        names |= {new: names.pop(old) for old, new in earlier.items() if {old, new} <= names.keys()}


def library_digest(package: Path = PACKAGE) -> str:
    """Digest of all files of the package and of `csrc` beside it, compiled ones excepted."""
    digest = hashlib.sha256()
    for folder in (package, package.parent / "csrc"):
        for path in sorted(folder.rglob("*")):
            if (
                path.is_file()
                and "__pycache__" not in path.parts
                and path.suffix not in (".pyc", ".so", ".o")
            ):
                digest.update(
                    f"{path.relative_to(package.parent)}\0{path.stat().st_size}\0".encode()
                )
                digest.update(path.read_bytes())
    return digest.hexdigest()


def commit(root: Path) -> dict[str, Any]:
    """The checkout's git commit and whether the working tree differs from it; None for both outside
    git."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    status = git("status", "--porcelain")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def versions() -> dict[str, str]:
    """Python's version and that of every installed package that this project names, extras
    included."""
    found = {"python": platform.python_version(), "semhead": semhead_lib.__version__}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for requirement in sorted(importlib.metadata.requires("semhead") or [], key=str.lower):
            name = re.findall(r"^[\w.-]+", requirement)[0]
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[name] = importlib.metadata.version(name)
    return found


def devices() -> dict[str, Any]:
    """Operating system, processor, cores, memory, and GPUs as `nvidia-smi` lists them."""
    import psutil

    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
            model,
        )
    gpus = []
    if shutil.which("nvidia-smi"):
        query = [
            "nvidia-smi",
            "--query-gpu=name,memory.total,driver_version",
            "--format=csv,noheader",
        ]
        done = subprocess.run(query, capture_output=True, text=True, check=False)
        gpus = done.stdout.strip().splitlines() if done.returncode == 0 else []
    cores = available_cores()
    memory = psutil.virtual_memory().total
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": model,
        "cores": cores,
        "memory_bytes": memory,
        "gpus": gpus,
    }
