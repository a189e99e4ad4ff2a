"""Importing a dataset in EG3D's form: a synthesis whose source is the archive."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

from semhead_lib.atomic import check_apart
from semhead_lib.data.dataset.eg3d_import import ArchiveSource
from semhead_lib.data.jobs.settings import ImportSettings
from semhead_lib.data.jobs.synthesis import SynthesisReport, synthesize


def import_dataset(
    source: Path | str,
    out: Path | str,
    *,
    group: str = ImportSettings.group,
    licence: str = ImportSettings.licence,
    camera: str = ImportSettings.camera,
    masks: Path | str | None = ImportSettings.masks,
    resolution: int = ImportSettings.resolution,
    image_format: str = ImportSettings.image_format,
    shard_size: int = ImportSettings.shard_size,
    workers: int = 1,
    progress: bool = True,
) -> SynthesisReport:
    """Bring an EG3D or PanoHead dataset (folder or zip) into our form, in the folder `out`.

    Resumable and atomic as `synthesize`, which does the work. See `ArchiveSource` for `group`, `camera`,
    `masks` and `resolution`.
    Raises FileNotFoundError, ValueError, FileExistsError or OSError with one message naming what is
    wrong, and SynthesisError naming the image that is not a square RGB image or whose label is no
    camera.
    """
    check_apart(src=source, out=out, masks=masks)
    make_source = functools.partial(
        ArchiveSource, str(source), group, licence, camera, masks and str(masks), resolution
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
