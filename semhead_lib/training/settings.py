"""Everything that decides what a training does, checked when it is made.

Networks are imported where they are asked about, so that the command line reads the fields at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from semhead_lib import old_names
from semhead_lib.settings import check, setting
from semhead_lib.training.common_settings import GeneratorSettings

if TYPE_CHECKING:
    from semhead_lib.conditioning.modes import ConditionMode
    from semhead_lib.models.config import GeneratorConfig
    from semhead_lib.models.discriminator_config import DiscriminatorConfig

R1_SCALE = 1.0  # times StyleGAN2's rule: the weight of R1 where none is given
# What may change when a training goes on: how long it lasts, and what it writes on the way.
FREE = ("kimg", "tick_kimg", "snapshot_kimg", "keep", "log_every", "checkpoint", "graphs")


@dataclass(frozen=True)
class TrainSettings(GeneratorSettings):
    """One training. Numbers of images ("kimg") are thousands of real images shown; raises
    ValueError when made with settings that do not go together."""

    mode: str = setting(
        "semantic",
        "none | view | semantic | semantic+view",
        "condition of generator and discriminator",
    )
    kimg: float = setting(200.0, "float > 0", "thousands of real images to show")
    subjects_per_batch: int = setting(8, "int >= 1", "subjects in the batch of one process")
    views_per_subject: int = setting(
        4, "int >= 1", "real images of each subject in a batch; 1 = the single-view baseline"
    )
    views_per_head: int = setting(
        4,
        "int >= 1",
        "views of each generated head: 1 or views_per_subject; 1 for modes with a view",
    )
    generator_lr: float = setting(0.0025, "float > 0", "learning rate of the generator, of Adam")
    discriminator_lr: float = setting(0.002, "float > 0", "learning rate of the discriminator")
    loss: str = setting(
        "logistic",
        "logistic | relativistic",
        "non-saturating logistic, or relativistic (pairs of a real and a generated image)",
    )
    r1_gamma: float | None = setting(
        None,
        "float >= 0 or null",
        "weight of the R1 penalty; null = 1 times StyleGAN2's rule, 0.0002 pixels^2 / batch",
    )
    r1_interval: int = setting(16, "int >= 1", "steps between two R1 penalties")
    r2_gamma: float = setting(
        0.0, "float >= 0", "weight of the R2 penalty, which is R1 on generated images"
    )
    local_weight: float = setting(
        0.0,
        "float >= 0",
        "weight of the 8 x 8 local logits of the discriminator relative to the global logit",
    )
    detail_bands: bool = setting(
        False, "bool", "the discriminator also sees amplified octaves of detail"
    )
    discriminator_first: float = setting(
        0.0, "float >= 0", "kimg in which only the discriminator learns, for a start from init"
    )
    reconstruct_every: int = setting(
        0,
        "int >= 0",
        "steps between two reconstruction steps, on data with depth and segmentation; 0 = none",
    )
    reconstruct_lr: float = setting(0.001, "float > 0", "learning rate of those steps")
    density_weight: float = setting(0.25, "float >= 0", "weight of the density regularisation")
    density_interval: int = setting(4, "int >= 1", "steps between two density regularisations")
    density_distance: float = setting(
        1.0, "float > 0", "distance between neighbouring points, texels of the planes"
    )
    vicico_view: float = setting(
        0.25,
        "float >= 0",
        "weight of real images with a wrong camera (generated images: 1); 0 = off",
    )
    vicico_condition: float = setting(
        0.25,
        "float >= 0",
        "weight of real images with another subject's semantic feature; 0 = off",
    )
    vicico_joint: float = setting(
        0.0,
        "float >= 0",
        "weight of one term for real images with a wrong camera, another subject's feature or "
        "both, chosen at random for each image; 0 = off",
    )
    wrong_view_angle: float = setting(
        30.0, "0 <= float <= 90", "minimum angle between a true and a wrong camera, degrees"
    )
    wrong_condition_cosine: float = setting(
        0.8, "float <= 1", "maximum cosine between a true and a wrong semantic feature"
    )
    condition_noise: float = setting(
        0.0, "float >= 0", "random rotation of the conditions of generated heads, radians"
    )
    condition_until_kimg: float | None = setting(
        None,
        "float > 0 or null",
        "kimg after which nothing is conditioned on features, nor the generator on cameras; null "
        "= never",
    )
    masks: bool = setting(True, "bool", "the discriminator sees masks")
    blur_sigma: float = setting(
        1.25, "float >= 0", "initial blur of the discriminator's input, pixels"
    )
    blur_kimg: float = setting(20.0, "float >= 0", "kimg over which the blur fades out")
    raw_first: int = setting(
        0, "int >= 0", "initial raw resolution, pixels; 0 = always the preset's"
    )
    raw_kimg: float = setting(
        0.0, "float >= 0", "kimg over which the raw resolution grows to the preset's"
    )
    swap_final: float = setting(
        0.5,
        "0 <= float <= 1",
        "modes with a view: final probability that the generator is conditioned on another camera",
    )
    swap_kimg: float = setting(100.0, "float >= 0", "kimg over which that probability falls from 1")
    ema_kimg: float = setting(10.0, "float >= 0", "half-life of the averaged generator (EMA), kimg")
    seed: int = setting(0, "int >= 0", "random seed of weights, batches and latents")
    jitter: bool = setting(True, "bool", "samples along rays are shifted at random")
    precision: str = setting("fp32", "fp32 | bf16", "arithmetic of the networks; bf16 for GPUs")
    accumulate: int = setting(
        1, "int >= 1", "gradient accumulation: micro-batches per batch; less memory, more time"
    )
    checkpoint: bool = setting(False, "bool", "gradient checkpointing: less memory, more time")
    polyphase: bool = setting(
        False,
        "bool",
        "upsampling layers use one convolution instead of a convolution and a blur",
    )
    graphs: bool = setting(True, "bool", "steps on a GPU are run as CUDA graphs")
    tick_kimg: float = setting(4.0, "float > 0", "kimg between two image grids")
    snapshot_kimg: float = setting(4.0, "float > 0", "kimg between two snapshots")
    keep: int = setting(2, "int >= 1", "number of snapshots to keep")
    log_every: int = setting(10, "int >= 1", "steps between two lines of the log")

    def __post_init__(self) -> None:
        from semhead_lib.models.config import GeneratorConfig
        from semhead_lib.models.discriminator_config import DiscriminatorConfig

        object.__setattr__(
            self, "generator", json.loads(json.dumps(dict(self.generator)))
        )  # tuples are lists, as saved
        check(self)
        group = math.gcd(self.subjects_per_batch, DiscriminatorConfig.group)
        if self.subjects_per_batch % (self.accumulate * group):
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
        if self.reconstruct_every and self.mode != "semantic":
            raise ValueError(f"reconstruct_every needs mode semantic, got {self.mode}")
        if self.condition_until_kimg is not None and self.mode == "none":
            raise ValueError(
                "condition_until_kimg needs a mode with a condition to remove, got mode none"
            )
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
        c = self._changed_preset()
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
        others = [n for n in ("vicico_condition", "vicico_joint") if getattr(self, n)]
        if others and "semantic" in self.mode and self.subjects_per_batch < 2:
            raise ValueError(
                f"{others[0]} needs subjects_per_batch >= 2: it takes another subject's condition"
            )

    @property
    def batch(self) -> int:
        """Real images in a batch of one process, and generated ones."""
        return self.subjects_per_batch * self.views_per_subject

    def without_condition(self, images_seen: int) -> bool:
        """Whether the condition is removed by then."""
        until = self.condition_until_kimg
        return until is not None and images_seen >= 1000 * until

    def r1_weight(self, processes: int = 1) -> float:
        """gamma of R1: as given, else R1_SCALE times 0.0002 resolution^2 / (images of all processes
        in a batch), the rule of StyleGAN2's configurations (Karras et al., 2020).

        >>> TrainSettings(preset="semhead-64").r1_weight() / R1_SCALE
        0.0256
        """
        if self.r1_gamma is not None:
            return self.r1_gamma
        side = self.crop or self._changed_preset().resolution
        return float(f"{R1_SCALE * 0.0002 * side**2 / (self.batch * processes):.6g}")

    def resolved(self, processes: int = 1) -> TrainSettings:
        """The same with a number for every setting."""
        return replace(self, r1_gamma=self.r1_weight(processes))

    def condition_mode(self, semantic_dimension: int) -> ConditionMode:
        from semhead_lib.conditioning.modes import ConditionMode

        return ConditionMode(self.mode, semantic_dimension)

    def generator_config(self, semantic_dimension: int) -> GeneratorConfig:
        width = self.condition_mode(semantic_dimension).generator_width
        changes = dict(
            condition_dim=width, representation=self.representation, background=self.background
        )
        return self._changed_preset(**changes)

    def discriminator_config(self, semantic_dimension: int) -> DiscriminatorConfig:
        from semhead_lib.models.discriminator_config import DiscriminatorConfig

        used = semantic_dimension if self.condition_mode(semantic_dimension).uses_semantics else 0
        views = self.views_per_subject
        changes = dict(resolution=self.crop, raw_resolution=self.crop) if self.crop else {}
        changes |= dict(
            sees_mask=self.masks, has_local=self.local_weight > 0, sees_bands=self.detail_bands
        )
        return DiscriminatorConfig.of(
            self.generator_config(semantic_dimension), used, views, **changes
        )

    def _changed_preset(self, **changes: Any) -> GeneratorConfig:
        from semhead_lib.models.config import preset

        return preset(self.preset, **changes, **self.generator)

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
