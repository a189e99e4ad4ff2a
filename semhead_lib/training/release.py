"""From a training's folder to a model folder that can be shipped: half precision weights, config, conditions, card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.data.files import write_atomically
from semhead_lib.models.discriminator import Discriminator
from semhead_lib.models.generator import Generator
from semhead_lib.models.presets import cost
from semhead_lib.training.logs import Line, read_log
from semhead_lib.training.settings import TrainSettings
from semhead_lib.training.trainer import GRIDS, MODEL, SETTINGS

FIGURES, CARD, GRID = "figures.json", "card.md", "heads.png"
_SHOWN = 8  # rows of the card's table of losses

_TEMPLATE = """\
# {name}

A full-head 3D generator: latent and condition to a head that can be seen from anywhere. Load it by
`Generator.load("{name}")`, or draw its heads by `semhead sample {name} OUT`.

![Eight heads, each from eight azimuths: back, right side, front, left side](heads.png)

## What it is

- Pictures of {resolution} x {resolution} pixels, rendered at {raw} x {raw} from {representation} planes and refined;
  {parameters} parameters, {gflops} GFLOP a picture, {megabytes} MB in half precision.
- Condition mode `{mode}`{told}. `conditions.safetensors` keeps the features of {kept} subjects that it was trained on,
  to draw conditions from.
- `discriminator.safetensors` is there to go on training: `semhead train DATA OUT init=FOLDER`.

## How it was made

- Data: {subjects} subjects with {views} views each{licence}.
- Budget: {kimg} thousand real pictures, {hours} hours on {hardware} ({versions}); batches of {per_batch} subjects with
  {per_subject} views each. Seed {seed}.
- Again: `semhead train DATA OUT{changes}`. `log.jsonl` is the training's log.

| thousand pictures | generator's loss | discriminator's loss | wrong view | wrong condition |
|---|---|---|---|---|
{losses}

## Figures

{figures}

## Limits

{limits}

## Licence

{terms}
"""


def release(
    run: Path | str,
    out: Path | str,
    *,
    name: str,
    figures: str,  # markdown: what the generator was judged to be
    measured: dict[str, Any],  # the same as JSON
    limits: str,
    data_licence: str = "",
    terms: str = "Apache-2.0, as the code.",
) -> Path:
    """Write the model folder `out` from the training's folder `run`; returns the card's path.

    Raises FileNotFoundError when `run` holds no training.
    """
    run, out = Path(run), Path(out)
    if not (run / MODEL / "model.safetensors").is_file():
        raise FileNotFoundError(f"{run} holds no trained generator: {run / MODEL} is missing")
    generator, kept = Generator.load(run / MODEL), ConditionBank.load(run / MODEL)
    generator.save(out, half=True)
    Discriminator.load(run / MODEL).save(out, half=True)
    kept.save(out)
    shutil.copyfile(max((run / GRIDS).glob("*.png")), out / GRID)
    log = read_log(run)
    write_atomically(out / "log.jsonl", "".join(json.dumps(line) + "\n" for line in _thinned(log, 200)).encode())
    write_atomically(out / FIGURES, json.dumps(measured, indent=1).encode() + b"\n")
    begun = json.loads((run / SETTINGS).read_text(encoding="utf-8"))
    settings, c, price = TrainSettings(**begun["settings"]), generator.config, cost(generator.config)
    text = _TEMPLATE.format(
        name=name,
        resolution=c.resolution,
        raw=c.raw_resolution,
        representation=c.representation,
        parameters=f"{price.parameters:,}",
        gflops=f"{price.flops / 1e9:.2f}",
        megabytes=f"{(out / 'model.safetensors').stat().st_size / 1e6:.1f}",
        mode=kept.mode.name,
        told=f", features by `{kept.encoder}`" if kept.encoder else "",
        kept=len(kept.features),
        subjects=begun["data"]["subjects"],
        views=begun["data"]["views"][0],
        licence=f" ({data_licence})" if data_licence else "",
        kimg=f"{log[-1]['kimg']:.0f}",
        hours=f"{_seconds(log, settings.batch * begun['processes']) / 3600:.1f}",
        hardware=f"{begun['threads']} CPU threads" if begun["device"] == "cpu" else begun["device"],
        versions=f"torch {begun['versions']['torch']}",
        per_batch=settings.subjects_per_batch * begun["processes"],
        per_subject=settings.views_per_subject,
        seed=settings.seed,
        changes="".join(f" {key}={value}" for key, value in _changes(settings).items()),
        losses="\n".join(_row(line) for line in _thinned(log, _SHOWN)),
        figures=figures.strip(),
        limits=limits.strip(),
        terms=terms,
    )
    write_atomically(out / CARD, text.encode())
    return out / CARD


def _changes(settings: TrainSettings) -> dict[str, Any]:
    """The settings that are not the defaults."""
    usual, here = TrainSettings().as_json(), settings.as_json()
    return {key: here[key] for key in here if here[key] != usual[key]}


def _seconds(log: list[Line], batch: int) -> float:
    """What the steps took, from the speeds of the log's lines."""
    seconds, before = 0.0, 0
    for line in log:
        seconds += (line["step"] - before) * batch / max(line["images_per_second"], 1e-9)
        before = line["step"]
    return seconds


def _thinned(log: list[Line], rows: int) -> list[Line]:
    """At most `rows` lines at equal distances, each the mean over the lines since the one before."""
    size = max(-(-len(log) // rows), 1)
    parts = [log[i : i + size] for i in range(0, len(log), size)]
    found = []
    for part in parts:
        names = [name for name in part[-1] if all(name in line for line in part)]
        mean = {name: round(sum(line[name] for line in part) / len(part), 4) for name in names}
        found.append(mean | {"step": part[-1]["step"], "kimg": part[-1]["kimg"]})
    return found


def _row(line: Line) -> str:
    numbers = (line[name] for name in ("loss_g", "loss_d", "wrong_view", "wrong_condition"))
    return f"| {line['kimg']:.0f} | " + " | ".join(f"{x:.2f}" for x in numbers) + " |"
