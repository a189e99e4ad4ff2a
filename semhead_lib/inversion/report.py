"""The report of an inversion: one overview image, and a page with its metrics."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from semhead_lib.atomic import write_atomically
from semhead_lib.cameras import orbit_cameras
from semhead_lib.data.portraits.alignment import Portrait, overlay
from semhead_lib.inversion.inverter import Initialisation
from semhead_lib.inversion.search import Inverted, Search
from semhead_lib.inversion.targets import Target
from semhead_lib.models.sampling import to_uint8
from semhead_lib.viz.plots import depth_colours

SHEET, PAGE = "report.png", "report.html"
FILES = {  # what may lie beside the report, and what it is
    "turntable.mp4": "the head, turning",
    "head.glb": "mesh with a colour at each vertex",
    "head_textured.glb": "mesh of fewer triangles with a texture",
    "head_splats.ply": "Gaussian splats on the mesh",
}
AROUND = (0, 45, 90, 135, 180, -135, -90, -45)  # degrees
_ALT = (
    "photograph with landmarks, mask, what was fitted to, fitted head; then the head from "
    "eight sides, and its depth"
)
_STYLE = (
    "body{font:15px "
    "system-ui,sans-serif;margin:24px;max-width:1500px;color:#111}img{max-width:100%}"
    "th{text-align:left;font-weight:normal;padding-right:24px}td{text-align:right}"
    "figure{display:inline-block;margin:0 24px 0 0}"
)
_CELL, _GAP, _WORDS = 176, 8, 20  # pixels
_METRICS = {  # name -> words, unit, digits
    "psnr": ("PSNR", " dB", 1),
    "ssim": ("SSIM", "", 3),
    "iou": ("mask IoU", "", 3),
    "semantic": ("CLIP cosine", "", 3),
    "perceptual": ("perceptual distance", "", 3),
}


@dataclass(frozen=True)
class Result:
    """One person's inversion."""

    name: str
    portraits: list[Portrait]
    target: Target
    initialisation: Initialisation
    fitted: Inverted
    metrics: dict = field(default_factory=dict)


