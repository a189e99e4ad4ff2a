"""What a predictor of frontal features is worth on subjects that it has not seen, and its card."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semhead_lib.atomic import write_atomically
from semhead_lib.conditioning.frontal.network import WEIGHTS, FrontalPredictor
from semhead_lib.conditioning.frontal.training import SETTINGS, VIEWS
from semhead_lib.conditioning.frontal.views import SeenViews, see_views
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.files import read_json
from semhead_lib.metrics.retrieval import recall

CARD, METRICS_FILE = "card.md", "metrics.json"
AMONG = 256  # fronts that the right one is looked for in
AZIMUTHS = (0, 45, 90, 135, 180)  # degrees from the front, to either side, +-22.5
_KINDS = ("rendered", "photographic")


def held_out(predictor: FrontalPredictor, views: SeenViews) -> dict[str, Any]:
    """Metrics by azimuth, of rendered views and of photographic ones: cosine to the true front, and
    how often that is the nearest, or among the five nearest, of AMONG fronts; for the plain feature
    of the view, and for the predicted one. "certainty" is the correlation of the predicted with the
    true cosine, over all views."""
    among = min(AMONG, len(views.fronts))
    rows = (views.subjects < among).nonzero()[:, 0]
    truth, off = views.fronts[views.subjects[rows]], views.azimuths[rows]
    off = ((off + 180) % 360 - 180).abs()
    found: dict[str, Any] = {"subjects": among, "views": len(rows)}
    for kind, versions in zip(_KINDS, ([0], range(1, views.features.shape[1])), strict=True):
        answers: dict[str, list[Tensor]] = {"feature": [], "predicted": []}
        certainties = []
        for k in versions:
            seen = views.features[rows, k], views.maps[rows, k]
            predicted = predictor(*seen)
            certainties.append(predicted.certainty)
            answers["feature"].append(seen[0])
            answers["predicted"].append(predicted.features)
        if not certainties:
            continue
        found[kind] = {}
        for azimuth in AZIMUTHS:
            there = (off - azimuth).abs() <= 22.5
            if not there.any():  # nothing can be said of this side
                continue
            found[kind][str(azimuth)] = {
                name: _metrics(torch.cat([m[there] for m in made]), rows, views, among, there)
                for name, made in answers.items()
            }
        cosine = torch.cat([(m * truth).sum(1) for m in answers["predicted"]])
        correlation = float(torch.corrcoef(torch.stack([cosine, torch.cat(certainties)]))[0, 1])
        found[kind]["certainty"] = round(correlation, 3) if math.isfinite(correlation) else None
    return found


def _metrics(
    made: Tensor, rows: Tensor, views: SeenViews, among: int, there: Tensor
) -> dict[str, float]:
    own = views.subjects[rows[there]].repeat(len(made) // max(int(there.sum()), 1))
    similar = made @ views.fronts[:among].T
    cosine = similar.gather(1, own[:, None])
    ranks = (similar >= cosine).sum(1)
    return {
        "cosine": round(float(cosine.mean()), 3),
        "recall_1": round(recall(ranks, 1), 3),
        "recall_5": round(recall(ranks, 5), 3),
    }


def judge_and_describe(
    out: Path | str, unseen: Path | str, encoder: SemanticEncoder, progress: bool = True
) -> dict[str, Any]:
    """Judge on a dataset of other subjects, and write metrics and card beside the weights."""
    out = Path(out)
    recipe = read_json(out / SETTINGS)["recipe"]
    subjects = SubjectsInMemory.load(unseen, geometry=("depth",), limit=AMONG, progress=progress)
    predictor = FrontalPredictor.load(out)
    folder = out / VIEWS
    views = see_views(subjects, encoder, max(recipe["photographs"], 1), folder, 7, progress)
    metrics = held_out(predictor, views)
    write_atomically(out / METRICS_FILE, json.dumps(metrics, indent=1).encode() + b"\n")
    write_atomically(out / CARD, card(out, predictor, read_json(out / SETTINGS), metrics).encode())
    return metrics


def card(
    out: Path, predictor: FrontalPredictor, about: dict[str, Any], metrics: dict[str, Any]
) -> str:
    """The card in Markdown; `about` is what `training.SETTINGS` holds."""
    recipe = about["recipe"]
    numbers = sum(p.numel() for p in predictor.parameters())
    size = (out / WEIGHTS).stat().st_size / 1e6
    encoder = predictor.config.encoder.partition(" [")[0]
    return f"""# Predictor of frontal features

Given a photograph of a head from any side, this network predicts the {encoder} feature of the same subject's frontal
view, which generators are conditioned on (`semhead_lib.conditioning.frontal`). Its inputs are the feature of the
photograph and the encoder's feature maps, averaged over the image. It also predicts its certainty: the expected cosine
between prediction and truth. The camera as a further input made no difference.

- {numbers:,} parameters, {size:.1f} MB in half precision; residual layers of width {recipe["width"]}.
- Trained for {recipe["epochs"]} epochs on views of {about["subjects"]} parametric heads, as rendered and in
  {recipe["photographs"]} photographic versions each: relit by their normals, with backgrounds, occlusions, blur, noise
  and JPEG (`semhead_lib.data.portraits.photographic`). After 40 epochs it fits the training subjects better, but not
  unseen ones.

Evaluated on {metrics["views"]} views of {metrics["subjects"]} unseen subjects. Recall@k is the share of views for which
the true frontal feature is among the k nearest of {metrics["subjects"]}.

{_table(metrics)}

The correlation of the certainty with the true cosine is {_certainty(metrics)}. From the back of a head, it can predict
only what shows there, hair and clothes, and its certainty is lower.

## Limits

It was trained on parametric heads only and has not been evaluated on photographs of people. It reads features of
{encoder} and of no other encoder. {encoder} was trained on rendered heads, so the feature of a photographic view is far
from that of the frontal view; the prediction recovers colours, hair and accessories, seldom the individual.

Apache-2.0; the heads are CC0-1.0.
"""


def _table(metrics: dict[str, Any]) -> str:
    rows = [
        "| views | azimuth | feature of the view: cosine, recall@1, @5 | predicted feature |",
        "|---|---|---|---|",
    ]
    for kind in (k for k in _KINDS if k in metrics):
        for azimuth in (a for a in AZIMUTHS if str(a) in metrics[kind]):
            cells = [
                ", ".join(f"{v:.2f}" for v in of.values())
                for of in metrics[kind][str(azimuth)].values()
            ]
            rows.append(f"| {kind} | {azimuth}° | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _certainty(metrics: dict[str, Any]) -> str:
    said = (
        f"{metrics[kind]['certainty']:.2f} ({kind})"
        for kind in _KINDS
        if kind in metrics and metrics[kind]["certainty"] is not None
    )
    return " and ".join(said) or "not known, as all of them are equal"
