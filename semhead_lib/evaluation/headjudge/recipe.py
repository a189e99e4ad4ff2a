"""How headjudge is trained."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.settings import check, setting

NAME = "headjudge"


@dataclass(frozen=True)
class Recipe:
    """Settings of a training. Raises ValueError for one out of range."""

    subjects: int = setting(2400, "int >= 1", "subjects to train on")
    views_per_subject: int = setting(6, "int >= 1", "views of each")
    seed: int = setting(0, "int >= 0", "random seed of weights, batches and crops")
    steps: int = setting(4000, "int >= 1", "batches to train on")
    batch: int = setting(48, "int >= 1", "images in a batch")
    learning_rate: float = setting(0.002, "float > 0", "highest learning rate, of AdamW")
    warmup: int = setting(100, "int >= 0", "steps of linear warm-up")
    weight_decay: float = setting(0.02, "float >= 0", "of matrices and filters")
    maps_weight: float = setting(
        1.0,
        "float >= 0",
        "weight of the losses of classes, normals and depth relative to those of the attributes",
    )

    def __post_init__(self) -> None:
        check(self)
