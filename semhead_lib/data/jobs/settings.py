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
    """How a dataset in the form of EG3D or PanoHead, or a calibrated capture, is read."""

    form: str = setting(
        "auto",
        "auto | eg3d | transforms | colmap",
        "eg3d = images with a dataset.json; transforms = transforms.json of NeRF; colmap = COLMAP's "
        "cameras.txt and images.txt; auto = by the files there are",
    )

    group: str = setting(
        "none",
        "none | folder",
        "none = each image is a subject, in captures each model file; folder = the images of a folder "
        "are one subject's views",
    )
    family: str | None = setting(
        None,
        "eg3d-ffhq | panohead | spherehead or null",
        "of eg3d: whose crop it is; cameras are moved and scaled so that heads have our size and place",
    )
    camera: str = setting(
        "auto",
        "text",
        "convention of the labels: auto = EG3D's, refused where they look like another, of "
        "transforms.json OpenGL's; opencv = EG3D's; or w2c, opengl, zup, pixels, joined by +",
    )
    crop: str = setting(
        "auto",
        "auto | none | square | head",
        "head = what our cameras show of a head, white beyond the image; square = the middle; "
        "auto = head in captures, else none",
    )
    scale: float = setting(
        0.0,
        "float >= 0",
        "of captures: our units a unit of theirs, 1.67 where that is a metre; 0 = the median camera "
        "gets 2.7 from the centre",
    )
    center: str = setting(
        "auto",
        "text",
        "of captures: x,y,z of the middle of the head in their world; auto = where the cameras' axes "
        "meet",
    )
    front: str = setting(
        "auto",
        "text",
        "of captures: part of the name of a frontal image; keep = their world's axes are ours; auto = "
        "the front is where most cameras are",
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
