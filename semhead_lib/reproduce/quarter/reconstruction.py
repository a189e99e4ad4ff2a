"""Step `train` with TRAINING=reconstruct: reconstructs the subjects of a packed dataset until its time
is over, from the generator in STATE where there is one."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.packed import load_packed
from semhead_lib.devices import available_cores
from semhead_lib.reproduce.quarter.job import Job, use_the_reference, value_of
from semhead_lib.reproduce.quarter.plan import SPARE
from semhead_lib.training import run_folder
from semhead_lib.training.reconstruction.batches import SubjectBatches
from semhead_lib.training.reconstruction.reconstructor import Reconstructor
from semhead_lib.training.reconstruction.settings import ReconstructionSettings
from semhead_lib.training.reconstruction.trainer import reconstruct

_SAVE_SECONDS = 40.0  # between saved states, about
_WARM, _TIMED = 6, 24  # steps before the speed is measured, and steps that are timed
_HELD_BACK = 0.05  # of the images that the time should do for: rates fall to 0 within it
_WORSE, _LINES = 1.3, 10  # the errors' rise that ends a training, over means of so many log lines
_ERRORS = ("image", "detail", "mask")


class Worse(Exception):
    """The errors rise: more of the same is time lost."""


def main(words: list[str]) -> str | None:
    """Why it failed; None when it trained until its time was over."""
    job = Job.read(words)
    if job.reference:
        use_the_reference()
    try:
        data = load_packed(job.data, threads=available_cores())
        settings = settings_of(job)
        if "kimg" not in job.settings:
            settings = _for_the_time(settings, data, job)
        facts: dict[str, Any] = {"preset": settings.preset, "kimg": settings.kimg}
        facts |= {"graphs": settings.graphs, "state": "none"}
        job.answer(**facts)
        init = Path(job.state) if job.state else None
        try:
            _train(job, settings, data, init, facts)
        except (FileNotFoundError, ValueError) as error:
            if init is None:
                raise
            facts["state"] = f"not used, the training starts from the beginning: {error}"
            print(f"STATE: {facts['state']}", flush=True)
            _train(job, settings, data, None, facts)
    except (TypeError, ValueError) as error:
        job.answer(retry=False)
        return f"DATA or SETTINGS: {error}"
    except Worse as error:
        job.answer(retry=False, **facts)
        return str(error)
    except KeyboardInterrupt:
        facts["stopped_by"] = "a signal; its state was saved"
    job.answer(**facts)
    return None


def look(job: Job) -> None:
    """Raises TypeError or ValueError for DATA or SETTINGS of which nothing could be trained."""
    data, settings = load_packed(job.data, limit=1), settings_of(job)
    run_folder.check_data(settings.adversarial, data)
    SubjectBatches(data, settings)


def settings_of(job: Job) -> ReconstructionSettings:
    """The settings of the training. Raises TypeError or ValueError for wrong ones."""
    asked: dict[str, Any] = {}
    for key, text in job.settings.items():
        name, _, part = key.partition(".")
        if part:  # generator.blend_maps=128
            asked.setdefault(name, {})[part] = value_of(text)
        else:
            asked[name] = value_of(text)
    if job.preset:
        asked["preset"] = job.preset
    asked["graphs"] = asked.get("graphs", True) and job.graphs
    return ReconstructionSettings(**asked)


def _for_the_time(
    settings: ReconstructionSettings, data: SubjectsInMemory, job: Job
) -> ReconstructionSettings:
    """As many images as the time does for, by the speed of some steps whose networks are thrown
    away; so rates fall to 0 before it is over."""
    if job.device == "cuda":
        torch.set_float32_matmul_precision("high")
    batches = SubjectBatches(data, settings, job.device)
    dimension = run_folder.semantic_dimension(data)
    networks = Reconstructor(settings, dimension, job.device, attributes=batches.attributes)
    warm, timed = (_WARM, _TIMED) if job.device == "cuda" else (1, 1)
    wait: Callable[[], Any] = torch.cuda.synchronize if job.device == "cuda" else lambda: None
    first = settings.discriminator_first  # both networks learn
    for step in range(warm):
        networks.step(batches(first + step).to(job.device), first + step)
    wait()
    began = time.perf_counter()
    for step in range(warm, warm + timed):
        networks.step(batches(first + step).to(job.device), first + step)
    wait()
    speed = timed * settings.batch / (time.perf_counter() - began)
    kimg = speed * max(job.left - SPARE, 1.0) * (1 - _HELD_BACK) / 1000
    every = max(int(speed * _SAVE_SECONDS / settings.batch), 1)
    print(f"{speed:.0f} images/s: {kimg:.2f} kimg in the time that is left", flush=True)
    return replace(settings, kimg=max(kimg, settings.batch / 1000), save_every=every)


def _train(
    job: Job,
    settings: ReconstructionSettings,
    data: SubjectsInMemory,
    init: Path | None,
    facts: dict[str, Any],
) -> None:
    lines: list[dict[str, Any]] = []

    def listen(line: dict[str, Any]) -> None:
        print(json.dumps(line), flush=True)
        lines.append(line)
        watch(lines)

    if init is not None:
        facts["state"] = "its networks begin a new training"
    reconstruct(
        settings,
        data,
        Path(job.work) / "run",
        device=job.device,
        init=init,
        progress=False,
        stop_after=max(job.left - SPARE, 1.0),
        listen=listen,
    )
    if lines:
        speeds = sorted(line["images_per_second"] for line in lines[-20:])
        facts |= {"step": lines[-1]["step"], "kimg": lines[-1]["kimg"]}
        facts |= {"images_per_second": speeds[len(speeds) // 2]}


def watch(lines: list[dict[str, Any]]) -> None:
    """Raises Worse when the latest errors are well above the least so far, each over some lines."""
    errors = [sum(line[name] for name in _ERRORS) for line in lines]
    means = [sum(errors[k : k + _LINES]) / _LINES for k in range(len(errors) - _LINES + 1)]
    if means and means[-1] > _WORSE * min(means):
        raise Worse(
            f"the errors of images rose from {min(means):.3f} to {means[-1]:.3f} by step "
            f"{lines[-1]['step']}: stopped; the state of before is kept"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv))
