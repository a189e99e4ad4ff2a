"""Subjects in a mirror: another subject each, at no cost (as EG3D doubles its data)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from semhead_lib.devices import moved
from semhead_lib.training.reconstruction.samples import Sample

_SIGNS = (-1.0, 1.0, 1.0, 1.0)  # of x, y, z and w in the mirror x = 0


def mirrored_cameras(cameras: Tensor) -> Tensor:  # [B, 25] -> [B, 25]
    """The cameras that see, of a mirrored head, the mirrored images.

    Points (x, y, z) of the world become (-x, y, z), and places (u, v) of an image (1 - u, v): with
    S = diag(-1, 1, 1, 1), the pose E becomes S E S, the principal point cx 1 - cx, and the skew its
    opposite.
    """
    signs = torch.tensor(_SIGNS)
    signs = torch.cat([torch.outer(signs, signs).flatten(), torch.ones(9)])
    signs[17:19] = -1  # skew, cx
    offset = torch.zeros(25)
    offset[18] = 1
    signs, offset = (moved(x, cameras.device).to(cameras.dtype) for x in (signs, offset))
    return cameras * signs + offset


def mirrored(
    sample: Sample,
    chosen: Tensor,  # [H] bool, on the CPU
) -> Sample:
    """The sample with the chosen subjects in a mirror: their images, masks, cameras, windows and
    rays, and what is encoded of them where that is an image."""
    heads, images = len(chosen), len(sample.images)
    device, windows = sample.images.device, sample.windows
    each = chosen.repeat_interleave(images // heads)
    if windows is not None:
        left, top, side = windows.unbind(1)
        turned = torch.stack([1 - left - side, top, side], dim=1)
        windows = torch.where(each[:, None].to(windows.device), turned, windows)
    here, of = moved(each, device), moved(chosen, device)

    def flipped(x: Tensor, which: Tensor) -> Tensor:
        return torch.where(which.to(x.device)[:, None, None, None], x.flip(-1), x)

    rays = sample.rays
    if rays is not None:
        signs = moved(torch.tensor(_SIGNS[:3]), device)
        signs = torch.where(of[:, None, None], signs, torch.ones_like(signs))
        rays = replace(rays, origins=rays.origins * signs, directions=rays.directions * signs)
    encoded = sample.encoded
    if encoded.dim() == 4:
        encoded = flipped(encoded, chosen)
    return replace(
        sample,
        encoded=encoded,
        cameras=torch.where(here[:, None], mirrored_cameras(sample.cameras), sample.cameras),
        windows=windows,
        images=flipped(sample.images, here),
        masks=flipped(sample.masks, here),
        importance=flipped(sample.importance, here),
        rays=rays,
    )
