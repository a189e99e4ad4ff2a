"""Packs a dataset into one file of a given size: the best WebP quality that fits, and what that
quality costs.

The colours are lossy; masks, cameras and features are exact. Where geometry is asked for, the
classes of surfaces are exact too, and depth is coarser (`semhead_lib.data.dataset.packed_geometry`).
A quality is judged by its PSNR over a sample of images; one below `psnr` is never used: subjects are
left out instead, evenly, and the report says how many.
"""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import features

from semhead_lib.atomic import place_lock, remove_leftovers
from semhead_lib.data.dataset.entries import decode_image, decode_npy
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.data.dataset.packed_archive import (
    CLASSES,
    DEPTH,
    DEPTH_RANGES,
    GEOMETRY,
    SUBJECTS,
    write_packed,
)
from semhead_lib.data.dataset.packing_members import (
    EncodedGeometry,
    encode_geometry,
    encode_members,
    packed_rows,
    read_bare,
    webp,
)

GENERATOR_PSNR = (
    25.0  # dB: how near the shipped generator comes to images of a head that it is fitted to
)
FLOOR_PSNR = 33.0  # dB: an eighth of that error's energy or less
_BEST, _SAMPLE_SUBJECTS, _SAMPLE_VIEWS = 95, 60, 4
_TAR, _TAR_MEMBER = 10240, 1024  # bytes of headers and padding at most
_NPY = 128  # bytes of the header of a .npy file


@dataclass(frozen=True)
class PackReport:
    """What became of a dataset."""

    subjects: int
    views: int
    bytes: int
    quality: int  # of WebP, 1 to 95
    psnr: float  # dB, mean over the sample
    psnr_lowest: float  # of an image of the sample
    mask_iou: float | None  # mean over the sample; None without masks
    sampled: int  # images that were compared
    left_out: int  # subjects
    class_bytes: int | None = None  # of the classes of all views; None without geometry
    depth_bytes: int | None = None  # of the depth of all views
    depth_step: float | None = (
        None  # scene units, the largest of a view; depth is off by half of it
    )

    def __str__(self) -> str:
        masks = "no masks" if self.mask_iou is None else f"mask IoU {self.mask_iou:.4f}"
        if self.class_bytes is not None and self.depth_bytes is not None:
            masks += (
                f", classes exact in {self.class_bytes / 1e6:.2f} MB, depth in steps of at most "
                f"{self.depth_step:.2g} in {self.depth_bytes / 1e6:.2f} MB"
            )
        return (
            f"{self.subjects} subjects, {self.views} views, {self.bytes / 1e6:.2f} MB, "
            f"{self.bytes / self.views:.0f} bytes a view; WebP quality {self.quality}: PSNR "
            f"{self.psnr:.1f} dB, lowest "
            f"{self.psnr_lowest:.1f} dB, {masks} ({self.sampled} views compared; the shipped "
            "generator's own error is "
            f"{GENERATOR_PSNR:.0f} dB)"
        )


def pack_dataset(
    folder: Path | str,
    out: Path | str,
    size: float,  # MB (10^6 bytes) that the file may have
    *,
    psnr: float = FLOOR_PSNR,  # dB, the lowest mean that is accepted
    geometry: bool = False,  # whether `depth` and `segmentation` of subjects are packed
    threads: int = 2,
    progress: bool = True,
) -> PackReport:
    """Write the dataset in `folder` as the file `out`, of at most `size` megabytes.

    The same dataset gives the same bytes (of one version of Pillow and libwebp). Raises
    FileNotFoundError, ValueError for a bad dataset, for one without the geometry that is asked
    for, or for a size that not one subject fits in, FileExistsError when `out` exists,
    BlockingIOError when another process is writing it, OSError when it cannot be written.
    """
    if not 0 < size < math.inf:
        raise ValueError(f"size must be a positive number of megabytes, got {size:g}")
    if not psnr < math.inf:
        raise ValueError(f"psnr must be a finite number of decibels, got {psnr:g}")
    out, folder, manifest = Path(out), Path(folder), Manifest.load(folder)
    lacking = sorted(set(GEOMETRY) - set(manifest.layout.fields))
    if geometry and lacking:
        raise ValueError(
            f"{folder}: has no {' and no '.join(lacking)} to pack: leave out geometry=true"
        )
    if out.parent.resolve() == folder.resolve():
        raise ValueError(f"{out} lies within {folder}: name a place apart from the dataset's files")
    with place_lock(out):
        if out.exists():
            raise FileExistsError(f"{out} exists already; pack into a new name")
        remove_leftovers(out.parent, out.name)
        return _pack(folder, manifest, out, size, psnr, geometry, threads, progress)


