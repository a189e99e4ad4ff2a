"""Run folders: what was executed, from what, with which result; and so what has to be executed
again.

`run.json` keeps, for each notebook, the fingerprint it was begun with (parameters, digest of the
notebook's source, digest of the library's sources), the state of the earlier notebooks' outputs
that it read, and its own outputs'. A notebook is fresh while all of them are as they were. Reading
is seen from the parameters: a notebook reads another's outputs when one of its parameters is a path
inside that folder. Files are compared by name, size and time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semhead_lib import old_names
from semhead_lib.reproduce.profiles import Step

INTERRUPTED, FAILED, INCOMPLETE = (
    "was interrupted",
    "failed last time",
    "files of its outputs are gone",
)


class Run:
    """One run folder and its `run.json`."""

    def __init__(self, folder: Path, root: Path):
        self.folder, self.root = (
            folder,
            root,
        )  # absolute: the run folder, the folder where notebooks are executed
        self.state: dict[str, Any] = {"notebooks": {}}
        self.load()

    def load(self) -> None:
        """Read `run.json`, if there is one. Raises ValueError when it is damaged."""
        if self._file.is_file():
            try:
                self.state = dict(json.loads(self._file.read_text(encoding="utf-8")))
                notebooks = old_names.today(old_names.NOTEBOOKS, self.state.get("notebooks", {}))
                self.state["notebooks"] = notebooks
                for entry in notebooks.values():
                    for part in (entry, entry.get("parameters", {}), entry.get("inputs", {})):
                        dict(part)
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                raise ValueError(
                    f"{self._file}: holds no run ({error}); remove it to begin anew"
                ) from None

    @property
    def _file(self) -> Path:
        return self.folder / "run.json"

    @property
    def notebooks(self) -> dict[str, dict[str, Any]]:
        """What is known of each notebook begun so far; change an entry, then `save`."""
        return self.state["notebooks"]

    def save(self) -> None:
        """Write `run.json`."""
        write_text(self._file, json.dumps(self.state, indent=2, ensure_ascii=False) + "\n")

    def executed(self, name: str) -> Path:
        """Path of notebook `name` as executed."""
        return old_names.existing(self.folder / f"{name}.ipynb")

    def outputs(self, step: Step) -> Path | None:
        """Folder that a notebook writes to, None when that lies outside the run folder."""
        out = step.parameters.get("out")
        path = Path(os.path.normpath(self.root / out)) if isinstance(out, str) else None
        return path if path and path.is_relative_to(self.folder) and path != self.folder else None

    def reads(self, step: Step, earlier: list[Step]) -> list[Step]:
        """Those of the earlier notebooks whose outputs `step` reads."""
        paths = [Path(os.path.normpath(self.root / text)) for text in _strings(step.parameters)]
        folders = [(other, self.outputs(other)) for other in earlier]
        return [
            other
            for other, out in folders
            if out and any(path.is_relative_to(out) for path in paths)
        ]

    def inputs(self, step: Step, earlier: list[Step]) -> dict[str, str]:
        """Digest of each earlier notebook's outputs that `step` reads, as they are now."""
        return {
            other.name: listing(self.outputs(other))["digest"]
            for other in self.reads(step, earlier)
        }

    def why_execute(
        self, step: Step, earlier: list[Step], library: str, ignore_code: bool = False
    ) -> str | None:
        """Why this notebook has to be executed, in a few words; None when it is finished and fresh."""
        entry = self.notebooks.get(step.name)
        if entry is None:
            return "not executed yet"
        if changed := self.what_changed(step, library, ignore_code):
            return changed
        if entry["status"] == "failed":
            return FAILED
        if entry["status"] != "finished" or not _complete(self.executed(step.name)):
            return INTERRUPTED
        now = self.inputs(step, earlier)
        stale = sorted(
            name
            for name in now.keys() | entry["inputs"]
            if now.get(name) != entry["inputs"].get(name)
        )
        if stale:
            return f"outputs of {', '.join(stale)} changed"
        out = self.outputs(step)
        if out and listing(out)["files"] < entry["outputs"]["files"]:
            return INCOMPLETE
        return None

    def what_changed(self, step: Step, library: str, ignore_code: bool = False) -> str | None:
        """What differs from when this notebook was last begun: parameters or code; None when
        nothing does."""
        entry = self.notebooks.get(step.name)
        if entry is None:
            return None
        before, after = entry["parameters"], step.parameters
        if before != after:
            names = sorted(
                name for name in before.keys() | after if before.get(name) != after.get(name)
            )
            changes = [f"{name}: {before.get(name)} -> {after.get(name)}" for name in names]
            return f"parameters changed ({', '.join(changes)})"
        if not ignore_code and entry["notebook"] != step.notebook.digest:
            return "the notebook's source changed"
        if not ignore_code and entry["library"] != library:
            return "sources of semhead_lib or csrc changed"
        return None

    def set_aside(self, step: Step) -> None:
        """Rename what the notebook had written to `<folder>.previous`, replacing an older one."""
        out = self.outputs(step)
        if out and out.is_dir() and any(out.iterdir()):
            previous = out.with_name(out.name + ".previous")
            shutil.rmtree(previous, ignore_errors=True)
            out.rename(previous)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run folder, its state read anew; the system frees it however this process ends.

        Raises RuntimeError when another process holds it.
        """
        import fcntl

        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RuntimeError(
                    f"{self.folder}: another process is executing this run"
                ) from None
            for left in self.folder.glob(".*.tmp"):  # of one that was killed while it wrote
                left.unlink(missing_ok=True)
            self.load()
            yield


def listing(folder: Path | None) -> dict[str, Any]:
    """Number of files under a folder and a digest of their names, sizes and times."""
    paths = (
        sorted(path for path in folder.rglob("*") if path.is_file())
        if folder and folder.is_dir()
        else []
    )
    lines = [
        (str(path.relative_to(folder or path)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in paths
    ]
    return {"files": len(lines), "digest": hashlib.sha256(json.dumps(lines).encode()).hexdigest()}


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: to a temporary name beside it, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for inner in value.values() for text in _strings(inner))
    elif isinstance(value, (list, tuple)):
        yield from (text for inner in value for text in _strings(inner))


def _complete(path: Path) -> bool:
    """Whether an executed notebook's own record says that it came to its end."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))["metadata"]["papermill"]
    except (OSError, ValueError, KeyError):
        return False
    return record.get("end_time") is not None and not record.get("exception")
