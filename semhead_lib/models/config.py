"""The configuration of a generator, and the presets."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from semhead_lib.files import check_fields
from semhead_lib.ops.field import Box
from semhead_lib.ops.render_rays import LARGEST_GRID, MOST_SAMPLES

BACKGROUNDS = ("learnt", "plain")
_RANGES = {  # what a config may ask for: least and most
    "resolution": (1, 8192),
    "raw_resolution": (1, 8192),
    "plane_side": (2, 4096),
    "plane_channels": (1, 1024),
    "backbone_base": (1, 1 << 20),
    "backbone_most": (1, 8192),
    "super_channels": (1, 8192),
    "hidden": (1, 8192),
    "features": (1, 1024),
    "z_dim": (1, 65536),
    "w_dim": (1, 65536),
    "mapping_layers": (1, 64),
    "condition_dim": (0, 65536),
    "blend_maps": (0, 4096),
}


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that shapes a generator; saved as JSON beside its weights."""

    name: str
    resolution: int  # pixels a side of the final image
    raw_resolution: int  # of the rendered image, before super-resolution
    plane_side: int  # texels of every plane
    plane_channels: int
    backbone_base: int  # channels of the backbone at side s: base / s ...
    backbone_most: int  # ... at most this many
    super_channels: tuple[
        int, ...
    ]  # of the super-resolution blocks, each of which doubles the size
    # samples of a ray; with a density grid: strata that are looked up in it, which cost little
    coarse: int
    fine: int  # samples drawn from their weights; with a density grid the only ones
    hidden: int = 64  # width of the field's hidden layer
    features: int = 32  # colour features; the first three are the raw image
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 2
    condition_dim: int = (
        0  # of what the mapping network is conditioned on (ConditionMode.generator_width)
    )
    representation: str = "hyplane"
    background: str = "learnt"  # or "plain": white
    # of the soft ball that is added to the raw density: something to shape from the first step
    ball_slope: float = 0.0
    ball_radius: float = 0.5
    box_center: tuple[float, float, float] = (
        0.0,
        0.0,
        0.0,
    )  # of the box that the planes cover, scene units
    box_half: tuple[float, float, float] = (0.5, 0.5, 0.5)  # its half-extents
    density_gain: float = (
        1.0  # the raw density is that times what the field's network says: it learns faster
    )
    place_gain: float = (
        0.0  # of maps that all heads share, learnt by every block (`StyleLayer`); 0: none
    )
    # maps of a block that each head adds up by coefficients of its own (`BlendMaps`): most of them
    # up to 32 pixels a side, fewer above; 0: none
    blend_maps: int = 0
    # latents drawn as subjects of a condition have them (`LatentPrior`), which `semhead reconstruct`
    # estimates
    latent_prior: bool = False
    # nodes a side of each head's density grid, which takes the place of the coarse samples; 0: none
    grid: int = 0
    # the mask is super-resolved with the image, and the discriminator sees it at full size
    super_mask: bool = False
    # near one style a map is added (`Residual`): what an inversion learns of a photograph
    residual: bool = False

    def __post_init__(self) -> None:
        for name in ("super_channels", "box_center", "box_half"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        check_fields(self, _RANGES)
        Box(self.box_center, self.box_half)
        for name, least in (("coarse", 2), ("fine", 0)):
            if not least <= getattr(self, name) <= MOST_SAMPLES:
                raise ValueError(
                    f"{name} must lie in {least}...{MOST_SAMPLES}, got {getattr(self, name)}"
                )
        if self.grid != 0 and not 2 <= self.grid <= LARGEST_GRID:
            raise ValueError(f"grid must be 0 or lie in 2...{LARGEST_GRID}, got {self.grid}")
        if self.grid and self.fine < 2:
            raise ValueError(f"fine must be at least 2 with a density grid, got {self.fine}")
        if self.background not in BACKGROUNDS:
            raise ValueError(
                f"background must be one of {', '.join(BACKGROUNDS)}, got {self.background!r}"
            )
        if self.raw_resolution * 2 ** len(self.super_channels) != self.resolution:
            raise ValueError(
                f"{len(self.super_channels)} super-resolution blocks make {self.raw_resolution} "
                "pixels "
                f"{self.raw_resolution * 2 ** len(self.super_channels)}, not {self.resolution}"
            )
        if self.super_mask and not self.super_channels:
            raise ValueError(
                f"super_mask needs a generator with super-resolution, which {self.name} has not: "
                "super_channels is empty"
            )
        if self.features < 3:
            raise ValueError(
                f"features must be at least 3, the raw image's colours, got {self.features}"
            )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> GeneratorConfig:
        """Raises ValueError for keys that are missing or unknown."""
        known = set(cls.__dataclass_fields__)
        unknown = sorted(set(content) - known)
        if unknown:
            raise ValueError(
                f"a generator's config has no {', '.join(unknown)}; it has "
                f"{', '.join(sorted(known))}"
            )
        try:
            return cls(**content)
        except TypeError as error:
            raise ValueError(f"a generator's config is incomplete: {error}") from None


_SMALL: dict[str, Any] = dict(ball_slope=10.0, z_dim=128, w_dim=128, hidden=32)
_SHAPED: dict[str, Any] = dict(
    box_center=(0.0, -0.08, 0.0), box_half=(0.38, 0.36, 0.28), grid=24, density_gain=4.0
)
# name, final and raw pixels, planes, backbone widths, super-resolution, samples
PRESETS: dict[str, GeneratorConfig] = {
    config.name: config
    for config in (
        GeneratorConfig("semhead-32", 32, 32, 32, 16, 2048, 64, (), 12, 12, features=3, **_SMALL),
        GeneratorConfig(
            "semhead-64", 64, 32, 64, 16, 4096, 96, (32,), 16, 16, features=16, **_SMALL
        ),
        GeneratorConfig(
            "semhead-128",
            128,
            128,
            128,
            16,
            4096,
            160,
            (),
            32,
            10,
            features=3,
            **_SMALL,
            **_SHAPED,
            place_gain=10.0,
        ),
        GeneratorConfig(  # EG3D's widths
            "semhead-512", 512, 128, 256, 32, 32768, 512, (256, 128), 48, 48, super_mask=True
        ),
    )
}


def preset(name: str, **changes: Any) -> GeneratorConfig:
    """The preset called `name`, with some values changed. Raises ValueError for another name.

    >>> preset("semhead-64", condition_dim=128).resolution
    64
    """
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
    return replace(PRESETS[name], **changes)