def _pack(
    folder: Path,
    manifest: Manifest,
    out: Path,
    size: float,
    psnr: float,
    geometry: bool,
    threads: int,
    progress: bool,
) -> PackReport:
    sample = _Sample(folder, manifest, geometry)
    budget = size * 1e6 - (_TAR + (11 if geometry else 6) * _TAR_MEMBER)
    table = sample.bytes_of_a_subject
    for_images = budget / manifest.subjects - table
    views = manifest.views / manifest.subjects
    if (best := sample.encoded(_BEST).psnr) < psnr:
        raise ValueError(
            f"{folder}: the best quality has a PSNR of {best:.1f} dB, psnr asks for {psnr:g}"
        )
    quality = _highest(lambda q: sample.encoded(q).mean_bytes * views <= for_images)
    if quality is None or sample.encoded(quality).psnr < psnr:
        quality = min((_highest(lambda q: sample.encoded(q).psnr < psnr) or 0) + 1, _BEST)
    kept = min(
        int(budget / (sample.encoded(quality).mean_bytes * views + table)), manifest.subjects
    )
    known: dict[str, list[EncodedGeometry]] | None = {} if geometry else None
    while kept >= 1:
        wanted = np.linspace(0, manifest.subjects - 1, kept).round().astype(int).tolist()
        members = encode_members(folder, manifest, wanted, quality, known, threads, progress)
        total = sum(map(len, members.values()))
        if total <= budget:
            break
        if (
            quality > 1 and sample.encoded(quality - 1).psnr >= psnr
        ):  # the sample promised a little too much
            quality -= 1
        else:
            kept = min(int(kept * budget / total), kept - 1)
    else:
        raise ValueError(
            f"{folder}: not one subject fits in {size:g} MB at a PSNR of {psnr:g} dB: raise size"
        )
    return _publish(out, manifest, members, kept, quality, sample)


def _publish(
    out: Path,
    manifest: Manifest,
    members: dict[str, bytes],
    kept: int,
    quality: int,
    sample: _Sample,
) -> PackReport:
    counts = [row["views"] for row in json.loads(zlib.decompress(members[SUBJECTS]))]
    result, layout = sample.encoded(quality), manifest.layout
    there = {"views", "cameras", "frontal", "masks", "semantic"}
    there |= {field for field, names in GEOMETRY.items() if names[0] in members}
    fields = [f for f in layout.fields if f in there]
    packed = {
        "quality": quality,
        "psnr_db": round(result.psnr, 2),
        "psnr_lowest_db": round(result.lowest, 2),
        "mask_iou": None if result.iou is None else round(result.iou, 5),
        "views_compared": len(sample.images),
        "subjects_left_out": manifest.subjects - kept,
        "not_packed": [f for f in layout.fields if f not in fields],
        "versions": {"pillow": PIL.__version__, "libwebp": features.version("webp")},
    }
    content = {
        "subjects": kept,
        "views": sum(counts),
        **asdict(layout),
        "image_format": "webp",
        "fields": fields,
        "views_per_subject": [min(counts), max(counts)],
        "licence": manifest.licence,
        "plan": asdict(manifest.plan),
        "cameras": manifest.cameras,
        "packed": packed,
    }
    write_packed(out, content, members)
    of_geometry: dict[str, Any] = {}
    if DEPTH in members:
        steps = decode_npy(members[DEPTH_RANGES], DEPTH_RANGES, (None, 2))[:, 1]
        of_geometry = {"class_bytes": len(members[CLASSES]), "depth_bytes": len(members[DEPTH])}
        of_geometry["depth_step"] = float(steps.max())
    return PackReport(
        kept,
        sum(counts),
        out.stat().st_size,
        quality,
        result.psnr,
        result.lowest,
        result.iou,
        len(sample.images),
        manifest.subjects - kept,
        **of_geometry,
    )


@dataclass(frozen=True)
class _Encoded:
    """What a quality makes of the sample."""

    mean_bytes: float  # of an image, and a hundredth more: the rest may be harder
    psnr: float
    lowest: float
    iou: float | None


class _Sample:
    """Images spread evenly over subjects and views, and what they become at a quality."""

    def __init__(self, folder: Path, manifest: Manifest, geometry: bool) -> None:
        count = min(_SAMPLE_SUBJECTS, manifest.subjects)
        wanted = np.linspace(0, manifest.subjects - 1, count).round().astype(int).tolist()
        self.images, rows, semantics, of_geometry = [], [], 0, []
        for number, subject in enumerate(read_bare(folder, manifest, wanted, geometry)):
            step = max(len(subject.images) // _SAMPLE_VIEWS, 1)
            self.images += subject.images[number % step :: step]  # other views of each
            of_geometry += [
                encode_geometry(*g).size for g in subject.geometry[number % step :: step]
            ]
            rows.append(subject.row)
            semantics = 0 if subject.semantic is None else subject.semantic.nbytes
        views = manifest.views / manifest.subjects
        self.bytes_of_a_subject = (
            len(packed_rows(rows)) / count * 1.05 + semantics + views * (25 * 4 + 4)
        )
        if of_geometry:  # a hundredth more, as of the images
            self.bytes_of_a_subject += views * (1.01 * float(np.mean(of_geometry)) + 4 * 4)
            self.bytes_of_a_subject += 3 * _NPY / manifest.subjects
        self.encoded = cache(self._encoded)

    def _encoded(self, quality: int) -> _Encoded:
        sizes, psnrs, ious = [], [], []
        for image in self.images:
            data = webp(image, quality)
            back = decode_image(data, "sample", ("RGBA", "RGB")).movedim(0, -1).numpy()
            sizes.append(len(data))
            error = np.square(back[..., :3].astype(np.float64) - image[..., :3]).mean()
            psnrs.append(10 * np.log10(255**2 / max(error, 1e-10)))
            if image.shape[-1] == 4:
                here = image[..., 3] > 127
                there = back[..., 3] > 127 if back.shape[-1] == 4 else np.ones_like(here)
                ious.append((here & there).sum() / max((here | there).sum(), 1))
        iou = float(np.mean(ious)) if ious else None
        return _Encoded(1.01 * float(np.mean(sizes)), float(np.mean(psnrs)), min(psnrs), iou)


def _highest(fits) -> int | None:
    """The highest quality that fits, None when not even the lowest does."""
    low, high = 0, _BEST
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low or None
