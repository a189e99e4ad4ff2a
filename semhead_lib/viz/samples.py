"""Heads of a generator as files: a sheet of all from several sides, a video of them turning, and
what made each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from semhead_lib.atomic import write_atomically
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.data.portraits.photos import find_photos, read_photo
from semhead_lib.devices import keep_freed_memory, pick_device
from semhead_lib.models.generator import Generator, folder_of
from semhead_lib.models.sampling import heads_around, latents, save_grid
from semhead_lib.viz.exports import write_mp4

IMAGE, VIDEO, RECORD = "heads.png", "heads.mp4", "heads.json"


def sample(
    model: Path | str,
    out: Path | str,
    *,
    heads: int = 8,
    seed: int = 0,
    texts: str | None = None,
    images: Path | str | None = None,
    encoder: str = "headclip-64",
    strategy: str = "interpolate",
    psi: float = 0.8,
    views: int = 8,
    elevation: float = 0.0,
    grid: int | None = None,
    coarse: int | None = None,
    fine: int | None = None,
    frames: int = 72,
    fps: int = 24,
    device: str = "auto",
) -> Path:
    """What `semhead sample` does (`conf.models.Sample` explains the arguments); returns the
    sheet's path.

    Raises ValueError for a generator that takes no texts or images, another encoder than it was
    trained with, texts and images at once, or a density grid with less than two samples;
    FileNotFoundError for a model or image that is not there.
    """
    generator = Generator.load(model, pick_device(device))
    asked = {
        name: n for name, n in (("grid", grid), ("coarse", coarse), ("fine", fine)) if n is not None
    }
    rays = generator.renderer.settings = replace(generator.renderer.settings, **asked)
    if pick_device(device) == "cpu":
        keep_freed_memory()
    bank = ConditionBank.load(folder_of(model))
    semantics, names = _asked(bank, texts, images, encoder)
    if semantics is None:
        condition, names = bank.sample(heads, strategy, seed), [f"{strategy}, seed {seed}"]
        names = names * heads
    else:
        condition = bank.mapping_condition(
            semantics.repeat_interleave(heads, 0), heads * len(semantics)
        )
        names = [name for name in names for _ in range(heads)]
    z = latents(heads, generator.config.z_dim, seed).repeat(len(names) // heads, 1)

    out = Path(out)
    turn = tuple(-180 + 360 * i / views for i in range(views))
    save_grid(out / IMAGE, heads_around(generator, z, condition, turn, elevation, psi))
    if frames:
        video = heads_around(
            generator, z, condition, tuple(360 * i / frames for i in range(frames)), elevation, psi
        )
        write_mp4(out / VIDEO, _tiled(video), fps)
    rows = [
        {"row": i, "latent_seed": seed, "latent": i % heads, "condition": name}
        for i, name in enumerate(names)
    ]
    record = {
        "model": generator.config.name,
        "mode": bank.mode.name,
        "psi": psi,
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
    return clip.images([read_photo(file) for _, file in found]), [name for name, _ in found]


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
