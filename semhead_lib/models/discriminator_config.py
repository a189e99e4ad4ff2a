"""The configuration of a discriminator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from semhead_lib.files import check_fields
from semhead_lib.models.config import GeneratorConfig

LOCAL = 8  # places along a side that have logits of their own
_RANGES = {  # what a config may ask for: least and most
    "resolution": (1, 8192),
    "raw_resolution": (1, 8192),
    "base": (1, 1 << 20),
    "most": (1, 8192),
    "semantic_dim": (0, 65536),
    "group": (1, 65536),
    "views": (1, 65536),
}


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Everything that shapes a discriminator; saved as JSON beside its weights."""

    resolution: int  # pixels a side of the final image
    raw_resolution: (
        int  # of the raw image and the mask; equal to `resolution`: there is no raw image beside it
    )
    base: int  # channels at side s: base / s ...
    most: int  # ... at most this many
    semantic_dim: int = 0  # of the semantic feature; 0: it is not conditioned on one
    sees_mask: bool = True  # the head's coverage as one more channel (PanoHead)
    group: int = 4  # subjects whose spread the minibatch statistic is taken over
    views: int = 1  # adjacent images of one subject in a batch
    has_local: bool = False  # logits of 8 x 8 places beside the one of the image
    sees_bands: bool = (
        False  # the image's detail by octaves, amplified, beside the image (`detail_bands`)
    )
    super_mask: bool = False  # the mask has the final image's size, not the raw one's

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)
        if self.resolution < 8 or self.resolution & (self.resolution - 1):
            raise ValueError(
                f"resolution must be a power of two, at least 8, got {self.resolution}"
            )
        if self.has_local and self.resolution <= LOCAL:
            raise ValueError(f"local logits need a resolution above {LOCAL}, got {self.resolution}")
        if not 1 <= self.raw_resolution <= self.resolution:
            raise ValueError(
                f"raw_resolution must be 1 to {self.resolution}, got {self.raw_resolution}"
            )

    @classmethod
    def of(
        cls, generator: GeneratorConfig, semantic_dim: int, views: int = 1, **changes: Any
    ) -> DiscriminatorConfig:
        """The configuration for a generator, with the same sizes. For small generators, it has half
        of their widths at high resolutions and up to twice at low ones, which costs little."""
        base, most = generator.backbone_base, generator.backbone_most
        if generator.resolution <= 128:
            base, most = base // 2, most * 2
        known: dict[str, Any] = dict(semantic_dim=semantic_dim, views=views, base=base, most=most)
        known |= dict(resolution=generator.resolution, raw_resolution=generator.raw_resolution)
        known |= dict(super_mask=generator.super_mask)
        return cls(**known | changes)

    @property
    def is_dual(self) -> bool:
        """Whether it sees the raw image beside the final one."""
        return self.raw_resolution < self.resolution

    @property
    def mask_resolution(self) -> int:
        """Pixels a side of the mask that it sees."""
        return self.resolution if self.super_mask else self.raw_resolution

    @property
    def channels(self) -> int:
        """Channels of what the trunk sees."""
        return 3 + 3 * self.is_dual + self.sees_mask
