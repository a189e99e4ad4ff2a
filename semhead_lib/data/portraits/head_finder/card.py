"""What a head finder is worth on photographs of heads that it has not seen, and its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from semhead_lib.atomic import write_atomically
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.portraits.camera import CameraFit
from semhead_lib.data.portraits.crop import cut_square
from semhead_lib.data.portraits.head_finder.examples import (
    Views,
    Windows,
    as_photographed,
    windows,
)
from semhead_lib.data.portraits.head_finder.network import WEIGHTS, HeadFinder
from semhead_lib.data.portraits.head_finder.search import FoundHead, find_head, mask_of_crop
from semhead_lib.data.portraits.head_finder.training import LOG, SETTINGS
from semhead_lib.files import read_json

CARD, METRICS_FILE = "card.md", "metrics.json"
PHOTOGRAPHS = 200
_LARGER, _SEED, _PART = 1.5, 2025, 25


def photographs(
    subjects: SubjectsInMemory, count: int = PHOTOGRAPHS
) -> tuple[list[Tensor], Windows]:
    """Photographs [3, P, P] uint8 of so many views, spread over all subjects, and what is true of
    them. P is one and a half times the views' size."""
    views = Views.of(subjects)
    rng = torch.Generator().manual_seed(_SEED)
    rows = torch.randperm(len(views.images), generator=rng)[:count]
    side = int(views.images.shape[-1] * _LARGER) // 2 * 2
    parts = [
        windows(views, part, side, _SEED + k, as_photographed)
        for k, part in enumerate(rows.split(_PART))
    ]
    made = Windows(*(torch.cat(maps) for maps in zip(*parts, strict=True)))
    return list(made.images), made


def errors(
    found: list[FoundHead | None], truth: Windows, network: HeadFinder | None = None
) -> dict[str, np.ndarray]:
    """For each photograph: azimuth (true), errors of azimuth, elevation and roll in degrees, of the
    crop's size in shares, of its middle in shares of its side, and the overlap of the masks
    (intersection over union) where both crops reach. Not a number where no head was found."""
    x, y, z = truth.direction.double().unbind(1)
    true = torch.stack(
        [torch.atan2(x, z), torch.asin(y), torch.atan2(*truth.turn.double().T.flip(0))]
    )
    true = torch.rad2deg(true).T.numpy()
    side, rows = truth.images.shape[-1], []
    for k, head in enumerate(found):
        if head is None:
            rows.append([true[k, 0], *[np.nan] * 5, 0.0])
            continue
        fit = head.fit
        crop = float(truth.size[k].exp()) * side
        middle = (truth.place[k].double().numpy() + 1) / 2 * side
        away = fit.similarity @ (0.5, 0.5, 1) - middle
        rows.append(
            [
                true[k, 0],
                abs((fit.azimuth - true[k, 0] + 180) % 360 - 180),
                abs(fit.elevation - true[k, 1]),
                abs((fit.roll - true[k, 2] + 180) % 360 - 180),
                abs(fit.side / crop - 1),
                float(np.hypot(*away)) / crop,
                _overlap(fit, truth, k, network),
            ]
        )
    names = ("true azimuth", "azimuth", "elevation", "roll", "size", "middle", "overlap")
    return dict(zip(names, np.array(rows, dtype=np.float64).T, strict=True))


def _overlap(fit: CameraFit, truth: Windows, k: int, network: HeadFinder | None) -> float:
    """Of the mask predicted in the found crop, laid onto the photograph, and the true one, where
    both crops reach."""
    side = truth.images.shape[-1]
    crop, _ = cut_square(truth.images[k], fit.similarity, truth.mask.shape[-1] * 2)
    mask = mask_of_crop(crop, network)
    if mask is None:
        return 0.0
    inverse = np.linalg.inv(np.vstack([fit.similarity, [0, 0, 1]]))[:2]
    half = truth.mask.shape[-1]
    centres = (np.arange(half) + 0.5) * side / half
    places = np.stack([*np.meshgrid(centres, centres), np.ones((half, half))], axis=-1) @ inverse.T
    grid = torch.from_numpy(places * 2 - 1).float()[None]
    laid = F.grid_sample(mask[None, None].float() / 255, grid, align_corners=False)[0, 0] > 0.5
    true, inside = truth.mask[k, 0] > 0.5, truth.inside[k, 0] > 0
    inside &= (grid[0].abs() <= 1).all(-1)
    both, either = (laid & true & inside).sum(), ((laid | true) & inside).sum()
    return float(both / either.clamp_min(1))


