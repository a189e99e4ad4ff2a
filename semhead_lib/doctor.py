"""`semhead doctor`: what is installed, compiled and found on this machine, and how to mend what is
not.

Only the standard library is imported at the top: the doctor must also speak where everything else
is missing (`python -m semhead_lib.doctor`; with `--json` for programs). Exit code 1: something
needed is missing or broken.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from semhead_lib.devices import available_cores

PACKAGE = Path(__file__).parent
ROOT = PACKAGE.parent  # the checkout, when this is one
PYTHON = ((3, 11), (3, 14))  # supported: from the first, up to but not including the second
LOCKS = {"gpu": "environments/lock-gpu.txt"}  # extras outside the suite's
LOW_DISK = 10e9  # bytes; less is too little for a dataset and a run
_SIGNS = {"ok": ("ok", "green"), "note": ("-", "yellow"), "broken": ("BROKEN", "bold red")}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    section: str
    name: str
    # "ok"; "note": optional and not here; "broken": needed and not here, the examination fails
    state: str
    detail: str
    mend: str = ""  # the command that mends it


def main(as_json: bool = False) -> int:
    """Examine this environment and print the report; the exit code is 1 when something needed is
    missing, else 0."""
    return run(examine(), as_json)


def run(findings: list[Finding], as_json: bool = False) -> int:
    """Print `findings` as tables or as JSON; returns the exit code."""
    broken = [finding for finding in findings if finding.state == "broken"]
    if as_json:
        report = {
            "healthy": not broken,
            "findings": [dataclasses.asdict(finding) for finding in findings],
        }
        print(json.dumps(report, indent=2, ensure_ascii=False))
        return 1 if broken else 0
    _print_tables(findings)
    for command in dict.fromkeys(finding.mend for finding in broken):
        print(
            "Needed, and missing or broken: "
            f"{', '.join(f.name for f in broken if f.mend == command)}"
        )
        print(f"  mend with: {command}")
    if not broken:
        print("Everything needed is here.")
    return 1 if broken else 0


def examine() -> list[Finding]:
    """All findings, in the order of the report."""
    return [*_system(), *_devices(), *_packages(), *_imports(), *_compiled(), *_models()]


def _system() -> Iterator[Finding]:
    """Python, the Jupyter kernel, disk space and compilers."""
    version, low, high = sys.version_info[:2], *PYTHON
    wanted = f">={low[0]}.{low[1]},<{high[0]}.{high[1]}"
    detail = f"{platform.python_version()} (supported: {wanted}) in {sys.prefix}"
    mend = "make clean setup PYTHON=/path/to/python3.12"
    yield Finding("system", "python", "ok" if low <= version < high else "broken", detail, mend)

    kernel = Path(sys.prefix, "share", "jupyter", "kernels", "semhead", "kernel.json")
    if kernel.is_file():
        yield Finding("system", "jupyter kernel", "ok", str(kernel))
    else:
        command = f"{sys.executable} -m ipykernel install --prefix {sys.prefix} --name semhead"
        yield Finding(
            "system",
            "jupyter kernel",
            "note",
            "'semhead' is not registered in this environment",
            command,
        )

    free = shutil.disk_usage(Path.cwd()).free
    yield Finding(
        "system",
        "disk",
        "ok" if free > LOW_DISK else "note",
        f"{free / 1e9:.0f} GB free in {Path.cwd()}",
    )

    for tool, use in (("c++", "C++"), ("nvcc", "CUDA")):
        path = shutil.which(tool)
        if path is None:
            yield Finding(
                "system", tool, "note", f"not on PATH; only compiling {use} kernels needs it"
            )
            continue
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if re.search(r"\d\.\d", line)]
        yield Finding(
            "system", tool, "ok" if lines else "note", lines[0] if lines else f"{path} does not run"
        )


def _devices() -> Iterator[Finding]:
    """Processor, memory and GPUs."""
    cores = available_cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding(
        "devices",
        "cpu",
        "ok",
        f"{cores} cores, {memory / 2**30:.1f} GiB of memory, {platform.machine()}",
    )
    try:
        import torch

        count = torch.cuda.device_count()
        built = torch.version.cuda
    except Exception:  # _imports says why
        yield Finding("devices", "cuda", "note", "unknown, because torch does not load")
        return
    if not count:
        why = (
            f"no device (torch is built for CUDA {built})"
            if built
            else "this torch is built without CUDA"
        )
        yield Finding("devices", "cuda", "note", f"{why}; everything runs on the CPU")
    for index in range(count):
        device = torch.cuda.get_device_properties(index)
        detail = f"{device.name}, {device.total_memory / 2**30:.1f} GiB, capability {device.major}.{device.minor}"
        yield Finding("devices", f"cuda:{index}", "ok", f"{detail}, CUDA {built}")


def _packages() -> Iterator[Finding]:
    """Installed versions against what the project's metadata asks for: the base, then each extra."""
    try:
        wanted = importlib.metadata.requires("semhead") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("base", "semhead", "broken", "not installed in this environment", _install())
        return
    for text in wanted:
        requirement, _, marker = text.partition(";")
        extra = re.search(r"extra == ['\"]([\w-]+)", marker)
        extra = extra[1] if extra else ""
        name, specifier = re.findall(
            r"^([\w.-]+)(?:\[[\w.,-]*\])?(.*)", requirement.replace(" ", "")
        )[0]
        fits, detail = _installed(name, specifier.strip("()"))
        state = "ok" if fits else "note" if extra else "broken"
        yield Finding(
            f"extra '{extra}'" if extra else "base",
            name,
            state,
            detail,
            "" if fits else _install(extra),
        )


