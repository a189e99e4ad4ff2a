"""Portraits out of any collection of images: chosen, aligned, before a plain background."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from semhead_lib import old_names
from semhead_lib.atomic import check_apart, held_folder, write_atomically
from semhead_lib.data.dataset.archives import SUFFIXES
from semhead_lib.data.dataset.entries import encode_image
from semhead_lib.data.kontext.collection import collection, is_unread
from semhead_lib.data.kontext.filters import CLIP, NONE, Filter, load_score
from semhead_lib.data.kontext.settings import CHOSEN, PortraitFilter
from semhead_lib.data.portraits.alignment import Portrait, align
from semhead_lib.data.portraits.photos import UNREAD, decode_photo
from semhead_lib.files import read_rows

COLUMNS: tuple[str, ...] = (
    "image",
    "portrait",
    "reason",
    "azimuth",
    "elevation",
    "sharpness",
    "pixels",
    "sha256",
)
SETTINGS = "portraits.json"  # what `portraits.csv` was begun with
_BEFORE = {"turned": 0.0, "quality": NONE, "quality_least": PortraitFilter.quality_least}
PLAIN = 212  # grey of the background, of 255
_CHUNK = 16  # images a worker is given at a time


def choose_portraits(
    source: Path | str,
    out: Path | str,
    wanted: PortraitFilter | None = None,
    *,
    workers: int = 1,
    progress: bool = True,
) -> dict[str, int]:
    """Write the frontal portraits of a collection into the folder `out`, and a row for each image
    in `portraits.csv`.

    The same call goes on where it was interrupted. Returns how many were chosen ("chosen"), and how
    many were not, by the first words of the reason. Images may be added to the collection
    meanwhile. Raises as `collection`, BlockingIOError when another process is writing into `out`,
    and ValueError when `out` was begun with another collection or other settings.
    """
    out = Path(out)
    check_apart(src=source, out=out)
    if Path(source).resolve() in out.resolve().parents:
        raise ValueError(f"out={out} lies within src={source}: its portraits would be in both")
    wanted = wanted or PortraitFilter()
    if wanted.quality == CLIP:
        raise ValueError("quality=clip is for views: photographs take package.module:function")
    if wanted.quality != NONE:
        load_score("quality", wanted.quality)  # what cannot be imported is said at once
    with held_folder(out):
        return _choose(source, out, wanted, workers, progress)


def _choose(
    source: Path | str, out: Path, wanted: PortraitFilter, workers: int, progress: bool
) -> dict[str, int]:
    rows = _read(out / CHOSEN)
    gone = _compare(out, rows, source, wanted)
    rows = [row for row in rows if row["image"] not in gone]
    done = {row["image"] for row in rows}
    todo = ((name, data, wanted) for name, data in collection(source) if name not in done)
    with tqdm(unit="image", desc="portraits", initial=len(done), disable=not progress) as bar:
        for row, png in _mapped(_judged, todo, workers):
            if png is not None:
                row["portrait"] = f"{sum(bool(r['portrait']) for r in rows):06d}.png"
                write_atomically(out / row["portrait"], png)
            rows.append(row)
            bar.update()
            if len(rows) % 50 == 0:
                _write(out / CHOSEN, rows)
    _write(out / CHOSEN, rows)
    counts = {"chosen": sum(bool(row["portrait"]) for row in rows)}
    chosen = [row for row in rows if row["portrait"]]
    turned = [
        row for row in chosen if _is_turned(float(row["azimuth"]), float(row["elevation"]), wanted)
    ]
    if turned:
        counts["of them turned"] = len(turned)
    for row in rows:
        if not row["portrait"]:
            reason = row["reason"].partition(":")[0]
            counts[reason] = counts.get(reason, 0) + 1
    return counts


def sharpness(image: Tensor) -> float:  # [3, H, W] uint8
    """Mean absolute Laplacian of the grey image at 256 pixels a side, over its spread: blur has
    little.

    >>> edges = (torch.arange(256) % 16 < 8).byte() * 255
    >>> sharpness(edges.expand(3, 256, 256)) > 0.1 > sharpness(torch.arange(256).byte().expand(3, 256, 256))
    True
    """
    grey = F.interpolate(image[None].float().mean(1, keepdim=True), size=(256, 256), mode="area")
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return float(F.conv2d(grey, kernel).abs().mean() / 4 / grey.std().clamp_min(1.0))


def _judged(job: tuple[str, bytes, PortraitFilter]) -> tuple[dict[str, Any], bytes | None]:
    """The row of one image, and its portrait as PNG, or None when it was not chosen."""
    name, data, wanted = job
    torch.set_num_threads(1)
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"image": name, "sha256": _digest(data)}
    if (kind := PurePosixPath(name).suffix.lower()) in UNREAD:
        return row | {"reason": f"unreadable: {kind}: only {', '.join(SUFFIXES)} are read"}, None
    try:
        portrait = align(
            decode_photo(data, name),
            name="portrait",
            where=name,
            resolution=wanted.resolution,
            finder="landmarks",  # a face has to show
        )
    except ValueError as error:
        return row | {"reason": _kind(str(error).removeprefix(f"{name}: "))}, None
    sharp, pixels = sharpness(portrait.image), float(portrait.provenance["crop's side"])
    row |= {
        "azimuth": f"{portrait.azimuth:.1f}",
        "elevation": f"{portrait.elevation:.1f}",
        "sharpness": f"{sharp:.4f}",
        "pixels": f"{pixels:.0f}",
    }
    reason = _reason(portrait, sharp, pixels, wanted) or _poor(portrait, wanted)
    return row | {"reason": reason}, None if reason else encode_image(
        _plain(portrait) if wanted.plain else portrait.image
    )


def _kind(message: str) -> str:
    """A reason whose first words, up to a colon, are the same for all alike."""
    for words, kind in (
        ("no face", "no face"),
        ("wide, at least", "too small"),
        ("cut off", "cut off"),
    ):
        if words in message:
            return f"{kind}: {message}"
    return f"unreadable: {message}"


def _reason(portrait: Portrait, sharp: float, pixels: float, wanted: PortraitFilter) -> str:
    """Why a portrait is not wanted; "" when it is."""
    if portrait.provenance["faces"] > 1:
        return f"several faces: {portrait.provenance['faces']}"
    if pixels < wanted.least:
        return f"too small: the head's crop has {pixels:.0f} pixels, {wanted.least} are wanted"
    if _is_turned(portrait.azimuth, portrait.elevation, wanted) and (
        max(abs(portrait.azimuth), abs(portrait.elevation)) > wanted.turned
    ):
        return f"not frontal: turned by {portrait.azimuth:.0f}, {portrait.elevation:.0f} degrees"
    if float((portrait.inside == 0).float().mean()) > 0.25:
        return "cut off: the image's edge cuts the crop"
    if sharp < wanted.sharpness:
        return f"blurred: sharpness {sharp:.3f}, {wanted.sharpness} is wanted"
    return ""


def _is_turned(azimuth: float, elevation: float, wanted: PortraitFilter) -> bool:
    """Whether a head is further from the front than frontal ones may be, degrees."""
    return abs(azimuth) > wanted.azimuth or abs(elevation) > wanted.elevation


def _poor(portrait: Portrait, wanted: PortraitFilter) -> str:
    """Why the filter `quality` drops a portrait; "" where it does not, or there is none."""
    if wanted.quality == NONE:
        return ""
    score = load_score("quality", wanted.quality)
    (found,) = Filter("quality", wanted.quality, wanted.quality_least, score)(
        [portrait.image], [""]
    )
    if found >= wanted.quality_least:
        return ""
    return f"poor: quality {found:.2f}, {wanted.quality_least:g} is wanted"


def _plain(portrait: Portrait) -> Tensor:  # [3, S, S] uint8
    cover = portrait.mask.float() / 255
    return (
        torch.lerp(torch.full_like(portrait.image.float(), PLAIN), portrait.image.float(), cover)
        .round()
        .byte()
    )


def _mapped(work, jobs: Iterator, workers: int) -> Iterator:
    """`map(work, jobs)` over processes, in order, a few jobs ahead."""
    if workers < 2:
        yield from map(work, jobs)
        return
    from itertools import islice

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        while chunk := list(islice(jobs, workers * _CHUNK)):
            yield from pool.map(work, chunk, chunksize=max(_CHUNK // 4, 1))


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    found = [old_names.today(old_names.COLUMNS, row) for row in read_rows(path)]
    if found and tuple(found[0]) not in (COLUMNS, COLUMNS[:-1]):  # earlier ones have no checksums
        raise ValueError(
            f"{path}: expected the columns {', '.join(COLUMNS)}, got {', '.join(found[0])}"
        )
    return [{"sha256": ""} | row for row in found]


def _compare(
    out: Path, rows: list[dict[str, Any]], source: Path | str, wanted: PortraitFilter
) -> set[str]:
    """Raise ValueError unless `rows` are of this collection by these settings; keep the settings
    where nothing was begun. Returns the images of kinds that are not read which are gone: somebody
    has converted them."""
    path, here = out / SETTINGS, asdict(wanted)
    if not rows:
        next(collection(source))  # before anything is written: it may be none
        write_atomically(path, json.dumps(here, indent=1).encode() + b"\n")
        return set()
    if path.is_file():
        try:
            there = dict(json.loads(path.read_bytes()))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}: expected the settings as JSON: {error}") from None
        there = _BEFORE | there
        if differing := [name for name in here if there.get(name) != here[name]]:
            name = differing[0]
            raise ValueError(
                f"{out} was begun with other settings: {name} is {there.get(name)!r:.60} there, "
                f"{here[name]} here. Use another folder"
            )
    found = {name: _digest(data) for name, data in collection(source)}
    gone = {row["image"] for row in rows if row["image"] not in found and is_unread(row["image"])}
    for row in rows:
        name = row["image"]
        if name in gone:
            continue
        if name not in found or row["sha256"] not in ("", found[name]):
            what = "is another one in" if name in found else "is not in"
            raise ValueError(
                f"{out} was begun with another collection: its image {name} {what} {source}. Use "
                "another folder"
            )
    return gone


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
