"""Which images of a set belong to which part of its render plan, and whether they are seen from the
plan's cameras."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from semhead_lib.cameras import orbit_cameras
from semhead_lib.errors import listed
from semhead_lib.evaluation.render_plan import (
    DEPTH,
    FRONT_NAME,
    PlanSummary,
    RenderPlan,
    depth_cameras,
    depth_heads,
)
from semhead_lib.evaluation.samples import hashed

SAME = 1e-3  # by how much the labels of one camera differ at most


def planned_names(summary: PlanSummary, part: str) -> list[list[str]]:
    """Names of the images of a part, a row a head, its front last."""
    heads, views = summary.heads, [f"{v:02d}" for v in range(summary.views)]
    if part == DEPTH:
        heads, views = depth_heads(summary), [f"{v:02d}" for v in range(len(depth_cameras()))]
    elif part == "front":
        views.append(FRONT_NAME)
    return [[f"{part}-{head:05d}/{view}.png" for view in views] for head in range(heads)]


def planned_rows(
    summary: PlanSummary,
    part: str,
    place: Mapping[str, int],  # name of an image -> where it is in the set
    where: str,  # the set, for errors
) -> list[list[int]]:
    """Places of these images. Raises ValueError naming those that are missing."""
    names = planned_names(summary, part)
    if missing := [name for row in names for name in row if name not in place]:
        raise ValueError(
            f"{where}: {len(missing)} images of its plan are missing: {listed(missing)}"
        )
    return [[place[name] for name in row] for row in names]


def checked_cameras(
    summary: PlanSummary,
    place: Mapping[str, int],
    cameras: Tensor,  # [images, 25]
    conditions: Tensor | None,  # [images, 25]; None: not known
    where: str,
) -> Tensor:  # [N, V, 25]
    """The cameras of a plan's heads. Raises ValueError where an image is seen from, or conditioned
    on, another camera than its plan says."""

    def of(part: str, labels: Tensor) -> Tensor:  # [heads, views, 25]
        return labels[torch.tensor(planned_rows(summary, part, place, where))]

    heads = of("front", cameras)[:, :-1].contiguous()
    if hashed(heads) != summary.digest:
        raise ValueError(f"{where}: its cameras are not those of its plan")
    front = orbit_cameras(torch.zeros(1), torch.zeros(1))
    fronts, plan = front.expand(len(heads), 1, -1), RenderPlan(summary, heads)
    for part in summary.parts:
        seen, on = heads, front
        if part == "front":
            seen = torch.cat([heads, fronts], dim=1)
        elif part == DEPTH:
            seen = depth_cameras()
        else:
            on = plan.conditions(part)
        for labels, asked, what in (
            (cameras, seen, "camera"),
            (conditions, on, "condition camera"),
        ):
            if labels is not None:
                off = (of(part, labels) - asked).abs().amax(2) > SAME
                if off.any():
                    head, view = off.nonzero()[0].tolist()
                    name = planned_names(summary, part)[head][view]
                    raise ValueError(f"{where}: the {what} of {name} is not that of its plan")
    return heads
