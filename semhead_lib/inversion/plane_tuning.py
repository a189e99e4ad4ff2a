"""Tuning of the planes: a residual of the feature map (`semhead_lib.models.residual`) learns what
the photographs show but no style reproduces."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.inversion.coarse_steps import with_grid
from semhead_lib.inversion.losses import Objective
from semhead_lib.inversion.pivotal import cameras_anywhere
from semhead_lib.inversion.search import Inverted, Search, schedule, steps_of
from semhead_lib.inversion.settings import InversionSettings
from semhead_lib.models.generator import Generator
from semhead_lib.models.residual import Residual
from semhead_lib.ops import Rendered

_BETAS = (0.9, 0.99)


def tune_planes(
    fitted: Inverted,
    objective: Objective,
    others: Tensor,  # [N, W] styles of other heads, which stay as they are
    settings: InversionSettings,
    *,
    progress: bool = False,
    reference: bool = False,
) -> Inverted:
    """Adam on a residual of the feature map at the style that was found. Ctrl-C gives the current
    residual. The input is not modified.

    The residual is a map of texels, each of which few rays see, so it takes up detail in far fewer
    steps than the weights of pivotal tuning (`pivotal.tune`), and a step needs no pass of the
    backbone. Two terms keep texels from fitting the photographs only: in every step, the head is
    regularised to stay unchanged from another, random side (the locality regularisation of Roich et
    al., 2022, at the pivot), and neighbouring texels are kept similar. Samples along rays are
    jittered. Raises ValueError if the residual diverges.
    """
    s, generator = settings, with_residual(fitted.generator, fitted.w, others)
    renderer, usual = generator.renderer, generator.renderer.settings
    rng, search, cameras = torch.Generator().manual_seed(s.seed), Search(), fitted.cameras
    with torch.no_grad():
        before = generator.feature_map(fitted.w)
        unit = before.std((2, 3), keepdim=True)
    residual = torch.zeros_like(before).requires_grad_()
    optimiser = torch.optim.Adam([residual], lr=s.planes_lr, betas=_BETAS)
    side = max(generator.config.raw_resolution // 2, 32)
    renderer.settings = with_grid(usual, s.grid)
    with torch.no_grad():
        grid = renderer.density_grid(before)
    try:
        with steps_of(search, s.tuning_steps or 0, s, "planes", progress) as steps:
            for step, along in enumerate(steps):
                optimiser.param_groups[0]["lr"] = s.planes_lr * schedule(along)
                now = before + residual * unit
                how: dict[str, Any] = dict(seed=step, reference=reference)
                terms = objective(generator.synthesize(fitted.w, cameras, features=now, **how))
                loss = terms["all"].mean() + s.smoothness * roughness(residual)
                if s.locality:
                    camera = cameras_anywhere(1, rng).to(fitted.w)
                    with torch.no_grad():
                        was = renderer(before, camera, side, grid=grid, **how)
                    loss = loss + s.locality * difference(renderer(now, camera, side, **how), was)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                steps.saw(terms)
    finally:
        renderer.settings = usual
    if not bool(residual.isfinite().all()):
        raise ValueError("the residual is no number any more; lower planes_lr or locality")
    with torch.no_grad():
        assert generator.backbone.residual is not None
        generator.backbone.residual.map.add_(residual * unit)
    return replace(fitted, generator=generator, tuning=search)


def with_residual(generator: Generator, w: Tensor, others: Tensor) -> Generator:
    """A copy with a residual at the pivot w, [1, W] or w+; zeros where it had none. Styles of
    other heads, [N, W], give the distances at which it vanishes."""
    generator = copy.deepcopy(generator).requires_grad_(False)
    backbone, planes = generator.backbone, generator.renderer.planes
    if backbone.residual is None:
        generator.config = replace(generator.config, residual=True)
        shape = (w.shape[-1], backbone.num_ws, planes.map_channels, planes.map_side)
        backbone.residual = Residual(*shape).to(w).requires_grad_(False)
    backbone.residual.move(generator.split_ws(w)[0], others.std(dim=0))
    return generator


def roughness(texels: Tensor) -> Tensor:  # [1, C, S, S] -> []
    """Mean squared difference between neighbours, down plus across.

    >>> roughness(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))
    tensor(1.)
    """
    down, across = texels.diff(dim=2), texels.diff(dim=3)
    return down.square().mean() + across.square().mean()


def difference(now: Rendered, was: Rendered) -> Tensor:
    """Mean squared difference of the colours, in [-1, 1], and the opacities."""
    colours = 4 * F.mse_loss(now.features[:, :3], was.features[:, :3])
    return 2 * colours + F.mse_loss(now.opacity, was.opacity)
