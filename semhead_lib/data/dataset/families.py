"""Cameras of each family of EG3D's: how its world becomes ours, and ours its.

All of them write labels as we do: OpenCV axes, camera-to-world, radius 2.7, focal length 4.2647
image widths. Their crops differ, so a head has another size and place in their world:

| name       | a unit of its world | what its cameras look at   | where that lies in our world |
|------------|---------------------|----------------------------|------------------------------|
| eg3d-ffhq  | 0.370 m             | (0, 0, 0.2), a face        | the face, (0, -0.06, 0.15)   |
| panohead   | 0.417 m             | the origin, within a head  | the origin                   |
| spherehead | 0.417 m             | the origin, within a head  | the origin                   |

Where the units come from. EG3D multiplies places of cameras in the units of Deep3DFaceRecon, which
are decimetres, by 0.27. PanoHead's crop brings 3DDFA's scale to 1 / 2000 pixels of 120 a micrometre
and shows 1.1 times that square: 0.264 m, which its labels take for 2.7 / 4.2647 units. SphereHead's
toolbox crops in the same way. One of our units is about 0.6 m. So the size of a head is right to
some percent, and its place to a few hundredths of a unit; what cameras see is exact: a point and
its counterpart in the other world are seen at the same place of an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from semhead_lib.cameras import FACE, FOCAL, RADIUS
from semhead_lib.errors import did_you_mean

METRES_PER_UNIT = 0.6  # of our world, for an adult
_WIDTH = RADIUS / FOCAL  # of an image at the distance of the head, in units of each family
_ORIGIN = (0.0, 0.0, 0.0)
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Family:
    """A similarity between two worlds: a point x of theirs is `scale * (x - point) + ours` of ours."""

    name: str
    scale: float  # our units a unit of theirs
    point: Point  # of their world
    ours: Point  # where it lies in our world
    source: str  # where labels and crop are defined

    @property
    def shift(self) -> Tensor:  # [3] float64: x of theirs is scale * x + shift of ours
        """Where the origin of theirs lies in ours."""
        place, ours = (torch.tensor(x, dtype=torch.float64) for x in (self.point, self.ours))
        return ours - self.scale * place


_DECIMETRES = 0.1 / 0.27  # metres a unit of EG3D's
_CROP = 1.1 * 120 * 2000e-6 / _WIDTH  # metres a unit of PanoHead's
FAMILIES = {
    f.name: f
    for f in (
        Family(
            "eg3d-ffhq",
            _DECIMETRES / METRES_PER_UNIT,
            (0.0, 0.0, 0.2),
            FACE,
            "EG3D (Chan et al., 2022): dataset_preprocessing/ffhq, avg_camera_pivot of train.py",
        ),
        Family(
            "panohead",
            _CROP / METRES_PER_UNIT,
            _ORIGIN,
            _ORIGIN,
            "PanoHead (An et al., 2023): 3DDFA_V2_cropping/recrop_images.py",
        ),
        Family(
            "spherehead",
            _CROP / METRES_PER_UNIT,
            _ORIGIN,
            _ORIGIN,
            "SphereHead (Li et al., 2024): WildHead.DatProc, dpcropper",
        ),
    )
}


def family(name: str) -> Family:
    """The family called `name`. Raises ValueError for another name, with the nearest."""
    if name not in FAMILIES:
        hint = did_you_mean(str(name), list(FAMILIES)) or ""
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {name!r}{hint}")
    return FAMILIES[name]


def to_ours(cameras: Tensor, name: str) -> Tensor:  # [B, 25] of the family -> [B, 25] of ours
    """Cameras of ours that see of our world what theirs see of theirs.

    >>> from semhead_lib.cameras import orbit_cameras
    >>> ours = to_ours(orbit_cameras(torch.zeros(1), torch.zeros(1)), "panohead")
    >>> round(float(ours[0, 11]), 3)  # the head is larger in the image: our camera is nearer
    1.876
    """
    f = family(name)
    return moved_cameras(cameras, f.scale, f.shift)


def from_ours(cameras: Tensor, name: str) -> Tensor:  # [B, 25] of ours -> [B, 25] of the family
    """The inverse of `to_ours`."""
    f = family(name)
    return moved_cameras(cameras, 1 / f.scale, -f.shift / f.scale)


def moved_cameras(
    cameras: Tensor,  # [B, 25]
    scale: float,
    shift: Tensor,  # [3]
    rotation: Tensor | None = None,  # [3, 3]
) -> Tensor:  # [B, 25]
    """Cameras that see a point `scale * rotation @ x + shift` where `cameras` see the point x.

    Raises ValueError for a scale that is not positive.
    """
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale must be positive and finite, got {scale}")
    poses = cameras[:, :16].reshape(-1, 4, 4)
    turned, places = poses[:, :3, :3], poses[:, :3, 3]
    if rotation is not None:
        turn = rotation.to(cameras)
        turned, places = turn @ turned, places @ turn.T
    places = scale * places + shift.to(cameras)
    top = torch.cat([turned, places[..., None]], dim=2).flatten(1)  # [B, 12]
    return torch.cat([top, cameras[:, 12:]], dim=1)
