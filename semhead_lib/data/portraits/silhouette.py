"""The mask of the head in a photograph: GrabCut, started from where our heads are at that camera.

The prior is the share of heads (of the parametric source, with hair, hats and clothes) that fill
each cell of a coarse grid around the origin; seen from a camera, it says what is surely background,
surely head, and what colours have to decide. Our heads end in a short bust; so does the prior,
which is where a photograph's torso is cut. Rother, Kolmogorov and Blake, "GrabCut" (SIGGRAPH 2004),
in OpenCV's implementation (Apache-2.0, extra `faces`).
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import project, rays

HEADS = Path(__file__).parents[2] / "assets" / "landmarks" / "occupancy.json"
EXTENT = 0.5  # the grid is the cube [-0.5, 0.5]^3 in scene units
_CELLS, _DEPTH_SAMPLES, _PRIOR_SIDE = 32, 96, 64
_UNSEEN = 0.5  # cells out of the frame of more views than this share count as empty
_WORKED = 256  # pixels a side that GrabCut works at
_NEVER, _ALWAYS, _LIKELY = (
    0.005,
    0.97,
    0.06,
)  # shares of heads: below, above, and where GrabCut first says "head"
_ROUNDS = 5
_SOFT = 0.7  # pixels of the worked size, standard deviation of the mask's edge


def foreground(
    image: Tensor,  # [3, S, S] uint8
    camera: Tensor,  # [25]
    inside: Tensor
    | None = None,  # [S, S] uint8: 255 where the image is a photograph, 0 where it was filled
) -> Tensor:  # [S, S] uint8 coverage of the head
    """Mask of the head that `camera` sees in the middle of `image`; the same image gives the same
    mask.

    Raises ModuleNotFoundError with the command that installs OpenCV, ValueError for another shape
    or type.
    """
    if (
        image.ndim != 3
        or image.shape[0] != 3
        or image.shape[1] != image.shape[2]
        or image.dtype != torch.uint8
    ):
        raise ValueError(
            f"image must be uint8 of shape [3, S, S], got {image.dtype} of shape "
            f"{list(image.shape)}"
        )
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("OpenCV is missing: pip install 'semhead[faces]'") from error
    size = image.shape[-1]
    pixels = _resized(image.float(), _WORKED).round().clamp(0, 255).byte()
    likely = prior(camera, _WORKED).numpy()
    state = np.where(likely > _LIKELY, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[likely < _NEVER], state[likely > _ALWAYS] = cv2.GC_BGD, cv2.GC_FGD
    if inside is not None:
        state[_resized(inside[None].float(), _WORKED)[0].numpy() < 128] = cv2.GC_BGD
    sure = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if not sure.any() or sure.all():  # nothing to tell apart
        return torch.full((size, size), 255 if sure.all() else 0, dtype=torch.uint8)
    cv2.setRNGSeed(0)
    bgr = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()[..., ::-1])
    cv2.grabCut(
        bgr,
        state,
        (0, 0, 0, 0),
        np.zeros((1, 65)),
        np.zeros((1, 65)),
        _ROUNDS,
        cv2.GC_INIT_WITH_MASK,
    )
    head = _one_piece(np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)))
    soft = cv2.GaussianBlur(head.astype(np.float32), (0, 0), _SOFT)
    mask = _resized(torch.from_numpy(soft)[None] * 255, size)[0]
    return mask.round().clamp(0, 255).byte()


def prior(camera: Tensor, resolution: int) -> Tensor:  # [25] -> [R, R] float32 in [0, 1]
    """Share of our heads that cover each pixel: the fullest cell that its ray meets."""
    grid = occupancy()[None, None]
    side = min(resolution, _PRIOR_SIDE)
    origin, direction = rays(camera[None].float(), side)
    middle = float(origin[0, 0].norm())
    along = torch.linspace(
        middle - EXTENT * 3**0.5, middle + EXTENT * 3**0.5, _DEPTH_SAMPLES
    ).clamp_min(0)
    points = origin[0, :, None] + direction[0, :, None] * along[:, None]
    found = F.grid_sample(
        grid, points[None, None] / EXTENT, align_corners=False
    )  # the grid is indexed z, y, x
    return _resized(found.amax(-1).reshape(1, side, side), resolution)[0].clamp(0, 1)


@cache
def occupancy() -> Tensor:  # [N, N, N] float32, indexed z, y, x
    """The share of heads that fill each cell of the cube [-EXTENT, EXTENT]^3."""
    stored = json.loads(HEADS.read_text())
    cells = np.frombuffer(zlib.decompress(b64decode(stored["occupancy"])), dtype=np.uint8)
    return torch.from_numpy(cells.reshape(3 * [stored["cells"]]).astype(np.float32) / 255)


def carve(
    masks: Tensor, cameras: Tensor
) -> Tensor:  # [V, R, R] uint8, [V, 25] -> [N, N, N] float32
    """The visual hull of one head: the least coverage of each cell's centre over the views that it
    lies in."""
    centres = (torch.arange(_CELLS) + 0.5) / _CELLS * 2 * EXTENT - EXTENT
    z, y, x = torch.meshgrid(centres, centres, centres, indexing="ij")
    uv, _ = project(torch.stack([x, y, z], -1).reshape(-1, 3), cameras)
    covered = F.grid_sample(masks[:, None].float() / 255, uv[:, None] * 2 - 1, align_corners=False)[
        :, 0, 0
    ]
    outside = ((uv < 0) | (uv > 1)).any(-1)
    covered[outside] = 1.0
    hull = torch.where(outside.float().mean(0) > _UNSEEN, 0.0, covered.amin(0))
    return hull.reshape(_CELLS, _CELLS, _CELLS)


def pack(occupied: Tensor) -> dict[str, Any]:
    """An occupancy [N, N, N] in [0, 1] as JSON: zlib and base64 of bytes."""
    cells = (occupied * 255).round().byte().numpy().tobytes()
    return {
        "cells": len(occupied),
        "extent": EXTENT,
        "occupancy": b64encode(zlib.compress(cells, 9)).decode(),
    }


def _one_piece(head: np.ndarray) -> np.ndarray:  # [S, S] bool -> [S, S] bool
    """The largest piece of a mask, with its holes filled."""
    import cv2

    count, pieces, found, _ = cv2.connectedComponentsWithStats(
        head.astype(np.uint8), connectivity=4
    )
    if count < 2:
        return head
    piece = pieces == 1 + int(np.argmax(found[1:, cv2.CC_STAT_AREA]))
    count, gaps = cv2.connectedComponents((~piece).astype(np.uint8), connectivity=4)
    edge = np.unique(np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]]))
    return piece | ~np.isin(gaps, edge)


def _resized(layers: Tensor, size: int) -> Tensor:  # [C, H, W] -> [C, size, size]
    if layers.shape[-1] == size:
        return layers
    return F.interpolate(
        layers[None], size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )[0]
