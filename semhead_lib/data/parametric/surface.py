"""Places on the head that every subject shares: hairline, beard line, lips, lids, and roots where
hair grows.

All are worked out once on the neutral head, in scene units, and carried to a subject by vertex: a
region is a weight a vertex, a set of roots is a sparse matrix that blends vertices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.spatial import KDTree

from semhead_lib.data.parametric.identity import HeadModel
from semhead_lib.data.parametric.scene import vertex_normals

CENTRE = np.array([0.0, 0.03, 0.0])  # where directions on the head are measured from, scene units

# Hairline: elevation (degrees, from CENTRE) over the turn from the front (0) to the back (180), one
# side.
_HAIRLINE = np.array(
    [
        (0, 33),
        (25, 34),
        (42, 32),
        (56, 22),
        (68, 6),
        (76, -4),
        (84, 4),
        (98, 14),
        (112, -4),
        (128, -24),
        (180, -33),
    ]
)
_HAT_LINE = np.array([(0, 24), (45, 20), (90, 11), (130, -2), (180, -10)])


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, a smooth cubic between; `low` may be the greater one."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def directions(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn from the front (0..180 degrees, both sides alike) and elevation (degrees) of points seen
    from CENTRE."""
    d = points - CENTRE
    turn = np.degrees(np.arctan2(np.abs(d[:, 0]), d[:, 2]))
    return turn, np.degrees(np.arctan2(d[:, 1], np.hypot(d[:, 0], d[:, 2])))


def waves(
    points: np.ndarray, rng: np.random.Generator, frequency: float, count: int = 10
) -> np.ndarray:
    """Smooth noise over space, about N(0, 1): a sum of random plane waves of about `frequency`
    radians a unit. [N]"""
    k = rng.normal(0, frequency, (3, count)).astype(np.float32)
    phase = rng.uniform(0, 2 * np.pi, count).astype(np.float32)
    return np.cos(points.astype(np.float32) @ k + phase) @ np.full(
        count, np.sqrt(2 / count), np.float32
    )


@dataclass(frozen=True)
class Roots:
    """Points on the skin, the same on every head."""

    blend: sparse.csr_matrix  # [n, N] rows sum to 1
    rest: np.ndarray  # [n, 3] on the neutral head

    def take(self, rows: np.ndarray) -> Roots:
        """Some of the roots."""
        return Roots(self.blend[rows], self.rest[rows])

    def __len__(self) -> int:
        return len(self.rest)


