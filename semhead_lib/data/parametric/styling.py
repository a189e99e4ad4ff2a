"""What all hair is made with: the shell over the skin, where locks grow from and how they lie."""

from __future__ import annotations

import numpy as np

from semhead_lib.data.parametric.appearance import hair_colour
from semhead_lib.data.parametric.attributes import Attributes
from semhead_lib.data.parametric.identity import HeadShape
from semhead_lib.data.parametric.locks import Body, unit
from semhead_lib.data.parametric.scene import Mesh
from semhead_lib.data.parametric.surface import HeadSurface, Roots, directions, smoothstep


def shell(
    vertices: np.ndarray,  # [N, 3] head
    normals: np.ndarray,  # [N, 3]
    faces: np.ndarray,  # [F, 3]
    # [N] how far outside the skin; smooth through 0, so that the shell's edge is smooth
    height: np.ndarray,
    colour: np.ndarray,  # [3] or [N, 3]
    material: str,
    strands: np.ndarray,  # [N, 2]
    tangents: np.ndarray,  # [N, 3]
    occlusion: float | np.ndarray = 1.0,
) -> Mesh:
    """Skin pushed out by `height`; where that turns negative the shell dives under the skin, so
    that no gap shows."""
    used = faces[(height[faces] > 0).any(axis=1)]
    rows, index = np.unique(used, return_inverse=True)
    pick = lambda x: x[rows] if np.ndim(x) and len(x) == len(vertices) else x  # noqa: E731
    lifted = vertices[rows] + normals[rows] * np.maximum(height[rows], -0.012)[:, None]
    return Mesh.part(
        lifted,
        index.reshape(-1, 3),
        pick(colour),
        material,
        tangents=pick(tangents),
        strands=pick(strands),
        occlusion=pick(occlusion),
    )


def hair_volume(a: Attributes) -> float:
    """Thickness of the shell on the crown, scene units."""
    texture = {"straight": 1.0, "wavy": 1.25, "curly": 1.6}[a.hair_texture]
    base = {
        "shaved": 0.0022,
        "short": 0.011,
        "medium": 0.014,
        "bob": 0.013,
        "long": 0.012,
        "bun": 0.009,
        "ponytail": 0.008,
        "afro": 0.045,
    }[a.hair_style]
    if a.hair_style == "afro":
        return base + 0.035 * a.hair_length
    thickness = 0.75 + 0.5 * a.hair_thickness if a.hair_style != "shaved" else 1.0
    return (
        base * thickness * (texture if a.hair_style not in ("shaved", "bun", "ponytail") else 1.0)
    )


class Styling:
    """A subject's hair being made: the head, the surface, the attributes and the random numbers."""

    def __init__(
        self,
        a: Attributes,
        shape: HeadShape,
        surface: HeadSurface,
        normals: np.ndarray,
        body: Body,
        rng: np.random.Generator,
    ) -> None:
        self.a, self.shape, self.surface, self.normals, self.body, self.rng = (
            a,
            shape,
            surface,
            normals,
            body,
            rng,
        )
        self.colour = hair_colour(a.hair_colour, a.hair_shift())
        self.part = {"middle": 0.0, "left": 0.045, "right": -0.045, "swept back": 0.0, "none": 0.0}[
            a.parting
        ]

    def place(self, roots: Roots) -> tuple[np.ndarray, np.ndarray]:
        """Where locks grow from, and their normals. [N, 3] each"""
        return roots.blend @ self.shape.vertices, unit(roots.blend @ self.normals)

    def comb(self, p: np.ndarray) -> np.ndarray:
        """Where loose hair lies: away from the parting, down, and back from the face."""
        turn, _ = directions(p)
        front = smoothstep(turn, 80, 20)[:, None]
        if self.a.parting == "swept back":
            aside = np.stack(
                [0.25 * np.sign(p[:, 0]), np.full(len(p), -0.15), np.full(len(p), -1.0)], axis=-1
            )
        else:
            away = np.tanh((p[:, 0] - self.part) / 0.012)
            aside = np.stack([away, np.full(len(p), -0.2), -0.45 - 0.4 * front[:, 0]], axis=-1)
        down = np.stack(
            [0.3 * np.sign(p[:, 0]), np.full(len(p), -1.0), -0.5 * front[:, 0]], axis=-1
        )
        top = smoothstep(p[:, 1], 0.06, 0.15)[:, None]
        return aside * top + down * (1 - top)

    def curl_of(self, length: float) -> dict:
        """The curl of locks of this length, and its turns (fields of `Growth`)."""
        return {
            "straight": dict(curl=0.0015, turns=1.0),
            "wavy": dict(curl=0.0075, turns=np.clip(length / 0.10, 1.0, 2.6)),
            "curly": dict(curl=0.0125, turns=np.clip(length / 0.055, 1.5, 4.0)),
        }[self.a.hair_texture]

    @property
    def tie(self) -> np.ndarray:
        """Where bun or ponytail sits, on the back of the head. [3]"""
        height = 0.02 + 0.15 * self.a.hair_length
        if self.a.hat in ("beanie", "cap", "brimmed hat"):
            height = min(height, 0.0)  # below the hat's edge
        back = self.shape.vertices[np.abs(self.surface.rest[:, 0]) < 0.02]
        near = back[(np.abs(back[:, 1] - height) < 0.02) & (back[:, 2] < 0)]
        z = near[:, 2].min() if len(near) else -0.15
        return np.array([0.0, height, z - 0.012])

    def to_tie(self, p: np.ndarray) -> np.ndarray:
        """Where gathered hair lies. [N, 3]"""
        return self.tie - p
