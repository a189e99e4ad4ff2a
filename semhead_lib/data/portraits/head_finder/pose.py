"""The camera of a head from what each pixel shows of it.

A head in our convention is seen by a camera that looks at the origin from a fixed distance, with y
up; a photograph of it is such an image turned, scaled and shifted in its plane. Each cell of the
network's grid says which point of the head it shows and how far it may be off. The camera is the one
whose projection brings these points back to their cells: azimuth, elevation and similarity together
(perspective-n-point on a known orbit), by Gauss and Newton's method with Huber's weights, from the
network's direct guess. The errors of neighbouring points are alike, so however many there are, they
leave the direction uncertain; the direct guess of the angles therefore counts as much as all points
together (`TRUST`). All images of a batch are solved at once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semhead_lib.cameras import FOCAL, RADIUS
from semhead_lib.data.portraits.head_finder.network import UNIT, Prediction

_STEPS, _DAMPING = 12, 1e-4
_HUBER = 1.5  # of expected errors
_LEAST_ERROR = 0.01  # shares of UNIT: no point counts as better known
TRUST = 1.0  # weight of the directly predicted angles, in shares of that of all points
_DELTA = 1e-3  # radians, for derivatives by the angles
_ELEVATION = 1.4  # radians: no camera is nearer to the poles


class Poses(NamedTuple):
    """Cameras on the orbit and the crops that they see, of B images."""

    azimuth: Tensor  # [B] degrees
    elevation: Tensor  # [B] degrees
    similarity: Tensor  # [B, 2, 3]: [u, v, 1] in the crop, -1...1, to x, y in the image, -1...1
    error: Tensor  # [B] rms distance of points from their cells, weighted, in shares of the crop

    @property
    def roll(self) -> Tensor:
        """Degrees, clockwise as the viewer sees it, [B]."""
        return torch.rad2deg(torch.atan2(self.similarity[:, 1, 0], self.similarity[:, 0, 0]))

    @property
    def size(self) -> Tensor:
        """The crop's side in shares of the image's, [B]."""
        return self.similarity[:, :, 0].norm(dim=1)


def direct(predicted: Prediction) -> Poses:
    """The network's guess for the whole image."""
    x, y, z = predicted.direction.double().unbind(1)
    elevation = torch.atan2(y, torch.hypot(x, z))
    turn = (
        torch.nn.functional.normalize(predicted.turn.double(), dim=1)
        * predicted.size.double().exp()[:, None]
    )
    a, b = turn.unbind(1)
    matrix = torch.stack([torch.stack([a, -b], 1), torch.stack([b, a], 1)], 1)
    similarity = torch.cat([matrix, predicted.place.double()[:, :, None]], dim=2)
    return Poses(
        torch.rad2deg(torch.atan2(x, z)),
        torch.rad2deg(elevation).clamp(-80, 80),
        similarity,
        torch.full_like(x, float("nan")),
    )