@torch.no_grad()
def contact_sheet(result: Result) -> Image.Image:
    """First row: the photograph with its landmarks, its mask, the target, the fitted head from the
    same camera; then the head from eight sides, and their depth."""
    fitted, first = result.fitted, result.portraits[0]
    masked = torch.where(first.mask[None] > 127, first.image, first.image // 3)
    here = to_uint8(fitted.generator.synthesize(fitted.w, fitted.cameras[:1]).image)[0]
    cameras = orbit_cameras(torch.tensor([float(a) for a in AROUND]), torch.zeros(len(AROUND))).to(
        fitted.w.device
    )
    render = fitted.generator.synthesize(fitted.w, cameras)
    views = to_uint8(render.image)
    depth = torch.where(render.opacity > 0.5, render.depth, torch.zeros_like(render.depth))[
        :, 0
    ].cpu()
    rows = [
        [
            ("photograph, landmarks", overlay(first)),
            ("mask", masked),
            ("fitted to", to_uint8(result.target.images[:1])[0]),
            ("fitted head", here),
        ],
        [(f"{a}°", view) for a, view in zip(AROUND, views, strict=True)],
        [("depth", image) for image in depth_colours(depth)],
    ]
    width, height = 8 * (_CELL + _GAP) + _GAP, len(rows) * (_CELL + _WORDS + _GAP) + _GAP
    page = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for i, row in enumerate(rows):
        for j, (words, image) in enumerate(row):
            left, top = _GAP + j * (_CELL + _GAP), _GAP + i * (_CELL + _WORDS + _GAP)
            page.paste(_enlarged(image), (left, top))
            draw.text((left, top + _CELL + 2), words, fill="#333333", font=font)
    left = _GAP + 4 * (_CELL + _GAP) + 12
    for line, words in enumerate(in_words(result)):
        draw.text((left, _GAP + line * 19), words, fill="#111111", font=font)
    return page


def in_words(result: Result) -> list[str]:
    """The metrics, a line each."""
    f = result.metrics
    lines = [result.name]
    lines += [
        f"{words} {f['input'][name]:.{digits}f}{unit}, input view"
        for name, (words, unit, digits) in _METRICS.items()
    ]
    near = [d for d in f["identity"].values() if d is not None]
    lines.append(
        f"dlib distance {min(near):.2f} to {max(near):.2f}, faces found at {len(near)} of "
        f"{len(f['identity'])} azimuths"
        if near
        else "dlib finds no face in the fitted head"
        if f["identity"]
        else "identity: not measured without dlib (extra faces)"
    )
    camera = f["photographs"][0]
    lines.append(
        "camera {:.0f}°, {:.0f}°; refined {:.0f}°, {:.0f}°".format(
            *camera["azimuth and elevation"], *camera["refined"]
        )
    )
    return [
        *lines,
        f"{f['seconds']['inversion']:.0f} s for {f['steps']['style']} + {f['steps']['tuning']} "
        "steps",
    ]


def write(result: Result, folder: Path) -> None:
    """`report.png` and `report.html`, which holds the image and needs no other file to be read."""
    data, there = io.BytesIO(), [name for name in FILES if (folder / name).is_file()]
    contact_sheet(result).save(data, "PNG")
    write_atomically(folder / SHEET, data.getvalue())
    write_atomically(folder / PAGE, page(result, data.getvalue(), there).encode())


def page(result: Result, image: bytes, files: Collection[str] = ()) -> str:
    """The report as a page without scripts; `files` lie beside it and are linked."""
    f = result.metrics
    notes = [note for photo in f["photographs"] for note in photo["notes"]]
    notes += [f"No mesh: {f['mesh']}"] if "mesh" in f else []
    rows = [
        (words, f"{f['input'][name]:.{digits}f}{unit}")
        for name, (words, unit, digits) in _METRICS.items()
    ]
    rows += [
        (f"dlib distance at {turn}°", "no face found" if d is None else f"{d:.3f}")
        for turn, d in f["identity"].items()
    ]
    table = "".join(
        f"<tr><th scope=row>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows
    )
    curves = curve(result.fitted.style, "style") + curve(result.fitted.tuning, "tuning")
    said = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    code = base64.b64encode(image).decode()
    links = "".join(f'<li><a href="{n}">{n}</a>: {FILES[n]}</li>' for n in FILES if n in files)
    return (
        '<!doctype html><html lang="en"><meta '
        f'charset="utf-8"><title>{html.escape(result.name)}</title>'
        f"<style>{_STYLE}</style><h1>{html.escape(result.name)}</h1>"
        f'<img alt="{_ALT}" src="data:image/png;base64,{code}">'
        f"<h2>Metrics</h2><table>{table}</table>"
        + (f"<h2>Notes</h2><ul>{said}</ul>" if said else "")
        + f"<h2>Loss</h2>{curves}"
        "<h2>Files</h2><ul><li>latent.safetensors: w, cameras, condition</li><li>generator/: the "
        f"tuned generator</li>{links}<li>metrics.json</li></ul></html>\n"
    )


def curve(search: Search, name: str, width: int = 420, height: int = 140) -> str:
    """The loss over the steps as an SVG, logarithmic; empty if there were no steps."""
    losses = np.log([terms["all"] for terms in search.losses])
    if len(losses) < 2:
        return ""
    span = max(float(np.ptp(losses)), 1e-9)
    x = np.linspace(0, width, len(losses))
    points = " ".join(
        f"{a:.1f},{b:.1f}" for a, b in zip(x, (losses.max() - losses) / span * height, strict=True)
    )
    first, last = np.exp(losses[[0, -1]])
    words = f"{name}: {first:.3f} to {last:.3f} in {len(losses)} steps ({search.stopped})"
    return (
        f'<figure><svg role="img" aria-label="loss of {name}" width="{width}" height="{height}">'
        f'<polyline points="{points}" fill="none" stroke="#0072B2" stroke-width="2"/></svg>'
        f"<figcaption>{html.escape(words)}</figcaption></figure>"
    )


def _enlarged(image: Tensor) -> Image.Image:
    how = Image.Resampling.BICUBIC if image.shape[-1] > 32 else Image.Resampling.NEAREST
    return Image.fromarray(image.permute(1, 2, 0).numpy()).resize((_CELL, _CELL), how)
