"""Images of the representations: which texel serves which point, and what heads with random weights
look like.

`python -m semhead_lib.viz.planes FOLDER` writes both for all representations.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from semhead_lib.cameras import orbit_cameras, rays
from semhead_lib.models.config import preset
from semhead_lib.models.generator import Generator
from semhead_lib.models.planes import REPRESENTATIONS, Planes, make_planes
from semhead_lib.ops.layout import project
from semhead_lib.viz.plots import image_grid

VIEWS = (
    (0.0, 0.0),
    (90.0, 0.0),
    (180.0, 0.0),
    (0.0, 80.0),
    (0.0, -80.0),
)  # front, left, back, top, below
_BALL = 0.28  # radius of the ball that is drawn, scene units
# where the ball's surface lies in the planes, of their half side: inside a square of the pattern
_REACH = 0.93
_SQUARES = 8  # of the pattern, across a plane


def pattern(u: Tensor, v: Tensor) -> Tensor:  # [...], [...] in [-1, 1] -> [3, ...] uint8
    """A colour for each place of a plane: red grows along columns, green along rows, squares tell
    sizes."""
    squares = ((u + 1) * _SQUARES / 2).floor() + ((v + 1) * _SQUARES / 2).floor()
    light = torch.where(squares % 2 == 0, 1.0, 0.7)
    colours = torch.stack([(u + 1) / 2, (v + 1) / 2, torch.full_like(u, 0.45)]) * light
    return (colours.clamp(0, 1) * 255).round().to(torch.uint8)


def plane_rows(
    planes: Planes, size: int = 128
) -> list[Tensor]:  # one a plane: [1 + V, 3, size, size] uint8
    """For each plane its pattern, then a ball that wears the pattern, seen from the front, left,
    back, top and below.

    Where planes are weighed against each other the colour fades to white as the plane's weight
    falls.
    """
    c = (torch.arange(size) + 0.5) / size * 2 - 1
    v, u = torch.meshgrid(c, c, indexing="ij")
    azimuths, elevations = (torch.tensor(angles) for angles in zip(*VIEWS, strict=True))
    cameras = orbit_cameras(azimuths, elevations)
    origins, directions = rays(cameras, size)
    along = (origins * directions).sum(-1)
    inside = along.square() - origins.square().sum(-1) + _BALL**2
    points = origins + (-along - inside.clamp_min(0).sqrt())[..., None] * directions
    rows = []
    for window in planes.layout.windows:
        at, weight = project(points / _BALL * _REACH, window.projection)
        colours = pattern(at[..., 0], at[..., 1]).float()
        colours = 255 + (colours - 255) * weight.clamp(0, 2) / (2 if weight.ndim else 1)
        balls = (
            torch.where(inside > 0, colours, 255.0)
            .to(torch.uint8)
            .unflatten(-1, (size, size))
            .transpose(0, 1)
        )
        rows.append(torch.cat([pattern(u, v)[None], balls]))
    return rows


@torch.no_grad()
def random_heads(
    seed: int = 0, views: int = 8
) -> list[Tensor]:  # one a representation: [V, 3, 64, 64] uint8
    """What a generator shows before it has learnt anything, around the head: its soft ball in
    random colours."""
    cameras = orbit_cameras(torch.arange(views) * (360 / views) - 180, torch.zeros(views))
    rows = []
    for name in REPRESENTATIONS:
        config = preset(
            "semhead-64",
            representation=name,
            background="plain",
            resolution=32,
            super_channels=(),
            ball_slope=60.0,
        )
        torch.manual_seed(seed)
        generator = Generator(config).eval()
        w = generator.mapping(torch.randn(1, config.z_dim), None).expand(views, -1)
        seen = generator.synthesize(w, cameras, raw_resolution=64)
        rows.append(((seen.image_raw.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8))
    return rows


def contact_sheet(names: tuple[str, ...] = REPRESENTATIONS) -> Image.Image:
    """`plane_rows` of several representations, one below the other; a plane that two of them share
    is drawn once."""
    drawn: dict[int, Tensor] = {}
    for planes in (make_planes(name, 8, 1) for name in names):
        for window, row in zip(planes.layout.windows, plane_rows(planes), strict=True):
            drawn[window.projection] = row
    return image_grid([drawn[projection] for projection in sorted(drawn)])


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    sheet = contact_sheet()
    small = sheet.resize((sheet.width * 3 // 5, sheet.height * 3 // 5), Image.Resampling.LANCZOS)
    small.save(folder / "planes.webp", quality=75, method=6)
    image_grid(random_heads()).save(folder / "random_heads.webp", quality=90)
