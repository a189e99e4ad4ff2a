"""Everything that decides what a training does, checked when it is made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from semhead_lib import old_names
from semhead_lib.conditioning.modes import MODES, ConditionMode
from semhead_lib.models.config import GeneratorConfig, preset
from semhead_lib.models.discriminator import DiscriminatorConfig

PRECISIONS = ("fp32", "bf16")
LOSSES = ("logistic", "relativistic")
R1_SCALE = 1.0  # times StyleGAN2's rule: the weight of R1 where none is given
FORMAT = 2  # of settings.json
# What may change when a training goes on: how long it lasts, and what it writes on the way.
FREE = ("kimg", "tick_kimg", "snapshot_kimg", "keep", "log_every", "checkpoint", "graphs")


@dataclass(frozen=True)
class TrainSettings:
    """One training. Numbers of images ("kimg") are thousands of real images shown; raises
    ValueError when made with settings that do not go together."""

    preset: str = "semhead-64"  # of the generator
    mode: str = "semantic"  # what generator and discriminator are conditioned on
    representation: str = "hyplane"
    background: str = "learnt"
    generator: dict[str, Any] = field(
        default_factory=dict
    )  # what is other than in the preset (`GeneratorConfig`)
    kimg: float = 200.0
    subjects_per_batch: int = 8  # of one process
    views_per_subject: int = (
        4  # real images of each subject in a batch; 1: the single-view baseline
    )
    views_per_head: int = 4  # generated images of each head in a batch
    generator_lr: float = 2.5e-3  # Adam's learning rates
    discriminator_lr: float = 2e-3
    loss: str = "logistic"  # or "relativistic": of pairs of real and generated images (`losses`)
    r1_gamma: float | None = None  # None: R1_SCALE times StyleGAN2's rule (`r1_weight`)
    r1_interval: int = 16  # steps
    r2_gamma: float = 0.0  # as R1, of generated images; in the same steps
    crop: int = (
        0  # pixels of the square parts that the discriminator sees (`crops`); 0: whole images
    )
    crop_whole: float = 0.35  # share of parts that are the whole image made smaller
    crop_face: float = 0.6  # share of the others that are cut around the face, where it is seen
    local_weight: float = (
        0.0  # of the discriminator's 8 x 8 logits of places, beside the one of the image; 0: none
    )
    detail_bands: bool = (
        False  # the discriminator sees octaves of detail, amplified, beside the image
    )
    discriminator_first: float = 0.0  # kimg in which the generator does not learn yet
    reconstruct_every: int = (
        0  # steps from one step of reconstruction to the next, which hold on to the truth; 0: none
    )
    reconstruct_lr: float = 1e-3  # learning rate of those steps
    density_weight: float = 0.25
    density_interval: int = 4  # steps
    density_distance: float = (
        1.0  # between neighbouring points (standard deviation), texels of the planes (EG3D: 1)
    )
    vicico_view: float = 0.25  # weight of real images under a wrong camera; of generated ones: 1
    vicico_condition: float = 0.25  # of real images under another subject's semantic feature
    wrong_view_angle: float = 30.0  # degrees, at least
    wrong_condition_cosine: float = 0.8  # at most
    condition_noise: float = 0.0  # turns the conditions of generated heads, in radians
    masks: bool = True  # the discriminator sees masks
    blur_sigma: float = 1.25  # pixels of the final image, at the start
    blur_kimg: float = 20.0
    raw_first: int = 0  # pixels of the raw image at the start; 0: the preset's all the time
    raw_kimg: float = 0.0  # over which it grows to the preset's
    swap_final: float = (
        0.5  # of view modes: probability that the mapping network is conditioned on another camera
    )
    swap_kimg: float = 100.0
    ema_kimg: float = 10.0  # half-life of the averaged generator
    seed: int = 0
    jitter: bool = True  # of the samples along rays
    precision: str = (
        "fp32"  # of the activations of backbone, super-resolution and discriminator blocks
    )
    accumulate: int = 1  # micro-batches that a batch is computed in, one after the other
    checkpoint: bool = (
        False  # blocks are computed again for the backward pass, which takes time and saves memory
    )
    polyphase: bool = (
        False  # layers that double the size are one convolution instead of a convolution and a blur
    )
    graphs: bool = True  # steps on a GPU are run as CUDA graphs
    tick_kimg: float = 4.0  # between image grids
    snapshot_kimg: float = 4.0  # between snapshots
    keep: int = 2  # newest snapshots kept
    log_every: int = 10  # steps

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "generator", json.loads(json.dumps(dict(self.generator)))
        )  # tuples are lists, as saved
        for name, allowed in (("mode", MODES), ("precision", PRECISIONS), ("loss", LOSSES)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )
        for name in (
            "subjects_per_batch",
            "views_per_subject",
            "views_per_head",
            "r1_interval",
            "density_interval",
            "keep",
            "log_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            "kimg",
            "tick_kimg",
            "snapshot_kimg",
            "generator_lr",
            "discriminator_lr",
            "reconstruct_lr",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in (
            "r1_gamma",
            "r2_gamma",
            "local_weight",
            "discriminator_first",
            "density_weight",
            "density_distance",
            "vicico_view",
            "vicico_condition",
            "condition_noise",
            "blur_sigma",
            "blur_kimg",
            "raw_kimg",
            "swap_kimg",
            "ema_kimg",
            "seed",
        ):
            if not (getattr(self, name) is None or 0 <= getattr(self, name) < math.inf):
                raise ValueError(
                    f"{name} must be finite and not negative, got {getattr(self, name)}"
                )
        group = math.gcd(self.subjects_per_batch, DiscriminatorConfig.group)
        if self.accumulate < 1 or self.subjects_per_batch % (self.accumulate * group):
            raise ValueError(
                f"accumulate must divide subjects_per_batch ({self.subjects_per_batch}) into "
                f"whole groups of {group} "
                f"subjects, which the minibatch statistic is taken over; got {self.accumulate}"
            )
        if self.views_per_head not in (1, self.views_per_subject):
            raise ValueError(
                f"views_per_head must be 1 or views_per_subject ({self.views_per_subject}), got "
                f"{self.views_per_head}"
            )
        if "view" in self.mode and self.views_per_head != 1:
            raise ValueError(
                f"mode {self.mode} conditions the generator on one image's camera, so a head has "
                "one image only: "
                f"views_per_head must be 1, got {self.views_per_head}"
            )
        if self.reconstruct_every < 0:
            raise ValueError(
                f"reconstruct_every must not be negative, got {self.reconstruct_every}"
            )
        if self.reconstruct_every and self.mode != "semantic":
            raise ValueError(f"reconstruct_every needs mode semantic, got {self.mode}")
        for name in ("crop_whole", "crop_face"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        unknown = sorted(set(self.generator) - set(GeneratorConfig.__dataclass_fields__))
        taken = sorted(
            {"name", "condition_dim", "representation", "background"} & set(self.generator)
        )
        if unknown:
            raise ValueError(f"a generator's config has no {', '.join(unknown)}")
        if taken:
            raise ValueError(
                f"generator may not change {', '.join(taken)}: use the settings of the training"
            )
        c = preset(self.preset, **self.generator)
        zoom = c.resolution // self.crop if self.crop else 1
        if self.crop and c.super_channels:
            raise ValueError(
                f"crop must be 0 for {self.preset}, which has super-resolution and makes whole "
                "images only; "
                f"got {self.crop}"
            )
        if self.crop and (self.crop < 8 or zoom * self.crop != c.resolution or zoom & (zoom - 1)):
            raise ValueError(
                f"crop must be 0, or {c.resolution} over a power of two, at least 8, for "
                f"{self.preset}; got {self.crop}"
            )
        if self.raw_first and (not c.super_channels or not 8 <= self.raw_first <= c.raw_resolution):
            raise ValueError(
                f"raw_first must be 0, or 8 to {c.raw_resolution} for a preset with "
                "super-resolution; "
                f"got {self.raw_first} for {self.preset}"
            )
        if self.vicico_condition and "semantic" in self.mode and self.subjects_per_batch < 2:
            raise ValueError(
                "vicico_condition needs subjects_per_batch >= 2: it takes another subject's "
                "condition"
            )

    @property
    def batch(self) -> int:
        """Real images in a batch of one process, and generated ones."""
        return self.subjects_per_batch * self.views_per_subject

    def r1_weight(self, processes: int = 1) -> float:
        """gamma of R1: as given, else R1_SCALE times 0.0002 resolution^2 / (images of all processes
        in a batch), the rule of StyleGAN2's configurations (Karras et al., 2020).

        >>> TrainSettings(preset="semhead-64").r1_weight() / R1_SCALE
        0.0256
        """
        if self.r1_gamma is not None:
            return self.r1_gamma
        side = self.crop or preset(self.preset, **self.generator).resolution
        return float(f"{R1_SCALE * 0.0002 * side**2 / (self.batch * processes):.6g}")

    def resolved(self, processes: int = 1) -> TrainSettings:
        """The same with a number for every setting."""
        return replace(self, r1_gamma=self.r1_weight(processes))

    def condition_mode(self, semantic_dimension: int) -> ConditionMode:
        return ConditionMode(self.mode, semantic_dimension)

    def generator_config(self, semantic_dimension: int) -> GeneratorConfig:
        width = self.condition_mode(semantic_dimension).generator_width
        changes = dict(
            condition_dim=width, representation=self.representation, background=self.background
        )
        return preset(self.preset, **changes, **self.generator)

    def discriminator_config(self, semantic_dimension: int) -> DiscriminatorConfig:
        used = semantic_dimension if self.condition_mode(semantic_dimension).uses_semantics else 0
        views = self.views_per_subject
        changes = dict(resolution=self.crop, raw_resolution=self.crop) if self.crop else {}
        changes |= dict(
            sees_mask=self.masks, has_local=self.local_weight > 0, sees_bands=self.detail_bands
        )
        return DiscriminatorConfig.of(
            self.generator_config(semantic_dimension), used, views, **changes
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TrainSettings:
        """Settings by their names of today or earlier. Raises TypeError for unknown ones."""
        return cls(**old_names.today(old_names.SETTINGS, content))

    def differences(self, there: dict[str, Any]) -> list[str]:
        """What differs from the settings a training was begun with, in words, but for what may
        change. What those do not name had its default, and what is None here is as it was there."""
        here, usual = self.as_json(), {f.name: f.default for f in fields(self)}
        names = [n for n in usual if n not in FREE and here[n] is not None]
        there = usual | there
        return [f"{n} is {there[n]} there, {here[n]} here" for n in names if there[n] != here[n]]


def begun_settings(content: dict[str, Any]) -> dict[str, Any]:
    """The settings in a training's settings.json, in the units of today.

    Before format 2, density_distance was in widths of the rendered cube.
    """
    settings = old_names.today(old_names.SETTINGS, content["settings"])
    if content.get("format", 1) < 2 and "density_distance" in settings:
        settings["density_distance"] = round(
            settings["density_distance"] * preset(settings["preset"]).plane_side, 6
        )
    return settings