def _installed(name: str, specifier: str) -> tuple[bool, str]:
    """Whether an installed package fits, and what to say of it."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False, f"not installed, needs {specifier or 'any version'}"
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # it has a line of its own
        return True, version
    fits = SpecifierSet(specifier).contains(version, prereleases=True)
    return fits, version if fits else f"{version}, needs {specifier}"


def _imports() -> Iterator[Finding]:
    """Whether the two packages whose binary parts break most often load."""
    for name in ("torch", "torchvision"):
        try:
            module = importlib.import_module(name)
        except Exception as error:  # a broken binary raises anything
            yield Finding("base", f"import {name}", "broken", _one_line(error), _install(anew=True))
        else:
            yield Finding("base", f"import {name}", "ok", module.__version__)


def _compiled() -> Iterator[Finding]:
    """The compiled ops: which are registered for which devices, or why there are none."""
    try:
        import torch

        from semhead_lib.ops.compiled import COMPILED
    except Exception as error:  # _imports says more
        yield Finding("compiled", "ops", "note", _one_line(error))
        return
    state = "ok" if COMPILED.devices else "note"
    mend = "" if COMPILED.devices else _compile()
    use = "" if COMPILED.devices else ": the reference implementations serve, several times slower"
    yield Finding("compiled", "ops", state, COMPILED.detail + use, mend)
    names = {name.split(".")[0] for name in torch._C._dispatch_get_all_op_names()}
    for name in sorted(
        name for name in names if name.startswith("semhead::") and "backward" not in name
    ):
        kinds = [
            k for k in ("CPU", "CUDA") if torch._C._dispatch_has_kernel_for_dispatch_key(name, k)
        ]
        yield Finding("compiled", name, "ok", ", ".join(kinds))


def _models() -> Iterator[Finding]:
    """Weights: shipped ones, those inside packages, those downloaded earlier. All are optional."""
    shipped = (
        ("headclip", "headclip-*", "semantic features offline"),
        ("judge", "headjudge*", "metrics offline"),
        ("generator", "semhead-*", "heads without training one"),
    )
    for name, pattern, use in shipped:
        found = sorted(
            path.parent.name for path in (PACKAGE / "assets").glob(f"{pattern}/model.safetensors")
        )
        detail = ", ".join(found) or f"not in semhead_lib/assets ({use})"
        yield Finding("models", name, "ok" if found else "note", detail)

    spec = importlib.util.find_spec(
        "face_recognition_models"
    )  # importing it would need pkg_resources
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = sorted(path.stem for folder in folders for path in Path(folder, "models").glob("*.dat"))
    detail = ", ".join(found) or "not installed (face detection, landmarks, identity)"
    yield Finding(
        "models", "dlib", "ok" if found else "note", detail, "" if found else _install("faces")
    )

    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()
    for name, pattern in (("FLUX.1 Kontext", "*FLUX.1-Kontext*"), ("CLIP", "*[cC][lL][iI][pP]*")):
        folders = sorted(
            folder.name
            for folder in hub.glob(f"models--{pattern}")
            if any(folder.glob("snapshots/*"))
        )
        detail = ", ".join(folder.removeprefix("models--").replace("--", "/") for folder in folders)
        yield Finding(
            "models", name, "ok" if folders else "note", detail or f"not in {hub} (a download)"
        )

    cache = Path(os.environ.get("ANNY_CACHE_DIR") or "~/.cache/anny").expanduser()
    filled = any(cache.glob("*/*.safetensors"))
    detail = (
        str(cache) if filled else f"{cache} is empty: the first head takes about a minute longer"
    )
    yield Finding("models", "anny's cache", "ok" if filled else "note", detail)


def _install(extra: str = "", anew: bool = False) -> str:
    """The command that installs the base, or `extra` too; `anew` also replaces what is there but
    broken."""
    lock = LOCKS.get(extra)
    if Path(sys.prefix) == ROOT / ".venv":
        return f"make {'clean' if anew else '-B'} setup" + (f" LOCK={lock}" if lock else "")
    pip = "python -m pip install" + (" --force-reinstall" if anew else "")
    if (ROOT / "environments").is_dir():
        return f"{pip} -r {lock or 'environments/lock-suite.txt'} && python -m pip install --no-deps -e {ROOT}"
    return f"{pip} " + (f"'semhead[{extra}]'" if extra else "semhead")


def _compile() -> str:
    """The command that compiles the ops for the torch that is there."""
    if (ROOT / "environments").is_dir():
        return _install()
    return "python -m pip install --force-reinstall --no-deps --no-cache-dir semhead"  # a cached wheel is as it was


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"does not load: {type(error).__name__}: {lines[0] if lines else 'no message'}"


def _print_tables(findings: list[Finding]) -> None:
    """One table a section, with rich; plain lines where rich is missing."""
    try:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table
    except ImportError:
        for finding in findings:
            print(
                f"{finding.section:<18}{finding.name:<26}{_SIGNS[finding.state][0]:<8}{finding.detail}"
            )
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    for section in dict.fromkeys(finding.section for finding in findings):
        inside = [finding for finding in findings if finding.section == section]
        table = Table(
            title=f"[bold]{section}",
            title_justify="left",
            box=None,
            show_header=False,
            pad_edge=False,
        )
        table.add_column(min_width=26)
        table.add_column(min_width=8)
        table.add_column(overflow="fold")
        for finding in inside:
            sign, style = _SIGNS[finding.state]
            table.add_row(
                f"  {escape(finding.name)}", f"[{style}]{sign}[/]", escape(finding.detail)
            )
        console.print(table)
        for command in dict.fromkeys(
            finding.mend for finding in inside if finding.state == "note" and finding.mend
        ):
            console.print(f"  [dim]to have it:[/] {escape(command)}", soft_wrap=True)
        console.print()


if __name__ == "__main__":
    sys.exit(main(as_json="--json" in sys.argv[1:]))
