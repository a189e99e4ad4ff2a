"""The queue of a study: what is left to do, on which devices, and what became of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semhead_lib import old_names
from semhead_lib.ablation.job import DATASETS
from semhead_lib.ablation.plan import NOTEBOOK, Study
from semhead_lib.devices import available_cores, processes_at_once
from semhead_lib.errors import UsageError
from semhead_lib.reproduce import provenance, runs
from semhead_lib.reproduce.progress import ProgressLine, duration

_MEMORY = 2.5e9  # bytes that a run on the CPU may need
LOG = "job.log"  # in a run's folder: what its job printed
_GRACE = 90.0  # seconds that interrupted jobs have for saving
_FIELDS = {  # of hydra-submitit-launcher: ours
    "partition": "partition",
    "account": "account",
    "gpus_per_node": "gpus",
    "cpus_per_task": "cpus",
    "mem_gb": "memory_gb",
    "array_parallelism": "at_once",
}
_LOCAL_LACKS = ("partition", "account", "array_parallelism")


@dataclass
class Slot:
    """A device, and the job that it is busy with."""

    device: str  # "cpu", or the number of a GPU
    name: str = ""
    process: subprocess.Popen | None = None
    started: float = 0.0


def left_to_do(
    study: Study, names: list[str], root: Path, ignore_code: bool = False
) -> dict[str, str]:
    """Why each of those runs has to be executed, in a few words; finished ones are left out."""
    library, reasons = provenance.library_digest(), {}
    for name in names:
        step = study.step(study.run(name), root / "notebooks")
        reason = runs.Run(root / study.folder / name, root).why_execute(
            step, [], library, ignore_code
        )
        if reason:
            reasons[name] = reason
    return reasons


def devices(asked: str) -> list[str]:
    """Devices that runs are given to, one at a time each: numbers of GPUs, or "cpu" as often as
    that many share it. Raises UsageError."""
    if asked == "auto":
        import torch

        gpus = [str(i) for i in range(torch.cuda.device_count())]
        return gpus or ["cpu"] * processes_at_once(_MEMORY)
    found = [word.strip() for word in asked.split(",")]
    if set(found) != {"cpu"} and not all(word.isdigit() for word in found):
        raise UsageError(
            "launcher.devices must be auto, cpu, or numbers of GPUs such as 0,1 (cpu,cpu: two at a "
            f"time); got {asked!r}"
        )
    return found


def execute_here(
    study: Study, names: list[str], root: Path, asked: str, ignore_code: bool = False
) -> list[str]:
    """Execute the jobs in order, one on each device at a time; returns those that failed.

    A Ctrl-C reaches every job, which saves; then KeyboardInterrupt is raised.
    """
    slots, waiting, failed = [Slot(device) for device in devices(asked)], list(names), []
    del slots[len(names) :]  # so that few runs have all cores
    threads = max(available_cores() // len(slots), 1) if len(slots) > 1 else None
    line = ProgressLine("ablate", every=60.0)
    try:
        while waiting or any(slot.process for slot in slots):
            for slot in slots:
                if slot.process is None and waiting:
                    _start(slot, study, waiting.pop(0), root, ignore_code, threads)
                elif slot.process is not None and slot.process.poll() is not None:
                    line.end()
                    failed += _finish(slot, study, root, len(waiting))
            line.show("; ".join(_state(slot, study, root) for slot in slots if slot.process))
            time.sleep(0.5)
    finally:
        _stop([slot.process for slot in slots if slot.process])
    return failed


def execute_on_cluster(
    study: Study, names: list[str], root: Path, launcher: Mapping[str, Any], ignore_code: bool
) -> None:
    """Submit the jobs by Hydra's multirun through hydra-submitit-launcher, and wait until they have
    ended.

    Raises RuntimeError when they could not be submitted.
    """
    settings = cluster_overrides(study, launcher)
    command = [
        sys.executable,
        "-m",
        "semhead_lib.ablation.job",
        "--multirun",
        *settings,
        f"study={study.file}",
        f"root={root}",
        f"ignore_code={str(ignore_code).lower()}",
        f"run={','.join(names)}",
    ]
    done = subprocess.run(command, cwd=root, check=False)
    if done.returncode == 130:
        raise KeyboardInterrupt
    if done.returncode:
        raise RuntimeError(
            "the jobs could not be submitted, or one was lost (see above, and "
            f"{study.folder / 'submitit'}); the same "
            "command goes on with what is left"
        )


def cluster_overrides(study: Study, launcher: Mapping[str, Any]) -> list[str]:
    """Our keys as the overrides of Hydra's launcher."""
    kind = launcher["executor"]
    words = [
        f"hydra/launcher=submitit_{kind}",
        f"hydra.launcher.submitit_folder={study.folder}/submitit/%j",
        f"hydra.launcher.timeout_min={60 * int(launcher['hours'])}",
    ]
    for theirs, ours in _FIELDS.items():
        if launcher[ours] is not None and not (kind == "local" and theirs in _LOCAL_LACKS):
            words.append(f"hydra.launcher.{theirs}={launcher[ours]}")
    return words


def _start(
    slot: Slot, study: Study, name: str, root: Path, ignore_code: bool, threads: int | None
) -> None:
    log = root / study.folder / name / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if slot.device != "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = slot.device
    elif threads is not None:
        environment.setdefault("OMP_NUM_THREADS", str(threads))
    command = [
        sys.executable,
        "-m",
        "semhead_lib.ablation.job",
        f"study={study.file}",
        f"run={name}",
        f"root={root}",
        f"parent={os.getpid()}",
        f"ignore_code={str(ignore_code).lower()}",
    ]
    with open(log, "ab") as file:  # a session of its own: a Ctrl-C reaches it through us, once
        slot.process = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    slot.name, slot.started = name, time.monotonic()


def _finish(slot: Slot, study: Study, root: Path, left: int) -> list[str]:
    """Say how the slot's job ended and free the slot; the job's name, if it failed."""
    assert slot.process is not None  # it has ended
    code, name, took = slot.process.returncode, slot.name, duration(time.monotonic() - slot.started)
    slot.process = None
    if code == 0:
        print(f"{name}: finished in {took}, {left} waiting", flush=True)
        return []
    log = root / study.folder / name / LOG
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-6:]
    print(
        f"{name}: failed after {took} (exit code {code}), {log.relative_to(root)} ends with",
        flush=True,
    )
    print("\n".join(f"    {text}" for text in last), flush=True)
    return [name]


def _state(slot: Slot, study: Study, root: Path) -> str:
    """Where a running job is."""
    took = duration(time.monotonic() - slot.started)
    trained = old_names.existing(root / study.folder / slot.name / NOTEBOOK)
    log = trained / "run" / "log.jsonl"
    if slot.name == DATASETS or not log.is_file():
        return f"{slot.name}, {took}"
    with open(log, "rb") as file:
        file.seek(max(log.stat().st_size - 1000, 0))
        lines = file.read().splitlines()
    try:
        return f"{slot.name}, {json.loads(lines[-1])['kimg']:.1f} kimg, {took}"
    except (ValueError, KeyError, IndexError):
        return f"{slot.name}, {took}"


def _stop(processes: list[subprocess.Popen]) -> None:
    """Interrupt what still runs and wait until it has saved."""
    for process in processes:
        process.send_signal(signal.SIGINT)
    end = time.monotonic() + _GRACE
    for process in processes:
        try:
            process.wait(max(end - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
