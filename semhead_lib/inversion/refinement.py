"""Optimised cameras: small rotations and shifts of the photographs' cameras."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_PARTS = (
    3,
    2,
    1,
)  # turn about the world's origin, shift in the image's plane, logarithm of the distance


class RefinedCameras(nn.Module):
    """K cameras, each turned about the origin, shifted in its own plane and moved nearer or
    farther; intrinsics stay.

        R' = exp([turn]) R,    t' = exp([turn]) t exp(distance) + R' (shift, 0)

    >>> from semhead_lib.cameras import Camera, orbit_angles
    >>> cameras = RefinedCameras(Camera.orbit(10.0, 5.0).label[None])
    >>> cameras.offsets.data[0, 1] = torch.pi / 18  # about y: ten degrees more to the subject's left
    >>> [round(x, 2) for x in orbit_angles(cameras().detach())[0].tolist()]
    [20.0, 5.0, 2.7]
    """

    start: Tensor  # [K, 25]

    def __init__(self, cameras: Tensor) -> None:  # [K, 25]
        super().__init__()
        self.register_buffer("start", cameras.detach().float().clone())
        self.offsets = nn.Parameter(cameras.new_zeros(len(cameras), sum(_PARTS)))

    def forward(self) -> Tensor:  # [K, 25], with gradients to the offsets
        turn, shift, distance = self.offsets.split(_PARTS, dim=1)
        rotation = torch.linalg.matrix_exp(_cross(turn))
        pose = self.start[:, :16].view(-1, 4, 4)
        turned = rotation @ pose[:, :3, :3]
        centre = (rotation @ pose[:, :3, 3:]) * distance.exp()[..., None]
        centre = centre + turned[:, :, :2] @ shift[..., None]
        rows = torch.cat([torch.cat([turned, centre], dim=2), pose[:, 3:]], dim=1)
        return torch.cat([rows.flatten(1), self.start[:, 16:]], dim=1)


def _cross(v: Tensor) -> Tensor:  # [K, 3] -> [K, 3, 3], v x u = _cross(v) @ u
    x, y, z = v.unbind(1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], dim=1).view(-1, 3, 3)
