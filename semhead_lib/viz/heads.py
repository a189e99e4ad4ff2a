"""Heads on demand: what was asked for in words of the explorer, as styles, images, surfaces and
volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semhead_lib.cameras import orbit_cameras, rays
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.frontal.network import front_features
from semhead_lib.conditioning.sampling import slerp
from semhead_lib.conditioning.semantic import EMBEDDED, SemanticEncoder
from semhead_lib.devices import keep_freed_memory, pick_device
from semhead_lib.errors import check_numbers
from semhead_lib.models.generator import DEFAULT, Generator, Render, folder_of
from semhead_lib.models.mesh import LEVEL, Mesh, mesh
from semhead_lib.models.sampling import latents, styles_around, to_uint8
from semhead_lib.viz.plots import depth_colours

IMAGES = ("image", "raw", "depth", "normals", "opacity", "planes")


@dataclass(frozen=True)
class HeadRequest:
    """A head that is asked for. Two that are equal are the same head."""

    seed: int = 0
    other_seed: int = 1
    along: float = 0.0  # from the seed's style (0) to the other seed's (1), in w
    psi: float = 0.7  # how far styles are from the condition's mean: 0 is the mean, 1 all of it
    condition: str = "subject 0"  # "subject N" of the gallery, "text: WORDS", or "image: NAME"
    other_condition: str = "subject 1"
    mixed: float = 0.0  # from the condition (0) to the other (1), along the arc between them
    condition_azimuth: float = (
        0.0  # degrees, of the camera that conditions on, where it takes views
    )

    def __post_init__(self) -> None:
        names = ("seed", "other_seed", "along", "psi", "mixed", "condition_azimuth")
        check_numbers(**{name: getattr(self, name) for name in names})


class HeadModel:
    """A generator and all that it can be asked for. Raises what `Generator.load` and
    `ConditionBank.load` raise."""

    def __init__(
        self, model: str | Path = DEFAULT, *, encoder: str = EMBEDDED, device: str = "auto"
    ) -> None:
        self.device = pick_device(device)
        if self.device == "cpu":
            keep_freed_memory()
        self.name, self._encoder = str(model), encoder
        self.generator = Generator.load(model, self.device).requires_grad_(False)
        self.bank = ConditionBank.load(folder_of(model))
        self._images: dict[str, Tensor] = {}  # name -> feature [1, D]
        self.certainty: dict[str, float] = {}  # name -> of the predicted front
        self._newest: tuple[HeadRequest, Tensor] | None = (
            None  # a head whose style was asked for, and the style
        )

    @cached_property
    def clip(self) -> SemanticEncoder:
        """The encoder that the generator was trained with.

        Raises ValueError for another one, or a generator that takes no semantics.
        """
        return self.bank.load_encoder(self._encoder, self.device, f"generator {self.name}")

    @property
    def takes_semantics(self) -> bool:
        return self.bank.mode.uses_semantics

    def know_image(self, name: str, image: Tensor) -> str:  # [3, H, W] uint8
        """Make the front of the head in an image a condition; returns what to ask for."""
        front = front_features(self.clip, [image])
        self._images[name], self._newest = front.features, None
        self.certainty[name] = float(front.certainty)
        return f"image: {name}"

    def feature(self, condition: str) -> Tensor:  # [1, D]
        """The unit feature of a condition in words; of a text it is what the generator knows near
        it.

        Raises ValueError for words of another kind.
        """
        kind, _, rest = condition.partition(" ")
        if kind == "subject" and rest.isdecimal() and int(rest) < len(self.bank.features):
            return self.bank.features[int(rest)][None]
        if kind == "text:" and rest.strip():
            return self.bank.nearby(self.clip.texts([rest.strip()]))
        if kind == "image:" and rest in self._images:
            return self._images[rest]
        raise ValueError(
            f"a condition is 'subject N' below {len(self.bank.features)}, 'text: WORDS' or "
            "'image: NAME' of an image "
            f"that was given, got {condition!r}"
        )

    @torch.no_grad()
    def style(self, asked: HeadRequest) -> Tensor:  # [1, W]
        """The style of a head: conditions are mixed along their arc, styles of two seeds along a
        line.

        That of the last one is kept: a head that is only looked at from elsewhere costs no texts
        and no mapping again.
        """
        newest = self._newest
        if newest is None or newest[0] != asked:
            self._newest = newest = asked, self._style(asked)
        return newest[1]

    def _style(self, asked: HeadRequest) -> Tensor:  # [1, W]
        semantics = None
        if self.takes_semantics:
            semantics = self.feature(asked.condition)
            if asked.mixed:
                semantics = slerp(
                    semantics, self.feature(asked.other_condition), torch.tensor([[asked.mixed]])
                )
        condition = self.bank.mapping_condition(semantics, 1, asked.condition_azimuth)
        condition = None if condition is None else condition.to(self.device)
        seeds = [asked.seed, asked.other_seed] if asked.along else [asked.seed]
        mapping, z_dim = self.generator.mapping, self.generator.config.z_dim
        mean = mapping.mean(condition)[0]
        each = [
            mapping(latents(1, z_dim, s).to(self.device), condition, asked.psi, towards=mean)
            for s in seeds
        ]
        return torch.lerp(each[0], each[-1], asked.along)

    def sampled(self, count: int, seed: int = 0, psi: float = 0.7) -> list[HeadRequest]:
        """Heads drawn at random: each a seed of its own under the condition of somebody of the
        data."""
        check_numbers(count=count, seed=seed, psi=psi)
        rng = np.random.default_rng(seed)
        subjects = rng.permutation(max(len(self.bank.features), 1))
        return [
            HeadRequest(
                seed=seed * 1000 + i, psi=psi, condition=f"subject {subjects[i % len(subjects)]}"
            )
            for i in range(count)
        ]

    def styles(self, asked: Sequence[HeadRequest]) -> Tensor:  # [N, W]
        """The styles of several heads."""
        return torch.cat([self.style(a) for a in asked])

    def turned(
        self, styles: Tensor, views: int = 8, elevation: float = 0.0
    ) -> Tensor:  # [N, views, 3, S, S] uint8
        """Each head from equal steps of azimuth, from the back over its right side and the front."""
        check_numbers(views=views, elevation=elevation)
        azimuths = torch.arange(views) * (360.0 / views) - 180.0
        return styles_around(self.generator, styles, azimuths, elevation)

    @torch.no_grad()
    def render(self, w: Tensor, azimuth: float, elevation: float) -> Render:  # [1, W]
        """From one camera of the orbit, degrees."""
        label = orbit_cameras(torch.tensor([float(azimuth)]), torch.tensor([float(elevation)])).to(
            self.device
        )
        return self.generator.synthesize(w, label)

    def image(
        self, w: Tensor, azimuth: float, elevation: float, kind: str = "image"
    ) -> Tensor:  # [3, H, W] uint8
        """One of IMAGES. Raises ValueError for another kind."""
        if kind not in IMAGES:
            raise ValueError(f"an image is one of {', '.join(IMAGES)}, got {kind!r}")
        if kind == "planes":
            return self.planes(w)
        seen = self.render(w, azimuth, elevation)
        if kind in ("image", "raw"):
            return to_uint8(seen.image if kind == "image" else seen.image_raw)[0]
        opacity = seen.opacity[0].cpu()
        if kind == "opacity":
            return (opacity * 255).round().to(torch.uint8).expand(3, -1, -1)
        depth = torch.where(opacity > 0.5, seen.depth[0].cpu(), 0.0)
        return (
            depth_colours(depth)[0]
            if kind == "depth"
            else normal_colours(depth[0], azimuth, elevation)
        )

    @torch.no_grad()
    def planes(self, w: Tensor) -> Tensor:  # [3, rows, columns] uint8
        """The feature map that the planes are read from: its three principal components as colours."""
        features = self.generator.feature_map(w)[0].float().cpu()  # [C, side, side]
        flat = features.flatten(1).T
        flat = flat - flat.mean(0)
        _, _, axes = torch.linalg.svd(flat.T @ flat)
        shown = flat @ axes[:3].T
        low, high = shown.quantile(0.02, dim=0), shown.quantile(0.98, dim=0)
        shown = ((shown - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
        return (shown.T.reshape(3, *features.shape[1:]) * 255).round().to(torch.uint8)

    def mesh(self, w: Tensor, resolution: int = 96) -> Mesh:  # [1, W]
        """The head's surface in colours. Raises ValueError where it has none."""
        check_numbers(resolution=resolution)
        return mesh(self.generator, w[0], resolution)

    @torch.no_grad()
    def volume(
        self, w: Tensor, resolution: int = 64
    ) -> np.ndarray:  # [1, W] -> [N, N, N] float32, indexed z, y, x
        """Density over the box of the planes, in units of the surface's."""
        box = self.generator.renderer.settings.box
        along = torch.linspace(-1, 1, resolution)
        z, y, x = torch.meshgrid(along, along, along, indexing="ij")
        points = box.world(torch.stack([x, y, z], dim=-1)).reshape(1, -1, 3).to(self.device)
        density = self.generator.sample_density(w, points)[0] / LEVEL
        return density.reshape(3 * [resolution]).cpu().numpy().astype(np.float32)

    @torch.no_grad()
    def gallery(self, count: int = 24) -> Tensor:  # [count, 3, S, S] uint8
        """The mean head of each of the first conditions, from a little to its left."""
        images = []
        for i in range(self.in_gallery(count)):
            condition = self.bank.mapping_condition(self.feature(f"subject {i}"), 1)
            condition = None if condition is None else condition.to(self.device)
            images.append(self.image(self.generator.mapping.mean(condition), 20.0, 5.0))
        return torch.stack(images)

    def in_gallery(self, count: int = 24) -> int:
        """How many conditions a gallery of at most `count` has: none where the generator takes no
        semantics."""
        return min(count, len(self.bank.features))


def normal_colours(
    depth: Tensor, azimuth: float, elevation: float
) -> Tensor:  # [R, R] -> [3, R, R] uint8
    """Directions of a surface as colours, x red, y green, z blue in the world; white where depth is
    0."""
    side = depth.shape[-1]
    label = orbit_cameras(torch.tensor([float(azimuth)]), torch.tensor([float(elevation)]))
    origin, direction = rays(label, side)
    points = (origin + direction * depth.reshape(1, -1, 1))[0].reshape(side, side, 3)
    across = torch.nn.functional.pad(points[:, 2:] - points[:, :-2], (0, 0, 1, 1))
    down = torch.nn.functional.pad(points[2:] - points[:-2], (0, 0, 0, 0, 1, 1))
    normal = torch.nn.functional.normalize(torch.cross(down, across, dim=-1), dim=-1)
    solid = torch.nn.functional.avg_pool2d((depth > 0).float()[None, None], 3, 1, 1)[0, 0] > 0.999
    colours = torch.where(solid[..., None], (normal + 1) * 127.5, 255.0)
    return colours.round().clamp(0, 255).to(torch.uint8).permute(2, 0, 1)
