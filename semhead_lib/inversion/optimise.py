"""Optimisation of the style and the cameras to match photographs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from semhead_lib.inversion.coarse_steps import coarse_steps
from semhead_lib.inversion.losses import Objective
from semhead_lib.inversion.refinement import RefinedCameras
from semhead_lib.inversion.search import (
    Best,
    Inverted,
    Search,
    schedule,
    steps_of,
)
from semhead_lib.inversion.settings import InversionSettings
from semhead_lib.models.generator import Generator

_BETAS = (0.9, 0.999)
_NOISE_SHARE = 0.75  # of the steps, over which the noise falls to 0


def search_style(
    generator: Generator,
    objective: Objective,
    start: Tensor,  # [1, W] or w+
    others: Tensor,  # [N, W] styles of other heads: their spread is the unit of every step
    settings: InversionSettings,
    *,
    progress: bool = False,
    reference: bool = False,  # render with the reference implementation, to compare
) -> Inverted:
    """Adam on the style, with rates and noise as in StyleGAN2's projector (Karras et al., 2020,
    appendix D), and on the cameras through the renderer's gradients. Ctrl-C gives the best so far.
    The generator is not modified.

    In w+, a layer's style is the sum of the start, an offset for all layers, and an offset for this
    layer. The last is regularised (after Tov et al., 2021), because heads whose layers disagree
    look right only from the camera of the photograph.
    """
    s, generator = settings, copy.deepcopy(generator).requires_grad_(False)
    scale = others.std(dim=0)
    first = start.detach()
    if s.space == "w+" and first.dim() == 2:
        first = first[:, None].repeat(1, sum(generator.num_ws), 1)
    of_all, of_each = (
        torch.zeros_like(first[:, :1] if first.dim() == 3 else first),
        torch.zeros_like(first),
    )
    refined = RefinedCameras(objective.target.cameras)
    maps = (
        [m.requires_grad_() for name, m in generator.named_buffers() if name.endswith(".noise")]
        if s.maps
        else []
    )
    rates = {"style": s.lr, "cameras": s.camera_lr, "maps": s.lr if s.maps else 0.0}
    changes = (
        [of_all.requires_grad_(), of_each.requires_grad_()]
        if s.space == "w+"
        else [of_all.requires_grad_()]
    )
    learnt = {"style": changes, "cameras": [refined.offsets], "maps": maps}
    learnt = {name: tensors for name, tensors in learnt.items() if rates[name]}
    if not learnt:  # every rate is 0
        return Inverted(generator, first, objective.target.cameras, Search())
    optimiser = torch.optim.Adam(
        [{"params": tensors, "name": name} for name, tensors in learnt.items()], betas=_BETAS
    )
    best, search, rng = (
        Best([t for ts in learnt.values() for t in ts]),
        Search(),
        torch.Generator().manual_seed(s.seed),
    )

    with (
        coarse_steps([generator], objective, s) as rendering_at,
        steps_of(search, s.steps or 0, s, "style", progress) as steps,
    ):
        for along in steps:
            rendering = rendering_at(along)
            if rendering.changed:
                best.judge_anew()
            for group in optimiser.param_groups:
                group["lr"] = rates[group["name"]] * schedule(along)
            jitter = s.noise * max(0.0, 1 - along / _NOISE_SHARE) ** 2
            shaken = of_all + of_each + jitter * torch.randn(of_all.shape, generator=rng).to(of_all)
            terms = rendering.objective(
                generator.synthesize(
                    first + shaken * scale, refined(), rendering.side, reference=reference
                )
            )
            loss = (
                terms["all"].mean()
                + s.leave * of_all.square().mean()
                + s.spread * of_each.square().mean()
            )
            if maps:
                loss = loss + s.maps * torch.stack([autocorrelation(m) for m in maps]).sum()
            best.see(loss)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            _standardise(maps)
            steps.saw(terms)
    best.restore()
    for m in maps:
        m.requires_grad_(False)
    w = first + (of_all + of_each) * scale
    return Inverted(generator, w.detach(), refined().detach(), search)


def autocorrelation(noise: Tensor) -> Tensor:  # [S, S] -> []
    """sum over sizes S, S/2, ..., 8 of mean(n n shifted by one to the right)^2 + mean(n n shifted
    by one down)^2: 0 for noise, so that fitted maps hide no image (Karras et al., 2020, appendix
    D)."""
    total, n = noise.new_zeros(()), noise
    while True:
        total = total + (n * n.roll(1, 1)).mean().square() + (n * n.roll(1, 0)).mean().square()
        if n.shape[-1] <= 8:
            return total
        n = torch.nn.functional.avg_pool2d(n[None, None], 2)[0, 0] * 2  # unit variance again


@torch.no_grad()
def _standardise(maps: list[Tensor]) -> None:
    for m in maps:
        m.sub_(m.mean()).div_(m.std())
