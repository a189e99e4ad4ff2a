"""How headclip-64 is made: its architecture, and the settings of its data and training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from semhead_lib.settings import check, setting

NAME = "headclip-64"
CONFIG = (
    "open_clip_config.json"  # a model folder holds these: open_clip reads it as `local-dir:FOLDER`
)
WEIGHTS = "model.safetensors"
VOCABULARY = "bpe.txt.gz"

# CLIP's own convolutional image tower (Radford et al., 2021: "RN50" made narrow), because from 90
# 000 images of 64 pixels it learns more in the same time than a vision transformer, and is four
# times as fast.
ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": [2, 2, 2, 2], "width": 24, "head_width": 64},
    "text_cfg": {"context_length": 48, "vocab_size": 0, "width": 128, "heads": 4, "layers": 3},
}
PREPROCESSING: dict[str, Any] = {
    "size": 64,
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}


def open_clip_config(vocabulary: int) -> dict[str, Any]:
    """The content of `open_clip_config.json` for a vocabulary of that size."""
    text = ARCHITECTURE["text_cfg"] | {"vocab_size": vocabulary}
    return {"model_cfg": ARCHITECTURE | {"text_cfg": text}, "preprocess_cfg": PREPROCESSING}


@dataclass(frozen=True)
class Recipe:
    """Settings of a training. Raises ValueError for one out of range."""

    data_seed: int = setting(
        1, "int >= 0", "seed of the training subjects; evaluation uses seeds 20261122 and 7"
    )
    subjects: int = setting(
        10000,
        "int >= 2",
        "number of subjects; the last `validation` of them are for validation only",
    )
    views_per_subject: int = setting(8, "int >= 1", "views of each, beside the frontal one")
    validation: int = setting(256, "int >= 1", "subjects for validation during the training")
    seed: int = setting(0, "int >= 0", "random seed of weights, batches and captions")
    steps: int = setting(3600, "int >= 1", "batches to train on")
    batch: int = setting(
        256, "int >= 2", "pairs of image and caption in a batch, of different subjects"
    )
    contrast: float = setting(
        9.0, "float >= 0", "weight of the loss over texts that differ in one attribute only"
    )
    learning_rate: float = setting(0.001, "float > 0", "highest learning rate, of AdamW")
    warmup: int = setting(100, "int >= 0", "steps of linear warm-up")
    weight_decay: float = setting(0.1, "float >= 0", "of matrices and filters")
    frontal_share: float = setting(0.4, "0 <= float <= 1", "share of images that are frontal views")
    merges: int = setting(2000, "int >= 0", "maximum number of merges in the vocabulary")
    precision: str = setting("bf16", "bf16 | fp32", "arithmetic of the image tower")

    def __post_init__(self) -> None:
        check(self)
        if self.batch > self.subjects - self.validation:
            raise ValueError(
                f"batch must be at most the {self.subjects - self.validation} subjects trained on, "
                f"got {self.batch}"
            )
