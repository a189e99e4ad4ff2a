"""Multi-view batches: k views of one subject side by side, under its one index and its one semantic
feature.

Which views a subject shows in an epoch depends on (seed, epoch, subject) alone, so every reader
shows the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semhead_lib.data.dataset.manifest import Layout
from semhead_lib.data.subjects import Batch, all_present


@dataclass(frozen=True)
class Row:
    """One subject's part of a batch."""

    subject: int  # index in the dataset
    views: Tensor  # [k, 3, H, W] uint8
    cameras: Tensor  # [k, 25]
    semantic: Tensor | None  # [D] of the subject, or [k, D] of its views
    masks: Tensor | None  # [k, H, W] uint8


def choose_views(seed: int, epoch: int, subject: int, views: int, k: int) -> list[int]:
    """`k` different views of `views`, in random order. Over the epochs each view is as likely as
    any other."""
    return np.random.default_rng((seed, epoch, subject)).permutation(views)[:k].tolist()


def check_views(layout: Layout, k: int) -> None:
    """Raise ValueError unless every subject has `k` views."""
    least, most = layout.views_per_subject
    if not 1 <= k <= least:
        raise ValueError(
            f"views_per_subject must be 1 to {least} (subjects have {least} to {most} views), got "
            f"{k}"
        )


def to_model_range(images: Tensor) -> Tensor:  # uint8, any shape
    """uint8 0..255 as float32 -1..1."""
    return images.float().div_(127.5).sub_(1.0)


def to_unit_range(masks: Tensor) -> Tensor:  # uint8, any shape
    """uint8 0..255 as float32 0..1."""
    return masks.float().div_(255.0)


def collate(rows: Sequence[Row]) -> Batch:
    """The batch of `rows`, in their order: B is the number of all views."""
    counts = torch.tensor([len(row.views) for row in rows])
    has_semantics, has_masks = rows[0].semantic is not None, rows[0].masks is not None
    features = all_present((row.semantic for row in rows), "features") if has_semantics else []
    semantics = [
        feature.expand(len(row.views), -1) for feature, row in zip(features, rows, strict=False)
    ]  # of each, or of its views
    return Batch(
        images=torch.cat([row.views for row in rows]),
        cameras=torch.cat([row.cameras for row in rows]),
        subject=torch.tensor([row.subject for row in rows]).repeat_interleave(counts),
        semantics=torch.cat(semantics) if semantics else None,
        masks=torch.cat(all_present((row.masks for row in rows), "masks"))[:, None]
        if has_masks
        else None,
    )
