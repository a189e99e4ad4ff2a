"""Any photograph of a person as a portrait in our convention: an aligned crop, its camera, and a
mask of the head."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from semhead_lib.cameras import Camera, orbit_angles
from semhead_lib.data.dataset.archives import folder_labels, parse_label
from semhead_lib.data.dataset.conventions import camera_problem, looks_like
from semhead_lib.data.dataset.manifest import MANIFEST
from semhead_lib.data.portraits import silhouette
from semhead_lib.data.portraits.crop import cut_square, resized
from semhead_lib.data.portraits.head_finder.search import mask_of_crop
from semhead_lib.data.portraits.landmarks import head_landmarks
from semhead_lib.data.portraits.photos import find_photos, read_photo_and_alpha
from semhead_lib.data.portraits.placement import WIDE, Placement, place

_UNSURE = 0.75  # certainty below which a user should look
_POOR_FIT = 0.04  # of the crop's width: 99 of 100 parametric heads are nearer to their landmarks


@dataclass(frozen=True)
class Portrait:
    """A photograph aligned to the convention of `cameras`."""

    name: str  # of the photograph, made fit for a file name
    # [3, S, S] uint8; background as in the photograph, edges reflected and blurred beyond it
    image: Tensor
    camera: Tensor  # [25] float32, on the orbit when it was found from landmarks
    mask: Tensor  # [S, S] uint8 coverage of the head: 0 background, 255 head
    inside: Tensor  # [S, S] uint8: 255 where the crop lies inside the photograph, else 0
    landmarks: (
        Tensor | None
    )  # [K, 2] float32 in [0, 1], x right, y down, in the crop; None when the camera was given
    error: (
        float | None
    )  # rms distance of landmarks to those of our head, in shares of the crop's width
    notes: tuple[str, ...]  # what the user should know, a sentence each
    provenance: dict[str, Any]  # JSON: where camera and mask come from, size of the photograph

    @property
    def azimuth(self) -> float:
        """Degrees, positive towards the subject's left."""
        return float(orbit_angles(self.camera[None])[0, 0])

    @property
    def elevation(self) -> float:
        """Degrees, positive upwards."""
        return float(orbit_angles(self.camera[None])[0, 1])


def read_portrait(
    path: Path | str,
    *,
    resolution: int = 256,  # pixels a side of the crop
    finder: str = "auto",  # one of placement.FINDERS: what finds the head
    landmarks: int = 68,  # or 5, whose model has no restriction on its use
    camera: Tensor
    | None = None,  # [25]: the photograph is an aligned crop already, seen by this camera
    mask: Tensor | None = None,  # [H, W] uint8 coverage of the head in the whole photograph
) -> Portrait:
    """Read a JPEG, PNG or WebP photograph, find the head, and align it.

    A photograph with a camera label in an EG3D or PanoHead `dataset.json` (in its folder or the one
    above) counts as aligned: no head is sought. A real alpha channel is the mask, unless one is
    given; else it is by the head finder, or by GrabCut where landmarks alone are asked for. Raises
    FileNotFoundError, or ValueError naming the photograph and what is wrong: no readable image, no
    head, a face too small or cut off; ModuleNotFoundError with the command that installs dlib or
    OpenCV (extra `faces`), where landmarks are asked for.
    """
    path = Path(path)
    image, alpha = read_photo_and_alpha(path)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-")[:80] or "photo"
    given = camera is not None
    labelled = None if given else _labelled(path)
    camera = torch.as_tensor(camera, dtype=torch.float32) if given else labelled and labelled[0]
    if camera is not None:
        portrait = _aligned_already(
            image,
            camera,
            "given" if given else "label",
            name,
            resolution,
            finder,
            alpha,
            mask,
            str(path),
        )
        return replace(portrait, notes=labelled[1]) if labelled else portrait
    return align(
        image,
        name=name,
        resolution=resolution,
        finder=finder,
        landmarks=landmarks,
        alpha=alpha,
        mask=mask,
        where=str(path),
    )


