"""How headclip-64 is made: its architecture, and the settings of its data and training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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

    data_seed: int = 1  # of the people trained on; judged people have other seeds
    subjects: int = 10000  # people, the last `validation` of them for validation only
    views_per_subject: int = 8  # beside the frontal view
    validation: int = 256  # people
    seed: int = 0  # of the first weights, the batches and the captions
    steps: int = 3600
    batch: int = 256  # pairs of an image and a caption, each of another person
    contrast: float = 9.0  # weight of the loss over texts that differ in one attribute only
    learning_rate: float = 1e-3  # the highest, of AdamW; cosine decay to 0
    warmup: int = 100  # steps of linear warm-up
    weight_decay: float = 0.1  # of matrices and filters only
    frontal_share: float = (
        0.4  # share of images that are the frontal view; the others are evenly drawn views
    )
    merges: int = 2000  # most merges of the vocabulary
    precision: str = (
        "bf16"  # of the image tower's arithmetic, or "fp32": weights and text tower are float32
    )

    def __post_init__(self) -> None:
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"precision must be bf16 or fp32, got {self.precision!r}")
        for name, value in vars(self).items():
            lowest = 0 if name in ("data_seed", "seed", "warmup", "contrast", "merges") else 1e-12
            if name != "precision" and value < lowest:
                raise ValueError(f"{name} must not be so small, got {value}")
        if self.frontal_share > 1:
            raise ValueError(f"frontal_share must be at most 1, got {self.frontal_share}")
        if self.batch > self.subjects - self.validation:
            raise ValueError(
                f"batch must be at most the {self.subjects - self.validation} people trained on, "
                f"got {self.batch}"
            )