def summary(of: dict[str, np.ndarray]) -> dict[str, Any]:
    """Medians and 90th percentiles, within 90 degrees of the front and beyond."""
    near = np.abs(of["true azimuth"]) <= 90
    figures: dict[str, Any] = {
        "photographs": len(near),
        "found": round(float(np.isfinite(of["azimuth"]).mean()), 4),
    }
    for name, rows in (("within 90", near), ("beyond 90", ~near)):
        figures[name] = {
            what: {
                "median": round(float(np.nanmedian(of[what][rows])), 4),
                "90th percentile": round(float(np.nanpercentile(of[what][rows], 90)), 4),
            }
            for what in ("azimuth", "elevation", "roll", "size", "middle")
        }
    figures["overlap"] = {
        "mean": round(float(of["overlap"].mean()), 4),
        "median": round(float(np.median(of["overlap"])), 4),
    }
    return figures


def judge_and_describe(
    out: Path | str, unseen: Path | str, count: int = PHOTOGRAPHS, progress: bool = True
) -> dict[str, Any]:
    """Judge on photographs of a dataset of other subjects, and write metrics and card beside the
    weights."""
    out = Path(out)
    subjects = SubjectsInMemory.load(unseen, geometry=("depth",), progress=progress)
    taken, truth = photographs(subjects, count)
    network = HeadFinder.load(out)
    bar = tqdm(taken, unit="photo", desc="judging", disable=not progress)
    found = [find_head(image, network=network) for image in bar]
    metrics = summary(errors(found, truth, network))
    write_atomically(out / METRICS_FILE, json.dumps(metrics, indent=1).encode() + b"\n")
    write_atomically(out / CARD, card(out, network, read_json(out / SETTINGS), metrics).encode())
    return metrics


def card(out: Path, network: HeadFinder, about: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The card in Markdown; `about` is what `training.SETTINGS` holds."""
    recipe = about["recipe"]
    numbers = sum(p.numel() for p in network.parameters())
    size = (out / WEIGHTS).stat().st_size / 1e6
    last = (out / LOG).read_text().splitlines()[-1:]
    found = f"\n- The last line of its log: `{last[0]}`." if last else ""
    before = about.get("init", {})
    if "recipe" in before:
        found = (
            f"\n- It began with a network trained on {before['recipe']['steps']} batches of "
            f"{before['recipe']['batch']} windows\n  of {before['subjects']} subjects.{found}"
        )
    return f"""# Head finder

Finds a head in a photograph, from any side: azimuth, elevation and roll of the camera, the crop in the framing of our
data, and the mask (`semhead_lib.data.portraits.head_finder`). For each cell of a grid, the network predicts whether the
head covers it, and which point of the head is visible there. The camera is fitted such that these points project back
to their cells. It needs no face detector and no landmarks, so no third-party licence applies to its weights.

- {numbers:,} parameters, {size:.1f} MB in half precision; input {recipe["side"]} x {recipe["side"]} pixels.
- Trained on {recipe["steps"]} batches of {recipe["batch"]} windows: views of {about["subjects"]} parametric heads that
  are made to look like photographs (`semhead_lib.data.portraits.photographic`), with other light, backgrounds (half of
  them from scikit-image's photographs without people), occlusions, lens effects, noise and JPEG. Heads are mirrored,
  rotated, scaled, and placed anywhere in the window. A tenth of the windows contain no head.{found}

Evaluated on {metrics["photographs"]} such photographs of unseen heads at all azimuths. The heads fill a half to nine
tenths of the image's side and are rolled by up to 17 degrees. A head was found in {100 * metrics["found"]:.1f} % of
them.

{_table(metrics)}

Intersection over union of the predicted and the true mask, within both crops: mean {metrics["overlap"]["mean"]:.3f},
median {metrics["overlap"]["median"]:.3f}.

## Limits

It was trained on parametric heads only. On photographs of people, check the overlay in the report of an inversion.

Apache-2.0; the heads are CC0-1.0.
"""


def _table(metrics: dict[str, Any]) -> str:
    rows = [
        "| median error (90th percentile) | within 90\u00b0 of the front | beyond |",
        "|---|---|---|",
    ]
    units = {"azimuth": "\u00b0", "elevation": "\u00b0", "roll": "\u00b0"}
    words = {
        "size": "side of the crop, relative error",
        "middle": "centre of the crop, relative to its side",
    }
    for what in ("azimuth", "elevation", "roll", "size", "middle"):
        cells = []
        for side in ("within 90", "beyond 90"):
            of, unit = metrics[side][what], units.get(what, "")
            digits = 1 if unit else 3
            cells.append(
                f"{of['median']:.{digits}f}{unit} ({of['90th percentile']:.{digits}f}{unit})"
            )
        rows.append(f"| {words.get(what, what)} | " + " | ".join(cells) + " |")
    return "\n".join(rows)
