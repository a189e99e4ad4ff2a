"""Importing a dataset in EG3D's form, or a capture: a synthesis whose source is the archive."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

from semhead_lib.atomic import check_apart
from semhead_lib.data.dataset.archives import ImageArchive
from semhead_lib.data.dataset.capture_import import CaptureSource
from semhead_lib.data.dataset.captures import form_of
from semhead_lib.data.dataset.eg3d_import import ArchiveSource
from semhead_lib.data.dataset.manifest import MANIFEST
from semhead_lib.data.jobs.settings import ImportSettings
from semhead_lib.data.jobs.synthesis import SynthesisReport, synthesize

FORMS = ("auto", "eg3d", "transforms", "colmap")


def import_dataset(
    source: Path | str,
    out: Path | str,
    *,
    form: str = ImportSettings.form,
    group: str = ImportSettings.group,
    licence: str = ImportSettings.licence,
    camera: str = ImportSettings.camera,
    masks: Path | str | None = ImportSettings.masks,
    resolution: int = ImportSettings.resolution,
    family: str | None = ImportSettings.family,
    crop: str = ImportSettings.crop,
    scale: float = ImportSettings.scale,
    center: str = ImportSettings.center,
    front: str = ImportSettings.front,
    image_format: str = ImportSettings.image_format,
    shard_size: int = ImportSettings.shard_size,
    workers: int = 1,
    progress: bool = True,
) -> SynthesisReport:
    """Bring an EG3D or PanoHead dataset, or a calibrated capture (folder or zip), into our form, in
    the folder `out`.

    Resumable and atomic as `synthesize`, which does the work. See `ArchiveSource` and
    `CaptureSource` for the settings. Raises FileNotFoundError, ValueError, FileExistsError or
    OSError with one message naming what is wrong, and SynthesisError naming the image that is not a
    square RGB image or whose label is no camera.
    """
    check_apart(src=source, out=out, masks=masks)
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    if form == "auto":
        form = _form_of(source)
    common = (group, licence, camera, masks and str(masks), resolution)
    placed = {"scale": scale or None, "center": center, "front": front}
    if form == "eg3d":
        if wrong := [name for name, value in placed.items() if value not in (None, "auto")]:
            raise ValueError(f"{wrong[0]} is for captures: of EG3D's form, family= places heads")
        crop = "none" if crop == "auto" else crop
        make_source = functools.partial(ArchiveSource, str(source), *common, family, crop)
    else:
        if family:
            raise ValueError(f"family is for EG3D's form: a {form} capture has scale= and center=")
        make_source = functools.partial(
            CaptureSource, str(source), form, *common, crop, scale, center, front
        )
    images = make_source()
    for note in images.notes():
        warnings.warn(note, stacklevel=2)
    return synthesize(
        make_source,
        out,
        len(images),
        shard_size=shard_size,
        workers=workers,
        image_format=image_format,
        progress=progress,
    )


def _form_of(source: Path | str) -> str:
    """Of a folder or zip by the files in it: EG3D's, unless it has no labels and is a capture."""
    with ImageArchive(source) as archive:
        form = "eg3d" if MANIFEST in archive.sizes else form_of(archive)
        if form is None and any(name.endswith("cameras.bin") for name in archive.sizes):
            raise ValueError(
                f"{source}: COLMAP's models are read as text: 'colmap model_converter "
                "--output_type TXT' writes it"
            )
        if form is None and archive.problems:
            raise ValueError(archive.problems[0])
        if form is None:
            raise ValueError(
                f"{source}: has no dataset.json with labels, no transforms.json, and no cameras.txt "
                "with images.txt"
            )
        return form
