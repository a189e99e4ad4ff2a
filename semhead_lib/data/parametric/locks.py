"""Locks: bundles of hair as curved ribbons that grow from the skin, fall, and lie on what is below
them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from semhead_lib.data.parametric.scene import Mesh


class Body:
    """What hair lies on: points with outward normals, and a push that keeps hair above them."""

    def __init__(self, points: np.ndarray, normals: np.ndarray) -> None:
        self._tree, self._points, self._normals = KDTree(points, leafsize=16), points, normals

    def lift(
        self, points: np.ndarray, clearance: np.ndarray, cling: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points at least `clearance` above the nearest skin, less `cling` of what is above; and
        the normals there."""
        _, near = self._tree.query(points)
        normal = self._normals[near]
        height = ((points - self._points[near]) * normal).sum(-1)
        gap = clearance - height
        return points + normal * np.where(gap > 0, gap, cling * gap)[:, None], normal


@dataclass(frozen=True)
class Growth:
    """How locks leave the skin and what pulls at them; lengths in scene units, one value for all or
    one a lock."""

    length: np.ndarray | float
    lift: float = 0.3  # start: 0 along the comb, 1 straight out of the skin
    gravity: float = 0.25  # pull per step, 0 stiff .. 1 limp
    comb: float = 0.2  # how strongly each step turns to the comb's direction
    clearance: np.ndarray | float = 0.006  # height above the skin at the tip
    cling: float = (
        0.0  # share of the height above the clearance that a step gives up, 0 free .. 1 pressed on
    )
    curl: float = 0.0  # amplitude of the helix, scene units
    turns: float = 2.0  # of the helix along a lock
    steps: int = 8


def unit(v: np.ndarray) -> np.ndarray:
    """Rows scaled to length one; a zero row stays zero."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


def grow(
    roots: np.ndarray,  # [n, 3] on the skin
    normals: np.ndarray,  # [n, 3] of the skin there
    comb,  # callable [n, 3] points -> [n, 3] directions wanted there
    growth: Growth,
    body: Body,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # paths [n, K+1, 3], outward normals [n, K+1, 3]
    """Paths of locks: each step turns towards comb and ground, then is lifted above the body."""
    n, k = len(roots), growth.steps
    step = np.broadcast_to(np.asarray(growth.length, float), n)[:, None] / k
    clearance = np.broadcast_to(np.asarray(growth.clearance, float), n)
    point = roots + 0.0
    heading = unit(unit(comb(point)) * (1 - growth.lift) + normals * growth.lift)
    paths, outward = [point - 0.002 * normals], [normals]
    for i in range(k):
        heading = unit(
            heading + growth.comb * unit(comb(point)) + growth.gravity * np.array([0, -1.0, 0])
        )
        moved, normal = body.lift(
            point + step * heading, clearance * min(1.0, 0.35 + (i + 1) / k), growth.cling
        )
        heading = unit(moved - point)
        point = point + step * heading
        paths.append(point)
        outward.append(unit(0.5 * outward[-1] + normal))
    path, out = np.stack(paths, axis=1), np.stack(outward, axis=1)
    if growth.curl:
        path = path + _helix(path, out, growth, rng)
    return path, out


def _helix(
    path: np.ndarray, out: np.ndarray, growth: Growth, rng: np.random.Generator
) -> np.ndarray:
    """Offsets that wind a path around itself, growing from the root. [n, K+1, 3]"""
    n, k, _ = path.shape
    along = np.linspace(0, 1, k)[None]
    phase = 2 * np.pi * (rng.random((n, 1)) + growth.turns * rng.uniform(0.8, 1.2, (n, 1)) * along)
    side = unit(np.cross(np.gradient(path, axis=1), out))
    size = growth.curl * np.minimum(1.0, 3 * along)
    return (size * np.cos(phase))[..., None] * side + (size * (0.5 + 0.5 * np.sin(phase)))[
        ..., None
    ] * out


def ribbons(
    path: np.ndarray,  # [n, K+1, 3]
    out: np.ndarray,  # [n, K+1, 3]
    width: np.ndarray | float,  # half-width at the widest, scene units
    colour: np.ndarray,  # [3] or [n, 3] linear albedo
    material: str,
    rng: np.random.Generator,
    taper: float = 0.85,  # how much narrower the tip is, 0..1
    root_shade: float = 0.35,  # how much darker and more hidden the root is, 0..1
    strands: float = 5.0,  # strands across a lock, as texture
) -> Mesh:
    """Flat ribbons along the paths, shaded by their normals like half-round bundles of strands."""
    n, k, _ = path.shape
    along = np.linspace(0, 1, k)
    profile = np.minimum(1.0, 0.55 + 2.5 * along) * (1 - taper * along**2.2)
    half = np.broadcast_to(np.asarray(width, float), n)[:, None] * profile
    tangent = unit(np.gradient(path, axis=1))
    side = unit(np.cross(tangent, out))
    arch = unit(np.cross(side, tangent))
    vertices = np.stack(
        [path - side * half[..., None], path + side * half[..., None]], axis=2
    )  # [n, K+1, 2, 3]
    normals = unit(np.stack([arch - 0.8 * side, arch + 0.8 * side], axis=2))

    base = np.arange(n * k).reshape(n, k)[:, :-1].reshape(-1) * 2
    faces = np.concatenate(
        [np.stack([base, base + 1, base + 3], -1), np.stack([base, base + 3, base + 2], -1)]
    )

    shade = 1 - root_shade * (1 - along) ** 1.5
    tone = (
        np.broadcast_to(colour, (n, 3))[:, None]
        * (shade[None] * rng.uniform(0.82, 1.12, (n, 1)))[..., None]
    )
    across = np.array([0.0, 1.0]) * strands
    texture = np.stack(
        np.broadcast_arrays(
            rng.integers(0, 4000, n)[:, None, None] + across[None, None],
            (along * 3.0)[None, :, None] + np.zeros((n, 1, 2)),
        ),
        axis=-1,
    )
    per_vertex = (n, k, 2, 3)
    return Mesh.part(
        vertices.reshape(-1, 3),
        faces,
        np.broadcast_to(tone[:, :, None], per_vertex).reshape(-1, 3),
        material,
        normals=normals.reshape(-1, 3),
        tangents=np.broadcast_to(tangent[:, :, None], per_vertex).reshape(-1, 3),
        strands=texture.reshape(-1, 2),
        occlusion=np.broadcast_to(shade[None, :, None], (n, k, 2)).reshape(-1),
    )
