"""Everything that decides what is reconstructed and how, checked when it is made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from semhead_lib.settings import check, inherited, setting
from semhead_lib.training.common_settings import GeneratorSettings
from semhead_lib.training.settings import TrainSettings

# What an adversarial training of the same generator has as well.
OF_BOTH = tuple(f.name for f in fields(GeneratorSettings))
FREE = ("kimg", "save_every", "graphs")  # what may change when a training goes on


@dataclass(frozen=True)
class ReconstructionSettings(GeneratorSettings):
    """One training by reconstruction. Raises ValueError for settings that do not go together."""

    preset: str = inherited(GeneratorSettings, "preset", "semhead-128")
    crop: int = inherited(GeneratorSettings, "crop", 64)
    kimg: float = setting(200.0, "float > 0", "thousands of images whose surface points are used")
    subjects_per_batch: int = setting(6, "int >= 1", "subjects per step")
    views_per_subject: int = setting(
        6, "int >= 1", "images of each subject whose surface points are used"
    )
    rendered: int = setting(2, "int >= 1", "number of these images that are also rendered")
    mirror: bool = setting(False, "bool", "mirror half of the subjects, which doubles their number")
    encode: str = setting(
        "image",
        "image | attributes",
        "the latent of a subject is inferred from one of its images, or from the attributes of "
        "the parametric head",
    )
    lr: float = setting(0.003, "float > 0", "highest learning rate of the generator, of Adam")
    encoder_lr: float = setting(0.002, "float > 0", "highest learning rate of the encoder")
    maps_lr: float = setting(
        1.0,
        "float >= 0",
        "learning rate of the maps that all heads share, relative to lr; 0 = fixed",
    )
    warmup: int = setting(100, "int >= 0", "steps of linear warm-up")
    fall: float = setting(
        0.25,
        "0 <= float <= 1",
        "final share of the training over which the learning rates fall to 0",
    )
    detail_weight: float = setting(
        1.0, "float >= 0", "weight of differences in detail, which a blur of one pixel removes"
    )
    mask_weight: float = setting(
        0.5, "float >= 0", "weight of differences between opacity and mask"
    )
    density_weight: float = setting(
        0.3, "float >= 0", "weight of the density at points that should be empty or opaque"
    )
    colour_weight: float = setting(2.0, "float >= 0", "weight of colours on surfaces")
    class_weight: float = setting(
        0.2,
        "float >= 0",
        "weight of the segmentation predicted from the decoder's hidden layer; 0 = none",
    )
    kl_weight: float = setting(
        0.002, "float >= 0", "weight of the divergence of latents from N(0, I), nats"
    )
    pixels: int = setting(
        512,
        "int >= 0",
        "pixels per image whose surface points are used; 0 = rendered images only: data need no "
        "depth, but with a density grid, empty regions never fill again",
    )
    adversarial_weight: float = setting(
        0.0,
        "float >= 0",
        "weight of a discriminator of reconstructions and of heads of random latents; 0 = none",
    )
    judge_drawn: bool = setting(
        True,
        "bool",
        "the discriminator also sees heads of random latents; false = reconstructions only",
    )
    matching_weight: float = setting(
        0.0,
        "float >= 0",
        "weight of differences between the discriminator's activations for reconstructions and for "
        "real images; needs adversarial_weight",
    )
    discriminator_lr: float = setting(0.002, "float > 0", "learning rate of the discriminator")
    discriminator_first: int = setting(
        100, "int >= 0", "steps before the generator uses the adversarial loss"
    )
    r1_gamma: float = setting(0.005, "float >= 0", "weight of the discriminator's R1 penalty")
    ema_kimg: float = setting(5.0, "float > 0", "half-life of the averaged generator (EMA), kimg")
    seed: int = setting(0, "int >= 0", "random seed of weights, batches and latents")
    graphs: bool = setting(True, "bool", "on a GPU, run steps as CUDA graphs")
    save_every: int = setting(250, "int >= 1", "steps between two saved states and image grids")

    def __post_init__(self) -> None:
        object.__setattr__(self, "generator", json.loads(json.dumps(dict(self.generator))))
        check(self)
        if self.rendered > self.views_per_subject:
            raise ValueError(
                f"rendered must be at most views_per_subject ({self.views_per_subject}), got "
                f"{self.rendered}"
            )
        c = self.adversarial.generator_config(1)  # checks what both have
        if self.adversarial_weight and c.super_channels:
            raise ValueError(
                "adversarial_weight needs a preset without super-resolution, got "
                f"{self.adversarial_weight} for "
                f"{self.preset}"
            )

        if self.matching_weight and not self.adversarial_weight:
            raise ValueError(
                f"matching_weight needs a discriminator (adversarial_weight > 0), got "
                f"{self.matching_weight}"
            )

    @property
    def adversarial(self) -> TrainSettings:
        """Settings of an adversarial training of the same generator: with local logits and bands of
        detail."""
        judged = self.adversarial_weight > 0
        return TrainSettings(
            **{name: getattr(self, name) for name in OF_BOTH},
            subjects_per_batch=max(self.subjects_per_batch, 2),
            views_per_subject=self.rendered,
            views_per_head=self.rendered,
            r1_gamma=self.r1_gamma,
            local_weight=0.5 if judged else 0.0,
            detail_bands=judged,
        )

    @property
    def batch(self) -> int:
        """Images of a batch."""
        return self.subjects_per_batch * self.views_per_subject

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return max(round(self.kimg * 1000 / self.batch), 1)

    def share(self, step: int) -> float:
        """Of the highest learning rates, at a step."""
        rising = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        left = (self.steps - step) / max(self.fall * self.steps, 1)
        return min(rising, max(min(left, 1.0), 0.0))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def differences(self, there: dict[str, Any]) -> list[str]:
        """What differs from the settings that a training was begun with, in words, but for what may
        change."""
        here, usual = self.as_json(), {f.name: f.default for f in fields(self)}
        there = usual | there
        return [
            f"{n} is {there[n]} there, {here[n]} here"
            for n in usual
            if n not in FREE and there[n] != here[n]
        ]
