"""Subjects from the form of EG3D and PanoHead (see `archives`): images, labels and masks as they are."""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter, defaultdict
from contextlib import suppress
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from semhead_lib.cameras import crop_cameras, orbit_angles
from semhead_lib.data.dataset.archives import ImageArchive, label_numbers, parse_label
from semhead_lib.data.dataset.conventions import camera_problem, converted, looks_like, parse_camera
from semhead_lib.data.dataset.cropping import CROPS, cut, head_window
from semhead_lib.data.dataset.entries import MAX_SIDE, decode_image, left_undone
from semhead_lib.data.dataset.families import family as check_family
from semhead_lib.data.dataset.families import to_ours
from semhead_lib.data.dataset.manifest import MANIFEST
from semhead_lib.data.subjects import Subject
from semhead_lib.errors import listed

GROUPS = ("none", "folder")
_COLOURED = 16  # by how much channels of a grey image differ at most, as JPEG makes them
_LOOKED_AT = 16  # masks that are compared with what heads look like
_MENDED = 1e-4  # by how much a number of a label has to change to count


class ArchiveSource:
    """The images of an EG3D or PanoHead dataset as subjects.

    `group` "none" makes each image a subject with one view; "folder" makes the images of a folder
    the views of one subject. The frontal image, from which semantics come, is the view nearest
    azimuth 0 and elevation 0; provenance names it with its angles. `camera` says of which
    convention the labels are (`conventions.parse_camera`); "auto" takes EG3D's and refuses what
    looks like another. `masks` is a folder or zip of masks with the images' names, as PanoHead has
    them; `resolution` makes images of another size. `family` names whose crop it is
    (`families.FAMILIES`): cameras are moved into our world. `crop` "head" shows of each image what
    our cameras show of a head, white beyond it; images then need a `resolution`. Raises
    FileNotFoundError, or ValueError naming the image or label that is wrong.
    """

    name = "eg3d"

    def __init__(
        self,
        path: Path | str,
        group: str = "none",
        licence: str = "unknown",
        camera: str = "auto",
        masks: Path | str | None = None,
        resolution: int = 0,
        family: str | None = None,
        crop: str = "none",
    ) -> None:
        if group not in GROUPS:
            raise ValueError(f"group must be one of {', '.join(GROUPS)}, got {group!r}")
        if resolution and not 8 <= resolution <= MAX_SIDE:
            raise ValueError(f"resolution must be 0 or 8 to {MAX_SIDE} pixels, got {resolution}")
        if crop not in CROPS:
            raise ValueError(f"crop must be one of {', '.join(CROPS)}, got {crop!r}")
        if crop == "head" and not resolution:
            raise ValueError("crop=head needs resolution=, the pixels a side that images get")
        if family is not None:
            check_family(family)
        self._family, self._crop = family, crop
        self.archive, self.group, self.licence = ImageArchive(path), group, licence
        self._camera, self._steps, self._size = camera, parse_camera(camera), resolution
        self._masks = ImageArchive(masks) if masks else None
        for archive in filter(None, (self.archive, self._masks)):
            if archive.problems:
                raise ValueError(archive.problems[0])
        pairs = self.archive.labels()
        self._labels, images = dict(pairs), self.archive.images()
        if len(self._labels) < len(pairs):
            name, count = Counter(name for name, _ in pairs).most_common(1)[0]
            raise ValueError(f"{path}: {name} has {count} labels")
        if missing := [name for name in images if name not in self._labels]:
            raise ValueError(f"{path}: {missing[0]} has no label ({len(missing)} such in all)")
        if not images:
            raise ValueError(f"{path}: has no images")
        self._notes: list[str] = []
        self._images, there = images, set(images)
        if absent := [name for name in self._labels if name not in there]:  # EG3D skips them
            self._notes.append(f"{path}: {len(absent)} labels have no image: {listed(absent)}")
        self._masked = self._mask_names(images)
        self._look_at_cameras(images)
        self._digest = hashlib.sha256(self.archive.read(MANIFEST)).hexdigest()
        if group == "none":
            keyed = [(_stem(image), [image]) for image in images]
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
        """What is imported: the archive's name, the SHA-256 of its labels, the fingerprint of its
        images and masks, and the grouping."""
        own: dict[str, Any] = {"camera": "+".join(self._steps), "resolution": self._size}
        own |= {"family": self._family, "crop": self._crop if self._crop == "head" else None}
        own["masks"] = self._masks and self._masks.path.name
        own["masks_sha256"] = self._masks and self._masks.fingerprint()
        return {
            "archive": self.archive.path.name,
            "labels_sha256": self._digest,
            "images_sha256": self.archive.fingerprint(),
            "group": self.group,
        } | {name: value for name, value in own.items() if value}

    def notes(self) -> list[str]:
        """What is taken but is hardly meant so, one line each: labels without images, cameras, and
        what images ask for in their headers and importing leaves undone."""
        found: dict[str, list[str]] = {}
        for name in self._images:
            with suppress(Exception), self.archive.open(name) as file:  # said when it is read
                for what in left_undone(file):
                    found.setdefault(what, []).append(name)
        return (
            self._notes
            + self._masks_look_wrong()
            + [
                f"{self.archive.path}: {len(names)} of {len(self._images)} images have {what}: "
                f"{listed(names)}"
                for what, names in found.items()
            ]
        )

    def subject(self, index: int) -> Subject:
        """Read subject `index`. Raises ValueError naming the image that is not a square RGB image,
        or its label."""
        names, views, cameras, masks = self._groups[index], [], [], []
        like = names[0] if self._size else self._images[0]
        side = None if self._size else self._side
        for name in names:
            where = f"{self.archive.path}: {name}"
            image = decode_image(self.archive.read(name), where, resolution=side, like=like)
            side = image.shape[-1]
            mask = None if self._masks is None else self._mask(name, side)[None]
            try:
                label = torch.from_numpy(self._label(name, side))
                if self._crop == "head":
                    image, mask, label = self._cropped(image, mask, label)
            except ValueError as error:
                raise ValueError(f"{where}: label {error}") from None
            views.append(self._resized(image))
            if mask is not None:
                masks.append(self._resized(mask)[0])
            cameras.append(label)
        labels = torch.stack(cameras)
        azimuth, elevation, _ = torch.deg2rad(orbit_angles(labels)).unbind(-1)
        front = int((azimuth.cos() * elevation.cos()).argmax())
        degrees = orbit_angles(labels)[front, :2].tolist()
        return Subject(
            id=self._ids[index],
            views=torch.stack(views),
            cameras=labels,
            frontal=views[front],
            masks=torch.stack(masks) if masks else None,
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

    @functools.cached_property
    def _side(self) -> int:
        """Pixels a side of the first image, and so of all where none is brought to another size."""
        first = self._images[0]
        return decode_image(self.archive.read(first), f"{self.archive.path}: {first}").shape[-1]

    def _label(self, name: str, size: int) -> np.ndarray:  # [25] float32
        label = parse_label(self._labels[name])
        if self._steps:
            label = parse_label(converted(label[None], self._steps, size)[0].tolist())
        return self._in_our_world(label[None])[0]

    def _in_our_world(self, labels: np.ndarray) -> np.ndarray:  # [N, 25] of the family
        if self._family is None:
            return labels
        moved = to_ours(torch.from_numpy(labels).double(), self._family)
        return moved.numpy().astype(np.float32)

    def _cropped(
        self, image: torch.Tensor, mask: torch.Tensor | None, label: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """What our cameras show of a head: image, mask and camera."""
        side = image.shape[-1]
        fx, cx, fy, cy = (float(label[i]) * side for i in (16, 18, 20, 21))
        window = head_window(label[:16].reshape(4, 4).double().numpy(), (fx, fy), (cx, cy))
        image = cut(image, window, self._size, 255)
        if mask is not None:
            mask = cut(mask, window, self._size, 0)
        part = torch.tensor([window], dtype=torch.float64) / side
        return image, mask, crop_cameras(label[None].double(), part)[0].float()

    def _look_at_cameras(self, images: list[str]) -> None:
        """Raise ValueError where another `camera` would make labels ours; note other cameras that
        see no head, and rotations that were mended."""
        raw, labels = [], []
        for name in images:
            with suppress(ValueError, TypeError):  # said with the image's name when it is read
                labels.append(parse_label(self._labels[name]))
                raw.append(label_numbers(self._labels[name]))
        if labels:
            self._compare_conventions(np.stack(labels), f"{self.archive.path}: {MANIFEST}")
        moved = [np.abs(a - b).max() for a, b in zip(raw, labels, strict=True)]
        if mended := sum(distance > _MENDED for distance in moved):
            self._notes.append(
                f"{self.archive.path}: {mended} of {len(images)} cameras are rotations only nearly "
                "(as PanoHead's and SphereHead's tools write them); the nearest ones were taken"
            )

    def _compare_conventions(self, labels: np.ndarray, where: str) -> None:  # [N, 25]
        size = self._side if "pixels" in self._steps else 1
        problem = camera_problem(converted(labels, self._steps, size))
        if problem is None:
            return
        own, right = camera_problem(labels), looks_like(labels)
        if own is None:
            raise ValueError(
                f"{where}: the cameras are EG3D's already, with camera={self._camera} they "
                f"{problem.removeprefix('the cameras ').partition(';')[0]}: leave it out"
            )
        if right and self._camera != "opencv" and parse_camera(right) != self._steps:
            raise ValueError(f"{where}: {own} (camera=opencv: as they are)")
        self._notes.append(f"{where}: {problem}")

    def _mask_names(self, images: list[str]) -> dict[str, str]:
        """Which mask belongs to each image: of the same name, else of one with another suffix."""
        if self._masks is None:
            return {}
        path, masks, stems = self._masks.path, set(self._masks.images()), defaultdict(list)
        for mask in sorted(masks):
            stems[_stem(mask)].append(mask)
        found = {name: [name] if name in masks else stems[_stem(name)] for name in images}
        if missing := [name for name, its in found.items() if not its]:
            raise ValueError(f"{path}: {missing[0]} has no mask ({len(missing)} such in all)")
        owner: dict[str, str] = {}
        for name, its in found.items():
            if len(its) > 1 or its[0] in owner:
                of = f"{name} or {owner[its[0]]}" if its[0] in owner else name
                raise ValueError(
                    f"{path}: {' or '.join(its)} may be the mask of {of}: name them so"
                )
            owner[its[0]] = name
        if others := sorted(masks - set(owner)):
            self._notes.append(f"{path}: {len(others)} masks have no image: {listed(others)}")
        return {name: its[0] for name, its in found.items()}

    def _mask(self, name: str, side: int) -> torch.Tensor:  # [side, side] uint8
        assert self._masks is not None
        where = f"{self._masks.path}: {self._masked[name]}"
        mask = decode_image(self._masks.read(self._masked[name]), where, ("L", "RGB"), side)
        if mask.ndim == 3:
            if (mask.int() - mask[:1].int()).abs().max() > _COLOURED:
                raise ValueError(f"{where}: has colours: a mask is grey, 0 behind the head")
            mask = mask[0]
        if mask.max() <= 1:
            values = "0 and 1" if mask.any() else "0"
            raise ValueError(f"{where}: holds {values} alone: a mask is 255 on the head")
        return mask

    def _masks_look_wrong(self) -> list[str]:
        """A note where all of some masks cover all of their image, or are the wrong way round."""
        middles, tops = [], []
        for name in self._images[:: -(-len(self._images) // _LOOKED_AT)] if self._masks else []:
            with suppress(ValueError):  # said when it is read
                mask = self._mask(name, self._side).float()
                a, b = 3 * len(mask) // 8, 5 * len(mask) // 8
                middles.append(float(mask[a:b, a:b].mean()))
                tops.append(float(mask[0].mean()))
        if not tops or min(tops) < 250 or 5 < min(middles) < 250 or 5 < max(middles) < 250:
            return []
        what = (
            "cover all of their images" if min(middles) > 5 else "are 0 on the head, which is 255"
        )
        return [f"{self._masks and self._masks.path}: the masks {what}"]

    def _resized(self, layers: torch.Tensor) -> torch.Tensor:  # [C, H, W] uint8
        if self._size in (0, layers.shape[-1]):
            return layers
        size = (self._size, self._size)
        found = F.interpolate(layers[None].float(), size, mode="bilinear", antialias=True)[0]
        return found.round().clamp(0, 255).byte()


def _stem(image: str) -> str:
    return str(PurePosixPath(image).with_suffix(""))


def _folder(image: str) -> str:
    return PurePosixPath(image).parent.as_posix()
