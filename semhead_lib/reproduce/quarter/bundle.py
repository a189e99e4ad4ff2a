"""What is brought home of a lease: one archive, and the files of the state beside it."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path


def bundle(results: Path, out: Path) -> None:
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
