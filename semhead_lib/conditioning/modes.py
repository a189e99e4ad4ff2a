"""Condition modes: what generator and discriminator are conditioned on, for real and for generated
images.

| mode          | the generator's mapping network gets | the discriminator gets |
|---------------|--------------------------------------|------------------------|
| none          | nothing                              | camera                 |
| view          | camera, swapped at times             | camera                 |
| semantic      | semantic feature                     | camera, semantic       |
| semantic+view | semantic feature, camera as in view  | camera, semantic       |

The camera that an image is rendered from always reaches the renderer and, as in EG3D, the
discriminator: it is what makes the views of a head fit its geometry. The modes differ in what the
*generator* may know. "view" is EG3D's generator pose conditioning (Chan et al., 2022, section 4.4):
the mapping network is conditioned on the camera, and with the swapping probability another camera
of the batch, so that it cannot draw only for the view that it is conditioned on. "semantic" is the
paper's: one feature of the frontal view, whatever view is rendered.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from semhead_lib.cameras import LABEL_LENGTH

MODES = ("none", "view", "semantic", "semantic+view")


@dataclass(frozen=True)
class Condition:
    """What one batch of images is conditioned on. A part that the mode does not use has width 0."""

    generator: Tensor  # [B, G] float32
    discriminator: Tensor  # [B, D] float32


@dataclass(frozen=True)
class ConditionMode:
    """One mode, for semantic features of a given dimension. Raises ValueError for another name than
    MODES.

    >>> mode = ConditionMode("semantic+view", semantic_dimension=128)
    >>> mode.generator_width, mode.discriminator_width
    (153, 153)
    >>> ConditionMode("none", 128).generator_width
    0
    """

    name: str
    semantic_dimension: int

    def __post_init__(self) -> None:
        if self.name not in MODES:
            raise ValueError(f"condition mode must be one of {', '.join(MODES)}, got {self.name!r}")
        if self.uses_semantics and self.semantic_dimension < 1:
            raise ValueError(
                f"mode {self.name} needs semantic_dimension >= 1, got {self.semantic_dimension}"
            )

    @property
    def uses_semantics(self) -> bool:
        """Whether images need a semantic feature."""
        return "semantic" in self.name

    @property
    def shows_view(self) -> bool:
        """Whether the generator is conditioned on a camera."""
        return "view" in self.name

    @property
    def generator_width(self) -> int:
        """Numbers that the mapping network gets beside z."""
        return self.semantic_dimension * self.uses_semantics + LABEL_LENGTH * self.shows_view

    @property
    def discriminator_width(self) -> int:
        """Numbers that the discriminator gets beside the image."""
        return LABEL_LENGTH + self.semantic_dimension * self.uses_semantics

    def real(
        self,
        cameras: Tensor,  # [B, 25] of the images
        semantics: Tensor | None = None,  # [B, D] of their subjects
    ) -> Tensor:  # [B, discriminator_width]
        """What the discriminator gets with real images. Raises ValueError for missing or ill-shaped
        semantics."""
        return torch.cat([cameras, *self._semantics(cameras, semantics)], dim=-1)

    def generated(
        self,
        cameras: Tensor,  # [B, 25] the images are rendered from
        semantics: Tensor | None = None,  # [B, D]
        swap_probability: float = 0.0,
        generator: torch.Generator | None = None,  # draws the swaps
    ) -> Condition:
        """What both networks get for images to be generated in training.

        With `swap_probability` an image's mapping network is conditioned on the camera of the image
        before it in the batch (of the last one, for the first), as EG3D does; the discriminator
        always gets the camera of the rendering. At test time call it with one camera for all views
        (EG3D takes the frontal one) and no swapping.
        """
        if not 0 <= swap_probability <= 1:
            raise ValueError(f"swap_probability must lie in [0, 1], got {swap_probability}")
        parts = self._semantics(cameras, semantics)
        discriminator = torch.cat([cameras, *parts], dim=-1)
        if self.shows_view:
            conditioned = cameras
            if swap_probability > 0:
                drawn = torch.rand(
                    len(cameras), 1, generator=generator, device=_device(generator)
                ).to(cameras.device)
                conditioned = torch.where(
                    drawn < swap_probability, cameras.roll(1, dims=0), cameras
                )
            parts = [*parts, conditioned]
        return Condition(torch.cat([*parts, cameras[:, :0]], dim=-1), discriminator)

    def _semantics(self, cameras: Tensor, semantics: Tensor | None) -> list[Tensor]:
        if not self.uses_semantics:
            return []
        expected = (len(cameras), self.semantic_dimension)
        if semantics is None or tuple(semantics.shape) != expected:
            came = "none" if semantics is None else f"shape {list(semantics.shape)}"
            raise ValueError(
                f"mode {self.name} needs semantics of shape {list(expected)}, got {came}"
            )
        return [semantics]


def swap_probability(
    images_seen: int,
    final: float = 0.5,  # 0.5 for views as in photographs; EG3D takes 0.8 on rebalanced views
    until: int = 1_000_000,  # images over which it falls
) -> float:
    """EG3D's schedule: from 1 (the mapping network learns nothing of the view) linearly to `final`,
    then constant.

    >>> [swap_probability(n) for n in (0, 500_000, 1_000_000, 9_000_000)]
    [1.0, 0.75, 0.5, 0.5]
    """
    if not 0 <= final <= 1 or until < 0 or images_seen < 0:
        raise ValueError(
            f"expected 0 <= final <= 1, until >= 0, images_seen >= 0, got {final}, {until}, "
            f"{images_seen}"
        )
    done = min(images_seen / until, 1.0) if until else 1.0
    return 1.0 + (final - 1.0) * done


def _device(generator: torch.Generator | None) -> torch.device | str:
    return generator.device if generator is not None else "cpu"
