"""Settings that adversarial and reconstruction training share: the beginning and the generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from semhead_lib.settings import named_values, setting


@dataclass(frozen=True)
class BeginningSettings:
    """Start of a training: subjects, how they are read, and an initial generator."""

    limit: int | None = setting(
        None, "int >= 2 or null", "train on the first N subjects only; null = all"
    )
    views_limit: int | None = setting(
        None,
        "int >= 1 or null",
        "views of each subject to train on, evenly spread; null = all",
    )
    stream: bool = setting(
        False, "bool", "read while training, for datasets that do not fit in memory"
    )
    workers: int = setting(
        2, "int >= 0", "with stream=true: reader processes for each training process"
    )
    init: str | None = setting(
        None,
        "path or null",
        "folder of a generator (and discriminator, if present) to start from",
    )


@dataclass(frozen=True)
class GeneratorSettings:
    """Settings of every training of a generator: its networks, and the crops of images."""

    preset: str = setting(
        "semhead-64",
        "semhead-32 | semhead-64 | semhead-128 | semhead-512",
        "size of the generator; must match the resolution of the dataset",
    )
    representation: str = setting(
        "hyplane",
        "triplane | trigrid | spherical | hyplane | hyplane-2+2 | hyplane-channels",
        "plane representation",
    )
    background: str = setting(
        "learnt", "learnt | plain", "background: a learnt 2-D image, or white"
    )
    generator: dict[str, Any] = named_values(
        "generator.NAME=VALUE",
        "change a number of the preset, e.g. generator.grid=0 generator.coarse=24",
    )
    crop: int = setting(
        0, "int >= 0", "size of square crops that are rendered, pixels; 0 = whole images"
    )
    crop_whole: float = setting(
        0.35, "0 <= float <= 1", "share of crops that are the whole image, downsampled"
    )
    crop_face: float = setting(
        0.6, "0 <= float <= 1", "share of the other crops that are centred on the face"
    )
