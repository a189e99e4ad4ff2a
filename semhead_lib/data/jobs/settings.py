"""Settings of imports."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.settings import setting


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
