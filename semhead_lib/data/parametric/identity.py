"""Head shapes: Anny's parametric head, smoothed by one Loop subdivision and put into the suite's
frame.

Anny (Apache-2.0, CC0 assets) maps phenotypes, local shape controls and facial actions to 4538
vertices in metres, z up, the face towards -y. Here heads are y up, face towards +z, scaled so that
chin to crown is `HEAD_HEIGHT` scene units, centred between chin and crown, and between forehead and
occiput. Every head so fills the frame alike, as aligned photographs do.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components

HEAD_HEIGHT = 0.40  # chin to crown, scene units
_HEAD_CONTROLS = (
    "cheek",
    "chin",
    "ear",
    "eye",
    "eyebrows",
    "forehead",
    "head",
    "mouth",
    "neck",
    "nose",
)


@dataclass(frozen=True)
class HeadShape:
    """One subject's bare head in scene units. Vertices are in the order of `HeadModel.faces`."""

    vertices: np.ndarray  # [N, 3] float32
    eyes: np.ndarray  # [2, 3] centres of the left and right eyeball
    eye_radius: float
    metres_per_unit: float


class HeadModel:
    """The family of heads: topology, the neutral head, regions of the skin, and `shape` from
    parameters to a head."""

    def __init__(self) -> None:
        import anny

        logging.getLogger("anny").setLevel(logging.ERROR)
        self._anny = anny.Anny(
            rig="makehuman-head",
            topology="head",
            local_changes="all",
            facial_actions="all",
            phenotypes="all",
        )
        faces = self._anny.faces.numpy()
        adjacency = sparse.coo_matrix(
            (np.ones(faces.size), (faces.ravel(), np.roll(faces, -1, 1).ravel()))
        )
        _, part = connected_components(adjacency, directed=False)
        self.shape_controls = _tied_controls(self._anny.local_change_labels)

        rest = self._rest({}, {}, {})
        skin = part == np.bincount(part).argmax()
        eyeballs = [
            np.flatnonzero(part == p) for p in np.unique(part) if self._is_eye(rest[part == p])
        ]
        self._eyeballs = sorted(eyeballs, key=lambda rows: -rest[rows, 0].mean())  # left (+x) first
        self._skin = np.flatnonzero(skin)
        renumber = np.cumsum(skin) - 1
        self.coarse_faces = renumber[faces[skin[faces].all(axis=1)]].astype(np.int32)
        self.subdivide, self.faces = loop_subdivision(self.coarse_faces, len(self._skin))
        self._chin, self._crown, self._forehead, self._occiput = _profile_landmarks(
            rest[self._skin]
        )
        self.neutral = self.shape({}, {}, {})
        self._regions: dict[str, np.ndarray] = {}

    @staticmethod
    def _is_eye(vertices: np.ndarray) -> bool:
        return len(vertices) < 100 and abs(vertices[:, 0].mean()) > 0.01

    def _rest(self, phenotypes: dict, controls: dict, actions: dict) -> np.ndarray:
        """Anny's vertices in metres, turned y up with the face towards +z. [4538, 3] float64"""
        with torch.no_grad():
            found = self._anny(
                phenotype_kwargs={k: torch.tensor([float(v)]) for k, v in phenotypes.items()},
                local_changes_kwargs={k: torch.tensor([float(v)]) for k, v in controls.items()},
                facial_actions={k: torch.tensor([float(v)]) for k, v in actions.items()},
            )
        x, y, z = found["vertices"][0].double().numpy().T
        return np.stack([x, z, -y], axis=-1)

    def shape(
        self,
        phenotypes: dict[str, float],  # Anny's phenotype labels, 0..1 each
        controls: dict[str, float],  # Anny's local changes, -1..1 each
        actions: dict[str, float],  # facial actions (ARKit names), 0..1 each
        *,
        framed_by: dict[str, float] | None = None,  # actions that place the head; None: those
    ) -> HeadShape:
        """The head of these parameters; what is not named is neutral."""
        metres = self._rest(phenotypes, controls, actions)
        usual = metres
        if framed_by is not None and framed_by != actions:
            usual = self._rest(phenotypes, controls, framed_by)
        centre, scale = self._frame(usual[self._skin])
        placed = (metres - centre) * scale
        eyes, radii = zip(*(fit_sphere(placed[rows]) for rows in self._eyeballs), strict=True)
        return HeadShape(
            vertices=(self.subdivide @ placed[self._skin]).astype(np.float32),
            eyes=np.array(eyes, np.float32),
            eye_radius=float(np.mean(radii)),
            metres_per_unit=float(1.0 / scale),
        )

    def _frame(self, skin: np.ndarray) -> tuple[np.ndarray, float]:
        """Centre (metres) and scale (units per metre) that put a head into the common frame."""
        chin, crown = skin[self._chin], skin[self._crown]
        centre = np.array(
            [
                0.0,
                0.5 * (chin[1] + crown[1]),
                0.5 * (skin[self._forehead, 2] + skin[self._occiput, 2]),
            ]
        )
        return centre, HEAD_HEIGHT / float(crown[1] - chin[1])

    def region(self, *controls: str) -> np.ndarray:
        """How strongly each vertex follows these shape controls, 0..1: Anny's own idea of where a
        feature is. [N]"""
        key = "+".join(controls)
        if key not in self._regions:
            base = self._rest({}, {}, {})[self._skin]
            moved = [self._rest({}, {name: 1.0}, {})[self._skin] - base for name in controls]
            size = sum(
                (np.linalg.norm(m, axis=-1) for m in moved), start=np.zeros(len(base), base.dtype)
            )
            self._regions[key] = self.subdivide @ (size / size.max())
        return self._regions[key]


