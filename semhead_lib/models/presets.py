"""The generators that are known by name, as one table, and what each costs.

`python -m semhead_lib.models.presets` prints the costs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from semhead_lib.ops.field import Box
from semhead_lib.ops.render_rays import LARGEST_GRID, MOST_SAMPLES

BACKGROUNDS = ("learnt", "plain")


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that shapes a generator; saved as JSON beside its weights."""

    name: str
    resolution: int  # pixels a side of the final picture
    raw_resolution: int  # of the rendered picture, before super-resolution
    plane_side: int  # texels of every plane
    plane_channels: int
    backbone_base: int  # channels of the backbone at side s: base / s ...
    backbone_most: int  # ... at most this many
    super_channels: tuple[int, ...]  # of the super-resolution blocks, each of which doubles the size
    coarse: int  # samples of a ray; with a density grid: strata that are looked up in it, which cost little
    fine: int  # samples drawn from their weights; with a density grid the only ones
    hidden: int = 64  # width of the field's hidden layer
    features: int = 32  # colour features; the first three are the raw picture
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 2
    condition_dim: int = 0  # of what the mapping network is told (ConditionMode.generator_width)
    representation: str = "hyplane"
    background: str = "learnt"  # or "plain": white
    ball_slope: float = 0.0  # of the soft ball that is added to the raw density: something to shape from the first step
    ball_radius: float = 0.5
    box_center: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of the box that the planes cover, scene units
    box_half: tuple[float, float, float] = (0.5, 0.5, 0.5)  # its half-extents
    density_gain: float = 1.0  # the raw density is that times what the field's network says: it learns faster
    place_gain: float = 0.0  # of maps that all heads share, learnt by every block (`StyleLayer`); 0: none
    grid: int = 0  # nodes a side of each head's density grid, which takes the place of the coarse samples; 0: none

    def __post_init__(self) -> None:
        for name in ("super_channels", "box_center", "box_half"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        Box(self.box_center, self.box_half)
        for name, least in (("coarse", 2), ("fine", 0)):
            if not least <= getattr(self, name) <= MOST_SAMPLES:
                raise ValueError(f"{name} must lie in {least}...{MOST_SAMPLES}, got {getattr(self, name)}")
        if self.grid != 0 and not 2 <= self.grid <= LARGEST_GRID:
            raise ValueError(f"grid must be 0 or lie in 2...{LARGEST_GRID}, got {self.grid}")
        if self.grid and self.fine < 2:
            raise ValueError(f"fine must be at least 2 with a density grid, got {self.fine}")
        if self.background not in BACKGROUNDS:
            raise ValueError(f"background must be one of {', '.join(BACKGROUNDS)}, got {self.background!r}")
        if self.raw_resolution * 2 ** len(self.super_channels) != self.resolution:
            raise ValueError(
                f"{len(self.super_channels)} super-resolution blocks make {self.raw_resolution} pixels "
                f"{self.raw_resolution * 2 ** len(self.super_channels)}, not {self.resolution}"
            )
        if self.features < 3:
            raise ValueError(f"features must be at least 3, the raw picture's colours, got {self.features}")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> GeneratorConfig:
        """Raises ValueError for keys that are missing or unknown."""
        known = set(cls.__dataclass_fields__)
        unknown = sorted(set(content) - known)
        if unknown:
            raise ValueError(f"a generator's config has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        try:
            return cls(**content)
        except TypeError as error:
            raise ValueError(f"a generator's config is incomplete: {error}") from None


_SMALL: dict[str, Any] = dict(ball_slope=10.0, z_dim=128, w_dim=128, hidden=32)
_SHAPED: dict[str, Any] = dict(box_center=(0.0, -0.08, 0.0), box_half=(0.38, 0.36, 0.28), grid=24, density_gain=4.0)
# name, final and raw pixels, planes, backbone widths, super-resolution, samples
PRESETS: dict[str, GeneratorConfig] = {
    config.name: config
    for config in (
        GeneratorConfig("semhead-32", 32, 32, 32, 16, 2048, 64, (), 12, 12, features=3, **_SMALL),
        GeneratorConfig("semhead-64", 64, 32, 64, 16, 4096, 96, (32,), 16, 16, features=16, **_SMALL),
        GeneratorConfig(
            "semhead-128", 128, 128, 128, 16, 4096, 160, (), 32, 10, features=3, **_SMALL, **_SHAPED, place_gain=10.0
        ),
        GeneratorConfig("semhead-512", 512, 128, 256, 32, 32768, 512, (256, 128), 48, 48),  # EG3D's widths
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


@dataclass(frozen=True)
class Cost:
    """What one picture costs."""

    parameters: int
    convolution_flops: float  # mapping, backbone, background and super-resolution: two a multiply-add
    renderer_flops: float  # interpolation and the field's network at every sample
    bytes: float  # weights read and activations written, float32; of the renderer its map and its outputs

    @property
    def flops(self) -> float:
        return self.convolution_flops + self.renderer_flops


def cost(config: GeneratorConfig) -> Cost:
    """Parameters, operations and bytes for one picture, counted on the generator itself without computing anything."""
    from torch.utils.flop_counter import FlopCounterMode

    from semhead_lib.models.generator import Generator

    with torch.device("meta"):
        generator = Generator(config).requires_grad_(False)
        w = torch.empty(1, config.w_dim)
        written = 0

        def count(module, inputs, output):
            nonlocal written
            written += output.numel() * 4 if isinstance(output, torch.Tensor) else 0

        hooks = [m.register_forward_hook(count) for m in generator.modules() if not list(m.children())]
        with FlopCounterMode(display=False) as counter:
            z = torch.empty(1, config.z_dim)
            condition = torch.empty(1, config.condition_dim) if config.condition_dim else None
            generator.mapping(z, condition)
            features = generator.backbone(w)
            side = config.raw_resolution
            drawn = torch.empty(1, config.features, side, side)
            if generator.background is not None:
                generator.background(w, side)
            generator.refine(drawn, w)
        for hook in hooks:
            hook.remove()
    layout = generator.renderer.planes.layout
    taps = len(layout.windows) * (8 if layout.depth > 1 else 4)
    points = side**2 * (config.fine + (0 if config.grid else config.coarse))
    network = config.plane_channels * config.hidden + config.hidden * (1 + config.features)
    parameters = sum(p.numel() for p in generator.parameters())
    return Cost(
        parameters=parameters,
        convolution_flops=float(counter.get_total_flops()),
        renderer_flops=2.0 * points * (taps * config.plane_channels + network),
        bytes=4.0 * (parameters + features.numel() + side**2 * (config.features + 2)) + written,
    )


def cost_table() -> str:
    """Costs of all presets, one picture each, as a table in Markdown."""
    lines = ["| preset | parameters | convolutions | renderer | memory read and written |", "|---|---|---|---|---|"]
    for name, config in PRESETS.items():
        c = cost(config)
        gflops = f"{c.convolution_flops / 1e9:.2f} GFLOP | {c.renderer_flops / 1e9:.2f} GFLOP"
        lines.append(f"| `{name}` | {c.parameters / 1e6:.2f} M | {gflops} | {c.bytes / 1e6:.0f} MB |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(cost_table())
