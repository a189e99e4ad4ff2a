"""Calibrated captures: `transforms.json` of NeRF and instant-ngp, and COLMAP's text models.

Both come out as views of one kind: an image, a camera-to-world matrix with OpenCV's axes,
intrinsics in pixels (the middle of the first pixel is at 0.5) and OpenCV's radial and tangential
distortion. A model file is one subject; frames of several moments (`timestep_index` or `time`) are
a subject each.

* `transforms.json`: `frames` with `file_path` and `transform_matrix` (camera-to-world, OpenGL's
  axes); `fl_x`, `fl_y`, `cx`, `cy`, `w`, `h` or `camera_angle_x`, and `k1`, `k2`, `p1`, `p2`, for all
  or for a frame; `mask_path` or `fg_mask_path`.
* COLMAP (Schönberger and Frahm, 2016): `cameras.txt` and `images.txt`, beside the images, or in
  `sparse` or `sparse/0` beside a folder `images`.
"""

from __future__ import annotations

import json
import math
import posixpath
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from semhead_lib.data.dataset.archives import SUFFIXES, ImageArchive

TRANSFORMS = "transforms.json"
_MASKS = ("mask_path", "fg_mask_path")
_MOMENTS = ("timestep_index", "time")
_UNDISTORT = "undistort the images first (`colmap image_undistorter`)"
_MOST = 32 << 20  # bytes of a model file
_FARTHEST = 1e9  # of any number in one
_MODELS = {  # COLMAP's: where focal lengths, principal point, k1, k2, p1, p2 are; None: 0
    "SIMPLE_PINHOLE": (0, 0, 1, 2, None, None, None, None),
    "PINHOLE": (0, 1, 2, 3, None, None, None, None),
    "SIMPLE_RADIAL": (0, 0, 1, 2, 3, None, None, None),
    "RADIAL": (0, 0, 1, 2, 3, 4, None, None),
    "OPENCV": (0, 1, 2, 3, 4, 5, 6, 7),
}


@dataclass(frozen=True, eq=False)
class View:
    """One calibrated image."""

    image: str  # its name in the archive
    pose: np.ndarray  # [4, 4] camera-to-world, as the file says it
    focal: tuple[float, float]  # pixels
    center: tuple[float, float]  # pixels; (nan, nan): the middle
    size: tuple[int, int]  # width and height that these are of; (0, 0): the image's
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # k1, k2, p1, p2
    mask: str = ""  # its name in the archive
    angle: float = 0.0  # radians across the width, where that takes the place of the focal length

    def sized(self, width: int, height: int) -> View:
        """The view with intrinsics for an image of that size. Raises ValueError for one of another
        shape than the file says."""
        w, h = self.size if self.size != (0, 0) else (width, height)
        if abs(width * h - height * w) > 0.01 * width * h:
            raise ValueError(f"is {width} x {height} pixels, expected the shape of {w} x {h}")
        focal = 2 * (0.5 * w / math.tan(0.5 * self.angle),) if self.angle else self.focal
        middle = (w / 2, h / 2) if math.isnan(self.center[0]) else self.center
        a, b = width / w, height / h
        scaled = (focal[0] * a, focal[1] * b), (middle[0] * a, middle[1] * b)
        return replace(self, focal=scaled[0], center=scaled[1], size=(width, height), angle=0.0)


@dataclass(frozen=True)
class Capture:
    """The views of one subject."""

    name: str
    views: tuple[View, ...]


def form_of(archive: ImageArchive) -> str | None:
    """ "transforms" or "colmap", by the files there are; None for neither."""
    names = [PurePosixPath(name) for name in archive.sizes]
    if any(_is_transforms(name) for name in names):
        return "transforms"
    there = {name.as_posix() for name in names}
    if any(n.name == "cameras.txt" and str(n.with_name("images.txt")) in there for n in names):
        return "colmap"
    return None


def captures_of(archive: ImageArchive, form: str) -> list[Capture]:
    """All subjects, by their names. Raises ValueError naming the file and what is wrong in it."""
    paths = sorted(PurePosixPath(name) for name in archive.sizes)
    if form == "transforms":
        files = [path for path in paths if _is_transforms(path)]
        whole = {path.parent for path in files if path.name == TRANSFORMS}
        files = [path for path in files if path.name == TRANSFORMS or path.parent not in whole]
        found = [(path.parent, _frames(archive, path)) for path in files]
    else:
        files = [path for path in paths if path.name == "cameras.txt"]
        found = [(_base(path.parent), {"": _registered(archive, path)}) for path in files]
    groups: dict[tuple[str, str], list[View]] = defaultdict(list)
    for folder, moments in found:
        for moment, views in moments.items():
            groups[folder.as_posix(), moment] += views
    if not groups:
        raise ValueError(
            f"{archive.path}: has no {'cameras.txt' if form == 'colmap' else TRANSFORMS}"
        )
    return [
        Capture("-".join(filter(None, [folder.strip("."), moment])), tuple(views))
        for (folder, moment), views in groups.items()
    ]


