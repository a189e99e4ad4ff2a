"""Step `build`: looks at DATA and SETTINGS, compiles `csrc` for the card that is there, in place,
and sees that the ops load and give what the reference implementation does on a small problem: all
in one process, whose start takes seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from semhead_lib.ops import compiled
from semhead_lib.reproduce.quarter.checks import quick
from semhead_lib.reproduce.quarter.job import Job
from semhead_lib.reproduce.quarter.training import look

_BUILT = "built"  # said to the process that goes on with new ops


def main(words: list[str]) -> str | None:
    """Why it failed; None when the ops for the job's device are there and pass their quick check.

    The answer has `refused`, why nothing could be trained, or `quick`, the verdict on the ops.
    Where LIMITS leaves the step out, nothing is compiled, and ops that lie there are taken.
    """
    job = Job.read(words)
    if refused := look(job, Path(job.work) / "run"):
        return refused
    if not job.compile:
        if job.device not in compiled.COMPILED.devices:
            return f"left out, and none are there: {compiled.COMPILED.detail}"
    elif words[2:] != [_BUILT] and (failed := _compile(job)):
        return failed
    elif job.device not in compiled.COMPILED.devices:
        return f"built, but without ops for {job.device}: {compiled.COMPILED.detail}"
    verdict = quick(job.device)
    job.answer(quick=verdict)
    print(f"quick check of the ops: {verdict}")
    return None if verdict == "right" else verdict


def _compile(job: Job) -> str | None:
    """Why it failed; None when the ops for the job's device load."""
    root, environment = Path(job.root), dict(os.environ)
    try:
        import setuptools
    except ImportError:
        return "setuptools is missing: 'pip install setuptools ninja'"
    try:
        import ninja  # noqa: F401 (torch's build uses it, on all cores; without it the build takes minutes)
    except ImportError:
        print("ninja is missing: compiling one file after the other")
        environment["USE_NINJA"] = "0"
    if job.device == "cuda":
        if not torch.cuda.is_available():
            return f"torch {torch.__version__} finds no CUDA device"
        major, minor = torch.cuda.get_device_capability()
        environment["TORCH_CUDA_ARCH_LIST"] = f"{major}.{minor}"
        print(f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}")
    print(
        f"torch {torch.__version__}, CUDA {torch.version.cuda}, setuptools {setuptools.__version__}"
    )
    if _current(root, job.device, environment.get("TORCH_CUDA_ARCH_LIST", "")):
        print(f"nothing to compile: {compiled.COMPILED.detail}")
        return None
    command = [sys.executable, "setup.py", "build_ext", "--inplace", "--force"]
    code = subprocess.run(command, cwd=root, env=environment, check=False).returncode
    if code:
        return f"'{' '.join(command[1:])}' fails with exit code {code}"
    # gradients of ops are registered when the package is imported: a new process finds them
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", __spec__.name, sys.argv[1], _BUILT])


def _current(root: Path, device: str, architecture: str) -> bool:
    """Whether the ops that lie there are of these sources, this torch, and this card."""
    library = root / "semhead_lib" / compiled.LIBRARY
    if device not in compiled.COMPILED.devices:
        return False
    record = json.loads(library.with_name(compiled.RECORD).read_text(encoding="utf-8"))
    if device == "cuda" and architecture not in record["cuda_arch_list"].replace("+PTX", "").split(
        ";"
    ):
        return False
    sources = [path for path in (root / "csrc").rglob("*") if path.is_file()]
    return (
        max(path.stat().st_mtime for path in [*sources, root / "setup.py"])
        <= library.stat().st_mtime
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv))
