"""Export to the form of EG3D and PanoHead (see `archives`), lossless in pixels and labels;
`eg3d_import` reads it."""

from __future__ import annotations

import functools
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from semhead_lib.atomic import check_apart, partial_path, place_lock, publish, remove_leftovers
from semhead_lib.data.dataset.encoding import decode_entry
from semhead_lib.data.dataset.entries import encode_image
from semhead_lib.data.dataset.manifest import MANIFEST, Manifest
from semhead_lib.data.dataset.sample_info import decode_info
from semhead_lib.data.dataset.shards import read_listed

_FOLDER_SIZE = 1000  # images a folder, when every subject has one


def export_dataset(
    folder: Path | str, out: Path | str, *, masks: Path | str | None = None, progress: bool = True
) -> int:
    """Write the views of our dataset in `folder` in EG3D's form: a zip if `out` ends in .zip, else
    a folder.

    Images are PNG, named `00000/img00000000.png` in the order of subjects and views: a folder for
    each subject, or for each 1000 images when every subject has one view. Labels are the float32
    numbers exactly. Only images and labels go, and to `masks`, another zip or folder, masks of the
    same names, as PanoHead has them: that form has no place for depth or attributes. Returns the
    number of images.

    Raises FileNotFoundError or ValueError for a bad dataset, FileExistsError when `out` exists and
    is not an empty folder, BlockingIOError when another process is writing it; `out` appears only
    when it is complete.
    """
    check_apart(path=folder, out=out, masks=masks)
    check_apart(within=True, out=out, masks=masks)
    folder, manifest = Path(folder), Manifest.load(folder)
    if masks and "masks" not in manifest.layout.fields:
        raise ValueError(f"{folder}: its subjects have no masks")
    places = {"masks": Path(masks)} if masks else {}
    places["views"] = Path(out)  # last: it stands for the whole
    with ExitStack() as held:
        for place in places.values():
            held.enter_context(place_lock(place))
            if place.exists() and (_is_zip(place) or not place.is_dir() or any(place.iterdir())):
                raise FileExistsError(f"{place} exists already; export into a new name")
            remove_leftovers(place.parent, place.name)
        for field, place in places.items():
            count = _export(folder, manifest, field, place, progress)
    return count


def _export(folder: Path, manifest: Manifest, field: str, out: Path, progress: bool) -> int:
    """Write one field of all subjects, "views" with their labels or "masks"; how many."""
    partial, labels = partial_path(out), []
    single = manifest.layout.views_per_subject == (1, 1)
    try:
        with _Writer(partial, zipped=_is_zip(out)) as write:
            images = tqdm(
                _images(folder, manifest, field),
                total=manifest.views,
                unit="image",
                disable=not progress,
            )
            for count, (subject, data, camera) in enumerate(images):
                name = f"{count // _FOLDER_SIZE if single else subject:05d}/img{count:08d}.png"
                write(name, data)
                labels.append(
                    f" [{json.dumps(name)}, "
                    f"{json.dumps(np.asarray(camera, dtype=np.float64).tolist())}]"
                )
            if field == "views":
                write(MANIFEST, ('{"labels": [\n' + ",\n".join(labels) + "\n]}\n").encode())
        publish(partial, out)
    except BaseException as error:
        shutil.rmtree(partial) if partial.is_dir() else partial.unlink(missing_ok=True)
        if (
            isinstance(error, OSError) and error.filename is None
        ):  # a full disk does not say which file
            raise OSError(error.errno, f"cannot write: {error.strerror}", str(out)) from error
        raise
    return len(labels)


def _images(
    folder: Path, manifest: Manifest, field: str
) -> Iterator[tuple[int, bytes, torch.Tensor]]:
    """(subject index, PNG file, label [25]) of every view, or of its mask. PNG files pass through as
    they are."""
    needed = ("view_" if field == "views" else "mask_", "cam", "json")
    for record, first in zip(manifest.shards, manifest.first_subjects, strict=False):
        path = folder / record.name
        for position, sample in read_listed(
            folder,
            record,
            lambda _, names: [n for n in names if n.startswith(needed)],
            verify=True,
        ):
            try:
                info = decode_info(sample)
                cameras = decode_entry(sample, info, "cameras.npy")
                for view in range(info.views):
                    entry = info.entry(field, view)
                    pixels = decode_entry(sample, info, entry)
                    data = sample[entry] if entry.endswith(".png") else encode_image(pixels)
                    yield first + position, data, cameras[view]
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None


def _is_zip(out: Path) -> bool:
    return out.suffix.lower() == ".zip"


class _Writer:
    """Writes named files into a new folder or zip; calling it adds one."""

    def __init__(self, path: Path, zipped: bool) -> None:
        self.path, self.zip = (
            path,
            zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) if zipped else None,
        )
        if not zipped:
            path.mkdir()

    def __enter__(self) -> Callable[[str, bytes], None]:
        return self._add_file if self.zip is None else functools.partial(_add_to_zip, self.zip)

    def __exit__(self, *_: object) -> None:
        if self.zip:
            self.zip.close()

    def _add_file(self, name: str, data: bytes) -> None:
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


def _add_to_zip(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data)
