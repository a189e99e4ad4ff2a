"""Cost of an image: parameters, operations and memory traffic.

`python -m semhead_lib.models.cost` prints them as a table.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from semhead_lib.models.config import PRESETS, GeneratorConfig


@dataclass(frozen=True)
class Cost:
    """Cost of one image."""

    parameters: int
    convolution_flops: (
        float  # mapping, backbone, background and super-resolution: two a multiply-add
    )
    renderer_flops: float  # interpolation and the field's network at every sample
    # weights read and activations written, float32; of the renderer its map and its outputs
    bytes: float

    @property
    def flops(self) -> float:
        return self.convolution_flops + self.renderer_flops


def cost(config: GeneratorConfig) -> Cost:
    """Parameters, operations and bytes for one image, counted on the generator without running
    it."""
    from torch.utils.flop_counter import FlopCounterMode

    from semhead_lib.models.generator import Generator

    with torch.device("meta"):
        generator = Generator(config).requires_grad_(False)
        w = torch.empty(1, config.w_dim)
        written = 0

        def count(module, inputs, output):
            nonlocal written
            written += output.numel() * 4 if isinstance(output, torch.Tensor) else 0

        hooks = [
            m.register_forward_hook(count) for m in generator.modules() if not list(m.children())
        ]
        with FlopCounterMode(display=False) as counter:
            z = torch.empty(1, config.z_dim)
            condition = torch.empty(1, config.condition_dim) if config.condition_dim else None
            generator.mapping(z, condition)
            features = generator.backbone(w)
            side = config.raw_resolution
            drawn = torch.empty(1, config.features, side, side)
            if generator.background is not None:
                generator.background(w, side)
            generator.refine(drawn, torch.empty(1, 1, side, side), w)
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
    """Costs of all presets, one image each, as a table in Markdown."""
    lines = [
        "| preset | parameters | convolutions | renderer | memory read and written |",
        "|---|---|---|---|---|",
    ]
    for name, config in PRESETS.items():
        c = cost(config)
        gflops = f"{c.convolution_flops / 1e9:.2f} GFLOP | {c.renderer_flops / 1e9:.2f} GFLOP"
        lines.append(
            f"| `{name}` | {c.parameters / 1e6:.2f} M | {gflops} | {c.bytes / 1e6:.0f} MB |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(cost_table())
