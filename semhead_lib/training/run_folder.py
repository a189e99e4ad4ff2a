"""The folder of a training: what it was begun with, and whether a call may go on in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import accelerate
import torch

from semhead_lib import old_names
from semhead_lib.atomic import write_atomically
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.streaming_dataset import SubjectsOnDisk
from semhead_lib.files import read_bytes
from semhead_lib.models.generator import WEIGHTS
from semhead_lib.training.kept_settings import FORMAT, begun_settings
from semhead_lib.training.settings import TrainSettings
from semhead_lib.training.snapshots import snapshots

SETTINGS, SNAPSHOTS, GRIDS, MODEL = "settings.json", "snapshots", "grids", "generator"
Subjects = SubjectsInMemory | SubjectsOnDisk


def semantic_dimension(data: Subjects) -> int:
    """Numbers in a semantic feature of the data; 0 when they have none."""
    semantic = data.manifest.layout.semantic
    return semantic["dimension"] if semantic else 0


def identity(data: Subjects) -> dict[str, Any]:
    """What of the data a training that goes on has to find again."""
    layout = data.manifest.layout
    found = {
        "subjects": len(data),
        "views": layout.views_per_subject,
        "resolution": layout.resolution,
        "encoder": (layout.semantic or {}).get("encoder"),
        "digest": data.digest,
        **data.order,
    }
    if getattr(data, "of_views", None) is not None:
        found["condition"] = "features of each view"
    return json.loads(json.dumps(found))


def check_data(settings: TrainSettings, data: Subjects) -> None:
    """Raise ValueError unless the data suit the settings."""
    layout = data.manifest.layout
    mode, wanted = (
        settings.condition_mode(semantic_dimension(data) or 1),
        settings.generator_config(1).resolution,
    )
    if layout.resolution != wanted:
        raise ValueError(
            f"preset {settings.preset} makes images of {wanted} pixels, the dataset has "
            f"{layout.resolution}"
        )
    if mode.uses_semantics and not layout.semantic:
        raise ValueError(
            f"mode {settings.mode} needs semantic features: run 'semhead data encode' on the "
            "dataset"
        )
    if getattr(data, "of_views", None) is not None and settings.views_per_head != 1:
        raise ValueError(
            "views conditioned on features of their own need views_per_head 1, got "
            f"{settings.views_per_head}"
        )
    if settings.masks and "masks" not in layout.fields:
        raise ValueError("the dataset has no masks: train with masks=false")


def begin(
    settings: TrainSettings,
    data: Subjects,
    out: Path,
    init: Path | str | None,
    device: str,
    processes: int,
) -> tuple[TrainSettings, dict[str, Any]]:
    """The settings of a training into `out`, every one a number, and the content of its
    settings.json, to be written when all else is known to be right. Writes nothing.

    A folder in which nothing was trained yet (no snapshot, no generator) may be begun with other
    settings.
    Raises ValueError for data or settings other than those that `out` was begun with, another
    number of processes, or snapshots that are gone; FileExistsError when `out` holds something
    else.
    """
    check_data(settings, data)
    path = out / SETTINGS
    if not path.exists() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise FileExistsError(
            f"{out} is not empty and holds no training; use another folder ({path.name} is missing)"
        )
    saved, trained = snapshots(out / SNAPSHOTS), (out / MODEL / WEIGHTS).exists()
    if path.exists() and (saved or trained):
        content, there = _begun(path)
        here, began = identity(data), old_names.today(old_names.SETTINGS, content["data"])
        different = settings.differences(there)
        different += [
            f"the data's {key} is {began.get(key)} there, {here.get(key)} here"
            for key in {**began, **here}
            if key != "digest" and here.get(key) != began.get(key)
        ]
        if began.get("digest", here["digest"]) != here["digest"]:  # older trainings did not note it
            different.append(
                f"its data are other subjects (digest {began['digest']} there, {here['digest']} "
                "here)"
            )
        if content.get("processes", processes) != processes:
            different.append(
                f"the number of processes is {content['processes']} there, {processes} here"
            )
        if different:
            raise ValueError(
                f"{out} was begun with other settings: {'; '.join(different)}. Use another folder"
            )
        if not saved:
            raise ValueError(
                f"{out} holds a trained generator, but no snapshot to go on from: "
                f"{out / SNAPSHOTS} is empty. Train "
                f"into another folder, with init={out / MODEL} to begin with its weights"
            )
        settings = replace(
            settings,
            **{k: there.get(k) for k, value in settings.as_json().items() if value is None},
        )
        settings = settings.resolved(processes)
        return settings, content | {"format": FORMAT, "settings": settings.as_json(), "data": here}
    settings = settings.resolved(processes)
    versions = {"torch": torch.__version__, "accelerate": accelerate.__version__}
    return settings, {
        "format": FORMAT,
        "settings": settings.as_json(),
        "data": identity(data),
        "init": init and str(init),
        "versions": versions,
        "device": device,
        "processes": processes,
        "threads": torch.get_num_threads(),
    }


def _begun(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The content of a settings.json, and its settings in the units of today. Raises ValueError
    naming it when it is damaged."""
    data = read_bytes(path)
    try:
        content = json.loads(data)
        settings = begun_settings(content)
        if not isinstance(content["data"], dict) or not isinstance(content["settings"], dict):
            raise TypeError("data and settings must be dictionaries")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged ({error!r:.100}): put back a copy, or use another folder"
        ) from None
    return content, settings


def write_settings(out: Path, content: dict[str, Any]) -> None:
    """Write settings.json."""
    write_atomically(out / SETTINGS, json.dumps(content, indent=1).encode() + b"\n")
