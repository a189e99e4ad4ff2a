"""What images and videos of heads are made of."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.conditioning.headclip.recipe import NAME as HEADCLIP
from semhead_lib.settings import check, setting


@dataclass(frozen=True)
class SampleSettings:
    """Which heads are drawn, and from where. Raises ValueError for a value out of range."""

    heads: int = setting(8, "int >= 1", "how many; with texts or images, that many each")
    seed: int = setting(
        0,
        "int >= 0",
        "of latents and conditions: heads of one seed stay the same when more are asked for",
    )
    texts: str | None = setting(
        None,
        "text or null",
        "descriptions, separated by ';', e.g. \"a woman with red hair; a man with a beard\"",
    )
    images: str | None = setting(
        None,
        "path or null",
        "a photograph of a face, frontal and cropped as the dataset's, or a folder of them",
    )
    encoder: str = setting(
        HEADCLIP,
        "text",
        "that makes features of texts and images; the one the generator was trained with",
    )
    strategy: str = setting(
        "interpolate",
        "data | perturb | interpolate | gaussian | uniform",
        "how conditions are drawn else: from the kept features, turned, between them, ...",
    )
    psi: float = setting(
        0.8,
        "0 <= float <= 1",
        "truncation of the style towards the condition's mean: 1 = none, 0 = the mean head",
    )
    reject: float = setting(
        0.0,
        "0 <= float < 1",
        "share of the heads drawn that are left out: those farthest from real heads in headjudge's "
        "features, or with a face on their back; which ones are kept depends on how many are asked",
    )
    max_distance: float | None = setting(
        None,
        "float > 0 or null",
        "instead of reject: heads are drawn until enough lie within this distance of real ones, 1 as "
        "real heads are from each other",
    )
    views: int = setting(
        8, "int >= 1", "azimuths in the image, at equal steps from the back over the front"
    )
    elevation: float = setting(0.0, "-60 <= float <= 60", "of the cameras, degrees")
    grid: int | None = setting(
        None,
        "0 <= int <= 256 or null",
        "nodes a side of a density grid of each head, which places the samples: 24 with "
        "coarse=32 fine=10 is 2 to 3 times as fast for the shipped heads; null = as trained, "
        "0 = none",
    )
    coarse: int | None = setting(
        None,
        "2 <= int <= 512 or null",
        "stratified samples of a ray; with a grid: strata that are looked up in it; null = as"
        " trained",
    )
    fine: int | None = setting(
        None,
        "0 <= int <= 512 or null",
        "samples drawn from their weights; with a grid the only ones, at least 2; null = as "
        "trained",
    )
    frames: int = setting(72, "int >= 0", "of the video, a full turn; 0 = no video")
    fps: int = setting(24, "int >= 1", "frames a second")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class GeneratedSettings:
    """Which generator's heads are stored, and under which conditions."""

    model: str = setting(
        "semhead-128",
        "path",
        "generator: the name of one that ships with the package, or a folder of 'semhead train'",
    )
    psi: float = setting(
        0.8,
        "0 <= float <= 2",
        "truncation of the style towards the condition's mean: 1 = none, 0 = the mean head",
    )
    strategy: str = setting(
        "interpolate",
        "data | perturb | interpolate | gaussian | uniform",
        "how conditions are drawn from the features that the generator keeps",
    )
