"""What a head finder learns from: windows of photographs, with what is true of each pixel.

A rendered view of a dataset is mirrored by chance, turned, scaled and shifted in a window; where the
window is larger than the view, the view's edges are drawn on, so that clothes go on below. Then a
`Photographer` makes a photograph of it. Some windows hold no head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import FOCAL
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.portraits.head_finder.network import UNIT
from semhead_lib.data.portraits.head_finder.surroundings import scenes, shuffled
from semhead_lib.data.portraits.photographic import Photographer, backgrounds, normals_of_depth
from semhead_lib.data.subjects import all_present

_EMPTY = 0.1  # share of windows without a head
_PIECES = 0.4  # of those: they hold pieces of heads
_REAL = 0.5  # share of backgrounds that are of real photographs
_AS_IT_IS = 0.1  # share that no photographer touches


class Views(NamedTuple):
    """All views of some subjects, each a row."""

    images: Tensor  # [N, 3, S, S] uint8
    masks: Tensor  # [N, S, S] uint8
    depth: Tensor  # [N, S, S] float16, 0 where nothing is
    cameras: Tensor  # [N, 25]

    @classmethod
    def of(cls, subjects: SubjectsInMemory) -> Views:
        """Raises ValueError for subjects without masks or depth."""
        masks = all_present((s.masks for s in subjects), "masks")
        depth = all_present((s.depth for s in subjects), "depth")
        return cls(
            torch.cat([s.views for s in subjects]),
            torch.cat(masks),
            torch.cat([d.half() for d in depth]),
            torch.cat([s.cameras for s in subjects]),
        )


class Windows(NamedTuple):
    """B windows; maps have half the images' side."""

    images: Tensor  # [B, 3, S, S] uint8
    mask: Tensor  # [B, 1, S/2, S/2] coverage in [0, 1]
    inside: Tensor  # [B, 1, S/2, S/2] 1 where it is the view's, 0 where its edges are drawn on
    points: Tensor  # [B, 3, S/2, S/2] world, in shares of UNIT
    known: Tensor  # [B, 1, S/2, S/2] 1 where `points` are
    head: Tensor  # [B] 1: there is one
    direction: Tensor  # [B, 3] unit, towards the camera
    size: Tensor  # [B] log of the view's side, in shares of the window's
    turn: Tensor  # [B, 2] cosine and sine
    place: Tensor  # [B, 2] of the view's middle, -1...1

    def rows(self, chosen: Tensor) -> Windows:
        """Some of them."""
        return Windows(*(x[chosen] for x in self))


def surface_points(depth: Tensor, cameras: Tensor) -> Tensor:  # [B, 1, S, S], [B, 25]
    """The world's point that shows at each pixel [B, 3, S, S]; 0 where nothing is."""
    side = depth.shape[-1]
    axis = (torch.arange(side) + 0.5) / side - 0.5
    x = axis[None, None, None] * depth / FOCAL
    y = axis[None, None, :, None] * depth / FOCAL
    pose = cameras[:, :16].reshape(-1, 4, 4)
    seen = torch.cat([x, y, depth], dim=1)
    world = torch.einsum("bij,bjhw->bihw", pose[:, :3, :3], seen) + pose[:, :3, 3, None, None]
    return world * (depth > 0)


Placing = Callable[[int, torch.Generator], tuple[Tensor, Tensor, Tensor]]