def align(
    image: Tensor,  # [3, H, W] uint8
    *,
    name: str,
    resolution: int = 256,
    finder: str = "auto",
    landmarks: int = 68,
    alpha: Tensor | None = None,  # [H, W] uint8
    mask: Tensor | None = None,  # [H, W] uint8, stands before `alpha`
    where: str | None = None,  # what errors call the image; None: its name
) -> Portrait:
    """The portrait of the head in an image. Raises as `read_portrait` does."""
    where = name if where is None else where
    height, width = image.shape[1:]
    cover, cover_source = _coverage(alpha, mask, (height, width), where)
    found = place(image, finder, landmarks, where)
    fit = found.fit
    camera = Camera.orbit(fit.azimuth, fit.elevation).label
    crop, inside = cut_square(image, fit.similarity, resolution)
    if cover is None:
        cropped, cover_source = _found_mask(crop, camera, inside, finder)
    else:
        cropped = cut_square(cover[None], fit.similarity, resolution)[0][0]
    cropped = torch.where(inside > 0, cropped, 0).byte()
    _check_covered(cropped, cover_source, where)
    points = found.landmarks
    return Portrait(
        name=name,
        image=crop,
        camera=camera,
        mask=cropped,
        inside=inside,
        landmarks=None if points is None else torch.from_numpy(fit.to_crop(points)).float(),
        error=fit.error,
        notes=(*found.notes, *_notes(found, camera, inside, cropped)),
        provenance={
            **found.source,
            "mask": cover_source,
            "photo size": [height, width],
            "roll": round(fit.roll, 3),
            "crop": fit.similarity.round(3).tolist(),
            "crop's side": round(fit.side, 1),
            "faces": found.faces,
            "certainty": None if found.certainty is None else round(found.certainty, 3),
        },
    )


def find_portraits(folder: Path | str) -> list[tuple[str, Path, Tensor | None]]:
    """Photographs of a folder in order: whom each shows (`find_photos`), its file, its camera label
    or None.

    Raises ValueError when there is none, or when a label is no camera.
    """
    return [(person, path, label_of(path)) for person, path in find_photos(folder)]


def label_of(path: Path | str) -> Tensor | None:  # [25] float32
    """Camera of a photograph from the `dataset.json` of its folder or the one above; None where
    there is none.

    A label of the same name with another suffix counts where there is no other: images are often
    converted. Raises ValueError naming the file and what is wrong with it.
    """
    found = _labelled(Path(path))
    return found and found[0]


def _labelled(path: Path) -> tuple[Tensor, tuple[str, ...]] | None:
    """The camera from a label, and a note where it is that of another file's name."""
    path = path.absolute()
    for folder in path.parents[:2]:
        labels, image = folder_labels(folder), path.relative_to(folder)
        name = image.as_posix()
        if name not in labels:
            stem = PurePosixPath(name).with_suffix("")
            alike = [n for n in labels if PurePosixPath(n).with_suffix("") == stem]
            if len(alike) != 1 or (folder / alike[0]).is_file():
                continue
            name = alike[0]
        try:
            label = parse_label(labels[name])
            if looks_like(label[None]):
                raise ValueError(f"is of another convention: {camera_problem(label[None])}")
            camera = torch.from_numpy(label)
        except ValueError as error:
            raise ValueError(f"{folder / MANIFEST}: {name}: label {error}") from None
        notes = ()
        if name != image.as_posix():
            notes += (f"The camera is that of {name} in {MANIFEST}.",)
        if problem := camera_problem(label[None]):
            notes += (f"The label in {MANIFEST} is doubtful: {problem}.",)
        return camera, notes
    return None


def overlay(portrait: Portrait) -> Tensor:  # [3, S, S] uint8
    """The crop with the mask's outline (blue), the landmarks (green), and those of our head from
    its camera (red)."""
    image = portrait.image.float()
    head = (portrait.mask > 127).float()[None, None]
    edge = (F.max_pool2d(head, 3, 1, 1) - head)[0, 0] > 0
    image[:, edge] = torch.tensor([40.0, 90.0, 255.0])[:, None]
    drawn = Image.fromarray(image.byte().permute(1, 2, 0).contiguous().numpy())
    pen, size = ImageDraw.Draw(drawn), portrait.image.shape[-1]
    if portrait.landmarks is not None:
        head_points = head_landmarks(len(portrait.landmarks)).seen_from(
            portrait.azimuth, portrait.elevation
        )
        radius = max(size / 200, 0.5)
        for points, colour in (
            (portrait.landmarks.numpy(), (0, 230, 0)),
            (head_points, (255, 40, 40)),
        ):
            for x, y in points * size - 0.5:
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return torch.from_numpy(np.array(drawn)).permute(2, 0, 1)


