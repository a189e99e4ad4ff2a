"""Subjects from calibrated captures (see `captures`): cropped, resized, in our scene."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semhead_lib.cameras import label_error, orbit_angles
from semhead_lib.data.dataset.archives import ImageArchive
from semhead_lib.data.dataset.captures import TRANSFORMS, Capture, View, captures_of
from semhead_lib.data.dataset.conventions import converted, parse_camera
from semhead_lib.data.dataset.cropping import (
    CROPS,
    beyond,
    cut,
    decode_photograph,
    head_window,
    outside,
    square_window,
)
from semhead_lib.data.dataset.eg3d_import import GROUPS
from semhead_lib.data.dataset.entries import MAX_SIDE
from semhead_lib.data.dataset.scene import parse_center, scene_of
from semhead_lib.data.subjects import Subject
from semhead_lib.errors import listed

_WHITE = 255
_MOST_SIDES = 16.0  # that a head has for one of the image
_LEAST_SIDE = 4.0  # pixels of an image that a head fills


class CaptureSource:
    """The subjects of a folder or zip with `transforms.json` files or COLMAP text models.

    Every model file, and every moment of one, is a subject; `group` "folder" splits its images by
    their folders further. `camera` "auto" takes the matrices of transforms.json for OpenGL's.
    `center`, `scale` and `front` place the head (`scene.scene_of`). `crop` "head", which "auto" is,
    shows each view as our cameras frame a head, white beyond the image; "square" takes the middle.
    `masks` is a folder or zip of masks with the images' names. Raises FileNotFoundError, or
    ValueError naming the file that is wrong.
    """

    name = "capture"

    def __init__(
        self,
        path: Path | str,
        form: str,
        group: str = "none",
        licence: str = "unknown",
        camera: str = "auto",
        masks: Path | str | None = None,
        resolution: int = 0,
        crop: str = "auto",
        scale: float = 0.0,
        center: str = "auto",
        front: str = "auto",
    ) -> None:
        for what, value, known in (("group", group, GROUPS), ("crop", crop, ("auto", *CROPS))):
            if value not in known:
                raise ValueError(f"{what} must be one of {', '.join(known)}, got {value!r}")
        if resolution and not 8 <= resolution <= MAX_SIDE:
            raise ValueError(f"resolution must be 0 or 8 to {MAX_SIDE} pixels, got {resolution}")
        if not 0 <= scale < float("inf"):
            raise ValueError(f"scale must be positive, or 0 to be estimated, got {scale}")
        self.archive, self.form, self.group = ImageArchive(path), form, group
        if self.archive.problems:
            raise ValueError(self.archive.problems[0])
        self.licence, self._size = licence, resolution
        steps = parse_camera(camera)
        if "pixels" in steps:
            raise ValueError("camera=pixels: focal lengths of captures are in pixels already")
        self._steps = ("opengl",) * (form == "transforms") if camera == "auto" else steps
        self._center, self._scale, self._front = parse_center(center), scale, front
        self._crop = "head" if crop == "auto" else crop
        if self._crop == "head" and not resolution:
            raise ValueError("crop=head needs resolution=, the pixels a side that images get")
        self._masks = ImageArchive(masks) if masks else None
        self._captures = self._grouped(captures_of(self.archive, form))
        ids = [
            re.sub(r"[^A-Za-z0-9_-]+", "-", capture.name).strip("-") for capture in self._captures
        ]
        self._ids = [name or "subject" for name in ids]
        if len(set(self._ids)) < len(self._ids) or max(map(len, self._ids)) > 80:
            self._ids = [f"subject-{i:08d}" for i in range(len(self._ids))]
        self._cameras = [self._placed(capture) for capture in self._captures]

    def __len__(self) -> int:
        return len(self._captures)

    def describe(self) -> dict[str, Any]:
        """What is imported, and how."""
        digest = hashlib.sha256()
        for capture, cameras in zip(self._captures, self._cameras, strict=True):
            for view, camera in zip(capture.views, cameras, strict=True):
                digest.update(f"{view.image} {view.mask} {view.distortion}".encode())
                digest.update(camera.numpy().tobytes())
        return {
            "archive": self.archive.path.name,
            "form": self.form,
            "cameras_sha256": digest.hexdigest(),
            "images_sha256": self.archive.fingerprint(),
            "masks_sha256": self._masks and self._masks.fingerprint(),
            "group": self.group,
            "crop": self._crop,
            "resolution": self._size,
        }

    def notes(self) -> list[str]:
        """How many views are white beyond their image."""
        cut_off = [
            view.image
            for capture, cameras in zip(self._captures, self._cameras, strict=True)
            for view, camera in zip(capture.views, cameras, strict=True)
            if beyond(self._window(view, camera), *view.size)
        ]
        count = sum(len(capture.views) for capture in self._captures)
        return [
            f"{self.archive.path}: {len(cut_off)} of {count} crops go beyond their images and are "
            f"white there: {listed(cut_off)}"
        ] * bool(cut_off)

    def subject(self, index: int) -> Subject:
        """Read subject `index`. Raises ValueError naming the image that cannot be read."""
        capture, labels, views, masks, cameras = (
            self._captures[index],
            self._cameras[index],
            [],
            [],
            [],
        )
        for view, label in zip(capture.views, labels, strict=True):
            where = f"{self.archive.path}: {view.image}"
            pixels = decode_photograph(self.archive.read(view.image), where, ("RGB", "RGBA"))
            mask = self._mask(view, pixels)
            if len(pixels) == 4:  # over white, as our generators' plain background is
                alpha = pixels[3:].float() / 255
                pixels = (pixels[:3] * alpha + _WHITE * (1 - alpha)).round().byte()
            window = self._window(view, label)
            side = self._size or round(window[2])
            lens = (view.focal, view.center, view.distortion)
            views.append(cut(pixels, window, side, _WHITE, *lens))
            if mask is not None:
                masks.append(cut(mask, window, side, 0, *lens)[0])
            cameras.append(_label(label, view, window))
            if error := label_error(cameras[-1]):
                raise ValueError(f"{where}: camera {error}")
        if masks and len(masks) < len(views):
            raise ValueError(
                f"{self.archive.path}: {self._ids[index]}: {len(masks)} of {len(views)} views have "
                "masks"
            )
        if len({view.shape for view in views}) > 1:
            raise ValueError(
                f"{self.archive.path}: {self._ids[index]}: images differ in size: give resolution="
            )
        found = torch.stack(cameras)
        azimuth, elevation, _ = torch.deg2rad(orbit_angles(found)).unbind(-1)
        front = int((azimuth.cos() * elevation.cos()).argmax())
        degrees = orbit_angles(found)[front, :2].tolist()
        return Subject(
            id=self._ids[index],
            views=torch.stack(views),
            cameras=found,
            frontal=views[front],
            masks=torch.stack(masks) if masks else None,
            provenance={
                "source": self.name,
                "images": [view.image for view in capture.views],
                "frontal": {
                    "image": capture.views[front].image,
                    "azimuth": round(degrees[0], 3),
                    "elevation": round(degrees[1], 3),
                    "note": "semantics come from the view nearest the front",
                },
            },
            licence=self.licence,
        )

    def _grouped(self, captures: list[Capture]) -> list[Capture]:
        """Captures by the images' folders where asked for, and views with their images' sizes."""
        found: dict[str, list[View]] = {}
        for capture in captures:
            for view in capture.views:
                folder = view.image.rpartition("/")[0] if self.group == "folder" else ""
                name = "-".join(filter(None, [capture.name, folder]))
                found.setdefault(name, []).append(self._sized(view))
        return [Capture(name, tuple(views)) for name, views in found.items()]

    def _sized(self, view: View) -> View:
        where = f"{self.archive.path}: {view.image}"
        try:
            with self.archive.open(view.image) as file, Image.open(file) as image:
                size = image.size  # by the header alone
        except Exception as error:  # decoders meet damage with many kinds of exceptions
            raise ValueError(f"{where}: is not a readable image: {error}") from None
        try:
            return view.sized(*size)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None

    def _placed(self, capture: Capture) -> Tensor:  # [V, 4, 4] float64
        """Camera-to-world matrices in our scene. Raises ValueError naming the subject."""
        labels = np.zeros((len(capture.views), 25))
        labels[:, :16] = np.stack([view.pose for view in capture.views]).reshape(-1, 16)
        try:
            poses = converted(labels, self._steps)[:, :16].reshape(-1, 4, 4)
            u, size, v = np.linalg.svd(poses[:, :3, :3])
            if np.abs(size / size.mean(1, keepdims=True) - 1).max() > 0.02 or (
                np.linalg.det(u @ v).min() < 0
            ):
                raise ValueError("a pose is no rotation and place, or a mirror image")
            poses[:, :3, :3] = u @ v  # of a scaled rotation, as some tools write
            names = [view.image for view in capture.views]
            scene = scene_of(
                poses, names, center=self._center, scale=self._scale, front=self._front
            )
        except (ValueError, np.linalg.LinAlgError) as error:
            file = TRANSFORMS if self.form == "transforms" else "images.txt"
            where = f"{self.archive.path}: {capture.name or file}"
            raise ValueError(f"{where}: {error}") from None
        poses[:, :3, :3] = scene.rotation @ poses[:, :3, :3]
        poses[:, :3, 3] = scene.scale * poses[:, :3, 3] @ scene.rotation.T + scene.shift
        return torch.from_numpy(poses)

    def _window(self, view: View, pose: Tensor) -> tuple[float, float, float]:
        if self._crop == "head":
            try:
                window = head_window(pose.numpy(), view.focal, view.center)
                if window[2] < _LEAST_SIDE:
                    raise ValueError(
                        f"its camera shows the head {window[2]:.2g} pixels large: focal lengths are "
                        f"in pixels, here {view.focal[0]:.3g}"
                    )
                if outside(window, *view.size) or window[2] > _MOST_SIDES * max(view.size):
                    raise ValueError(
                        "its camera shows the head beyond the image: center= says where it is; "
                        "focal lengths and the principal point are in pixels"
                    )
            except ValueError as error:
                raise ValueError(f"{self.archive.path}: {view.image}: {error}") from None
            return window
        if self._crop == "none" and view.size[0] != view.size[1]:
            raise ValueError(
                f"{self.archive.path}: {view.image}: is {view.size[0]} x {view.size[1]} pixels: "
                "crop=head or crop=square makes it square"
            )
        return square_window(*view.size)

    def _mask(self, view: View, pixels: Tensor) -> Tensor | None:  # [1, H, W] uint8
        """The mask of a view: of `masks`, as the file names it, or the image's transparency."""
        archive, name = self.archive, view.mask
        if self._masks is not None:
            archive, stem = self._masks, view.image.rpartition(".")[0]
            same = [n for n in archive.images() if n == view.image or n.rpartition(".")[0] == stem]
            if not same:
                raise ValueError(f"{archive.path}: {view.image} has no mask")
            name = same[0]
        if name:
            where = f"{archive.path}: {name}"
            mask = decode_photograph(archive.read(name), where, ("L", "RGB"))[:1]
            if mask.shape[1:] != pixels.shape[1:]:
                raise ValueError(
                    f"{where}: is {mask.shape[2]} x {mask.shape[1]} pixels, its image "
                    f"{pixels.shape[2]} x {pixels.shape[1]}"
                )
            return mask
        return pixels[3:] if len(pixels) == 4 else None


def _label(pose: Tensor, view: View, window: tuple[float, float, float]) -> Tensor:  # [25] float32
    """The camera of a window."""
    left, top, side = window
    (fx, fy), (cx, cy) = view.focal, view.center
    lens = [fx / side, 0, (cx - left) / side, 0, fy / side, (cy - top) / side, 0, 0, 1]
    return torch.cat([pose.flatten(), torch.tensor(lens, dtype=torch.float64)]).float()
