"""The entries of a sample as files: images and arrays, checked before anything is allocated."""

from __future__ import annotations

import io
import math
import threading
from typing import IO, Any

import numpy as np
import torch
from PIL import Image, ImageCms, UnidentifiedImageError
from torch import Tensor

IMAGE_FORMATS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 4},
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "webp": {"format": "WEBP", "lossless": True, "method": 4},
}
MAX_SIDE = 8192  # pixels; larger images are refused before they are decoded
MAX_ENTRY = 256 << 20  # bytes; larger files in an archive are refused before they are read
_HEADERS = (
    threading.Lock()
)  # numpy parses headers as Python, which Python 3.11 cannot do in several threads at once


def encode_image(
    pixels: Tensor, image_format: str = "png"
) -> bytes:  # uint8 [3, H, W], or uint8 or uint16 [H, W]
    """An image file: RGB, 8-bit grey or 16-bit grey."""
    array = (
        pixels.movedim(0, -1).contiguous().numpy()
        if pixels.ndim == 3
        else pixels.contiguous().numpy()
    )
    file = io.BytesIO()
    Image.fromarray(array).save(file, **IMAGE_FORMATS[image_format])
    return file.getvalue()


def decode_image(
    data: bytes,
    where: str,
    modes: tuple[str, ...] = ("RGB",),
    resolution: int | None = None,
    like: str = "",  # the image that has `resolution`
) -> Tensor:
    """Pixels of an image file: uint8 [3, H, W] for RGB, uint8 [H, W] for 8-bit grey, float32 [H, W]
    for 16-bit grey.

    Raises ValueError, starting with `where`, for a file that is no PNG, JPEG or WebP, is damaged,
    is not square, has another side than `resolution`, more than MAX_SIDE, or another mode than
    `modes`. Sizes are checked before decoding.
    """
    problem, array = None, np.zeros(0, np.uint8)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            side = resolution or min(image.width, MAX_SIDE)
            if image.size != (side, side):
                problem = f"is {image.width} x {image.height} pixels, expected {side} x {side}"
                problem += f", as {like} is" if like else ""
            elif image.mode not in modes:
                problem = f"has mode {image.mode}, expected {modes[0]}"
            else:
                array = np.array(image)
    except Exception as error:  # decoders meet damage with many kinds of exceptions
        why = "of no known kind" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{where}: is not a readable image: {why}") from None
    if problem:
        raise ValueError(f"{where}: {problem}")
    if array.ndim == 3:
        return torch.from_numpy(array).movedim(-1, 0).contiguous()
    return torch.from_numpy(array if array.dtype == np.uint8 else array.astype(np.float32))


def left_undone(file: IO[bytes]) -> list[str]:
    """What the file of an image asks for and `decode_image` does not do, by its header alone. Raises
    exceptions of many kinds for what is no image."""
    found, start = [], file.read(25)
    file.seek(0)
    with Image.open(file, formats=("PNG", "JPEG", "WEBP")) as image:
        if start.startswith(b"\x89PNG") and start[24:] == b"\x10":
            found.append("16 bits a channel, of which the upper 8 are kept")
        if _may_be_turned(image, file) and orientation(image) != 1:
            found.append("an EXIF orientation and are not turned: cameras are of pixels as stored")
        if other_profile(image.info.get("icc_profile")):
            found.append("a colour profile other than sRGB and keep the numbers as stored")
        if "transparency" in image.info:
            found.append("a transparent colour, which stays as it is")
        if getattr(image, "n_frames", 1) > 1:
            found.append("several frames, of which the first is taken")
    return found


def _may_be_turned(image: Image.Image, file: IO[bytes]) -> bool:
    """Whether there may be an orientation. That of a PNG may lie behind its pixels, where Pillow
    looks only after it has decoded them."""
    if {"exif", "xmp", "Raw profile type exif", "XML:com.adobe.xmp"} & set(image.info):
        return True
    at, behind = 8, False
    while image.format == "PNG":
        file.seek(at)
        length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        if len(kind) < 4:
            break
        if behind and kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
            return True
        at, behind = at + 12 + length, behind or kind == b"IDAT"
    return False


def orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; nothing else is read of what cameras and editors write there."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # damaged in many ways: then it says nothing
        return 1


def other_profile(profile: bytes | None) -> ImageCms.ImageCmsProfile | None:
    """An ICC profile that can be read and is not that of sRGB; else None."""
    try:
        found = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else None
        ours = found is None or "sRGB" in ImageCms.getProfileDescription(found)
    except (ImageCms.PyCMSError, ValueError, OSError, TypeError):
        return None
    return None if ours else found


def encode_npy(values: Tensor) -> bytes:  # float32
    """A .npy file."""
    file = io.BytesIO()
    np.save(file, values.contiguous().numpy(), allow_pickle=False)
    return file.getvalue()


def decode_npy(
    data: bytes, where: str, shape: tuple[int | None, ...], kind: type[np.generic] = np.float32
) -> Tensor:  # of `kind`
    """The array of a .npy file, `None` in `shape` standing for any length.

    The header is compared with `shape` and with the bytes there are before anything is allocated.
    Raises ValueError, starting with `where`.
    """
    file = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("unknown version")
        with _HEADERS:
            found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # the header is a Python literal: many kinds of exceptions
        raise ValueError(f"{where}: is not a readable .npy file: {error}") from None
    if dtype != kind or fortran or len(found) != len(shape):
        raise ValueError(
            f"{where}: expected {kind.__name__} of {_shape(shape)}, got {dtype} of {_shape(found)}"
        )
    if any(want not in (None, got) for want, got in zip(shape, found, strict=True)):
        raise ValueError(f"{where}: expected shape {_shape(shape)}, got {_shape(found)}")
    body = data[file.tell() :]
    if len(body) != dtype.itemsize * math.prod(found):
        raise ValueError(
            f"{where}: has {len(body)} bytes of numbers, its shape {_shape(found)} needs others"
        )
    return torch.from_numpy(np.frombuffer(body, dtype=dtype).reshape(found).copy())


def _shape(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"
