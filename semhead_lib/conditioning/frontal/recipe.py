"""How a predictor of frontal features is made."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.settings import check, setting


@dataclass(frozen=True)
class Recipe:
    """Settings of a training. Raises ValueError for one out of range."""

    photographs: int = setting(
        3, "int >= 0", "photographic versions of each view, besides the view itself"
    )
    epochs: int = setting(16, "int >= 1", "passes over all views")
    batch: int = setting(256, "int >= 2", "views in a batch")
    width: int = setting(320, "int >= 1", "width of the layers")
    layers: int = setting(3, "int >= 1", "number of layers")
    contrast: float = setting(
        0.1, "float >= 0", "weight of the contrastive loss over the frontal features of the batch"
    )
    learning_rate: float = setting(0.002, "float > 0", "highest learning rate, of AdamW")
    weight_decay: float = setting(0.05, "float >= 0", "of matrices")
    seed: int = setting(0, "int >= 0", "random seed of weights, batches and photographs")

    def __post_init__(self) -> None:
        check(self)
