"""Settings of inversions and of the training of style encoders, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from semhead_lib.settings import check, setting

QUALITIES: dict[str, dict[str, Any]] = {
    "fast": {"steps": 50, "tuning_steps": 30, "coarse_share": 0.95},
    "default": {"steps": 80, "tuning_steps": 60, "coarse_share": 0.9},
    "best": {"steps": 400, "tuning_steps": 200, "coarse_share": 0.5},
}


@dataclass(frozen=True)
class InversionSettings:
    """How a head is fitted. Raises ValueError for a value out of range."""

    space: str = setting(
        "w+", "w | w+", "what is optimised: one w for all layers, or one for each (w+)"
    )
    quality: str = setting(
        "default", "fast | default | best", "number of steps, and the share of coarse ones"
    )
    steps: int | None = setting(
        None, "int >= 0 or null", "optimisation steps of w or w+; null = set by quality"
    )
    lr: float = setting(
        0.03,
        "0 <= float <= 100",
        "learning rate of the style, in units of the styles' spread",
        key=False,
    )
    leave: float = setting(
        0.01,
        "float >= 0",
        "weight of the squared distance of the style from its start, in the same units",
        key=False,
    )
    spread: float = setting(
        3.0,
        "float >= 0",
        "weight of the squared distance of a layer's style from the common one, in the same units",
        key=False,
    )
    noise: float = setting(
        0.05,
        "float >= 0",
        "noise added to the style, in the same units; falls to 0",
        key=False,
    )
    maps: float = setting(
        0.0,
        "float >= 0",
        "weight of the autocorrelation of fitted noise maps; 0 = fixed noise maps",
        key=False,
    )
    camera_lr: float = setting(
        0.002,
        "0 <= float <= 100",
        "step size of the camera refinement, radians or scene units; 0 = fixed cameras",
    )
    tuning_steps: int | None = setting(
        None,
        "int >= 0 or null",
        "steps of tuning to the photographs; 0 = none, null = set by quality",
    )
    tuned: str = setting(
        "planes",
        "planes | weights",
        "what is tuned: a residual of the feature map, or the generator's weights",
    )
    planes_lr: float = setting(
        0.02,
        "0 <= float <= 100",
        "learning rate of the residual, in units of the map's spread",
        key=False,
    )
    smoothness: float = setting(
        10.0, "float >= 0", "weight of the residual's roughness, in these units", key=False
    )
    pivotal_lr: float = setting(
        0.002, "0 <= float <= 100", "learning rate of the generator's weights", key=False
    )
    locality: float = setting(1.0, "float >= 0", "weight of the locality regularisation", key=False)
    locality_interval: int = setting(
        2, "1 <= int <= 1000000", "steps between two locality terms", key=False
    )
    coarse_share: float | None = setting(
        None,
        "0 <= float <= 1 or null",
        "share of the steps that render at half the size and with a density grid; null = set by "
        "quality",
        key=False,
    )
    grid: int = setting(
        48,
        "0 <= int <= 256",
        "nodes a side of the density grid of coarse steps; 0 = none: the generator's own samples",
    )
    patience: int = setting(
        40,
        "int >= 1",
        "steps; a search ends when this many improve the loss by less than `gain`",
        key=False,
    )
    gain: float = setting(
        0.005, "float >= 0", "share of the best loss; 0 = searches never end early", key=False
    )
    seed: int = setting(0, "0 <= int <= 4294967295", "seed of candidates and noise")

    def __post_init__(self) -> None:
        check(self)
        if self.grid == 1:
            raise ValueError("grid must be 0 or an integer from 2 to 256, got 1")
        for name, value in QUALITIES[self.quality].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)


@dataclass(frozen=True)
class InverterSettings:
    """Initialisation, condition and perceptual distance of an inversion."""

    start: str = setting(
        "best",
        "mean | best | encoder",
        "initial w: the mean under the condition, the best of `candidates`, or the output of the "
        "w encoder",
    )
    candidates: int = setting(24, "1 <= int <= 100000", "samples of w that start=best chooses from")
    front: str = setting(
        "predicted",
        "predicted | own",
        "the condition: the frontal feature predicted from the photographs, or the photographs' "
        "own feature",
    )
    perceptual: str = setting(
        "encoder",
        "encoder | lpips",
        "perceptual distance: of the encoder's feature maps, or LPIPS if its weights are installed",
    )
    attention: str = setting("sdpa", "sdpa | xformers", "attention kernels of the w encoder")


@dataclass(frozen=True)
class Files:
    """What is written beside the report."""

    frames: int = setting(72, "0 <= int <= 3600", "frames of the turntable video; 0 = no video")
    mesh: int = setting(
        128, "0 <= int <= 512", "grid points along each side of the mesh; 0 = no mesh"
    )
    texture: int = setting(
        1024,
        "0 <= int <= 8192",
        "texels a side of a textured mesh with half the grid points; 0 = no textured mesh",
    )
    splats: int = setting(
        60_000, "0 <= int <= 10000000", "Gaussian splats on the surface; 0 = no such file"
    )
    finder: str = setting(
        "auto",
        "auto | landmarks | network",
        "what finds heads: dlib's landmarks, the head finder, or the head finder starting from "
        "the landmarks if there are any (auto)",
    )
    landmarks: int = setting(
        68, "68 | 5", "dlib's model: 68 (iBUG 300-W, not for commercial use) or 5 points (CC0)"
    )

    def __post_init__(self) -> None:
        check(self)
        if self.mesh == 1:
            raise ValueError("mesh must be 0 or an integer from 2 to 512, got 1")


@dataclass(frozen=True)
class EncoderRecipe:
    """How a style encoder is trained."""

    steps: int = setting(6000, "int >= 1", "batches to train on")
    batch: int = setting(32, "int >= 1", "heads in a batch, each seen once")
    lr: float = setting(0.0005, "float > 0", "highest learning rate, of AdamW")
    widest: float = setting(
        45.0, "0 <= float <= 180", "azimuth of the images, degrees to either side of the front"
    )
    strategy: str = setting(
        "interpolate",
        "data | perturb | interpolate | gaussian | uniform",
        "how conditions are sampled",
    )
    snapshot_every: int = setting(250, "int >= 1", "steps between two snapshots")
    seed: int = setting(0, "int >= 0", "random seed")

    def __post_init__(self) -> None:
        check(self)
