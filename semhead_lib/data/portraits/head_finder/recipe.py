"""How a head finder is trained."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.settings import check, setting


@dataclass(frozen=True)
class Recipe:
    """Settings of a training. Raises ValueError for one out of range."""

    steps: int = setting(8200, "int >= 1", "batches")
    batch: int = setting(64, "int >= 2", "windows in a batch")
    pool: int = setting(4096, "int >= 2", "windows that batches are drawn from")
    fresh: int = setting(16, "int >= 1", "windows per step that replace the oldest of the pool")
    side: int = setting(128, "int >= 16", "input size of the network, pixels a side")
    learning_rate: float = setting(0.003, "float > 0", "highest learning rate, of AdamW")
    weight_decay: float = setting(0.02, "float >= 0", "of kernels")
    seed: int = setting(0, "int >= 0", "random seed of weights, batches and photographs")

    def __post_init__(self) -> None:
        check(self)
