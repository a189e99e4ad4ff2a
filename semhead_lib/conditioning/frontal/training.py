"""Training of a predictor of frontal features. Encoding the views takes nearly all of the time and
resumes; the training itself takes a minute or two and begins anew."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import trange

from semhead_lib.atomic import folder_lock, write_atomically
from semhead_lib.conditioning.frontal.network import (
    WEIGHTS,
    FrontalPredictor,
    Predicted,
    PredictorConfig,
)
from semhead_lib.conditioning.frontal.recipe import Recipe
from semhead_lib.conditioning.frontal.views import SeenViews, see_views
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.files import read_json
from semhead_lib.recipes import begin, learning_rate, parameter_groups

SETTINGS, LOG, VIEWS = "recipe.json", "log.jsonl", "views"
_TEMPERATURE = 0.05
_WARMUP, _LOG_EVERY = 100, 50


def losses(
    predicted: Predicted, truth: Tensor, subjects: Tensor
) -> dict[str, Tensor]:  # [B, D], [B]
    """What is wrong: 1 - cosine to the true front; cross-entropy of finding it among those of other
    subjects in the batch; squared error of the certainty."""
    cosine = (predicted.features * truth).sum(1)
    logits = predicted.features @ truth.T / _TEMPERATURE
    same = subjects[:, None] == subjects[None]
    same.fill_diagonal_(False)
    right = torch.arange(len(truth), device=truth.device)
    return {
        "distance": (1 - cosine).mean(),
        "contrast": F.cross_entropy(logits.masked_fill(same, float("-inf")), right),
        "certainty": (predicted.certainty - cosine.detach().clamp(0, 1)).square().mean(),
    }


def fit(
    recipe: Recipe, views: SeenViews, encoder: str, device: str = "cpu", progress: bool = True
) -> tuple[FrontalPredictor, list[dict[str, float]]]:
    """A predictor of what `encoder`, an identity, saw; and the log."""
    r, rng = recipe, torch.Generator().manual_seed(recipe.seed)
    n, versions, _ = views.features.shape
    config = PredictorConfig(
        encoder, views.fronts.shape[1], views.maps.shape[2], width=r.width, layers=r.layers
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(r.seed)
        predictor = FrontalPredictor(config).to(device)
        predictor.mean.copy_(views.maps.mean((0, 1)))
        predictor.scale.copy_(views.maps.flatten(0, 1).std(0).clamp_min(1e-6))
        optimiser = torch.optim.AdamW(parameter_groups(predictor, r.weight_decay))
        batch, log, sums = min(r.batch, n), [], {}
        steps = max(r.epochs * n // batch, 1)
        for step in trange(steps, desc="frontal", unit="step", disable=not progress):
            rows = torch.randint(n, (batch,), generator=rng)
            version = torch.randint(versions, (batch,), generator=rng)
            seen = views.features[rows, version], views.maps[rows, version]
            predicted = predictor(*(x.to(device) for x in seen))
            subjects = views.subjects[rows]
            found = losses(predicted, views.fronts[subjects].to(device), subjects.to(device))
            loss = found["distance"] + r.contrast * found["contrast"] + 0.5 * found["certainty"]
            if not loss.isfinite():
                raise FloatingPointError(f"step {step}: the loss is {loss.item()}")
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, r.learning_rate, _WARMUP, steps)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            sums = {k: sums.get(k, 0.0) + float(v.detach()) for k, v in found.items()}
            if (step + 1) % _LOG_EVERY == 0:
                log.append(
                    {"step": step + 1, **{k: round(v / _LOG_EVERY, 5) for k, v in sums.items()}}
                )
                sums = {}
    return predictor.eval().requires_grad_(False), log


def train(
    recipe: Recipe,
    data: Path | str,
    out: Path | str,
    encoder: SemanticEncoder,
    *,
    device: str = "cpu",
    progress: bool = True,
) -> Path:
    """Train on a dataset with masks and the encoder's features of fronts; depth, if there, gives
    photographs other light. Returns the path of the weights; config, recipe and log lie beside.

    Interrupted, the same call goes on. Raises ValueError for a recipe other than the one `out` was
    begun with or for another encoder's features, BlockingIOError when another process trains into
    `out`.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with folder_lock(out):
        subjects = SubjectsInMemory.load(data, geometry=("depth",), progress=progress)
        about = {
            "encoder": str(encoder.identity),
            "data": subjects.digest,
            "subjects": len(subjects),
        }
        begin(recipe, out, SETTINGS, "a predictor of frontal features", **about)
        there = read_json(out / SETTINGS)
        for name, value in about.items():
            if there.get(name) != value:
                raise ValueError(
                    f"{out} was begun with another {name}: {there.get(name)} there, {value} here. "
                    "Use another folder"
                )
        if (out / WEIGHTS).exists():
            return out / WEIGHTS
        views = see_views(subjects, encoder, recipe.photographs, out / VIEWS, recipe.seed, progress)
        predictor, log = fit(recipe, views, str(encoder.identity), device, progress)
        text = "".join(json.dumps(line) + "\n" for line in log)
        write_atomically(out / LOG, text.encode())
        predictor.save(out)
    return out / WEIGHTS
