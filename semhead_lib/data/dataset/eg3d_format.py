"""Import from and export to the form of EG3D and PanoHead (see `archives`), lossless in pixels and
labels."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from semhead_lib.atomic import partial_path, place_lock, publish, remove_leftovers
from semhead_lib.cameras import orbit_angles
from semhead_lib.data.dataset.archives import ImageArchive, parse_label
from semhead_lib.data.dataset.encoding import decode_entry, decode_image, decode_info, encode_image
from semhead_lib.data.dataset.manifest import MANIFEST, Manifest
from semhead_lib.data.dataset.shards import read_listed
from semhead_lib.data.subjects import Subject

GROUPS = ("none", "folder")
_FOLDER_SIZE = 1000  # images a folder, when every subject has one


class ArchiveSource:
    """The images of an EG3D or PanoHead dataset as subjects.

    `group` "none" makes each image a subject with one view; "folder" makes the images of a folder
    the views of one subject. The frontal image, from which semantics come, is the view nearest
    azimuth 0 and elevation 0; provenance names it with its angles. Raises FileNotFoundError, or
    ValueError naming the image or label that is wrong.
    """

    name = "eg3d"

    def __init__(self, path: Path | str, group: str = "none", licence: str = "unknown") -> None:
        if group not in GROUPS:
            raise ValueError(f"group must be one of {', '.join(GROUPS)}, got {group!r}")
        self.archive, self.group, self.licence = ImageArchive(path), group, licence
        if self.archive.problems:
            raise ValueError(self.archive.problems[0])
        self._labels = dict(self.archive.labels())
        images = self.archive.images()
        for one, other, what in (
            (images, self._labels, "has no label"),
            (self._labels, set(images), "has no image"),
        ):
            if missing := [name for name in one if name not in other]:
                raise ValueError(f"{path}: {missing[0]} {what} ({len(missing)} such in all)")
        self._digest = hashlib.sha256(self.archive.read(MANIFEST)).hexdigest()
        if group == "none":
            keyed = [(str(PurePosixPath(image).with_suffix("")), [image]) for image in images]
        else:
            folders = groupby(sorted(images, key=_folder), _folder)
            keyed = [(folder, list(members)) for folder, members in folders]
        self._groups = [members for _, members in keyed]
        self._ids = [
            re.sub(r"[^A-Za-z0-9_-]+", "-", key).strip("-") or "images" for key, _ in keyed
        ]
        if len(set(self._ids)) < len(self._ids) or max(map(len, self._ids)) > 80:
            self._ids = [f"subject-{i:08d}" for i in range(len(self._ids))]

    def __len__(self) -> int:
        return len(self._groups)

    def describe(self) -> dict[str, Any]:
        """What is imported: the archive's name, the SHA-256 of its labels, and the grouping."""
        return {
            "archive": self.archive.path.name,
            "labels_sha256": self._digest,
            "group": self.group,
        }

    def subject(self, index: int) -> Subject:
        """Read subject `index`. Raises ValueError naming the image that is not a square RGB image,
        or its label."""
        names, views, cameras = self._groups[index], [], []
        for name in names:
            where = f"{self.archive.path}: {name}"
            views.append(
                decode_image(
                    self.archive.read(name), where, resolution=views[0].shape[-1] if views else None
                )
            )
            try:
                cameras.append(torch.from_numpy(parse_label(self._labels[name])))
            except ValueError as error:
                raise ValueError(f"{where}: label {error}") from None
        labels = torch.stack(cameras)
        azimuth, elevation, _ = torch.deg2rad(orbit_angles(labels)).unbind(-1)
        front = int((azimuth.cos() * elevation.cos()).argmax())
        degrees = orbit_angles(labels)[front, :2].tolist()
        return Subject(
            id=self._ids[index],
            views=torch.stack(views),
            cameras=labels,
            frontal=views[front],
            provenance={
                "source": self.name,
                "images": names,
                "frontal": {
                    "image": names[front],
                    "azimuth": round(degrees[0], 3),
                    "elevation": round(degrees[1], 3),
                    "note": "semantics come from the view nearest the front",
                },
            },
            licence=self.licence,
        )


def export_dataset(folder: Path | str, out: Path | str, *, progress: bool = True) -> int:
    """Write the views of our dataset in `folder` in EG3D's form: a zip if `out` ends in .zip, else
    a folder.

    Images are PNG, named `00000/img00000000.png` in the order of subjects and views: a folder for
    each subject, or for each 1000 images when every subject has one view. Labels are the float32
    numbers exactly. Only images and labels
    go: that form has no place for masks, depth or attributes. Returns the number of images.

    Raises FileNotFoundError or ValueError for a bad dataset, FileExistsError when `out` exists and
    is not an empty folder, BlockingIOError when another process is writing it; `out` appears only
    when it is complete.
    """
    out, manifest = Path(out), Manifest.load(folder)
    with place_lock(out):
        if out.exists() and not (out.is_dir() and not _is_zip(out) and not any(out.iterdir())):
            raise FileExistsError(f"{out} exists already; export into a new name")
        remove_leftovers(out.parent, out.name)
        return _export(Path(folder), manifest, out, progress)


def _export(folder: Path, manifest: Manifest, out: Path, progress: bool) -> int:
    partial, labels = partial_path(out), []
    single = manifest.layout.views_per_subject == (1, 1)
    try:
        with _Writer(partial, zipped=_is_zip(out)) as write:
            images = tqdm(
                _images(folder, manifest),
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


def _images(folder: Path, manifest: Manifest) -> Iterator[tuple[int, bytes, torch.Tensor]]:
    """(subject index, PNG file, label [25]) of every view. PNG files pass through as they are."""
    for record, first in zip(manifest.shards, manifest.first_subjects, strict=False):
        path = folder / record.name
        for position, sample in read_listed(
            folder,
            record,
            lambda _, names: [n for n in names if n.startswith(("view_", "cam", "json"))],
        ):
            try:
                info = decode_info(sample)
                cameras = decode_entry(sample, info, "cameras.npy")
                for view in range(info.views):
                    entry = info.entry("views", view)
                    pixels = decode_entry(sample, info, entry)
                    data = sample[entry] if info.image_format == "png" else encode_image(pixels)
                    yield first + position, data, cameras[view]
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None


def _is_zip(out: Path) -> bool:
    return out.suffix.lower() == ".zip"


def _folder(image: str) -> str:
    return PurePosixPath(image).parent.as_posix()


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
