"""Step `train`: trains on a packed dataset until its time is over, from a compact state where there
is one."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from semhead_lib import old_names
from semhead_lib.data.dataset.batches import check_views
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.packed import load_packed
from semhead_lib.devices import available_cores
from semhead_lib.models.config import PRESETS
from semhead_lib.reproduce.quarter import reconstruction
from semhead_lib.reproduce.quarter.job import Job, use_the_reference, value_of
from semhead_lib.reproduce.quarter.plan import SPARE
from semhead_lib.training.compact import restore_state
from semhead_lib.training.kept_settings import begun_settings
from semhead_lib.training.logs import Line, read_log
from semhead_lib.training.run_folder import MODEL, SETTINGS, SNAPSHOTS, check_data
from semhead_lib.training.settings import FREE, TrainSettings
from semhead_lib.training.snapshots import snapshots
from semhead_lib.training.trainer import train

PRESET = "semhead-128"
_SECONDS = 60.0  # between snapshots, and between image grids


def main(words: list[str]) -> str | None:
    """Why it failed; None when it trained until its time was over."""
    job, run, facts = Job.read(words), Path(Job.read(words).work) / "run", {}
    if job.reference:
        use_the_reference()
    try:
        data = load_packed(job.data, threads=available_cores())
    except ValueError as error:
        job.answer(retry=False)
        return f"DATA: {error}"
    if job.state and not snapshots(run / SNAPSHOTS):
        facts["state"] = _restored(Path(job.state), run)
        print(f"STATE: {facts['state']}", flush=True)
    try:
        settings = _settings(job, run, data)
        try:
            check_data(settings, data)
        except ValueError as error:
            if not snapshots(run / SNAPSHOTS):
                raise
            facts["state"] = f"not used, the training starts from the beginning: {error}"
            print(f"STATE: {facts['state']}", flush=True)
            shutil.rmtree(run)
            settings = _settings(job, run, data)
            check_data(settings, data)
    except (TypeError, ValueError) as error:
        job.answer(retry=False, **facts)
        return f"SETTINGS: {error}"
    facts |= {"preset": settings.preset, "precision": settings.precision, "graphs": settings.graphs}
    job.answer(**facts)
    try:
        _train(job, run, data, settings, facts)
    except KeyboardInterrupt:
        facts["stopped_by"] = "a signal; its state was saved"
    log = read_log(run)
    if log:
        speeds = [line["images_per_second"] for line in log[-20:]]
        facts |= {
            "step": log[-1]["step"],
            "kimg": log[-1]["kimg"],
            "images_per_second": round(sorted(speeds)[len(speeds) // 2], 1),
        }
    job.answer(**facts)
    return None


def look(job: Job, run: Path) -> str | None:
    """What of DATA, SETTINGS or the machine keeps a new training from beginning, also written down;
    None when nothing does."""
    if job.device == "cuda" and not torch.cuda.is_available():
        reason = f"torch {torch.__version__} finds no CUDA device; DEVICE=cpu rehearses without one"
        job.answer(refused=reason)
        return reason
    try:
        if job.training == "reconstruct":
            reconstruction.look(job)
            return None
        data = load_packed(job.data, limit=1)
        settings = _settings(job, run, data)
        check_data(settings, data)
        check_views(data.manifest.layout, settings.views_per_subject)
    except (TypeError, ValueError) as error:
        job.answer(refused=f"DATA or SETTINGS: {error}")
        return f"DATA or SETTINGS: {error}"
    return None


def _train(
    job: Job, run: Path, data: SubjectsInMemory, settings: TrainSettings, facts: dict[str, Any]
) -> None:
    """`train`; a state of other data or settings lends its networks to a new training."""

    def listen(line: Line) -> None:
        print(json.dumps(line), flush=True)

    common = dict(device=job.device, progress=False, listen=listen)
    try:
        train(settings, data, run, stop_after=max(job.left - SPARE, 1.0), **common)
    except ValueError as error:
        before = run.with_name("before")
        if "is no snapshot of these networks" in str(error) and job.state and not before.exists():
            facts["state"] = f"not used, the training starts from the beginning: {error}"
            print(f"STATE: {facts['state']}", flush=True)
            shutil.rmtree(run)
            train(
                _settings(job, run, data),
                data,
                run,
                stop_after=max(job.left - SPARE, 1.0),
                **common,
            )
            return
        if "was begun with other settings" not in str(error) or before.exists():
            raise
        facts["state"] = f"its networks begin a new training: {error}"
        print(f"STATE: {facts['state']}", flush=True)
        run.rename(before)
        train(
            settings,
            data,
            run,
            init=before / MODEL,
            stop_after=max(job.left - SPARE, 1.0),
            **common,
        )


def _restored(state: Path, run: Path) -> str:
    """What became of the state, in words. One that is damaged is not used: a lease is too short to
    wait for another."""
    shutil.rmtree(run, ignore_errors=True)
    try:
        return f"goes on at step {restore_state(state, run)}"
    except (FileNotFoundError, ValueError) as error:
        shutil.rmtree(run, ignore_errors=True)
        return f"not used, the training starts from the beginning: {error}"


def _settings(job: Job, run: Path, data: SubjectsInMemory) -> TrainSettings:
    """The settings of the training that goes on, or of a new one. Raises TypeError or ValueError
    for wrong ones."""
    known = {field.name: field for field in dataclasses.fields(TrainSettings)}
    asked = old_names.today(
        old_names.SETTINGS, {key: value_of(text) for key, text in job.settings.items()}
    )
    for key, value in asked.items():
        if key in known and isinstance(known[key].default, str) != isinstance(value, str):
            raise ValueError(f"{key} cannot be {value!r}")
    if job.preset:
        asked["preset"] = job.preset
    free: dict[str, Any] = {"kimg": 1e6, "keep": 2, **_intervals(job)}
    free |= {key: asked[key] for key in FREE if key in asked}
    free["graphs"] = asked.get("graphs", True) and job.graphs
    if snapshots(run / SNAPSHOTS):
        begun = begun_settings(json.loads((run / SETTINGS).read_text(encoding="utf-8")))
        chosen: dict[str, Any] = {key: value for key, value in begun.items() if key in known}
        if other := [key for key in asked if key not in free and asked[key] != chosen.get(key)]:
            print(
                f"SETTINGS: {', '.join(other)} of the state are kept, they cannot change",
                flush=True,
            )
    else:
        shutil.rmtree(
            run, ignore_errors=True
        )  # of an attempt that failed before its first snapshot
        layout = data.manifest.layout
        of_this_size = f"semhead-{layout.resolution}"
        wrong_size = PRESETS[PRESET].resolution != layout.resolution and of_this_size in PRESETS
        chosen = {
            "preset": of_this_size if wrong_size else PRESET,
            "precision": "bf16" if job.device == "cuda" and not job.fp32 else "fp32",
            "masks": "masks" in layout.fields,
            "mode": "semantic" if layout.semantic else "none",
        } | asked
    return TrainSettings(**(chosen | free))


def _intervals(job: Job) -> dict[str, float | int]:
    """Thousands of images between snapshots and grids: about a minute's. On a card, fewer lines:
    each waits for it."""
    speed = 1000.0 if job.device == "cuda" else 10.0
    seconds = min(_SECONDS, 60 * job.minutes / 4)
    every = max(speed * seconds / 1000, 0.001)
    return {"snapshot_kimg": every, "tick_kimg": every} | (
        {"log_every": 50} if job.device == "cuda" else {}
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv))
