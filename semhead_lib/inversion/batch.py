"""Inversion of photographs into folders, one after the other, as `semhead invert` does."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from semhead_lib.atomic import held_folder, holds_out, remove_leftovers, write_atomically
from semhead_lib.cameras import orbit_angles
from semhead_lib.data.portraits.alignment import Portrait, label_of, read_portrait
from semhead_lib.errors import worded
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.files import file_digest, read_json
from semhead_lib.inversion import encoder, judging, report
from semhead_lib.inversion.gathering import gather
from semhead_lib.inversion.inverter import Inverter
from semhead_lib.inversion.report import Result
from semhead_lib.inversion.search import Inverted
from semhead_lib.inversion.settings import Files
from semhead_lib.inversion.targets import Target, prepare_portraits
from semhead_lib.models.generator import WEIGHTS
from semhead_lib.models.mesh import mesh
from semhead_lib.models.sampling import styles_around
from semhead_lib.models.textured import textured
from semhead_lib.viz.exports import write_mesh, write_mp4
from semhead_lib.viz.splats import write_splats

METRICS, LATENT, GENERATOR, VIDEO = (
    "metrics.json",
    "latent.safetensors",
    "generator",
    "turntable.mp4",
)
MESH, TEXTURED, SPLATS = "head.glb", "head_textured.glb", "head_splats.ply"
_TURNS = tuple(
    range(-60, 61, 15)
)  # degrees at which the fitted face is compared with the photograph's


@holds_out
def invert_photos(
    photos: Sequence[Path | str],
    out: Path | str,
    inverter: Inverter,
    files: Files | None = None,
    progress: bool = True,
    extractor: FeatureExtractor
    | None = None,  # whose maps judge how alike images look; None: headjudge
) -> int:
    """Invert all subjects of the photographs into OUT/NAME; returns how many failed.

    Results that are finished, from the same photographs with the same settings, are kept, and
    those of other photographs are not replaced. A photograph that cannot be used is reported on
    stderr and skipped. Ctrl-C writes the current head as far as it is fitted, unless its folder
    holds a finished one, and raises KeyboardInterrupt.
    """
    out, files, extractor = (
        Path(out),
        files or Files(),
        extractor or FeatureExtractor.load(device=inverter.device),
    )
    subjects, failed = gather(photos), 0
    for number, (name, paths) in enumerate(subjects.items(), start=1):
        folder = out / name
        try:
            about = _about(paths, inverter, files, extractor)
            before = _finished(folder / METRICS)
            if before == about:
                _say(f"[{number}/{len(subjects)}] {name}: was finished already")
                continue
            _check_same_person(before, about, folder)
            with held_folder(folder):  # before the work, so that one that cannot be written is said
                result = invert_person(name, paths, inverter, files, extractor, progress)
                stopped = (result.fitted.style.stopped, result.fitted.tuning.stopped)
                interrupted = "interrupted" in stopped
                if before is None or not interrupted:
                    write(result, folder, inverter, files, None if interrupted else about)
        except Exception as error:  # of one; the others can still be had
            _say(f"[{number}/{len(subjects)}] {name}: {worded(error)}")
            failed += 1
            continue
        kept = " stays as it was finished before" if interrupted and before is not None else ""
        _say(f"[{number}/{len(subjects)}] {name}: {folder / report.PAGE}{kept}")
        if interrupted:
            raise KeyboardInterrupt
    return failed


def invert_person(
    name: str,
    paths: Sequence[Path],
    inverter: Inverter,
    files: Files,
    extractor: FeatureExtractor,
    progress: bool,
) -> Result:
    """Invert the photographs of one person together. Raises ValueError or OSError naming one that
    cannot be used."""
    began = time.perf_counter()
    portraits = [
        read_portrait(path, finder=files.finder, landmarks=files.landmarks) for path in paths
    ]
    target = prepare_portraits(inverter.generator, portraits)
    aligned = time.perf_counter()
    fitted, initialisation = inverter(target, progress=progress)
    metrics = {
        "seconds": {
            "photo": round(aligned - began, 2),
            "inversion": round(time.perf_counter() - aligned, 2),
        },
        "steps": {"style": len(fitted.style.losses), "tuning": len(fitted.tuning.losses)},
        "stopped": {"style": fitted.style.stopped, "tuning": fitted.tuning.stopped},
        "input": input_metrics(fitted, target, inverter, extractor),
        "identity": identity_around(fitted, portraits[0]),
        "photographs": [
            _of_photo(p, camera) for p, camera in zip(portraits, fitted.cameras.cpu(), strict=True)
        ],
    }
    return Result(name, portraits, target, initialisation, fitted, metrics)


def input_metrics(
    fitted: Inverted, target: Target, inverter: Inverter, extractor: FeatureExtractor
) -> dict[str, float]:
    """Metrics of the fitted head on the photographs themselves, from the refined cameras; means
    over the photographs."""
    found = judging.view_metrics(
        fitted, judging.as_aligned(target, fitted), inverter.encoder, extractor
    )
    return {name: round(float(value.mean()), 4) for name, value in found.items()}


def identity_around(fitted: Inverted, portrait: Portrait) -> dict[str, float | None]:
    """dlib's distance between the face in the photograph and that of the fitted head at several
    azimuths; null where it finds no face. Empty without the extra `faces`.

    Below 0.6, dlib regards two faces as the same person; the fitted images are small.
    """
    import numpy as np

    from semhead_lib.data.portraits.faces import face_judge

    try:
        judge = face_judge()
    except ModuleNotFoundError:
        return {}
    own = judge.identity(portrait.image)
    images = styles_around(fitted.generator, fitted.w, _TURNS)[0]
    seen = [judge.identity(image) for image in images]
    return {
        str(turn): None
        if own is None or face is None
        else round(float(np.linalg.norm(own - face)), 4)
        for turn, face in zip(_TURNS, seen, strict=True)
    }


def write(
    result: Result, folder: Path, inverter: Inverter, files: Files, about: dict | None
) -> None:
    """Write all files of one inversion; `metrics.json` is last and marks it as finished."""
    fitted = result.fitted
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METRICS).unlink(missing_ok=True)
    for place in (folder, folder / GENERATOR):  # of one that was killed while it wrote
        remove_leftovers(place)
    tensors = {"w": fitted.w, "cameras": fitted.cameras}
    if result.initialisation.condition is not None:
        tensors["condition"] = result.initialisation.condition
    write_atomically(
        folder / LATENT, save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    )
    fitted.generator.save(folder / GENERATOR, half=True)
    inverter.bank.save(folder / GENERATOR)
    (folder / VIDEO).unlink(missing_ok=True)
    if files.frames:
        azimuths = torch.arange(files.frames) * (360.0 / files.frames)
        write_mp4(folder / VIDEO, styles_around(fitted.generator, fitted.w, azimuths)[0])
    try:
        _write_surface(folder, fitted, files)
    except ValueError as error:
        result.metrics["mesh"] = str(error)
    report.write(result, folder)
    metrics = {"about": about, "model": inverter.generator.config.name, **result.metrics}
    write_atomically(folder / METRICS, json.dumps(metrics, indent=1).encode() + b"\n")


def _write_surface(folder: Path, fitted: Inverted, files: Files) -> None:
    """The head's surface in the forms that are asked for. Raises ValueError where there is none."""
    for name in (MESH, TEXTURED, SPLATS):
        (folder / name).unlink(missing_ok=True)
    if not files.mesh:
        return
    surface = mesh(fitted.generator, fitted.w[0], files.mesh)
    write_mesh(folder / MESH, surface)
    if files.splats:
        write_splats(folder / SPLATS, surface, files.splats)
    if files.texture:
        of_half = max(files.mesh // 2, 2)
        made = textured(fitted.generator, fitted.w[0], of_half, files.texture)
        write_mesh(folder / TEXTURED, made)


def _finished(path: Path) -> dict | None:
    """What the inversion that `metrics.json` is of followed from; None where it is not finished, or
    the file is damaged."""
    try:
        return read_json(path).get("about")
    except (FileNotFoundError, ValueError):
        return None


def _check_same_person(before: Any, about: dict, folder: Path) -> None:
    """Raise ValueError where the finished inversion in `folder` is of other photographs alone, as of
    two people whose photographs have one name."""
    kept = before.get("photographs") if isinstance(before, dict) else None
    if isinstance(kept, dict) and not {*kept.values()} & {*about["photographs"].values()}:
        raise ValueError(
            f"{folder} holds the head of other photographs ({', '.join(kept)}): delete it, or "
            "write to another folder"
        )


def _about(
    paths: Sequence[Path], inverter: Inverter, files: Files, extractor: FeatureExtractor
) -> dict:
    """What an inversion follows from: when it is the same, so is the result."""
    about: dict = {
        "photographs": {path.name: file_digest(path) for path in paths if path.is_file()},
        "generator": file_digest(inverter.folder / WEIGHTS),
        "encoder": str(inverter.encoder.identity),
        "start": inverter.start_at,
        "candidates": inverter.candidates,
        "front": inverter.front,
        "perceptual": inverter.perceptual,
        "settings": asdict(inverter.settings),
        "files": asdict(files),
        "features": extractor.identity,
    }
    labels = {path.name: label_of(path) for path in paths}
    if cameras := {name: label.tolist() for name, label in labels.items() if label is not None}:
        about["cameras"] = cameras
    if inverter.style_encoder is not None:
        about["style encoder"] = file_digest(inverter.folder / encoder.FILE)
    return about


def _of_photo(portrait: Portrait, refined: Tensor) -> dict:
    angles = [
        [round(x, 2) for x in orbit_angles(c[None])[0, :2].tolist()]
        for c in (portrait.camera, refined)
    ]
    return {
        "photo": portrait.name,
        "azimuth and elevation": angles[0],
        "refined": angles[1],
        "notes": list(portrait.notes),
        "provenance": portrait.provenance,
    }


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
