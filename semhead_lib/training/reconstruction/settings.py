"""Everything that decides what is reconstructed and how, checked when it is made."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from semhead_lib.training.settings import TrainSettings

# What an adversarial training of the same generator has as well.
OF_BOTH = ("preset", "representation", "background", "generator", "crop", "crop_whole", "crop_face")
ENCODERS = ("image", "attributes")
FREE = ("kimg", "save_every")  # what may change when a training goes on


@dataclass(frozen=True)
class ReconstructionSettings:
    """One training by reconstruction. Raises ValueError for settings that do not go together."""

    preset: str = "semhead-128"  # of the generator
    representation: str = "hyplane"
    background: str = "learnt"
    generator: dict[str, Any] = field(
        default_factory=dict
    )  # what is other than in the preset (`GeneratorConfig`)
    kimg: float = 200.0  # thousands of images whose points were looked at
    subjects_per_batch: int = 6
    views_per_subject: int = 6  # images of a subject whose points are looked at
    rendered: int = 2  # of them, that are rendered as well
    crop: int = 64  # pixels of the square parts that are rendered; 0: whole images
    crop_whole: float = 0.35  # share of parts that are the whole image made smaller
    crop_face: float = 0.6  # share of the others that are cut around the face, where it is seen
    encode: str = "image"  # what a subject's latent is inferred from: image, or attributes
    lr: float = 3e-3  # Adam's learning rates, the highest: they rise for `warmup` steps ...
    encoder_lr: float = 2e-3
    maps_lr: float = 1.0  # of maps that all heads share (`place_gain`), over lr; 0: they stay
    warmup: int = 100
    fall: float = 0.25  # ... and fall to 0 over that last share of the training
    detail_weight: float = 1.0  # of differences in what a blur of one pixel takes away
    mask_weight: float = 0.5
    density_weight: float = 0.3  # at points: empty or opaque
    colour_weight: float = 2.0  # at points on surfaces
    # of the class of surfaces, predicted from the field's hidden layer at points on them; 0: not
    class_weight: float = 0.2
    kl_weight: float = 2e-3  # of the divergence of latents from N(0, I), nats
    pixels: int = 512  # of an image, whose points are looked at; 0: rendered images alone, no depth
    adversarial_weight: float = (
        0.0  # of a discriminator of reconstructions and of drawn heads; 0: none
    )
    discriminator_lr: float = 2e-3  # Adam's learning rate
    discriminator_first: int = 100  # steps in which the generator does not listen to it yet
    r1_gamma: float = 5e-3  # weight of its R1 penalty
    ema_kimg: float = 5.0  # half-life of the averaged generator
    seed: int = 0
    save_every: int = 250  # steps from one saved state, and one grid of images, to the next

    def __post_init__(self) -> None:
        object.__setattr__(self, "generator", json.loads(json.dumps(dict(self.generator))))
        for name in ("subjects_per_batch", "views_per_subject", "rendered", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("kimg", "lr", "encoder_lr", "discriminator_lr", "ema_kimg"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        for name in (
            "detail_weight",
            "mask_weight",
            "density_weight",
            "colour_weight",
            "class_weight",
            "kl_weight",
            "pixels",
            "adversarial_weight",
            "discriminator_first",
            "r1_gamma",
            "maps_lr",
            "warmup",
            "seed",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be finite and not negative, got {getattr(self, name)}"
                )
        if self.rendered > self.views_per_subject:
            raise ValueError(
                f"rendered must be at most views_per_subject ({self.views_per_subject}), got "
                f"{self.rendered}"
            )
        if self.encode not in ENCODERS:
            raise ValueError(f"encode must be one of {', '.join(ENCODERS)}, got {self.encode}")
        if not 0 <= self.fall <= 1:
            raise ValueError(f"fall must lie in [0, 1], got {self.fall}")
        c = self.adversarial.generator_config(1)  # checks what both have
        if self.adversarial_weight and c.super_channels:
            raise ValueError(
                "adversarial_weight needs a preset without super-resolution, got "
                f"{self.adversarial_weight} for "
                f"{self.preset}"
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
