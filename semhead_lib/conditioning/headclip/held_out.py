"""What headclip is worth on subjects it has never seen: other seeds than those it was trained on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semhead_lib.cameras import orbit_angles
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.conditioning.zero_shot import QUESTIONS, answer
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.jobs.synthesis import synthesize
from semhead_lib.data.subjects import Subject
from semhead_lib.metrics.retrieval import ranks, recall

SEEDS = (20261122, 7)  # of the subjects that the model card's metrics come from
SUBJECTS = 256
VIEWS = 8  # every 45 degrees around each


def make_held_out(
    folder: Path | str, seed: int, *, workers: int, subjects: int = SUBJECTS, progress: bool = True
) -> list:
    """Subjects of `seed` at 128 pixels, seen every 45 degrees: made in `folder`, or read when they
    are there."""
    from semhead_lib.data.parametric.source import ParametricSource

    source = partial(
        ParametricSource,
        seed=seed,
        resolution=128,
        views_per_subject=VIEWS,
        view_sampling="orbit",
        channels=(),
    )
    synthesize(source, folder, subjects, shard_size=32, workers=workers, progress=progress)
    return list(SubjectsInMemory.load(folder))


def judge(
    encoder: SemanticEncoder, subjects: Sequence[Subject], *, faces: bool = False
) -> dict[str, Any]:
    """All metrics of the model card for `subjects` seen from the same azimuths, as JSON.

    `faces` adds the rank correlation with dlib's face network (a tenth of a second a subject; needs
    the extra `faces`).
    """
    attributes = [s.attributes for s in subjects]
    frontal = torch.stack([s.frontal for s in subjects])
    features = encoder.images(frontal)
    zero_shot = {
        name: answer(encoder, question, features, attributes)
        for name, question in QUESTIONS.items()
    }
    views = torch.stack([s.views for s in subjects])
    by_azimuth = {}
    for k, (azimuth, *_) in enumerate(orbit_angles(subjects[0].cameras).tolist()):
        by_azimuth[round(azimuth)] = ranks(encoder.images(views[:, k]), features)
    both = torch.cat([by_azimuth[azimuth] for azimuth in (-45, 45)])
    text = ranks(encoder.texts([s.caption for s in subjects]), features)
    metrics = {
        "subjects": len(subjects),
        "zero_shot": {
            name: {"accuracy": a.accuracy, "balanced": a.balanced, "asked": a.asked}
            for name, a in zero_shot.items()
        },
        "retrieval_45": {"recall_1": recall(both, 1), "recall_5": recall(both, 5)},
        "recall_1_by_azimuth": {
            str(azimuth): recall(rank, 1) for azimuth, rank in by_azimuth.items()
        },
        "text": {"median_rank": text.float().median().item(), "recall_1": recall(text, 1)},
    }
    return metrics | ({"dlib": agreement_with_dlib(features, frontal)} if faces else {})


def agreement_with_dlib(
    features: Tensor, frontal: Tensor
) -> dict[str, float]:  # [N, D], [N, 3, R, R] uint8
    """Spearman's rank correlation between distances here and in dlib's identity space, over pairs
    of frontal images."""
    from scipy.stats import spearmanr

    from semhead_lib.data.portraits.faces import face_judge

    found = [(i, f) for i, f in enumerate(map(face_judge().identity, frontal)) if f is not None]
    rows, identity = np.array([i for i, _ in found]), np.stack([f for _, f in found])
    i, j = np.triu_indices(len(rows), k=1)
    here = 1 - (features[rows[i]] * features[rows[j]]).sum(-1).numpy()
    there = np.linalg.norm(identity[i] - identity[j], axis=-1)
    correlation: Any = spearmanr(here, there)[0]
    return {"rank_correlation": float(correlation), "faces": len(rows), "pairs": len(i)}


def images_per_second(encoder: SemanticEncoder, images: Tensor, seconds: float = 3.0) -> float:
    """How many of `images` a second the encoder takes, after a first pass that is not counted."""
    encoder.images(images)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        encoder.images(images)
        done += len(images)
    return done / (time.perf_counter() - start)
