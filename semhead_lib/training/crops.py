"""Square parts of images that the discriminator is shown in place of whole ones, so that a step's
cost does not grow with the resolution (EpiGRAF: Skorokhodov et al., 2022).

A part has `side` pixels, whatever its scale: at scale 1 it is the whole image made smaller, at
scale 2 a quarter of it, and so on up to the pixels of the image itself. Scales are powers of two
and edges lie on pixels, so that real images are averaged over whole pixels and never resampled:
nothing but what they show tells them from generated ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import FACE, orbit_angles, project
from semhead_lib.devices import moved

_FACE_SEEN = 100.0  # degrees of azimuth within which some of a face is seen
_FACE_SPREAD = 0.04  # standard deviation of a part's centre from a face's, image widths


def draw_windows(
    # [B, 25] of whole images, B / views subjects with `views` adjacent images each
    cameras: Tensor,
    views: int,
    resolution: int,  # pixels of whole images
    side: int,  # of the parts; resolution / side is a power of two
    whole: float,  # share of whole images
    face: float,  # share of the parts that are cut around the face, where it is seen
    rng: torch.Generator,
) -> Tensor:  # [B, 3] left, top and side, in image widths
    """Parts of images. All subjects have parts of one scale at one place of the batch, so that the
    discriminator's minibatch statistic compares like with like."""
    zoom, b = resolution // side, len(cameras)
    scales = [2**k for k in range(1, zoom.bit_length())]
    drawn = torch.rand(views, 2, generator=rng)
    larger = torch.tensor(scales or [1])[(drawn[:, 1] * max(len(scales), 1)).long()]
    scale = torch.where(drawn[:, 0] < whole, 1, larger).repeat(b // views)

    uniform = torch.rand(b, 2, generator=rng)
    shaken = torch.randn(b, 2, generator=rng) * _FACE_SPREAD
    wanted = torch.rand(b, generator=rng) < face
    seen = orbit_angles(cameras)[:, 0].abs() <= _FACE_SEEN
    at_face = project(torch.tensor([FACE]), cameras)[0][:, 0] + shaken
    width = 1.0 / scale
    room = (1 - width)[:, None]
    corner = torch.where((wanted & seen)[:, None], at_face - width[:, None] / 2, uniform * room)
    pixel = (width / side)[:, None]
    corner = (corner.clamp_min(0).minimum(room) / pixel).round() * pixel
    return torch.cat([corner, width[:, None]], dim=1)


def cut(
    images: Tensor, windows: Tensor, side: int
) -> Tensor:  # [B, C, S, S], [B, 3] -> [B, C, side, side]
    """The parts of images, as means over whole pixels; of integers, rounded. Windows are read on the
    CPU: images on a GPU are not waited for."""
    resolution, out = images.shape[-1], images.new_empty(*images.shape[:2], side, side)
    left, top, width = (windows * resolution).round().long().unbind(1)
    for size in width.unique().tolist():
        of = torch.nonzero(width == size)[:, 0]
        rows, columns = (x[of, None] + torch.arange(size) for x in (top, left))
        index = moved(torch.cat([of[:, None], rows, columns], dim=1), images.device)
        of, rows, columns = index.split([1, size, size], dim=1)
        # [B, S, S, C], as the indices stand apart
        part = images[of[:, :, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        if size > side:
            part = F.avg_pool2d(part.float(), size // side)
            part = part if images.is_floating_point() else part.round()
        out[of[:, 0]] = part.to(out.dtype)
    return out
