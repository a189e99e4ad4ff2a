"""Heads of a generator as files: a sheet of all from several sides, a video of them turning, and
what made each."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semhead_lib.atomic import holds_out, write_atomically
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.frontal.network import front_features, sureness
from semhead_lib.data.portraits.photos import find_photos, read_photo
from semhead_lib.devices import keep_freed_memory, pick_device
from semhead_lib.models.generator import Generator, folder_of
from semhead_lib.models.sampling import heads_around, latents, save_grid
from semhead_lib.viz.exports import write_mp4
from semhead_lib.viz.settings import SampleSettings

IMAGE, VIDEO, RECORD = "heads.png", "heads.mp4", "heads.json"


@holds_out
def sample(
    model: Path | str,
    out: Path | str,
    *,
    device: str = "auto",
    **settings: Any,
) -> Path:
    """What `semhead sample` does, with `settings` of `SampleSettings`; returns the sheet's path.

    Raises ValueError for a generator that takes no texts or images, another encoder than it was
    trained with, texts and images at once, or a density grid with less than two samples;
    FileNotFoundError for a model or image that is not there.
    """
    s = SampleSettings(**settings)
    generator = Generator.load(model, pick_device(device))
    named = {"grid": s.grid, "coarse": s.coarse, "fine": s.fine}
    asked = {name: number for name, number in named.items() if number is not None}
    rays = generator.renderer.settings = replace(generator.renderer.settings, **asked)
    if pick_device(device) == "cpu":
        keep_freed_memory()
    bank = ConditionBank.load(folder_of(model))
    semantics, names = _asked(bank, s.texts, s.images, s.encoder)
    if semantics is None:
        condition, names = (
            bank.sample(s.heads, s.strategy, s.seed),
            [f"{s.strategy}, seed {s.seed}"],
        )
        names = names * s.heads
    else:
        condition = bank.mapping_condition(
            semantics.repeat_interleave(s.heads, 0), s.heads * len(semantics)
        )
        names = [name for name in names for _ in range(s.heads)]
    z = latents(s.heads, generator.config.z_dim, s.seed).repeat(len(names) // s.heads, 1)

    out = Path(out)
    turn = tuple(-180 + 360 * i / s.views for i in range(s.views))
    save_grid(out / IMAGE, heads_around(generator, z, condition, turn, s.elevation, s.psi))
    if s.frames:
        steps = tuple(360 * i / s.frames for i in range(s.frames))
        video = heads_around(generator, z, condition, steps, s.elevation, s.psi)
        write_mp4(out / VIDEO, _tiled(video), s.fps)
    rows = [
        {"row": i, "latent_seed": s.seed, "latent": i % s.heads, "condition": name}
        for i, name in enumerate(names)
    ]
    record = {
        "model": generator.config.name,
        "mode": bank.mode.name,
        "psi": s.psi,
        "azimuths": turn,
        "heads": rows,
    }
    record |= {"grid": rays.grid, "coarse": rays.coarse, "fine": rays.fine}
    write_atomically(out / RECORD, json.dumps(record, indent=1).encode() + b"\n")
    return out / IMAGE


def _asked(
    bank: ConditionBank, texts: str | None, images: Path | str | None, encoder: str
) -> tuple[Tensor | None, list[str]]:
    """Features of the texts or images asked for, and what to call them."""
    if texts is None and images is None:
        return None, []
    if texts is not None and images is not None:
        raise ValueError("give texts or images, not both")
    clip = bank.load_encoder(encoder)
    if texts is not None:
        names = [text.strip() for text in texts.split(";") if text.strip()]
        if not names:
            raise ValueError(f"texts must hold a description, got {texts!r}")
        return bank.nearby(clip.texts(names)), names
    path = Path(images or "")
    found = find_photos(path) if path.is_dir() else [(path.stem, path)]
    fronts = front_features(clip, [read_photo(file) for _, file in found])
    names = [name for name, _ in found]
    for name, certainty in zip(names, fronts.certainty.tolist(), strict=True):
        if said := sureness(certainty):
            print(f"{name}: {said}", file=sys.stderr)
    return fronts.features, names


def _tiled(video: Tensor) -> Tensor:  # [N, T, 3, S, S] -> [T, 3, rows * S, columns * S]
    """All heads side by side in each frame, white where the last row has none left."""
    n, t, _, s, _ = video.shape
    columns = min(n, 4)
    rows = -(-n // columns)
    sheet = torch.full((t, 3, rows * s, columns * s), 255, dtype=torch.uint8)
    for i in range(n):
        top, left = i // columns * s, i % columns * s
        sheet[:, :, top : top + s, left : left + s] = video[i]
    return sheet