def by_points(predicted: Prediction, trust: float = TRUST) -> Poses:
    """Poses of the B images of a prediction, by the points of all cells, weighted by their errors
    and by the mask, and by the angles that the network predicts directly.

    Args:
        trust: weight of these angles, >= 0, in shares of that of all points together.
    """
    start = direct(predicted)
    side = predicted.points.shape[-1]
    points = predicted.points.double().flatten(2).transpose(1, 2) * UNIT  # [B, N, 3]
    axis = (torch.arange(side, dtype=torch.float64) + 0.5) / side * 2 - 1
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    cells = torch.stack([u, v], dim=-1).reshape(1, -1, 2).to(points.device)
    error = predicted.log_scale.double().flatten(1).exp().clamp_min(_LEAST_ERROR) * UNIT  # [B, N]
    cover = predicted.mask.double().sigmoid().flatten(1)
    a, e = torch.deg2rad(start.azimuth), torch.deg2rad(start.elevation)
    s = start.similarity
    p = torch.stack([a, e, s[:, 0, 0], s[:, 1, 0], s[:, 0, 2], s[:, 1, 2]], dim=1)
    guess = p[:, :2].clone()
    for _ in range(_STEPS):
        flat = orbit_projections(points, p[:, 0], p[:, 1])
        off = _similar(flat, p) - cells  # [B, N, 2]
        # an error of a point on the head is one of FOCAL / RADIUS as much in the crop, -1...1
        expected = error * (2 * FOCAL / RADIUS) * torch.hypot(p[:, 2], p[:, 3])[:, None]
        length = off.norm(dim=-1) / expected
        weight = cover / expected.square() * (_HUBER / length.clamp_min(_HUBER))
        by_a = (orbit_projections(points, p[:, 0] + _DELTA, p[:, 1]) - flat) / _DELTA
        by_e = (orbit_projections(points, p[:, 0], p[:, 1] + _DELTA) - flat) / _DELTA
        linear = p.clone()
        linear[:, 4:] = 0
        x, y = flat.unbind(-1)
        one, zero = torch.ones_like(x), torch.zeros_like(x)
        jacobian = torch.stack(
            [
                _similar(by_a, linear),
                _similar(by_e, linear),
                torch.stack([x, y], -1),
                torch.stack([-y, x], -1),
                torch.stack([one, zero], -1),
                torch.stack([zero, one], -1),
            ],
            dim=-1,
        )  # [B, N, 2, 6]
        weighted = jacobian * weight[..., None, None]
        normal = torch.einsum("bnci,bncj->bij", weighted, jacobian)
        right = torch.einsum("bnci,bnc->bi", weighted, off)
        scale = normal.diagonal(dim1=1, dim2=2).clamp_min(1e-9)
        prior = trust * _of_angles(normal)
        normal[:, :2, :2] += prior
        right[:, :2] += (prior @ (p[:, :2] - guess)[..., None])[..., 0]
        step = torch.linalg.solve(normal + _DAMPING * torch.diag_embed(scale), right)
        step[:, :2] = step[:, :2].clamp(-0.5, 0.5)
        p = p - step
        p[:, 1] = p[:, 1].clamp(-_ELEVATION, _ELEVATION)
    off = (_similar(orbit_projections(points, p[:, 0], p[:, 1]), p) - cells).square().sum(-1)
    mean = (off * weight).sum(1) / weight.sum(1).clamp_min(1e-9)
    matrix = torch.stack(
        [torch.stack([p[:, 2], -p[:, 3]], 1), torch.stack([p[:, 3], p[:, 2]], 1)], 1
    )
    similarity = torch.cat([matrix, p[:, 4:, None]], dim=2)
    size = torch.hypot(p[:, 2], p[:, 3])
    azimuth = (torch.rad2deg(p[:, 0]) + 180) % 360 - 180
    return Poses(azimuth, torch.rad2deg(p[:, 1]), similarity, mean.sqrt() / (2 * size))


def orbit_projections(points: Tensor, azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Points [B, N, 3] in the crops, -1...1, of the orbit's cameras at angles [B], radians:
    [B, N, 2]."""
    sa, ca, se, ce = azimuth.sin(), azimuth.cos(), elevation.sin(), elevation.cos()
    out = torch.stack([sa * ce, se, ca * ce], 1)
    right = torch.stack([ca, torch.zeros_like(ca), -sa], 1)
    down = torch.linalg.cross(-out, right)
    depth = RADIUS - torch.einsum("bnk,bk->bn", points, out)
    flat = torch.einsum("bnk,bck->bnc", points, torch.stack([right, down], 1))
    return 2 * FOCAL * flat / depth[..., None]


def _of_angles(normal: Tensor) -> Tensor:  # [B, 6, 6] -> [B, 2, 2]
    """What the points say of the angles, whatever the similarity is (Schur's complement)."""
    coupling = normal[:, :2, 2:]
    rest = normal[:, 2:, 2:]
    rest = rest + 1e-9 * torch.diag_embed(rest.diagonal(dim1=1, dim2=2).clamp_min(1e-9))
    return normal[:, :2, :2] - coupling @ torch.linalg.solve(rest, coupling.transpose(1, 2))


def _similar(flat: Tensor, p: Tensor) -> Tensor:  # [B, N, 2], [B, 6]
    x, y = flat.unbind(-1)
    a, b = p[:, 2, None], p[:, 3, None]
    return torch.stack([a * x - b * y + p[:, 4, None], b * x + a * y + p[:, 5, None]], dim=-1)
