"""Cameras of a head: 25-number labels, orbits, projection and rays.

Conventions (those of EG3D and PanoHead, so their `dataset.json` labels load as they are):

* World: right-handed, y up, the face looks towards +z, the subject's left is +x. Lengths are scene
  units.
* Camera axes: OpenCV (x right, y down, z into the scene); a pose is a camera-to-world matrix.
* Label, 25 numbers: the 4x4 camera-to-world matrix row by row, then the 3x3 intrinsics divided by
  the image size.
* Azimuth 0 deg is the front, positive towards the subject's left, +-180 deg the back. Elevation is
  positive upwards.

>>> front = Camera.orbit(azimuth=0.0, elevation=0.0)
>>> [round(x, 3) + 0.0 for x in front.position.tolist()]
[0.0, 0.0, 2.7]
>>> left = Camera.orbit(azimuth=90.0, elevation=0.0)
>>> [round(x, 3) + 0.0 for x in left.position.tolist()]
[2.7, 0.0, 0.0]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

RADIUS = 2.7  # distance from the camera to the origin, scene units
FOCAL = 4.2647  # focal length, in image widths
LABEL_LENGTH = 25
FACE = (0.0, -0.06, 0.15)  # centre of a face of average size, between eyes and mouth, scene units
ELEVATION_RANGE = (-30.0, 45.0)  # degrees, what the datasets cover
NEARLY_RIGID = 0.06  # most that R R^T of a label may differ from the identity to be mended
_RIGID_TOLERANCE = 1e-3  # labels are often stored with 4 to 7 digits


@dataclass(frozen=True, eq=False)
class Camera:
    """One pinhole camera, held as its 25-number label. Cameras are equal when their labels are.

    Raises ValueError when the label is not 25 finite numbers made of a rigid pose and sane
    intrinsics.
    """

    label: Tensor  # [25] float32

    def __post_init__(self) -> None:
        check_cameras(torch.as_tensor(self.label).reshape(1, -1), "camera label")
        object.__setattr__(self, "label", torch.as_tensor(self.label, dtype=torch.float32))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Camera) and torch.equal(self.label, other.label)

    def __hash__(self) -> int:
        return hash(tuple(self.label.tolist()))

    @classmethod
    def orbit(
        cls, azimuth: float, elevation: float, radius: float = RADIUS, focal: float = FOCAL
    ) -> Camera:
        """The camera at `azimuth`, `elevation` (degrees) and `radius` (scene units) that looks at
        the origin, y up."""
        return cls(
            orbit_cameras(torch.tensor([azimuth]), torch.tensor([elevation]), radius, focal)[0]
        )

    @property
    def pose(self) -> Tensor:
        """Camera-to-world matrix, [4, 4]."""
        return self.label[:16].reshape(4, 4)

    @property
    def intrinsics(self) -> Tensor:
        """Intrinsics divided by the image size, [3, 3]."""
        return self.label[16:].reshape(3, 3)

    @property
    def position(self) -> Tensor:
        """Camera centre in the world, [3]."""
        return self.pose[:3, 3]

    @property
    def azimuth(self) -> float:
        """Degrees in [-180, 180], 0 in front, positive towards the subject's left."""
        return float(orbit_angles(self.label[None])[0, 0])

    @property
    def elevation(self) -> float:
        """Degrees in [-90, 90], positive upwards."""
        return float(orbit_angles(self.label[None])[0, 1])

    @property
    def radius(self) -> float:
        """Distance to the origin, scene units."""
        return float(orbit_angles(self.label[None])[0, 2])

    @property
    def focal(self) -> float:
        """Focal length in image widths."""
        return float(self.label[16])