def _notes(found: Placement, camera: Tensor, inside: Tensor, mask: Tensor) -> list[str]:
    notes, size, fit = [], len(mask), found.fit
    head = silhouette.prior(camera, size) > 0.5
    lost = float((head & (inside == 0)).sum() / head.sum().clamp_min(1))
    if lost > 0.01:
        notes.append(f"The photo's edge cuts off about {100 * lost:.0f} % of the head.")
    if fit.side < 0.6 * size:
        notes.append(
            f"The crop is only {fit.side:.0f} pixels of the photo wide and was enlarged to {size}."
        )
    by_landmarks = found.certainty is None
    if by_landmarks and abs(fit.azimuth) > WIDE:
        notes.append(
            f"The head is turned by {fit.azimuth:.0f} degrees: beyond {WIDE:.0f} the camera is "
            "uncertain."
        )
    if by_landmarks and fit.error > _POOR_FIT:
        notes.append(
            f"The landmarks are {100 * fit.error:.1f} % of the crop's width off our head's: check "
            "the camera."
        )
    if not by_landmarks and (found.certainty or 0) < _UNSURE:
        notes.append(f"The head finder's certainty is {found.certainty:.2f}: check the camera.")
    agreed = float(((mask > 127) & head).sum() / head.sum().clamp_min(1))
    if agreed < 0.6:
        notes.append(f"The mask covers only {100 * agreed:.0f} % of where heads are: check it.")
    if found.landmarks is not None and len(found.landmarks) == 68:
        notes.append(
            "The 68-landmark model was trained on iBUG 300-W: no commercial use (landmarks=5 has "
            "no such term)."
        )
    return notes


def _found_mask(
    crop: Tensor, camera: Tensor, inside: Tensor | None, finder: str
) -> tuple[Tensor, str]:  # [S, S] uint8, what it is from
    """The mask of a crop's head: the head finder's, or GrabCut's where landmarks are asked for, or
    where it sees no head."""
    if finder != "landmarks" and (found := mask_of_crop(crop)) is not None:
        return found, "head finder"
    return silhouette.foreground(crop, camera, inside), "grabcut"


def _aligned_already(
    image: Tensor,
    camera: Tensor,
    source: str,
    name: str,
    resolution: int,
    finder: str,
    alpha: Tensor | None,
    mask: Tensor | None,
    where: str,
) -> Portrait:
    height, width = image.shape[1:]
    if height != width:
        raise ValueError(
            f"{where}: a photo with a camera must be a square crop, got {width} x {height} pixels"
        )
    try:
        Camera(camera)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    cover, cover_source = _coverage(alpha, mask, (height, width), where)
    crop = resized(image, (resolution, resolution))
    if cover is None:
        cover, cover_source = _found_mask(crop, camera, None, finder)
    cover = resized(cover[None], (resolution, resolution))[0]
    _check_covered(cover, cover_source, where)
    inside = torch.full_like(cover, 255)
    provenance = {"camera": source, "mask": cover_source, "photo size": [height, width]}
    return Portrait(name, crop, camera, cover, inside, None, None, (), provenance)


def _check_covered(mask: Tensor, source: str, where: str) -> None:
    if not bool((mask > 127).any()):
        raise ValueError(f"{where}: the mask ({source}) shows no head: it is empty")


def _coverage(
    alpha: Tensor | None, mask: Tensor | None, size: tuple[int, int], where: str
) -> tuple[Tensor | None, str]:
    """The mask that comes with a photograph, [H, W] uint8, and what it is."""
    if mask is None:
        return alpha, "alpha"
    if (
        mask.ndim != 2
        or mask.dtype != torch.uint8
        or abs(mask.shape[0] * size[1] / mask.shape[1] / size[0] - 1) > 0.01
    ):
        raise ValueError(
            f"{where}: mask must be uint8 of shape [H, W] like the photo's {list(size)}, "
            f"got {mask.dtype} of shape {list(mask.shape)}"
        )
    return resized(mask[None], size)[0], "given"
