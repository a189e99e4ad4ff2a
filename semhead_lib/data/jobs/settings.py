"""Settings of what datasets are made of: sources, and imports."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.settings import setting


@dataclass(frozen=True)
class SourceSettings:
    """What all sources of subjects take."""

    views_per_subject: int = setting(
        8, "int >= 1", "cameras around each head, beside its frontal view"
    )
    view_sampling: str = setting(
        "balanced",
        "balanced | front_heavy | orbit",
        "balanced = evenly around the head; front_heavy = as photographs are; orbit = the "
        "same equal steps of azimuth for all",
    )
    resolution: int = setting(128, "8 <= int <= 8192", "pixels a side")
    seed: int = setting(
        20261122, "int >= 0", "of everything drawn at random: another seed, other heads and cameras"
    )


@dataclass(frozen=True)
class ImportSettings:
    """How a dataset in the form of EG3D or PanoHead is read."""

    group: str = setting(
        "none",
        "none | folder",
        "none = each image is a subject; folder = the images of a folder are one subject's views",
    )
    camera: str = setting(
        "auto",
        "text",
        "convention of the labels: auto = EG3D's, refused where they look like another; opencv = "
        "EG3D's; or w2c, opengl, zup, pixels, joined by +",
    )
    masks: str | None = setting(
        None,
        "path or null",
        "folder or zip of masks with the images' names, as PanoHead has them",
    )
    resolution: int = setting(
        0, "int >= 0", "pixels a side to bring images (and masks) to; 0 = theirs"
    )
    licence: str = setting(
        "unknown",
        "text",
        "licence of the images, kept in the dataset: an SPDX identifier or a sentence",
    )
    image_format: str = setting(
        "png", "png | webp | jpg", "how views are stored: png and webp are lossless, jpg is not"
    )
    shard_size: int = setting(256, "int >= 1", "subjects a tar file")
