"""Hair styles: a thin shell in the hair's colour with locks growing through it."""

from __future__ import annotations

import numpy as np

from semhead_lib.data.parametric.appearance import hair_colour
from semhead_lib.data.parametric.attributes import Attributes
from semhead_lib.data.parametric.identity import HeadShape
from semhead_lib.data.parametric.locks import Body, Growth, grow, ribbons, unit
from semhead_lib.data.parametric.scene import Mesh
from semhead_lib.data.parametric.surface import HeadSurface, Roots, directions, smoothstep, waves

DOWN = np.array([0.0, -1.0, 0.0])


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

    def hair(self) -> list[Mesh]:
        """All the hair of the head; nothing for a bald one."""
        a = self.a
        if a.hair_style == "bald":
            return []
        parts = [self._undercoat()]
        if a.hair_style == "shaved":
            return parts
        roots = self.surface.scalp_roots
        inside = roots.blend @ self.surface.hair(a.receding) > 0.05
        hat = roots.blend @ self.surface.hat
        covered = {"beanie": hat > -2, "cap": hat > 0, "brimmed hat": hat > 0}.get(
            a.hat, np.zeros(len(roots), bool)
        )
        roots = roots.take(np.flatnonzero(inside & ~covered))
        make = {
            "short": self._short,
            "afro": self._afro,
            "bun": self._gathered,
            "ponytail": self._gathered,
        }
        parts += make.get(a.hair_style, self._falling)(roots)
        if a.fringe:
            parts += self._fringe()
        return parts

    def place(self, roots: Roots) -> tuple[np.ndarray, np.ndarray]:
        """Where locks grow from, and their normals. [N, 3] each"""
        return roots.blend @ self.shape.vertices, unit(roots.blend @ self.normals)

    def _undercoat(self) -> Mesh:
        a, rest = self.a, self.surface.rest
        weight = self.surface.hair(a.receding)
        rough = {"afro": 0.10, "shaved": 0.0}.get(
            a.hair_style, {"straight": 0.05, "wavy": 0.10, "curly": 0.2}[a.hair_texture]
        )
        fine = waves(rest, self.rng, 90) + 0.6 * waves(rest, self.rng, 35)
        height = (
            hair_volume(a)
            * np.sqrt(smoothstep(weight, 0, 0.8 if a.hair_style != "afro" else 1.0))
            * (1 + rough * fine)
        )
        if a.hair_style == "afro":  # rounder: thicker on top and behind than at the temples
            height *= 0.75 + 0.35 * smoothstep(self.surface.elevation, -20, 50)
        height = np.where(weight > 0, height + 0.003 * np.minimum(weight / 0.15, 1), 0.06 * weight)
        turn = np.arctan2(rest[:, 0], rest[:, 2])
        strands = np.stack([turn * 60, self.surface.elevation / 9], axis=-1)
        if a.hair_style in ("afro", "shaved") or a.hair_texture == "curly":
            strands = np.stack(
                [rest[:, 0] * 260 + rest[:, 2] * 190, rest[:, 1] * 260 + rest[:, 2] * 150], axis=-1
            )
        comb = (
            self._comb(self.shape.vertices)
            if a.hair_style not in ("bun", "ponytail")
            else self._to_tie(self.shape.vertices)
        )
        tangent = unit(comb - self.normals * (comb * self.normals).sum(-1, keepdims=True))
        shade = 0.95 if a.hair_style in ("afro", "shaved") else 0.7
        return shell(
            self.shape.vertices,
            self.normals,
            self.surface.faces,
            height,
            self.colour * shade,
            "hair",
            strands,
            tangent,
        )

    def _comb(self, p: np.ndarray) -> np.ndarray:
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

    def _style_curl(self, length: float) -> dict:
        return {
            "straight": dict(curl=0.0015, turns=1.0),
            "wavy": dict(curl=0.0075, turns=np.clip(length / 0.10, 1.0, 2.6)),
            "curly": dict(curl=0.0125, turns=np.clip(length / 0.055, 1.5, 4.0)),
        }[self.a.hair_texture]

    def _short(self, roots: Roots) -> list[Mesh]:
        p, n = self.place(roots)
        length = 0.035 + 0.05 * self.a.hair_length
        top = smoothstep(p[:, 1], 0.0, 0.13)
        lengths = length * (0.45 + 0.75 * top) * self.rng.uniform(0.8, 1.2, len(p))
        clearance = hair_volume(self.a) * (0.6 + 0.6 * top) * self.rng.uniform(0.6, 1.4, len(p))
        growth = Growth(
            lengths,
            lift=0.3,
            gravity=0.22,
            comb=0.3,
            clearance=clearance,
            cling=0.6,
            steps=5,
            **self._style_curl(length),
        )
        path, out = grow(p, n, self._comb, growth, self.body, self.rng)
        return [
            ribbons(
                path, out, self.rng.uniform(0.009, 0.015, len(p)), self.colour, "hair", self.rng
            )
        ]

    def _falling(self, roots: Roots) -> list[Mesh]:
        """Medium, bob and long hair, in two layers so that it hides the neck."""
        a = self.a
        low, high = {"medium": (0.10, 0.15), "bob": (0.19, 0.25), "long": (0.32, 0.50)}[
            a.hair_style
        ]
        length = low + (high - low) * a.hair_length
        p, n = self.place(roots)
        height = smoothstep(p[:, 1], -0.08, 0.18)
        lengths = length * (0.72 + 0.38 * height) * self.rng.uniform(0.9, 1.06, len(p))
        if a.hair_style == "bob":  # cut along one line
            lengths = length * (0.55 + 0.6 * height) * self.rng.uniform(0.97, 1.03, len(p))
        clearance = hair_volume(a) * self.rng.uniform(0.5, 1.5, len(p))
        curl = self._style_curl(length)
        steps = {"straight": 7, "wavy": 10, "curly": 10 if length < 0.25 else 16}[
            a.hair_texture
        ]  # 4 a turn
        cling = {"medium": 0.35, "bob": 0.3, "long": 0.12}[a.hair_style]
        growth = Growth(
            lengths,
            lift=0.18,
            gravity=0.36,
            comb=0.2,
            clearance=clearance,
            cling=cling,
            steps=steps,
            **curl,
        )
        path, out = grow(p, n, self._comb, growth, self.body, self.rng)
        width = self.rng.uniform(0.013, 0.020, len(p)) * (0.8 + 0.4 * a.hair_thickness)
        taper = 0.35 if a.hair_style == "bob" else 0.75
        return [ribbons(path, out, width, self.colour, "hair", self.rng, taper=taper)]

    def _afro(self, roots: Roots) -> list[Mesh]:
        p, n = self.place(roots)
        volume = hair_volume(self.a)
        start = p + n * volume * 0.75
        random = unit(self.rng.normal(0, 1, p.shape))
        growth = Growth(
            0.032,
            lift=0.6,
            gravity=0.0,
            comb=0.5,
            clearance=volume * 0.8,
            curl=0.007,
            turns=2.0,
            steps=6,
        )
        path, out = grow(
            start, unit(n + 0.4 * random), lambda q: random[: len(q)], growth, self.body, self.rng
        )
        return [
            ribbons(path, out, 0.0095, self.colour, "hair", self.rng, taper=0.4, root_shade=0.45)
        ]

    @property
    def _tie(self) -> np.ndarray:
        """Where bun or ponytail sits, on the back of the head. [3]"""
        height = 0.02 + 0.15 * self.a.hair_length
        if self.a.hat in ("beanie", "cap", "brimmed hat"):
            height = min(height, 0.0)  # below the hat's edge
        back = self.shape.vertices[np.abs(self.surface.rest[:, 0]) < 0.02]
        near = back[(np.abs(back[:, 1] - height) < 0.02) & (back[:, 2] < 0)]
        z = near[:, 2].min() if len(near) else -0.15
        return np.array([0.0, height, z - 0.012])

    def _to_tie(self, p: np.ndarray) -> np.ndarray:
        return self._tie - p

    def _gathered(self, roots: Roots) -> list[Mesh]:
        """Hair drawn back over the head to a tie, then a bun or a tail."""
        p, n = self.place(roots)
        tie, rng = self._tie, self.rng
        reach = np.linalg.norm(tie - p, axis=-1) * 1.12
        clearance = hair_volume(self.a) * rng.uniform(0.9, 1.5, len(p))
        growth = Growth(reach, lift=0.05, gravity=0.0, comb=1.2, clearance=clearance, steps=8)
        path, out = grow(p, n, self._to_tie, growth, self.body, rng)
        parts = [
            ribbons(
                path, out, rng.uniform(0.010, 0.015, len(p)), self.colour, "hair", rng, taper=0.3
            )
        ]
        return parts + (self._bun(tie) if self.a.hair_style == "bun" else self._tail(tie))

    def _bun(self, tie: np.ndarray) -> list[Mesh]:
        radius = 0.045 + 0.022 * self.rng.random()
        outward = unit(tie - np.array([0, 0.03, 0]))
        centre = tie + outward * radius * 0.6
        n, k = 90, 12
        axis = unit(outward + 0.55 * self.rng.normal(0, 1, (n, 3)))
        u = unit(np.cross(axis, self.rng.normal(0, 1, (n, 3))))
        v = np.cross(axis, u)
        turn = np.linspace(0, 1.5 * np.pi, k)[None, :, None]
        height = self.rng.uniform(-0.75, 0.75, (n, 1, 1))
        ring = (
            np.sqrt(1 - height**2) * (np.cos(turn) * u[:, None] + np.sin(turn) * v[:, None])
            + height * axis[:, None]
        )
        path = centre + radius * ring * self.rng.uniform(0.92, 1.06, (n, 1, 1))
        return [
            ribbons(path, ring, 0.012, self.colour, "hair", self.rng, taper=0.3, root_shade=0.1)
        ]

    def _tail(self, tie: np.ndarray) -> list[Mesh]:
        n = 110
        length = 0.20 + 0.20 * self.rng.random()
        jitter = self.rng.normal(0, 0.009, (n, 3))
        start = tie + jitter
        outward = unit(tie - np.array([0, 0.02, 0]))
        normal = unit(outward + 20 * jitter)
        growth = Growth(
            length * self.rng.uniform(0.85, 1.1, n),
            lift=0.7,
            gravity=0.32,
            comb=0.05,
            clearance=0.012,
            steps=14,
            **self._style_curl(length),
        )
        path, out = grow(
            start,
            normal,
            lambda p: np.broadcast_to(outward + DOWN, p.shape),
            growth,
            self.body,
            self.rng,
        )
        return [
            ribbons(
                path,
                unit(out + normal[:, None]),
                0.012,
                self.colour,
                "hair",
                self.rng,
                root_shade=0.1,
            )
        ]

    def _fringe(self) -> list[Mesh]:
        roots = self.surface.scalp_roots
        turn, elevation = directions(roots.rest)
        chosen = np.flatnonzero((turn < 52) & (elevation > 30) & (elevation < 62))
        p, n = self.place(roots.take(chosen))
        brow = 0.058 - 0.012 * self.rng.random()
        lengths = np.clip((p[:, 1] - brow) * 1.22, 0.03, 0.16) * self.rng.uniform(
            0.92, 1.06, len(p)
        )
        sweep = {"left": 0.35, "right": -0.35}.get(self.a.parting, 0.0)

        def forward(q: np.ndarray) -> np.ndarray:
            return np.stack(
                [q[:, 0] * 1.2 + sweep, np.full(len(q), -0.7), np.full(len(q), 0.9)], -1
            )

        growth = Growth(
            lengths,
            lift=0.3,
            gravity=0.2,
            comb=0.3,
            clearance=0.012,
            steps=7,
            **self._style_curl(0.1),
        )
        path, out = grow(p, n, forward, growth, self.body, self.rng)
        return [ribbons(path, out, 0.0095, self.colour, "hair", self.rng, taper=0.55)]
