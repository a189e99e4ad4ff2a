"""Coarse steps: most optimisation steps render at half the size and with a density grid.

A step spends most of its time in the renderer's backward pass. A density grid
(`semhead_lib.ops.density_grid`) places fewer samples in empty space; half the size has a quarter of
the rays, and the encoder looks at images of 64 pixels anyway. The last steps use neither, so that
the result is optimised on the generator's own images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from semhead_lib.inversion.losses import Objective
from semhead_lib.inversion.settings import InversionSettings
from semhead_lib.models.generator import Generator
from semhead_lib.models.renderer import RenderSettings

_FEWEST = 12  # samples of a ray, placed by a density grid
_SMALLEST = 32  # pixels a side of images at half the size


class Rendering(NamedTuple):
    """Render settings of a step, and the targets of its images."""

    side: int | None  # pixels a side of the raw image; None: the generator's
    objective: Objective
    changed: bool  # losses compare no more with those before


def at_half_size(generator: Generator, objective: Objective) -> Rendering | None:
    """Rendering at half the size; None for a generator with super-resolution, whose images have a
    fixed size, or with small images."""
    config = generator.config
    if config.raw_resolution != config.resolution or config.resolution < 2 * _SMALLEST:
        return None
    return Rendering(config.resolution // 2, objective.at(config.resolution // 2), False)


def with_grid(usual: RenderSettings, nodes: int) -> RenderSettings:
    """The same settings with a density grid of `nodes` a side; unchanged if they have a grid, or
    `nodes` is 0."""
    if usual.grid or not nodes:
        return usual
    return replace(
        usual, grid=nodes, coarse=max(usual.coarse, nodes), fine=max(usual.fine, _FEWEST)
    )


@contextmanager
def coarse_steps(
    generators: list[Generator], objective: Objective, settings: InversionSettings
) -> Iterator[Callable[[float], Rendering]]:
    """The context yields a function to call before each step with the share of finished steps. A
    generator with a density grid keeps its own; one with super-resolution keeps its size."""
    nodes = settings.grid
    usual = [generator.renderer.settings for generator in generators]
    fast = [with_grid(s, nodes) for s in usual]
    coarse, exact = at_half_size(generators[0], objective), Rendering(None, objective, False)
    before: list[bool] = []  # whether the last step was a coarse one

    def switch(along: float) -> Rendering:
        is_coarse = along < (settings.coarse_share or 0.0)
        for generator, wanted in zip(generators, fast if is_coarse else usual, strict=True):
            generator.renderer.settings = wanted
        differs = coarse is not None or fast != usual
        changed = differs and bool(before) and before[-1] != is_coarse
        before[:] = [is_coarse]
        rendering = exact if coarse is None or not is_coarse else coarse
        return rendering._replace(changed=changed)

    try:
        yield switch
    finally:
        for generator, settings_before in zip(generators, usual, strict=True):
            generator.renderer.settings = settings_before
