"""One subject as one WebDataset sample: a handful of named files, none of which is ever unpickled.

| entry                  | content                                                                                    |
|------------------------|--------------------------------------------------------------------------------------------|
| `view_000.png` ...     | RGB, `png` or `webp` (both lossless) or `jpg` (quality 95, no chroma subsampling)          |
| `mask_000.png` ...     | coverage of the head, 8 bits: 0 background, 255 subject                                    |
| `depth_000.png`        | camera z, 16 bits, times `depth_unit` of the JSON; 0 where nothing is hit                  |
| `normal_000.png`       | world normals as RGB, 127.5 (n + 1)                                                        |
| `segmentation_000.png` | class of the surface, 8 bits; `label_000.png` in version 1                                 |
| `cameras.npy`          | [V, 25] float32                                                                            |
| `frontal.png`          | RGB, always lossless, since semantics come from it; absent when it is one of the views     |
| `semantic.npy`         | [D] float32                                                                                |
| `json`                 | which of these there are, and attributes, caption, provenance, licence (see `SampleInfo`)  |

Depth is precise to half a unit. The unit is 1e-4 scene units up to a depth of 6.5 and ten times
more for each ten times beyond, so heads lose at most 5e-5. Everything else but `jpg` views comes
back exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from semhead_lib.cameras import LABEL_LENGTH, label_error
from semhead_lib.data.dataset.entries import (
    IMAGE_FORMATS,
    MAX_SIDE,
    decode_image,
    decode_npy,
    encode_image,
    encode_npy,
)
from semhead_lib.data.dataset.sample_info import (
    DEPTH_UNIT,
    STEMS,
    VERSION,
    Sample,
    SampleInfo,
    decode_info,
    encode_info,
)
from semhead_lib.data.subjects import Subject

_MODES = {
    "view": ("RGB",),
    "mask": ("L",),
    "depth": ("I;16", "I"),
    "normal": ("RGB",),
    "segmentation": ("L",),
    "label": ("L",),
}


def encode_subject(subject: Subject, image_format: str = "png") -> dict[str, Any]:
    """`subject` as a WebDataset sample: entry name -> bytes, and its id under "__key__".

    The same subject gives the same bytes (of one version of Pillow). Raises ValueError naming the
    field that is wrong: what `Subject.validate` finds, images that are not square, depth that is
    negative or not finite, values JSON lacks.
    """
    subject.validate()
    if image_format not in IMAGE_FORMATS:
        raise ValueError(
            f"image_format must be one of {', '.join(IMAGE_FORMATS)}, got {image_format!r}"
        )
    count, _, height, width = subject.views.shape
    if height != width or width > MAX_SIDE:
        raise ValueError(
            f"subject {subject.id}: images must be square, at most {MAX_SIDE}, got {height} x "
            f"{width}"
        )
    frontal_view = None
    if image_format != "jpg":  # semantics are made from exact pixels
        frontal_view = next(
            (i for i, view in enumerate(subject.views) if torch.equal(view, subject.frontal)), None
        )
    optional = ("masks", "depth", "normals", "segmentation", "semantic")
    info = SampleInfo(
        id=subject.id,
        version=VERSION,
        resolution=width,
        views=count,
        image_format=image_format,
        fields=(
            "views",
            "cameras",
            "frontal",
            *(f for f in optional if getattr(subject, f) is not None),
        ),
        depth_unit=None if subject.depth is None else _depth_unit(subject),
        frontal_view=frontal_view,
        semantic_encoder=subject.semantic_encoder,
        attributes=subject.attributes,
        caption=subject.caption,
        provenance=subject.provenance,
        licence=subject.licence,
    )
    sample: dict[str, Any] = {"__key__": subject.id, "cameras.npy": encode_npy(subject.cameras)}
    if frontal_view is None:
        sample["frontal.png"] = encode_image(subject.frontal)
    if subject.semantic is not None:
        sample["semantic.npy"] = encode_npy(subject.semantic)
    for field in info.fields:
        for view in range(count) if field in STEMS else ():
            value, kind = getattr(subject, field)[view], image_format if field == "views" else "png"
            if field == "depth":
                steps = np.rint(value.double().numpy() / info.depth_unit)
                value = torch.from_numpy(np.maximum(steps, value.numpy() > 0).astype(np.uint16))
            sample[info.entry(field, view)] = encode_image(value, kind)
    sample["json"] = encode_info(info)
    return sample


def decode_entry(sample: Sample, info: SampleInfo, name: str) -> Tensor:
    """Decode one entry of `info.entries()` but the `json`.

    Images come as uint8 [3, R, R] or [R, R] (depth: float32 [R, R] in scene units), arrays as
    float32.
    Raises ValueError naming the entry and what is wrong with it.
    """
    where, stem = f"{info.id}.{name}", name.partition("_")[0]
    if name not in sample:
        raise ValueError(f"{where}: missing")
    if name == "cameras.npy":
        cameras = decode_npy(sample[name], where, (info.views, LABEL_LENGTH))
        for row, label in enumerate(cameras.numpy()):
            if error := label_error(label):
                raise ValueError(f"{where}: row {row} {error}")
        return cameras
    if name == "semantic.npy":
        semantic = decode_npy(sample[name], where, (None,))
        if not semantic.isfinite().all():
            raise ValueError(f"{where}: has numbers that are not finite")
        return semantic
    pixels = decode_image(sample[name], where, _MODES.get(stem, ("RGB",)), info.resolution)
    return pixels * info.depth_unit if stem == "depth" and info.depth_unit else pixels


def decode_subject(sample: Sample) -> Subject:
    """The subject that `encode_subject` was given. Raises ValueError naming the entry that is
    missing or wrong."""
    info = decode_info(sample)
    values: dict[str, Any] = {"cameras": decode_entry(sample, info, "cameras.npy")}
    for field in info.fields:
        if field in STEMS:
            values[field] = torch.stack(
                [decode_entry(sample, info, info.entry(field, i)) for i in range(info.views)]
            )
    front = info.frontal_view
    values["frontal"] = (
        decode_entry(sample, info, "frontal.png")
        if front is None
        else values["views"][front].clone()
    )
    if "semantic" in info.fields:
        values["semantic"] = decode_entry(sample, info, "semantic.npy")
    for name in ("semantic_encoder", "attributes", "caption", "provenance", "licence"):
        values[name] = getattr(info, name)
    return Subject(id=info.id, **values).validate()


def sample_problems(sample: Sample) -> list[str]:
    """Everything wrong with a sample, one line each; empty when `decode_subject` would take it."""
    try:
        info = decode_info(sample)
    except ValueError as error:
        return [str(error)]
    expected = info.entries()
    problems = [
        f"{info.id}.{name}: unexpected entry"
        for name in sorted(set(sample) - {"__key__", *expected})
    ]
    for name in expected:
        try:
            if name != "json":
                decode_entry(sample, info, name)
        except ValueError as error:
            problems.append(str(error))
    return problems


def _depth_unit(subject: Subject) -> float:
    depth = subject.depth
    if depth is None or not bool(depth.isfinite().all()) or bool((depth < 0).any()):
        raise ValueError(f"subject {subject.id}: depth must be finite and not negative")
    unit = DEPTH_UNIT
    while float(depth.max()) > 65535 * unit:
        unit *= 10
    return round(unit, 10)