def _is_transforms(path: PurePosixPath) -> bool:
    return path.suffix == ".json" and path.stem.split("_")[0] == "transforms"


def _frames(archive: ImageArchive, path: PurePosixPath) -> dict[str, list[View]]:
    """Views of a transforms.json, by their moment."""
    where = f"{archive.path}: {path}"
    try:
        content = json.loads(_text(archive, path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: is not JSON: {error}") from None
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames:
        raise ValueError(f"{where}: expected a list of frames")
    found: dict[str, list[View]] = defaultdict(list)
    shown: dict[Any, int] = {}
    for row, frame in enumerate(frames):
        try:
            if not isinstance(frame, dict):
                raise ValueError(f"expected an object, got {frame!r:.40}")
            moment = next((frame[key] for key in _MOMENTS if key in frame), "")
            if not isinstance(moment, (str, int, float)) or moment != moment:
                raise ValueError(f"expected the number of a moment, got {moment!r:.40}")
            view = _frame(archive, path, content, frame)
            if (other := shown.setdefault((moment, view.image), row)) != row:
                raise ValueError(f"{view.image} is that of row {other} already")
            found[f"t{moment}" if moment != "" else ""].append(view)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{where}: frames, row {row}: {error}") from None
    return found


def _frame(archive: ImageArchive, path: PurePosixPath, content: dict, frame: dict) -> View:
    def number(name: str, default: float = 0.0) -> float:
        value = frame.get(name, content.get(name, default))
        real = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not real or abs(value) > _FARTHEST or (value != value and name in frame | content):
            raise ValueError(f"{name} must be a number, got {value!r:.40}")
        return float(value)

    def entry(name: Any) -> str:
        if not isinstance(name, str):
            raise ValueError(f"expected the path of an image, got {name!r:.40}")
        return _entry(archive, path.parent, name)

    model = str(frame.get("camera_model", content.get("camera_model", "OPENCV")))
    further = [name for name in ("k3", "k4", "k5", "k6") if number(name)]
    fisheye = frame.get("is_fisheye", content.get("is_fisheye", False))
    if model not in (*_MODELS,) or further or fisheye:
        kind = "fisheye" if fisheye else f"{model} with {', '.join(further)}" if further else model
        raise ValueError(f"distortion of the kind {kind} is not read: {_UNDISTORT}")
    pose = np.asarray(frame.get("transform_matrix"), dtype=np.float64)
    if pose.shape == (3, 4):
        pose = np.vstack([pose, [0, 0, 0, 1]])
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise ValueError("transform_matrix must be 4 x 4 finite numbers")
    if np.abs(pose).max() > _FARTHEST or np.abs(pose[3] - (0, 0, 0, 1)).max() > 1e-3:
        raise ValueError(f"transform_matrix must end in [0, 0, 0, 1], got {pose[3].tolist()}")
    fx = number("fl_x")
    angle = 0.0 if fx else number("camera_angle_x")
    if not fx > 0 and not 0 < angle < math.pi:
        raise ValueError("needs fl_x (pixels) or camera_angle_x (radians)")
    focal = (fx, number("fl_y", fx))
    center, size = (
        (number("cx", math.nan), number("cy", math.nan)),
        (int(number("w")), int(number("h"))),
    )
    if min(focal) < 0 or min(size) < 0 or (fx and not min(focal) > 0):
        raise ValueError(f"focal length and size must be positive, got {focal} and {size}")
    distortion = (number("k1"), number("k2"), number("p1"), number("p2"))
    mask = next((entry(frame[key]) for key in _MASKS if frame.get(key)), "")
    return View(entry(frame.get("file_path")), pose, focal, center, size, distortion, mask, angle)


def _registered(archive: ImageArchive, path: PurePosixPath) -> list[View]:
    """Views of a COLMAP text model."""
    cameras: dict[str, tuple[str, tuple[int, int], list[float]]] = {}
    for line, words in _lines(archive, path):
        where = f"{archive.path}: {path}, line {line}"
        try:
            model, size = words[1], (int(words[2]), int(words[3]))
            numbers = [float(word) for word in words[4:]]
        except (IndexError, ValueError):
            raise ValueError(f"{where}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMETERS") from None
        if model not in _MODELS:
            known = ", ".join(_MODELS)
            raise ValueError(
                f"{where}: camera model {model} is not read ({known} are): {_UNDISTORT}"
            )
        count = len({place for place in _MODELS[model] if place is not None})
        if len(numbers) != count or not all(abs(n) < _FARTHEST for n in numbers):
            raise ValueError(f"{where}: {model} has {count} numbers, got {words[4:]}")
        if min(*size, *(numbers[i] for i in _MODELS[model][:2] if i is not None)) <= 0:
            raise ValueError(f"{where}: size and focal length must be positive, got {words[2:]}")
        if words[0] in cameras:
            raise ValueError(f"{where}: there is another camera {words[0]}")
        cameras[words[0]] = (model, size, numbers)
    images = path.with_name("images.txt")
    views, registered, shown = [], _lines(archive, images, every=2), dict[str, int]()
    for line, words in registered:
        where = f"{archive.path}: {images}, line {line}"
        try:
            turn, place = np.array(words[1:5], float), np.array(words[5:8], float)
            camera, name = words[8], words[9]
            pose = np.linalg.inv(_world_to_camera(turn, place))
        except (IndexError, ValueError, np.linalg.LinAlgError):
            expected = "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"
            raise ValueError(f"{where}: expected {expected}") from None
        if camera not in cameras:
            raise ValueError(f"{where}: {path.name} has no camera {camera}")
        model, size, p = cameras[camera]
        fx, fy, cx, cy, *d = (0.0 if i is None else p[i] for i in _MODELS[model])
        try:
            image = _entry(archive, _base(path.parent), name, path.parent)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if (other := shown.setdefault(image, line)) != line:
            raise ValueError(f"{where}: {image} is that of line {other} already")
        views.append(View(image, pose, (fx, fy), (cx, cy), size, (d[0], d[1], d[2], d[3])))
    if not views:
        raise ValueError(f"{archive.path}: {images}: has no images")
    return views


def _world_to_camera(quaternion: np.ndarray, place: np.ndarray) -> np.ndarray:  # [4], [3] -> [4, 4]
    norm = float(np.linalg.norm(quaternion))
    if not 0.9 < norm < 1.1 or not np.abs(place).max() < _FARTHEST:
        raise ValueError("no rotation")
    w, x, y, z = quaternion / norm
    found = np.eye(4)
    found[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    found[:3, 3] = place
    return found


def _lines(
    archive: ImageArchive, path: PurePosixPath, every: int = 1
) -> list[tuple[int, list[str]]]:
    """Numbers and words of a text model's lines; of each `every` lines the first. A name, the last
    word, may hold spaces."""
    lines = [
        (number, line)
        for number, line in enumerate(_text(archive, path).splitlines(), 1)
        if not line.startswith("#")
    ]
    if every == 1:
        lines = [(number, line) for number, line in lines if line.strip()]
    while lines and not lines[-1][1].strip():
        lines.pop()
    return [
        (number, line.split(maxsplit=9 if every > 1 else -1)) for number, line in lines[::every]
    ]


def _text(archive: ImageArchive, path: PurePosixPath) -> str:
    name = path.as_posix()
    if archive.sizes.get(name, 0) > _MOST:
        raise ValueError(f"{archive.path}: {name}: larger than {_MOST} bytes")
    try:
        return archive.read(name).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{archive.path}: {name}: is not UTF-8: {error}") from None


def _base(folder: PurePosixPath) -> PurePosixPath:
    """Where the images of a COLMAP model lie."""
    if folder.parent.name == "sparse":
        return folder.parent.parent
    return folder.parent if folder.name == "sparse" else folder


def _entry(
    archive: ImageArchive, base: PurePosixPath, name: str, other: PurePosixPath | None = None
) -> str:
    """The entry that a model file calls `name`, with or without its suffix."""
    folders = [base, base / "images", *([other, other / "images"] if other else [])]
    for folder in folders:
        path = posixpath.normpath((folder / name).as_posix())  # entries alone are looked up
        for suffix in ("", *SUFFIXES):
            if (found := path + suffix) in archive.sizes:
                return found
    raise ValueError(f"there is no image {name!r}")
