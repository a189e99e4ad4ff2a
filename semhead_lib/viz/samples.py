"""Heads of a generator as files: a sheet of all from several sides, a video of them turning, and
what made each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
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


@dataclass(frozen=True)
class Drawn:
    """Heads of a generator under one condition or under drawn ones, by their number."""

    generator: Generator
    condition: Callable[[int], Tensor | None]  # of the first `count` heads, [count, K]
    seed: int
    psi: float

    def inputs(self, rows: Sequence[int]) -> tuple[Tensor, Tensor | None]:  # [N, Z], [N, K]
        """Latents and conditions of heads."""
        count = 1 << max(max(rows, default=0), 0).bit_length()  # few sizes, for a cache
        z, condition = latents(count, self.generator.config.z_dim, self.seed), self.condition(count)
        return z[list(rows)], None if condition is None else condition[list(rows)]

    def images(
        self, start: int, stop: int, azimuths: tuple[float, ...]
    ) -> Tensor:  # [N, A, 3, S, S] uint8
        """Heads from `start` to before `stop`, at elevation 0."""
        z, condition = self.inputs(range(start, stop))
        return heads_around(self.generator, z, condition, azimuths, 0.0, self.psi)


@dataclass(frozen=True)
class Chosen:
    """A head that is kept, and why."""

    number: int  # of those drawn
    distance: float | None = None  # from real heads, 1 as usual among them; None: not judged
    face_on_back: bool | None = None


@holds_out
def sample(
    model: Path | str,
    out: Path | str,
    *,
    device: str = "auto",
    choose: Callable[[Drawn, SampleSettings], list[Chosen]] | None = None,
    **settings: Any,
) -> Path:
    """What `semhead sample` does, with `settings` of `SampleSettings`; returns the sheet's path.

    `choose` keeps some of the heads that are drawn (`semhead_lib.rejection`). Raises ValueError for
    a generator that takes no texts or images, another encoder than it was trained with, texts and
    images at once, a density grid with less than two samples, or heads to be rejected without
    `choose`; FileNotFoundError for a model or image that is not there.
    """
    s = SampleSettings(**settings)
    if choose is None and (s.reject or s.max_distance is not None):
        raise ValueError("reject and max_distance are for semhead_lib.rejection.head_filter.sample")
    generator = Generator.load(model, pick_device(device))
    named = {"grid": s.grid, "coarse": s.coarse, "fine": s.fine}
    asked = {name: number for name, number in named.items() if number is not None}
    rays = generator.renderer.settings = replace(generator.renderer.settings, **asked)
    if pick_device(device) == "cpu":
        keep_freed_memory()
    bank = ConditionBank.load(folder_of(model))
    semantics, names = _asked(bank, s.texts, s.images, s.encoder)
    if semantics is None:
        sampled = lru_cache(lambda count: bank.sample(count, s.strategy, s.seed))
        drawn = [Drawn(generator, sampled, s.seed, s.psi)]
        names = [f"{s.strategy}, seed {s.seed}"]
    else:
        held = [partial(_held, bank, feature) for feature in semantics.split(1)]
        drawn = [Drawn(generator, condition, s.seed, s.psi) for condition in held]
    own = choose or (lambda _, s: [Chosen(i) for i in range(s.heads)])
    chosen = [own(each, s) for each in drawn]
    parts = [
        d.inputs([head.number for head in heads]) for d, heads in zip(drawn, chosen, strict=True)
    ]
    z, conditions = torch.cat([z for z, _ in parts]), [c for _, c in parts if c is not None]
    condition = torch.cat(conditions) if conditions else None

    out = Path(out)
    turn = tuple(-180 + 360 * i / s.views for i in range(s.views))
    save_grid(out / IMAGE, heads_around(generator, z, condition, turn, s.elevation, s.psi))
    if s.frames:
        steps = tuple(360 * i / s.frames for i in range(s.frames))
        video = heads_around(generator, z, condition, steps, s.elevation, s.psi)
        write_mp4(out / VIDEO, _tiled(video), s.fps)
    heads = [(name, head) for name, some in zip(names, chosen, strict=True) for head in some]
    rows: list[dict[str, Any]] = [
        {"row": i, "latent_seed": s.seed, "latent": head.number, "condition": name}
        for i, (name, head) in enumerate(heads)
    ]
    for row, (_, head) in zip(rows, heads, strict=True):
        if head.distance is not None:
            row |= {"distance": round(head.distance, 4), "face_on_back": head.face_on_back}
    record = {
        "model": generator.config.name,
        "mode": bank.mode.name,
        "psi": s.psi,
        "azimuths": turn,
        "heads": rows,
    }
    if choose is not None:
        record |= {"reject": s.reject, "max_distance": s.max_distance}
    record |= {"grid": rays.grid, "coarse": rays.coarse, "fine": rays.fine}
    write_atomically(out / RECORD, json.dumps(record, indent=1).encode() + b"\n")
    return out / IMAGE


def _held(
    bank: ConditionBank, feature: Tensor, count: int
) -> Tensor | None:  # [1, D] -> [count, K]
    return bank.mapping_condition(feature.expand(count, -1), count)


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
