"""The viewpoint of a head, estimated from the image alone, on all sides: also where no face shows.

A small network, trained on parametric heads (`viewpoint_training`), regresses the unit vector from
the head to the camera. The shorter what it says, the less sure it is: trained by squares, it says
the mean of what may be.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semhead_lib.files import read_tensors

SIDE = 32  # pixels a side that it looks at
ASSETS = Path(__file__).parents[2] / "assets" / "viewpoint"
WEIGHTS = "viewpoint.safetensors"
_WIDTHS = (24, 48, 96, 96)


class ViewpointNetwork(nn.Module):
    """[B, 3, 32, 32] in [-1, 1] -> [B, 3]: towards the camera, in the world's axes, at most about 1
    long."""

    def __init__(self) -> None:
        super().__init__()
        layers, before = [], 3
        for k, width in enumerate(_WIDTHS):
            layers += [
                nn.Conv2d(before, width, 3, stride=1 if k == 0 else 2, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            before = width
        side = SIDE // 2 ** (len(_WIDTHS) - 1)
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(before * side**2, 96), nn.ReLU(), nn.Linear(96, 3)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


@dataclass(frozen=True)
class Viewpoint:
    """From where a head seems to be seen."""

    azimuth: float  # degrees, positive towards the subject's left
    elevation: float  # degrees, positive upwards
    certainty: float  # 0 to about 1: the length of the mean direction

    def away_from(self, azimuth: float, elevation: float) -> float:
        """Degrees between this direction and another, 0 to 180.

        >>> round(Viewpoint(170.0, 0.0, 1.0).away_from(-170.0, 0.0), 3)
        20.0
        """
        here, there = (
            _direction(torch.tensor([a]), torch.tensor([e]))[0]
            for a, e in ((self.azimuth, self.elevation), (azimuth, elevation))
        )
        return float(torch.rad2deg(torch.arccos((here * there).sum().clamp(-1, 1))))


def directions(cameras: Tensor) -> Tensor:  # [B, 25] -> [B, 3]
    """Unit vectors from the origin to the cameras."""
    return F.normalize(cameras[:, [3, 7, 11]], dim=1)


@torch.no_grad()
def viewpoints(
    images: Tensor, network: ViewpointNetwork | None = None
) -> list[Viewpoint]:  # [B, 3, S, S] uint8
    """From where heads that fill their images, as the convention has it, are seen."""
    x, y, z = (network or shipped())(prepared(images)).T.double()
    length = torch.stack([x, y, z]).norm(dim=0)
    elevation = torch.rad2deg(torch.arcsin((y / length.clamp_min(1e-9)).clamp(-1, 1)))
    azimuth = torch.rad2deg(torch.atan2(x, z))
    return [Viewpoint(*map(float, row)) for row in torch.stack([azimuth, elevation, length], dim=1)]


def prepared(images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, 3, 32, 32] in [-1, 1]
    """Images as the network takes them."""
    small = F.interpolate(
        images.float(), size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False
    )
    return small / 127.5 - 1


@cache
def shipped() -> ViewpointNetwork:
    """The network that ships with the package."""
    return load(ASSETS)


def load(folder: Path | str) -> ViewpointNetwork:
    """The network in a folder. Raises FileNotFoundError, or ValueError naming a file of another
    kind."""
    path, network = Path(folder) / WEIGHTS, ViewpointNetwork()
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: not there; 'python -m semhead_lib.data.kontext.viewpoint_training' makes it"
        )
    try:
        network.load_state_dict({name: value.float() for name, value in read_tensors(path).items()})
    except Exception as error:
        raise ValueError(f"{path}: not the weights of a viewpoint network: {error}") from None
    return network.eval().requires_grad_(False)


def _direction(azimuth: Tensor, elevation: Tensor) -> Tensor:  # degrees -> [B, 3]
    a, e = torch.deg2rad(azimuth.double()), torch.deg2rad(elevation.double())
    return torch.stack([a.sin() * e.cos(), e.sin(), a.cos() * e.cos()], dim=1)
