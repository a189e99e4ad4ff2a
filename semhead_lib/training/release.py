"""From a training's folder to a model folder that can be shipped: half precision weights, config,
conditions, card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semhead_lib.atomic import write_atomically
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.files import read_json
from semhead_lib.models.cost import cost
from semhead_lib.models.discriminator import Discriminator
from semhead_lib.models.generator import Generator
from semhead_lib.training.kept_settings import begun_settings
from semhead_lib.training.logs import Line, read_log
from semhead_lib.training.settings import FREE, TrainSettings
from semhead_lib.training.trainer import GRIDS, MODEL, SETTINGS

METRICS_FILE, CARD, GRID = "metrics.json", "card.md", "heads.png"
_SHOWN = 8  # rows of the card's table of losses

_TEMPLATE = """\
# {name}

A full-head 3D generator. Load it with `Generator.load("{name}")`, or render its heads with `semhead sample {name} OUT`.

![Eight heads, each from eight azimuths: back, right side, front, left side](heads.png)

## What it is

- Images of {resolution} x {resolution} pixels, rendered at {raw} x {raw} from {representation} planes and refined;
  {parameters} parameters, {gflops} GFLOP an image, {megabytes} MB in half precision.
- Condition mode `{mode}`{features}. `conditions.safetensors` has the features of {kept} training subjects, from which
  conditions are sampled.
- `discriminator.safetensors` is needed to continue training: `semhead train DATA OUT init=FOLDER`.

## How it was made

- Data: {subjects} subjects with {views} views each{licence}.
- Budget: {kimg} thousand real images, {hours} hours on {hardware} ({versions}), beside other work.
- Stages; each starts from the networks of the previous one, with new optimisers. Settings that differ from the
  defaults:

{stages}
{history}
`log.jsonl` has the logs of all stages, one after the other.

| thousand images | generator's loss | discriminator's loss | wrong view | wrong condition |
|---|---|---|---|---|
{losses}

## Metrics

{metrics}

## Limits

{limits}

## Licence

{terms}
"""


def release(
    runs: Sequence[Path | str],
    out: Path | str,
    *,
    name: str,
    metrics: str,  # markdown: what the generator was judged to be
    measured: dict[str, Any],  # the same as JSON
    limits: str,
    history: str = "",  # markdown: what the settings do not say of the stages
    data_licence: str = "",
    terms: str = "Apache-2.0, as the code.",
) -> Path:
    """Write the model folder `out` from the folders of a training's stages, in their order; returns
    the card's path.

    Raises FileNotFoundError when the last of them holds no trained generator.
    """
    run, out = Path(runs[-1]), Path(out)
    if not (run / MODEL / "model.safetensors").is_file():
        raise FileNotFoundError(f"{run} holds no trained generator: {run / MODEL} is missing")
    generator, kept = Generator.load(run / MODEL), ConditionBank.load(run / MODEL)
    generator.save(out, half=True)
    Discriminator.load(run / MODEL).save(out, half=True)
    kept.save(out)
    shutil.copyfile(max((run / GRIDS).glob("*.png")), out / GRID)
    stages = [_Stage.read(Path(folder)) for folder in runs]
    log = _joined(stages)
    write_atomically(
        out / "log.jsonl", "".join(json.dumps(line) + "\n" for line in _thinned(log, 200)).encode()
    )
    write_atomically(out / METRICS_FILE, json.dumps(measured, indent=1).encode() + b"\n")
    begun, c, price = stages[-1].begun, generator.config, cost(generator.config)
    text = _TEMPLATE.format(
        name=name,
        resolution=c.resolution,
        raw=c.raw_resolution,
        representation=c.representation,
        parameters=f"{price.parameters:,}",
        gflops=f"{price.flops / 1e9:.2f}",
        megabytes=f"{(out / 'model.safetensors').stat().st_size / 1e6:.1f}",
        mode=kept.mode.name,
        features=f", features by `{kept.encoder}`" if kept.encoder else "",
        kept=len(kept.features),
        subjects=begun["data"]["subjects"],
        views=begun["data"]["views"][0],
        licence=f" ({data_licence})" if data_licence else "",
        kimg=f"{log[-1]['kimg']:.0f}",
        hours=f"{sum(stage.seconds for stage in stages) / 3600:.1f}",
        hardware=f"{begun['threads']} CPU threads" if begun["device"] == "cpu" else begun["device"],
        versions=f"torch {begun['versions']['torch']}",
        stages="\n".join(f"{i}. {stage.described}" for i, stage in enumerate(stages, 1)),
        history=f"\n{history.strip()}\n" if history else "",
        losses="\n".join(_row(line) for line in _thinned(log, _SHOWN)),
        metrics=metrics.strip(),
        limits=limits.strip(),
        terms=terms,
    )
    write_atomically(out / CARD, text.encode())
    return out / CARD


@dataclass(frozen=True)
class _Stage:
    """A training's folder, as the card tells of it."""

    begun: dict[str, Any]  # settings.json
    log: list[Line]

    @classmethod
    def read(cls, folder: Path) -> _Stage:
        return cls(read_json(folder / SETTINGS), read_log(folder))

    @property
    def seconds(self) -> float:
        """What the steps took, from the speeds of the log's lines."""
        kimg = [0.0, *(line["kimg"] for line in self.log)]
        speeds = (max(line["images_per_second"], 1e-9) for line in self.log)
        return sum(
            1000 * (b - a) / speed for a, b, speed in zip(kimg, kimg[1:], speeds, strict=False)
        )

    @property
    def described(self) -> str:
        usual, here = TrainSettings().as_json(), begun_settings(self.begun)
        changes = [
            f"{key}={here[key]}" for key in here if key not in FREE and here[key] != usual.get(key)
        ]
        batch = here["subjects_per_batch"] * here["views_per_subject"] * self.begun["processes"]
        changed = f"`{' '.join(changes)}`" if changes else "the defaults"
        return f"{self.log[-1]['kimg']:.1f} thousand images in batches of {batch}: {changed}"


def _joined(stages: list[_Stage]) -> list[Line]:
    """The stages' lines one after the other, steps and images counted through."""
    lines, step, kimg = [], 0, 0.0
    for stage in stages:
        lines += [
            line | {"step": line["step"] + step, "kimg": round(line["kimg"] + kimg, 4)}
            for line in stage.log
        ]
        step, kimg = lines[-1]["step"], lines[-1]["kimg"]
    return lines


def _thinned(log: list[Line], rows: int) -> list[Line]:
    """At most `rows` lines at equal distances, each the mean over the lines since the one before
    that have the term."""
    size = max(-(-len(log) // rows), 1)
    parts = [log[i : i + size] for i in range(0, len(log), size)]
    thinned = []
    for part in parts:
        names = dict.fromkeys(name for line in part for name in line)
        values = {name: [line[name] for line in part if name in line] for name in names}
        mean = {name: round(sum(found) / len(found), 4) for name, found in values.items()}
        thinned.append(mean | {"step": part[-1]["step"], "kimg": part[-1]["kimg"]})
    return thinned


def _row(line: Line) -> str:
    numbers = (line[name] for name in ("loss_g", "loss_d", "wrong_view", "wrong_condition"))
    return f"| {line['kimg']:.0f} | " + " | ".join(f"{x:.2f}" for x in numbers) + " |"
