"""Training targets of headjudge: maps and attributes of parametric heads, in random crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import RADIUS
from semhead_lib.data.subjects import Subject, all_present
from semhead_lib.evaluation.headjudge.network import DEPTH_SCALE, MAP_SIDE, SIDE, JudgeConfig

# Attributes that an image can show; the light is among them, since it decides what is seen.
CATEGORIES = (
    "gender",
    "eye_colour",
    "hair_colour",
    "hair_style",
    "hair_texture",
    "parting",
    "fringe",
    "receding",
    "facial_hair",
    "glasses",
    "hat",
    "hat_colour",
    "earrings",
    "clothes",
    "cloth_colour",
    "expression",
)
SCALARS = (
    "age",
    "build",
    "skin_tone",
    "undertone",
    "freckles",
    "hair_length",
    "hair_thickness",
    "brow_thickness",
    "lip_tint",
    "expression_strength",
    "light_azimuth",
    "light_elevation",
    "light_warmth",
    "light_contrast",
)
FULL_SHARE = 0.5  # of the images are seen whole, the others in crops
SMALLEST = 0.4  # side of a crop, in sides of the image: a face fills it
BACKGROUND_SHARE = 0.5  # of the images get another background
GAIN, OFFSET = 0.1, 0.05  # how far contrast and brightness are changed


def flat(attributes: dict[str, Any]) -> dict[str, Any]:
    """All attributes of a subject on one level: ancestry and shape controls by their names."""
    found = {name: attributes[name] for name in (*CATEGORIES, *SCALARS)}
    for group in ("ancestry", "shape"):
        found |= {f"{group}.{name}": value for name, value in attributes[group].items()}
    return found


def judge_config(subjects: Sequence[Subject], classes: tuple[str, ...]) -> JudgeConfig:
    """Values of the categories, and means and deviations of the numbers, over the subjects trained
    on."""
    rows = [flat(subject.attributes) for subject in subjects]
    categories = {name: tuple(sorted({str(row[name]) for row in rows})) for name in CATEGORIES}
    scalars = {}
    for name in rows[0]:
        if name not in CATEGORIES:
            values = torch.tensor([float(row[name]) for row in rows])
            scalars[name] = (
                round(float(values.mean()), 5),
                round(max(float(values.std()), 1e-3), 5),
            )
    return JudgeConfig(classes, categories, scalars)


@dataclass(frozen=True)
class Targets:
    """B images and their targets."""

    images: Tensor  # [B, 3, 128, 128] in [-1, 1]
    classes: Tensor  # [B, 64, 64] int64
    normals: Tensor  # [B, 3, 64, 64] unit, camera axes; where nothing is hit, 0
    depth: Tensor  # [B, 64, 64] (z - 2.7) / DEPTH_SCALE
    hit: Tensor  # [B, 64, 64] bool: where there is a surface
    categories: Tensor  # [B, categories] int64
    scalars: Tensor  # [B, scalars] in standard deviations
    direction: Tensor  # [B, 3] from the head to the camera


class JudgeData:
    """All views of the subjects as tensors."""

    def __init__(self, subjects: Sequence[Subject], config: JudgeConfig) -> None:
        """Raises ValueError for subjects without depth, normals, classes and masks."""
        for subject in subjects:
            missing = [
                n
                for n in ("masks", "depth", "normals", "segmentation")
                if getattr(subject, n) is None
            ]
            if missing:
                raise ValueError(
                    f"subject {subject.id} has no {', '.join(missing)}: keep all channels"
                )
        self.views = torch.cat([s.views for s in subjects])
        self.masks = torch.cat(all_present((s.masks for s in subjects), "masks"))
        self.classes = torch.cat(all_present((s.segmentation for s in subjects), "segmentation"))
        self.depth = torch.cat(all_present((s.depth for s in subjects), "depth")).half()
        self.normals = torch.cat(all_present((s.normals for s in subjects), "normals"))
        self.cameras = torch.cat([s.cameras for s in subjects])
        counts = torch.tensor([len(s.views) for s in subjects])
        rows = [flat(s.attributes) for s in subjects]
        chosen = [
            [values.index(str(row[name])) for name, values in config.categories.items()]
            for row in rows
        ]
        numbers = [
            [(float(row[name]) - m) / d for name, (m, d) in config.scalars.items()] for row in rows
        ]
        self.categories = torch.tensor(chosen).repeat_interleave(counts, dim=0)
        self.scalars = torch.tensor(numbers).repeat_interleave(counts, dim=0)

    def __len__(self) -> int:
        return len(self.views)

    def batch(self, rows: Tensor, rng: torch.Generator | None = None) -> Targets:
        """A batch of the given images; with `rng`, randomly cropped, with other backgrounds and contrast."""
        images, masks = self.views[rows].float() / 255, self.masks[rows][:, None].float() / 255
        b = len(rows)
        theta = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).repeat(b, 1, 1)
        if rng is not None:
            images = _varied(images, masks, rng)
            theta = _crops(b, rng)
        grid = F.affine_grid(theta, [b, 1, SIDE, SIDE], align_corners=False)
        coarse = F.affine_grid(theta, [b, 1, MAP_SIDE, MAP_SIDE], align_corners=False)

        def at(x: Tensor) -> Tensor:  # of the maps, nearest
            return F.grid_sample(
                x.float(), coarse, mode="nearest", padding_mode="border", align_corners=False
            )

        classes = at(self.classes[rows][:, None])[:, 0].long()
        hit = classes > 0
        world = at(self.normals[rows]) / 127.5 - 1
        rotation = self.cameras[rows][:, :16].reshape(-1, 4, 4)[:, :3, :3]
        normals = torch.einsum("bji,bjhw->bihw", rotation, world)
        normals = F.normalize(normals, dim=1) * hit[:, None]
        depth = (at(self.depth[rows][:, None])[:, 0] - RADIUS) / DEPTH_SCALE
        towards = F.normalize(self.cameras[rows][:, [3, 7, 11]], dim=1)
        seen = F.grid_sample(images, grid, padding_mode="border", align_corners=False) * 2 - 1
        return Targets(
            seen,
            classes,
            normals,
            torch.where(hit, depth, 0.0),
            hit,
            self.categories[rows],
            self.scalars[rows],
            towards,
        )


def _varied(images: Tensor, masks: Tensor, rng: torch.Generator) -> Tensor:
    """Other backgrounds behind some, and a little more or less contrast and brightness."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng)

    b = len(images)
    other = uniform(b, 3, 1, 1) + 0.3 * (uniform(b, 3, 1, 1) - 0.5) * torch.linspace(
        -1, 1, images.shape[-1]
    )
    swapped = images + (1 - masks) * (other.clamp(0, 1) - images[:, :, :1, :1])
    images = torch.where(uniform(b, 1, 1, 1) < BACKGROUND_SHARE, swapped, images)
    gain, offset = 1 + GAIN * (2 * uniform(b, 1, 1, 1) - 1), OFFSET * (2 * uniform(b, 1, 1, 1) - 1)
    return ((images - 0.5) * gain + 0.5 + offset).clamp(0, 1)


def _crops(count: int, rng: torch.Generator) -> Tensor:  # [B, 2, 3] for affine_grid
    """The whole image, or a square inside it."""
    size = SMALLEST + (1 - SMALLEST) * torch.rand(count, generator=rng)
    size = torch.where(torch.rand(count, generator=rng) < FULL_SHARE, 1.0, size)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = size
    theta[:, :, 2] = (1 - size)[:, None] * (2 * torch.rand(count, 2, generator=rng) - 1)
    return theta
