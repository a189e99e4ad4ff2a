"""Settings of images and videos of heads."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.conditioning.headclip.recipe import NAME as HEADCLIP
from semhead_lib.settings import check, setting


@dataclass(frozen=True)
class SampleSettings:
    """Which heads are drawn, and from where. Raises ValueError for a value out of range."""

    heads: int = setting(8, "int >= 1", "number of heads; with texts or images, for each of them")
    seed: int = setting(
        0,
        "int >= 0",
        "random seed of latents and conditions; more heads of one seed begin with the same heads",
    )
    texts: str | None = setting(
        None,
        "text or null",
        "descriptions, separated by ';', e.g. \"a woman with red hair; a man with a beard\"",
    )
    images: str | None = setting(
        None,
        "path or null",
        "a photograph of a head from any side, cropped as the dataset's, or a folder of them",
    )
    encoder: str = setting(
        HEADCLIP,
        "text",
        "encoder of texts and images; must be the one the generator was trained with",
    )
    strategy: str = setting(
        "interpolate",
        "data | perturb | interpolate | gaussian | uniform",
        "how conditions are sampled without texts or images: stored features, perturbed features, "
        "interpolations, ...",
    )
    psi: float = setting(
        0.8,
        "0 <= float <= 1",
        "truncation psi towards the mean w of the condition: 1 = none, 0 = the mean head",
    )
    reject: float = setting(
        0.0,
        "0 <= float < 1",
        "share of the sampled heads to reject: those farthest from real heads in headjudge's "
        "features, or with a face on the back; which heads are kept depends on their number",
    )
    max_distance: float | None = setting(
        None,
        "float > 0 or null",
        "instead of reject: sample until enough heads lie within this distance of real ones; 1 = "
        "usual distance between real heads",
    )
    views: int = setting(
        8, "int >= 1", "azimuths in the image, evenly spaced from the back over the front"
    )
    elevation: float = setting(0.0, "-60 <= float <= 60", "elevation of the cameras, degrees")
    grid: int | None = setting(
        None,
        "0 <= int <= 256 or null",
        "nodes a side of a density grid that places the samples, so that fewer are needed; it "
        "misses structures thinner than its cells; null = as trained, 0 = none",
    )
    coarse: int | None = setting(
        None,
        "2 <= int <= 512 or null",
        "coarse samples per ray; with a grid: strata that are looked up in it; null = as trained",
    )
    fine: int | None = setting(
        None,
        "0 <= int <= 512 or null",
        "fine samples per ray; with a grid, the only samples (at least 2); null = as trained",
    )
    frames: int = setting(72, "int >= 0", "frames of the turntable video; 0 = no video")
    fps: int = setting(24, "int >= 1", "frames a second")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class GeneratedSettings:
    """Which generator's heads are stored, and under which conditions."""

    model: str = setting(
        "semhead-128",
        "path",
        "name of a shipped generator, or folder of 'semhead train'",
    )
    psi: float = setting(
        0.8,
        "0 <= float <= 2",
        "truncation psi towards the mean w of the condition: 1 = none, 0 = the mean head",
    )
    strategy: str = setting(
        "interpolate",
        "data | perturb | interpolate | gaussian | uniform",
        "how conditions are sampled from the features stored with the generator",
    )
