"""A trained generator and its heads: sampled by a seed, rendered from any camera, made a mesh."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semhead_lib.cameras import check_cameras, orbit_cameras
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.frontal.network import front_features
from semhead_lib.conditioning.semantic import EMBEDDED, SemanticEncoder
from semhead_lib.data.portraits.photos import as_photo
from semhead_lib.models import mesh
from semhead_lib.models.eg3d_interface import EG3DGenerator
from semhead_lib.models.generator import Generator
from semhead_lib.models.sampling import head_styles, latents, render_views
from semhead_lib.models.textured import textured
from semhead_lib.viz.exports import write_mesh
from semhead_lib.viz.splats import write_splats

if TYPE_CHECKING:
    import trimesh

AnyImage = Path | str | Image.Image | np.ndarray | Tensor  # uint8 [H, W, 3] or [3, H, W]


@dataclass(frozen=True, eq=False, repr=False)
class HeadGenerator:
    """A trained generator with the conditions of its training; `semhead_lib.load` makes one."""

    network: Generator
    bank: ConditionBank  # its condition mode, and semantic features of subjects of its training
    folder: Path
    encoder: str = EMBEDDED  # name of what makes features of images

    def __repr__(self) -> str:
        return f"HeadGenerator({self.folder.name!r}, {self.bank.mode.name}, {self.device})"

    @property
    def device(self) -> torch.device:
        """Where its heads are made."""
        return self.network.mapping.w_mean.device

    def sample(
        self,
        seed: int = 0,
        like: AnyImage | int | None = None,
        truncation: float = 0.8,
    ) -> Head:
        """A new head: the first of `semhead sample` with this seed.

        Args:
            seed: of the latent, and of the condition where `like` names none; not negative.
            like: what the head is conditioned on: a photograph of a head from any side, cropped as
                in the training data (its front is predicted, `conditioning.frontal`), or the index
                of a feature that ships with the generator (0 to `len(bank.features) - 1`). None: a
                feature drawn between those.
            truncation: psi, from 0 (the mean head of the condition) to 1 (no truncation).

        Raises ValueError for a value out of range, or an image or index where the generator is not
        conditioned on semantics or was trained with another encoder.

        >>> import semhead_lib as sh
        >>> sh.load("semhead-128", device="cpu").sample(seed=3, like=0).w.shape
        torch.Size([1, 128])
        """
        if seed < 0 or not 0 <= truncation <= 1:
            raise ValueError(f"expected seed >= 0 and truncation 0 to 1, got {seed}, {truncation}")
        if like is None:
            condition = self.bank.sample(1, seed=seed)
        else:
            condition = self.bank.mapping_condition(self._feature(like), 1)
        z = latents(1, self.network.config.z_dim, seed)
        return Head(self.network, head_styles(self.network, z, condition, truncation))

    def as_eg3d(
        self,
        like: AnyImage | int | None = None,
        text: str | None = None,
        family: str | None = None,
    ) -> EG3DGenerator:
        """A copy of the generator with the interface of EG3D's `G`: `mapping(z, c)` and
        `synthesis(ws, c)`, for projectors and metrics that were written for it.

        There `c` is a camera, so the condition is held: what `like` names as in `sample`, or what is
        nearest to a text. With neither, each latent gets one of the conditions that ship with the
        generator, always the same.

        Args:
            like: an image, or the index of a feature.
            text: a description, such as "a woman with red hair".
            family: whose cameras `c` are: "eg3d-ffhq", "panohead" or "spherehead"; None: ours.

        Raises ValueError for both of `like` and `text`, another family, or a condition where the
        generator takes none.

        >>> import semhead_lib as sh
        >>> g = sh.load("semhead-128", device="cpu").as_eg3d(like=0)
        >>> ws = g.mapping(torch.zeros(1, g.z_dim), sh.orbit(1), truncation_psi=0.7)
        >>> g.synthesis(ws, sh.orbit(1), noise_mode="const")["image"].shape
        torch.Size([1, 3, 128, 128])
        """
        if like is not None and text is not None:
            raise ValueError("give like or text, not both")
        if text is not None and not (isinstance(text, str) and text.strip()):
            raise ValueError(f"text must hold a description, got {text!r:.60}")
        features = self.bank.features
        if text is not None:
            features = self.bank.nearby(self._clip.texts([text]))
        elif like is not None:
            features = self._feature(like)
        return EG3DGenerator(deepcopy(self.network), self.bank.mode, features, family)

    def _feature(self, like: AnyImage | int) -> Tensor:  # [1, D]
        if not isinstance(like, (int, np.integer)):
            return front_features(self._clip, [as_photo(like)]).features
        count, name = len(self.bank.features), self.folder.name
        if not 0 <= like < count:
            raise ValueError(f"like must be below the {count} conditions of {name}, got {like}")
        return self.bank.features[like : like + 1]

    @cached_property
    def _clip(self) -> SemanticEncoder:
        name = f"generator {self.folder.name}"
        return self.bank.load_encoder(self.encoder, str(self.device), name)


@dataclass(frozen=True, eq=False, repr=False)
class Head:
    """One head of a generator, such as `Head(found.generator, found.w)` of what `invert` found."""

    network: Generator
    w: Tensor  # [1, W] style, or w+: [1, layers, W]

    def __repr__(self) -> str:
        return f"Head({self.network.config.name!r}, w {list(self.w.shape)})"

    def render(
        self,
        cameras: Tensor | None = None,  # [N, 25], as `orbit` makes them; None: one, from the front
        size: int | None = None,  # pixels a side; None: the generator's resolution
    ) -> Tensor:  # [N, 3, size, size] uint8
        """Images of the head.

        Another size than the generator's is rendered with as many rays; a generator with
        super-resolution renders its own, which is resampled.

        Raises ValueError for cameras that are none, or a size below 8.

        >>> import semhead_lib as sh
        >>> sh.load("semhead-128", device="cpu").sample(seed=3).render(size=32).shape
        torch.Size([1, 3, 32, 32])
        """
        if cameras is None:
            cameras = orbit_cameras(torch.zeros(1), torch.zeros(1))
        if cameras.ndim != 2 or not len(cameras):
            raise ValueError(f"cameras must be [N, 25] with N >= 1, got {list(cameras.shape)}")
        check_cameras(cameras.cpu(), "cameras")
        if size is not None and size < 8:
            raise ValueError(f"size must be at least 8 pixels, got {size}")
        return render_views(self.network, self.w, cameras.float(), size)

    def mesh(self, side: int = 128) -> trimesh.Trimesh:
        """The surface with colours at its vertices, by marching cubes through side ** 3 densities.

        In scene units, y up, the face towards +z; `save_mesh` writes it.

        Raises ValueError where there is no surface; ModuleNotFoundError without the extra `data`.
        """
        return mesh.mesh(self.network, self.w[0], side).as_trimesh()

    def save_mesh(self, path: str | Path, side: int | None = None, texture: int = 0) -> Path:
        """Write the surface with its colours as GLB, PLY or OBJ, by the path's suffix. GLB has
        linear colours and a rough material, as glTF defines them.

        Args:
            side: grid points along each side; None: 128, or 64 with a texture.
            texture: texels a side of an atlas that holds the colours (GLB); 0: each vertex has one.

        Raises as `mesh`, and ValueError for another suffix.
        """
        if texture:
            write_mesh(path, textured(self.network, self.w[0], side or 64, texture))
        else:
            write_mesh(path, mesh.mesh(self.network, self.w[0], side or 128))
        return Path(path)

    def save_splats(self, path: str | Path, count: int = 60_000) -> Path:
        """Write the surface as `count` Gaussian splats, a PLY file that viewers of splats open.

        Raises as `mesh`, and ValueError for another suffix.
        """
        write_splats(path, mesh.mesh(self.network, self.w[0]), count)
        return Path(path)
