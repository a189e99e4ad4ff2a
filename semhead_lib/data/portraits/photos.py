"""Photographs as people have them: rotated by EXIF, with alpha, in grey, large."""

from __future__ import annotations

import io
import warnings
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, ImageCms, UnidentifiedImageError
from torch import Tensor

from semhead_lib.data.dataset.archives import folder_labels
from semhead_lib.data.dataset.entries import orientation, other_profile
from semhead_lib.errors import listed

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
UNREAD = (".avif", ".bmp", ".cr2", ".cr3", ".dng", ".gif", ".heic", ".heif", ".jp2", ".jxl")
UNREAD += (".nef", ".arw", ".psd", ".tif", ".tiff")
_OWN = {"report.png": "report.html", "heads.png": "heads.json"}  # images that we write beside these
_LARGEST = 4096  # pixels of the longer side; what is larger is made smaller as it is read
_MOST, _LONGEST = 200_000_000, 16  # pixels; times the shorter side
_TURNS = {  # EXIF's orientation -> what makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_photo(path: Path | str) -> Tensor:  # [3, H, W] uint8
    """Read an image upright, in RGB (sRGB, 8 bit); what is transparent becomes white.

    Raises FileNotFoundError, or ValueError naming the file and what is wrong with it.
    """
    return read_photo_and_alpha(path)[0]


def read_photo_and_alpha(
    path: Path | str,
) -> tuple[Tensor, Tensor | None]:  # [3, H, W] uint8, [H, W] uint8
    """`read_photo`, and the alpha channel where something is transparent. Raises as it does."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: is a folder, expected an image")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is no file that can be read to an end")
    image = _opened(path, str(path))
    alpha = torch.from_numpy(np.array(image.getchannel("A")))
    return _over_white(image), None if bool((alpha > 250).all()) else alpha


def decode_photo(data: bytes, name: str) -> Tensor:  # [3, H, W] uint8
    """`read_photo` for a file's bytes; errors call it `name`."""
    return _over_white(_opened(io.BytesIO(data), name))


def as_photo(image: Path | str | Image.Image | np.ndarray | Tensor) -> Tensor:  # [3, H, W] uint8
    """An image as `read_photo` reads one: a file, a PIL image, an array [H, W, 3] or a tensor [3,
    H, W] of uint8.

    Raises what `read_photo` raises, and ValueError for another shape or type.
    """
    if isinstance(image, (str, Path)):
        return read_photo(image)
    if isinstance(image, Image.Image):
        _check_size(image)
        return _over_white(_upright(image))
    if isinstance(image, np.ndarray) and image.ndim == 3:
        image = torch.from_numpy(image.copy()).permute(2, 0, 1)
    if (
        not isinstance(image, Tensor)
        or image.dtype != torch.uint8
        or image.ndim != 3
        or image.shape[0] != 3
        or not image.numel()
    ):
        came = (
            f"{image.dtype} {list(image.shape)}"
            if hasattr(image, "shape")
            else type(image).__name__
        )
        raise ValueError(
            "an image is a path, a PIL image, a uint8 array [H, W, 3] or a uint8 tensor [3, H, "
            f"W]; got {came}"
        )
    return image


def _opened(file: Path | io.BytesIO, name: str) -> Image.Image:  # RGBA
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # of tags that nobody asks for
            Image.open(file, formats=("JPEG", "PNG", "WEBP")) as opened,
        ):
            _check_size(opened)
            opened.draft("RGB", (_LARGEST, _LARGEST))
            opened.load()  # here: of a PNG, reading EXIF would decode it, and pass over what is broken
            return _upright(opened)
    except FileNotFoundError:
        raise
    except Exception as error:  # decoders meet damage with many kinds of exceptions
        why = "of no known kind" if isinstance(error, UnidentifiedImageError) else str(error)
        why = why or type(error).__name__
        raise ValueError(f"{name}: no readable JPEG, PNG or WebP image: {why}") from None


def _check_size(image: Image.Image) -> None:
    """Raise ValueError, before anything is decoded, for an image that no photograph can be."""
    low, high = sorted(image.size)
    if low < 1 or high > low * _LONGEST or low * high > _MOST:
        raise ValueError(
            f"{image.width} x {image.height} pixels; expected at most {_MOST // 10**6} million, the "
            f"longer side at most {_LONGEST} times the shorter"
        )


def _upright(image: Image.Image) -> Image.Image:  # RGBA, not larger than _LARGEST
    turn, profile = _TURNS.get(orientation(image)), image.info.get("icc_profile")
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        grey = np.asarray(image).astype(np.float32) / 257
        image = Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))
    image = _in_srgb(image, profile).convert("RGBA")
    image.thumbnail((_LARGEST, _LARGEST))
    return image if turn is None else image.transpose(turn)


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The image's colours by its ICC profile as those of sRGB; as they are where it has none, or one
    that cannot be read."""
    its, alpha = other_profile(profile), None
    if its is None:
        return image
    try:
        if image.mode in ("P", "PA", "LA", "RGBA"):
            alpha = image.convert("RGBA").getchannel("A")
            image = image.convert("L" if image.mode == "LA" else "RGB")
        ours = ImageCms.createProfile("sRGB")
        found = ImageCms.profileToProfile(image, its, ours, outputMode="RGB")
        if alpha is not None and found is not None:
            found.putalpha(alpha)
        return image if found is None else found
    except (ImageCms.PyCMSError, ValueError, OSError, TypeError):
        return image


def _over_white(image: Image.Image) -> Tensor:  # RGBA -> [3, H, W] uint8
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image)
    return torch.from_numpy(np.array(ground.convert("RGB"))).permute(2, 0, 1)


def find_photos(folder: Path | str) -> list[tuple[str, Path]]:
    """Images of a folder in the order of their names, each with whom it shows.

    An image in a subfolder shows the person that the subfolder is named for; one beside them shows
    a person of its own, and so does one that `dataset.json` in `folder` has a camera label for:
    EG3D's subfolders hold many people each. Hidden files, and what our commands wrote, are no
    photographs; images of kinds that are not read are named in a warning. Raises ValueError when
    there is none.
    """
    folder, photos = Path(folder), []
    labels = {PurePosixPath(name).with_suffix("") for name in folder_labels(folder)}
    unread: list[str] = []
    for place in (folder, *(p for p in _visible(folder) if p.is_dir())):
        for path in _visible(place):
            kind, name = path.suffix.lower(), path.relative_to(folder)
            if not path.is_file() or (place / _OWN.get(path.name, ".")).is_file():
                continue
            if kind in SUFFIXES:
                alone = place == folder or PurePosixPath(name.with_suffix("")) in labels
                photos.append((path.stem if alone else place.name, path))
            elif kind in UNREAD:
                unread.append(name.as_posix())
    if unread:
        known = ", ".join(SUFFIXES)
        warnings.warn(f"{folder}: left out {listed(unread)}: only {known} are read", stacklevel=2)
    if not photos:
        raise ValueError(f"{folder}: no folder with images ({', '.join(SUFFIXES)})")
    return photos


def _visible(folder: Path) -> list[Path]:
    hidden = (".", "__MACOSX", "@eaDir")
    return sorted(p for p in folder.iterdir() if not p.name.startswith(hidden))