class HeadSurface:
    """The neutral head with its regions and roots."""

    def __init__(self, model: HeadModel) -> None:
        self.model = model
        self.faces = model.faces
        self.rest = model.neutral.vertices.astype(np.float64)
        self.normals = vertex_normals(self.rest, self.faces)
        self.ears = model.region("l-ear-wing-incr", "r-ear-wing-incr")
        self.lips = smoothstep(
            model.region("mouth-upperlip-volume-incr", "mouth-lowerlip-volume-incr"), 0.08, 0.35
        )
        self.cheeks = model.region("l-cheek-volume-incr", "r-cheek-volume-incr")
        self.nose = model.region("nose-volume-incr")
        self.turn, self.elevation = directions(self.rest)

    # Regions
    # ---------------------------------------------------------------------------------------------------------

    def hair(self, receding: bool = False) -> np.ndarray:
        """Scalp: 0 on the hairline, rising to 1 some 12 degrees inside, falling to -1 outside. [N]"""
        return np.where(
            self.ears > 0.06, -1.0, np.clip((self.elevation - self._line(receding)) / 12, -1, 1)
        )

    def _line(self, receding: bool) -> np.ndarray:
        line = np.interp(self.turn, *_HAIRLINE.T)
        if receding:
            line = (
                line
                + 9
                + 22 * np.exp(-(((self.turn - 30) / 16) ** 2)) * (self.turn < 70)
                - 9 * (self.turn >= 70)
            )
        return line

    @cached_property
    def hat(self) -> np.ndarray:
        """How far inside a hat's edge, in degrees (negative outside). [N]"""
        return np.where(
            self.ears > 0.06, -30.0, self.elevation - np.interp(self.turn, *_HAT_LINE.T)
        )

    @cached_property
    def beard(self) -> np.ndarray:
        """Where a full beard grows: jaw, chin, cheeks below a line to the sideburns, upper lip. [N]"""
        _, y, z = self.rest.T
        top = np.interp(
            self.turn, [0, 18, 35, 60, 78, 88], [-0.118, -0.118, -0.085, -0.06, -0.01, 0.01]
        )
        jaw = smoothstep(top - y, 0.0, 0.012) * smoothstep(self.turn, 90, 80)
        jaw *= smoothstep(y + 0.25 * (z - 0.12), -0.245, -0.225)
        return (
            np.maximum(jaw, self.moustache) * (1 - self.lips) * (self.ears < 0.06) * self._outside
        )

    @cached_property
    def moustache(self) -> np.ndarray:
        """The upper lip and the corners of the mouth. [N]"""
        x, y, z = self.rest.T
        lip = (
            smoothstep(np.abs(x), 0.058, 0.045)
            * smoothstep(y, -0.128, -0.118)
            * smoothstep(y, -0.09, -0.099)
        )
        return lip * (z > 0.12) * (1 - self.lips) * self._outside

    @cached_property
    def goatee(self) -> np.ndarray:
        """Chin and a ring around the mouth. [N]"""
        x = self.rest[:, 0]
        return np.maximum(self.beard * smoothstep(np.abs(x), 0.052, 0.042), self.moustache)

    @cached_property
    def _outside(self) -> np.ndarray:
        """1 where the skin is not inside the mouth, the nostrils or the eye sockets. [N]"""
        x, y, z = self.rest.T
        mouth = (
            (np.abs(x) < 0.075)
            & (y < -0.04)
            & (y > -0.185)
            & (z < 0.125)
            & (z > -0.03)
            & (self.turn < 60)
        )
        return 1.0 - mouth

    @cached_property
    def mouth_cavity(self) -> np.ndarray:
        """Triangles inside the mouth. [F] bool"""
        return (self._outside[self.faces] == 0).all(axis=1)

    @cached_property
    def lid_edges(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Distance of each vertex to the nearest eyelid edge [N] (scene units); vertices of each
        eye's upper edge."""
        upper, points = [], []
        for eye in self.model.neutral.eyes:
            near = np.linalg.norm(self.rest - eye, axis=-1) < 1.45 * self.model.neutral.eye_radius
            near &= self.normals[:, 2] > 0.25
            edge = []
            for x in np.linspace(-0.021, 0.021, 13):
                column = near & (np.abs(self.rest[:, 0] - eye[0] - x) < 0.0035)
                for sign, keep in ((1, edge), (-1, [])):
                    rows = np.flatnonzero(column & (sign * (self.rest[:, 1] - eye[1] + 0.001) > 0))
                    if len(rows):
                        row = rows[(sign * self.rest[rows, 1]).argmin()]
                        keep.append(row)
                        points.append(self.rest[row])
            upper.append(np.unique(edge))
        return KDTree(np.array(points), leafsize=16).query(self.rest)[0], upper

    @cached_property
    def neck_edge(self) -> np.ndarray:
        """Vertices of the open edge around the neck, in order of their turn around it. [m]"""
        edges = np.sort(self.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        unique, count = np.unique(edges, axis=0, return_counts=True)
        rows = np.unique(unique[count == 1])
        rows = rows[(self.rest[rows, 1] < -0.1) & (self.rest[rows, 2] < 0.12)]
        middle = self.rest[rows].mean(axis=0)
        return rows[
            np.argsort(np.arctan2(self.rest[rows, 0] - middle[0], self.rest[rows, 2] - middle[2]))
        ]

    # Roots
    # -----------------------------------------------------------------------------------------------------------

    def roots_at(self, points: np.ndarray) -> Roots:
        """Roots nearest to `points` [n, 3] on the neutral head: a blend of the four nearest outer
        vertices."""
        outer = np.flatnonzero(self._outside)
        distance, near = KDTree(self.rest[outer], leafsize=16).query(points, k=4)
        weight = 1 / np.maximum(distance, 1e-5)
        weight /= weight.sum(axis=1, keepdims=True)
        rows = np.repeat(np.arange(len(points)), 4)
        blend = sparse.csr_matrix(
            (weight.ravel(), (rows, outer[near].ravel())), shape=(len(points), len(self.rest))
        )
        return Roots(blend, blend @ self.rest)

    def _scatter(self, weight: np.ndarray, count: int) -> Roots:
        """`count` well-spread roots where `weight` is positive, each prefix well spread too
        (farthest points first)."""
        rng = np.random.default_rng(
            1
        )  # roots are part of the model, not of a subject, nor of what was asked before
        a, b, c = (self.rest[self.faces[:, i]] for i in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=-1) * (
            weight[self.faces].min(axis=1) > 0
        )
        pick = rng.choice(len(area), 4 * count, p=area / area.sum())
        u = np.sort(rng.random((len(pick), 2)), axis=1)
        corner = np.stack([u[:, 0], u[:, 1] - u[:, 0], 1 - u[:, 1]], axis=-1)
        points = np.einsum("nc,ncd->nd", corner, self.rest[self.faces[pick]])
        chosen, gap = [0], np.full(len(points), np.inf)
        for _ in range(count - 1):
            gap = np.minimum(gap, ((points - points[chosen[-1]]) ** 2).sum(-1))
            chosen.append(int(gap.argmax()))
        rows = np.repeat(np.arange(count), 3)
        blend = sparse.csr_matrix(
            (corner[chosen].ravel(), (rows, self.faces[pick[chosen]].ravel())),
            shape=(count, len(self.rest)),
        )
        return Roots(blend, points[chosen])

    @cached_property
    def scalp_roots(self) -> Roots:
        """Roots of the hair, all over the scalp."""
        return self._scatter(self.hair(), 760)

    @cached_property
    def beard_roots(self) -> Roots:
        """Roots of beard and moustache."""
        chin, lip = self._scatter(self.beard, 420), self.moustache_roots
        blend = sparse.csr_matrix(sparse.vstack([chin.blend, lip.blend], format="csr"))
        return Roots(blend, np.concatenate([chin.rest, lip.rest]))

    @cached_property
    def moustache_roots(self) -> Roots:
        """Roots of the moustache, dense because little else tells it from dirt."""
        return self._scatter(self.moustache, 130)

    @cached_property
    def brow_roots(self) -> tuple[Roots, np.ndarray]:
        """Roots of both brows and their place along the brow, 0 at the nose to 1 at the temple."""
        along = np.tile(np.linspace(0, 1, 26), 3)
        row = np.repeat([-1.0, 0.0, 1.0], 26)
        x = 0.020 + 0.068 * along
        y = 0.046 + 0.016 * np.sin(np.pi * np.clip(along * 0.72, 0, 1)) - 0.012 * along**2
        y = y + row * 0.0045 * (1 - 0.75 * along**1.5)
        points = []
        for sign in (1, -1):
            front = np.flatnonzero((self.rest[:, 2] > 0.05) & (self.normals[:, 2] > 0.1))
            near = KDTree(self.rest[front, :2], leafsize=16).query(
                np.stack([sign * x, y], axis=-1), k=3
            )[1]
            z = self.rest[front, 2][near].mean(axis=1)
            points.append(np.stack([sign * x, y, z], axis=-1))
        return self.roots_at(np.concatenate(points)), np.tile(along, 2)
