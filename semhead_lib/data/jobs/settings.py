"""Settings of the sources and imports of datasets."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.settings import setting


@dataclass(frozen=True)
class SourceSettings:
    """What all sources of subjects take."""

    views_per_subject: int = setting(
        8, "int >= 1", "cameras around each head, besides its frontal view"
    )
    view_sampling: str = setting(
        "balanced",
        "balanced | front_heavy | orbit",
        "balanced = evenly around the head; front_heavy = as photographs are; orbit = the "
        "same equal steps of azimuth for all",
    )
    resolution: int = setting(128, "8 <= int <= 8192", "pixels a side")
    seed: int = setting(
        20261122, "int >= 0", "random seed; another seed gives other heads and cameras"
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
        "none = each image (in captures, each model file) is a subject; folder = the images in a "
        "folder are views of one subject",
    )
    family: str | None = setting(
        None,
        "eg3d-ffhq | panohead | spherehead or null",
        "of eg3d: origin of the data; cameras are transformed so that heads have our size and "
        "position",
    )
    camera: str = setting(
        "auto",
        "text",
        "convention of the labels: auto = EG3D's, with an error if they look like another "
        "(OpenGL's for transforms.json); opencv = EG3D's without this check; or w2c, opengl, zup, "
        "pixels, joined by +",
    )
    crop: str = setting(
        "auto",
        "auto | none | square | head",
        "head = what our cameras would show, padded with white; square = the central square; auto "
        "= head for captures, else none",
    )
    scale: float = setting(
        0.0,
        "float >= 0",
        "of captures: our units per unit of theirs, 1.67 if theirs is a metre; 0 = scale such "
        "that the median camera is at 2.7 from the centre",
    )
    center: str = setting(
        "auto",
        "text",
        "of captures: x,y,z of the centre of the head in their world; auto = where the cameras' "
        "axes meet",
    )
    front: str = setting(
        "auto",
        "text",
        "of captures: part of the name of a frontal image; keep = keep the axes of their world; "
        "auto = the mean direction of the cameras",
    )
    masks: str | None = setting(
        None,
        "path or null",
        "folder or zip of masks with the images' names, as PanoHead has them",
    )
    resolution: int = setting(
        0, "int >= 0", "resize images and masks to this many pixels a side; 0 = keep"
    )
    licence: str = setting(
        "unknown",
        "text",
        "licence of the images, kept in the dataset: an SPDX identifier or a sentence",
    )
    image_format: str = setting(
        "png", "png | webp | jpg", "how views are stored: png and webp are lossless, jpg is not"
    )
    shard_size: int = setting(256, "int >= 1", "subjects per tar file")