def anywhere(count: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Log sizes, rolls (radians) and places [count, 2]: half of them about as portraits are cut."""
    near = _uniform(count, rng, 0, 1) < 0.5
    size = torch.where(near, _uniform(count, rng, -0.2, 0.2), _uniform(count, rng, -1.1, 0.35))
    roll = torch.where(near, _uniform(count, rng, -0.2, 0.2), _uniform(count, rng, -0.8, 0.8))
    free = (1 - 0.6 * size.exp()).clamp_min(0.08)[:, None]
    place = torch.where(
        near[:, None],
        _uniform(count, rng, -0.12, 0.12, 2),
        _uniform(count, rng, -1, 1, 2) * free,
    )
    return size, roll, place


def as_photographed(count: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Log sizes, rolls and places of heads that are whole in photographs which show little else."""
    size = _uniform(count, rng, math.log(0.5), math.log(0.9))
    roll = _uniform(count, rng, -0.3, 0.3)
    place = _uniform(count, rng, -1, 1, 2) * (1 - size.exp())[:, None]
    return size, roll, place


def _uniform(count: int, rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(count, *shape, generator=rng)


def windows(
    views: Views,
    rows: Tensor,
    side: int,
    seed: int,
    placing: Placing | None = None,  # None: as for training: `anywhere`, some of them empty
) -> Windows:
    """Windows of some views, `side` pixels a side. Equal seeds give equal windows."""
    rng, b = torch.Generator().manual_seed(seed), len(rows)
    size, roll, place = (placing or anywhere)(b, rng)
    turn = torch.stack([roll.cos(), roll.sin()], dim=1)

    images = views.images[rows].float()
    masks = views.masks[rows, None].float() / 255
    depth = views.depth[rows, None].float()
    cameras = views.cameras[rows]
    points = surface_points(depth, cameras) / UNIT
    direction = F.normalize(cameras[:, [3, 7, 11]], dim=1)
    normals = normals_of_depth(depth, FOCAL)
    flipped = _uniform(b, rng, 0, 1) < 0.5
    sign = torch.where(flipped[:, None], torch.tensor([-1.0, 1.0, 1.0]), torch.ones(3))
    direction = direction * sign
    points = _mirrored(points, flipped) * sign[:, :, None, None]
    normals = _mirrored(normals, flipped) * sign[:, :, None, None]
    images, masks = _mirrored(images, flipped), _mirrored(masks, flipped)
    known = _mirrored((depth > 0).float(), flipped)

    grid, coarse = (_grid(size, turn, place, s) for s in (side, side // 2))
    whole = _placed(torch.cat([images, masks], dim=1), grid, size)
    here = F.grid_sample(normals, grid, mode="nearest", padding_mode="border", align_corners=False)
    empty = _uniform(b, rng, 0, 1) < (_EMPTY if placing is None else 0)
    cover = whole[:, 3:].clamp(0, 1) * ~empty[:, None, None, None]
    pixels = whole[:, :3].round().clamp(0, 255).to(torch.uint8)
    behind = backgrounds(b, side, rng)
    real = _uniform(b, rng, 0, 1) < _REAL
    if real.any():
        behind[real] = scenes(int(real.sum()), side, rng)
    pieces = empty & (_uniform(b, rng, 0, 1) < _PIECES)
    if pieces.any():
        behind[pieces] = shuffled(pixels[pieces].float() / 255, rng)
    taken = Photographer()(pixels, cover, seed + 1, here, behind)
    plain = ~empty & (_uniform(b, rng, 0, 1) < (_AS_IT_IS if placing is None else 0))
    taken = torch.where(plain[:, None, None, None], pixels, taken)

    exact = F.grid_sample(torch.cat([points, known], dim=1), coarse, mode="nearest",
                          padding_mode="zeros", align_corners=False)  # fmt: skip
    inside = (coarse.abs() <= 1).all(-1)[:, None].float()
    shown = exact[:, 3:] * ~empty[:, None, None, None]
    return Windows(
        taken,
        F.avg_pool2d(cover, 2),
        inside,
        exact[:, :3],
        shown,
        (~empty).float(),
        direction,
        size,
        turn,
        place,
    )


def _mirrored(maps: Tensor, flipped: Tensor) -> Tensor:
    return torch.where(flipped[:, None, None, None], maps.flip(3), maps)


def _grid(size: Tensor, turn: Tensor, place: Tensor, side: int) -> Tensor:  # [B, side, side, 2]
    """Where a window's pixels lie in its view, -1...1."""
    cosine, sine = (turn / size.exp()[:, None]).unbind(1)
    back = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 1)
    theta = torch.cat([back, -(back @ place[:, :, None])], dim=2)
    return F.affine_grid(theta, [len(size), 1, side, side], align_corners=False)


def _placed(maps: Tensor, grid: Tensor, size: Tensor) -> Tensor:
    """Maps in their windows, from half their resolution where the window shrinks them."""
    sampled = F.grid_sample(maps, grid, padding_mode="border", align_corners=False)
    shrunk = size + math.log(maps.shape[-1] / grid.shape[1]) * -1 < math.log(0.7)
    if shrunk.any():
        half = F.avg_pool2d(maps[shrunk], 2)
        sampled[shrunk] = F.grid_sample(
            half, grid[shrunk], padding_mode="border", align_corners=False
        )
    return sampled
