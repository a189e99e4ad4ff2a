"""Settings that adversarial and reconstruction training share: the beginning and the generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from semhead_lib.settings import named_values, setting


@dataclass(frozen=True)
class BeginningSettings:
    """What a training begins with: subjects, how they are read, and a generator."""

    limit: int | None = setting(
        None, "int >= 2 or null", "first subjects of the dataset to train on; null = all"
    )
    views_limit: int | None = setting(
        None,
        "int >= 1 or null",
        "views of each subject to train on, spread evenly over all of its views; null = all",
    )
    stream: bool = setting(
        False, "bool", "read while training, for datasets that do not fit in memory"
    )
    workers: int = setting(
        2, "int >= 0", "processes of each process of the training that read, with stream=true"
    )
    init: str | None = setting(
        None,
        "path or null",
        "folder of a generator to begin with, and of its discriminator, if there",
    )


@dataclass(frozen=True)
class GeneratorSettings:
    """What every training of a generator has: its networks, and the parts of images that they are
    shown."""

    preset: str = setting(
        "semhead-64",
        "semhead-32 | semhead-64 | semhead-128 | semhead-512",
        "size of the generator; the dataset has images of its size",
    )
    representation: str = setting(
        "hyplane",
        "triplane | trigrid | spherical | hyplane | hyplane-2+2 | hyplane-channels",
        "planes",
    )
    background: str = setting(
        "learnt", "learnt | plain", "behind the head: drawn in two dimensions, or white"
    )
    generator: dict[str, Any] = named_values(
        "generator.NAME=VALUE",
        "change a number of the preset, e.g. generator.grid=0 generator.coarse=24",
    )
    crop: int = setting(
        0, "int >= 0", "pixels of the square parts of images that are rendered; 0 = whole images"
    )
    crop_whole: float = setting(
        0.35, "0 <= float <= 1", "share of parts that are the whole image made smaller"
    )
    crop_face: float = setting(
        0.6, "0 <= float <= 1", "share of the other parts that are cut around the face"
    )