def _tied_controls(labels: list[str]) -> dict[str, tuple[str, ...]]:
    """Head controls by their own name; a left-right pair is one control with both labels, left
    first."""
    tied = {}
    for label in labels:
        side, _, name = label.partition("-")
        if side == "l" and name.startswith(_HEAD_CONTROLS):
            tied[name] = (label, f"r-{name}")
        elif side not in "lr" and label.startswith(_HEAD_CONTROLS):
            tied[label] = (label,)
    return tied


def _profile_landmarks(skin: np.ndarray) -> tuple[int, int, int, int]:
    """Chin, crown, forehead and occiput of the neutral head [N, 3] in metres; other heads use the
    same vertices."""
    middle = np.flatnonzero(np.abs(skin[:, 0]) < 2e-3)
    profile = skin[middle]
    nose = profile[profile[:, 2].argmax()]
    jaw = middle[(profile[:, 2] > nose[2] - 0.045) & (profile[:, 1] < nose[1])]
    chin, crown = jaw[skin[jaw, 1].argmin()], middle[profile[:, 1].argmax()]
    level = skin[chin, 1] + 0.72 * (skin[crown, 1] - skin[chin, 1])
    belt = middle[np.abs(profile[:, 1] - level) < 0.02]
    return (
        int(chin),
        int(crown),
        int(belt[skin[belt, 2].argmax()]),
        int(belt[skin[belt, 2].argmin()]),
    )


def fit_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and radius of the sphere through `points` [n, 3], in the least-squares sense.

    |p|^2 = 2 p.c + (r^2 - |c|^2) is linear in c and in the last term.
    """
    a = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    solution, *_ = np.linalg.lstsq(a, (points**2).sum(-1), rcond=None)
    centre = solution[:3]
    return centre, float(np.sqrt(solution[3] + centre @ centre))


def loop_subdivision(faces: np.ndarray, count: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """One step of Loop's (1987) subdivision as a matrix: new vertices = matrix @ vertices, with the
    new triangles.

    Old vertices come first, then one vertex an edge. Boundary edges use the cubic B-spline's rule.
    """
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    opposite = faces[:, [2, 0, 1]].reshape(-1)
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    index = index.reshape(-1)
    inner = np.bincount(index) == 2

    n = len(unique)
    rows, columns, values = [], [], []

    def put(r, c, v):
        rows.append(np.asarray(r))
        columns.append(np.asarray(c))
        values.append(np.broadcast_to(v, np.shape(r)))

    end_weight = np.where(inner, 3 / 8, 1 / 2)
    for side in (0, 1):
        put(count + np.arange(n), unique[:, side], end_weight)
    put(count + index[inner[index]], opposite[inner[index]], 1 / 8)

    border = np.zeros(count, bool)
    border[unique[~inner]] = True
    neighbours = np.bincount(unique.ravel(), minlength=count)
    beta = np.where(neighbours == 3, 3 / 16, 3 / (8 * np.maximum(neighbours, 1)))
    put(np.arange(count), np.arange(count), np.where(border, 3 / 4, 1 - neighbours * beta))
    for a, b in ((0, 1), (1, 0)):
        at, other = unique[:, a], unique[:, b]
        keep = ~border[at]
        put(at[keep], other[keep], beta[at[keep]])
        put(at[~inner], other[~inner], 1 / 8)
    matrix = sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(count + n, count),
    )
    ab, bc, ca = (count + index.reshape(-1, 3)).T
    a, b, c = faces.T
    fine = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=-1).reshape(-1, 3)
    return matrix, fine.astype(np.int32)


@cache
def head_model() -> HeadModel:
    """The one head model of this process; the first of a machine takes about a minute, later ones a
    second."""
    return HeadModel()