def orbit_cameras(
    azimuth: Tensor,  # [B] degrees
    elevation: Tensor,  # [B] degrees, |elevation| < 90
    radius: float = RADIUS,  # scene units
    focal: float = FOCAL,  # image widths
) -> Tensor:  # [B, 25] float32
    """Labels of cameras on a sphere around the origin, all looking at the origin with y up.

    Raises ValueError for an elevation at or beyond a pole, where "up" has no direction, for angles
    that are not finite, and for a radius or focal length that is not positive.
    """
    azimuth, elevation = (
        torch.as_tensor(x, dtype=torch.float64).reshape(-1) for x in (azimuth, elevation)
    )
    if azimuth.shape != elevation.shape:
        raise ValueError(
            f"azimuth and elevation need one length, got {len(azimuth)} and {len(elevation)}"
        )
    if not bool(azimuth.isfinite().all()):
        raise ValueError(f"azimuth must be finite, got {azimuth[~azimuth.isfinite()].tolist()}")
    if not bool((elevation.abs() < 89.9).all()):
        raise ValueError(
            "elevation must lie within +-89.9 degrees, got "
            f"{elevation[~(elevation.abs() < 89.9)].tolist()}"
        )
    for name, value in (("radius", radius), ("focal", focal)):
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be positive and finite, got {value}")
    a, e = torch.deg2rad(azimuth), torch.deg2rad(elevation)
    out = torch.stack(
        [a.sin() * e.cos(), e.sin(), a.cos() * e.cos()], dim=-1
    )  # unit vector from origin to camera
    right = torch.stack([a.cos(), torch.zeros_like(a), -a.sin()], dim=-1)
    down = torch.linalg.cross(-out, right)
    pose = torch.zeros(len(a), 4, 4, dtype=torch.float64)
    pose[:, :3] = torch.stack([right, down, -out, radius * out], dim=-1)
    pose[:, 3, 3] = 1.0
    intrinsics = torch.tensor([focal, 0, 0.5, 0, focal, 0.5, 0, 0, 1], dtype=torch.float64).expand(
        len(a), 9
    )
    return (
        torch.cat([pose.reshape(-1, 16), intrinsics], dim=-1).float() + 0.0
    )  # no negative zeros in files


def orbit_angles(cameras: Tensor) -> Tensor:  # [B, 25] -> [B, 3]
    """Azimuth (degrees), elevation (degrees) and radius (scene units) of each camera's centre."""
    centre = cameras[:, [3, 7, 11]].double()
    radius = centre.norm(dim=-1)
    azimuth = torch.rad2deg(torch.atan2(centre[:, 0], centre[:, 2]))
    elevation = torch.rad2deg(torch.asin((centre[:, 1] / radius.clamp_min(1e-12)).clamp(-1, 1)))
    return torch.stack([azimuth, elevation, radius], dim=-1)


def degrees_apart(one: Sequence[float], other: Sequence[float]) -> float:
    """The angle between two directions given by azimuth and elevation, degrees, 0 to 180.

    >>> round(degrees_apart((170.0, 0.0), (-170.0, 0.0)), 3)
    20.0
    """
    a, e = np.radians([one, other]).T
    x, y, z = np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)
    cosine = x[0] * x[1] + y[0] * y[1] + z[0] * z[1]
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def label_error(label) -> str | None:
    """Why `label` is not a camera (one line), or None when it is.

    A camera has 25 finite numbers, a rigid pose (rotation with determinant +1, last row 0 0 0 1)
    and positive focal lengths; rotations may be off by 1e-3, because published labels are rounded.
    """
    values = np.asarray(label, dtype=np.float64).reshape(-1)
    if values.size != LABEL_LENGTH:
        return f"expected {LABEL_LENGTH} numbers, got {values.size}"
    if not np.isfinite(values).all():
        return "has numbers that are not finite"
    pose, intrinsics = values[:16].reshape(4, 4), values[16:].reshape(3, 3)
    rotation = pose[:3, :3]
    if (
        np.abs(rotation).max() > 2
        or np.abs(rotation @ rotation.T - np.eye(3)).max() > _RIGID_TOLERANCE
        or np.linalg.det(rotation) < 0
    ):
        return "the pose is not rigid: its 3x3 block is no rotation"
    if np.abs(pose[3] - (0, 0, 0, 1)).max() > _RIGID_TOLERANCE:
        return f"the pose is not rigid: its last row is {pose[3].tolist()}, expected [0, 0, 0, 1]"
    if (
        intrinsics[0, 0] <= 0
        or intrinsics[1, 1] <= 0
        or np.abs(intrinsics[2] - (0, 0, 1)).max() > _RIGID_TOLERANCE
    ):
        return "the intrinsics need positive focal lengths and a last row [0, 0, 1]"
    return None


def nearest_rigid(label: np.ndarray) -> np.ndarray:  # [25] -> [25]
    """A camera label whose rotation is off by at most `NEARLY_RIGID`, as the tools of PanoHead and
    SphereHead write, with the nearest rotation in its place (by its singular values; Schönemann,
    1966). Any other label comes back as it is."""
    values = np.asarray(label, dtype=np.float64)
    if values.size != LABEL_LENGTH or not np.isfinite(values).all():
        return values
    rotation = values[:16].reshape(4, 4)[:3, :3]
    if np.abs(rotation).max() > 2:
        return values
    off = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if not _RIGID_TOLERANCE < off <= NEARLY_RIGID or np.linalg.det(rotation) < 0:
        return values
    u, _, v = np.linalg.svd(rotation)
    values = values.copy()
    values[:12].reshape(3, 4)[:, :3] = u @ v
    return values


def check_cameras(cameras: Tensor, what: str = "camera labels") -> None:  # [B, 25]
    """Raise ValueError naming the first row of `cameras` that is not a camera."""
    for row, label in enumerate(np.asarray(cameras, dtype=np.float64)):
        if error := label_error(label):
            raise ValueError(f"{what}, row {row}: {error}")


def project(
    points: Tensor,  # [N, 3] world
    cameras: Tensor,  # [B, 25]
) -> tuple[
    Tensor, Tensor
]:  # [B, N, 2] image coordinates in [0, 1] (x right, y down), [B, N] camera z
    """Pinhole projection of world points into each camera.

    A point is in the image when both its coordinates lie in [0, 1] and its z is positive (it is
    before the camera).

    Multiply by the resolution for pixels: pixel (i, j) covers [j, j+1) x [i, i+1).

    >>> uv, z = project(torch.zeros(1, 3), Camera.orbit(30.0, 10.0).label[None])
    >>> [round(x, 4) for x in uv[0, 0].tolist()], round(float(z), 4)
    ([0.5, 0.5], 2.7)
    """
    pose = cameras[:, :16].reshape(-1, 4, 4)
    local = (points[None] - pose[:, None, :3, 3]) @ pose[:, :3, :3]  # R^T (x - t), row vectors
    image = local @ cameras[:, 16:].reshape(-1, 3, 3).transpose(1, 2)
    return image[..., :2] / image[..., 2:], local[..., 2]


def crop_cameras(cameras: Tensor, windows: Tensor) -> Tensor:  # [B, 25], [B, 3] -> [B, 25]
    """Labels of the cameras that see a square part of the image each: `windows` has its left and
    top edge and its side, in image widths. The pose stays, focal length and principal point change.

    >>> whole = Camera.orbit(0.0, 0.0).label[None]
    >>> part = crop_cameras(whole, torch.tensor([[0.25, 0.5, 0.5]]))
    >>> [round(x, 4) for x in part[0, 16:22].tolist()]
    [8.5294, 0.0, 0.5, 0.0, 8.5294, 0.0]
    """
    left, top, side = windows.to(cameras).unbind(1)
    fx, skew, cx, low, fy, cy = cameras[:, 16:22].unbind(1)
    inner = torch.stack(
        [fx / side, skew / side, (cx - left) / side, low, fy / side, (cy - top) / side], dim=1
    )
    return torch.cat([cameras[:, :16], inner, cameras[:, 22:]], dim=1)


def rays(
    cameras: Tensor,  # [B, 25]
    resolution: int,  # pixels a side
) -> tuple[Tensor, Tensor]:  # origins [B, R*R, 3], unit directions [B, R*R, 3]
    """Rays through the pixel centres, row by row from the top left."""
    centres = (
        torch.arange(resolution, dtype=cameras.dtype, device=cameras.device) + 0.5
    ) / resolution
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    origins, directions = rays_through(cameras, u.reshape(1, -1), v.reshape(1, -1))
    return origins, torch.nn.functional.normalize(directions, dim=-1)


def rays_through(
    cameras: Tensor,  # [B, 25]
    u: Tensor,  # [B or 1, N] image coordinates in [0, 1], to the right
    v: Tensor,  # [B or 1, N] down
) -> tuple[
    Tensor, Tensor
]:  # origins [B, N, 3], directions [B, N, 3] of depth 1: camera z grows by 1 along each
    """Rays through places of images: the inverse of `project`.

    The inverse of intrinsics [[fx, s, cx], [0, fy, cy], [0, 0, 1]] is written out: y = (v - cy) /
    fy and x = (u - cx - s y) / fx at depth 1. Nothing here waits for a GPU or is rounded to TF32,
    as a matrix product may be.
    """
    fx, skew, cx, _, fy, cy = (number[:, None] for number in cameras[:, 16:22].unbind(1))
    y = (v - cy) / fy
    x = (u - cx - skew * y) / fx
    pose = cameras[:, :16].reshape(-1, 1, 4, 4)[..., :3, :]
    directions = x[..., None] * pose[..., 0] + y[..., None] * pose[..., 1] + pose[..., 2]
    return pose[..., 3].expand_as(directions), directions
