"""What a subject wears: clothes with shoulders under them, glasses, hats and earrings, fitted to
the head's shape."""

from __future__ import annotations

import numpy as np

from semhead_lib.data.parametric.appearance import cloth_colour, linear, skin_colour
from semhead_lib.data.parametric.attributes import Attributes
from semhead_lib.data.parametric.identity import HeadShape
from semhead_lib.data.parametric.locks import unit
from semhead_lib.data.parametric.scene import Mesh
from semhead_lib.data.parametric.styling import hair_volume, shell
from semhead_lib.data.parametric.surface import HeadSurface, smoothstep, waves

_SEGMENTS = 56  # around the neck


def grid_faces(rows: int, columns: int, closed: bool = True) -> np.ndarray:
    """Triangles of a grid of `rows` x `columns` vertices, joined around when `closed`. [F, 3]"""
    i, j = np.meshgrid(
        np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij"
    )
    k = (j + 1) % columns
    a, b, c, d = (
        x.reshape(-1)
        for x in (i * columns + j, i * columns + k, (i + 1) * columns + k, (i + 1) * columns + j)
    )
    return np.concatenate([np.stack([a, c, b], -1), np.stack([a, d, c], -1)])


def tube(
    path: np.ndarray, radius: float, closed: bool, sides: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    """A round tube along `path` [K, 3]: vertices [K * sides, 3] and triangles."""
    if closed:
        tangent = unit(np.roll(path, -1, 0) - np.roll(path, 1, 0))
    else:
        tangent = unit(np.gradient(path, axis=0))
    helper = np.where(
        np.abs(tangent[:, 1:2]) < 0.9, np.array([[0, 1.0, 0]]), np.array([[1.0, 0, 0]])
    )
    side = unit(np.cross(tangent, helper))
    up = np.cross(side, tangent)
    turn = 2 * np.pi * np.arange(sides) / sides
    ring = np.cos(turn)[None, :, None] * side[:, None] + np.sin(turn)[None, :, None] * up[:, None]
    vertices = (path[:, None] + radius * ring).reshape(-1, 3)
    count = len(path) + 1 if closed else len(path)
    faces = grid_faces(count, sides) % len(vertices)
    return vertices, faces


def clothes(
    a: Attributes, shape: HeadShape, surface: HeadSurface, rng: np.random.Generator
) -> list[Mesh]:
    """Skin of neck and shoulders, and a garment over it, lofted through rings around the neck."""
    edge = shape.vertices[surface.neck_edge]
    centre_z = 0.5 * (edge[:, 2].min() + edge[:, 2].max())
    rx, rz = 0.5 * np.ptp(edge[:, 0]), 0.5 * np.ptp(edge[:, 2])
    wide = 0.30 + 0.10 * a.build + (0.035 if a.gender == "man" else 0.0)
    turn = np.linspace(0, 2 * np.pi, _SEGMENTS, endpoint=False)
    front = np.clip(np.cos(turn), 0, 1)

    def ring(
        y: float, x: float, z: float, dip: float = 0.0, shift: float = 0.0, square: float = 2.0
    ) -> np.ndarray:
        c, s = np.cos(turn), np.sin(turn)
        r = (np.abs(c) ** square + np.abs(s) ** square) ** (-1 / square)
        return np.stack([x * s * r, y - dip * front**2.0, centre_z + shift + z * c * r], axis=-1)

    def garment(top: list[np.ndarray], puff: float) -> np.ndarray:
        body = [
            ring(-0.262, rx * 1.28 + puff, rz * 1.18 + puff, 0.020),
            ring(-0.285, rx * 1.75 + puff, rz * 1.34 + puff, 0.030),
            ring(-0.318, wide * 0.82 + puff, rz * 1.55 + puff, 0.030, 0.0, 2.3),
            ring(-0.372, wide * 1.02, rz * 1.75 + puff, 0.02, 0.0, 2.6),
            ring(-0.460, wide * 1.08, rz * 1.95 + puff, 0.0, 0.01, 2.8),
            ring(-0.640, wide * 1.02, rz * 2.05 + puff, 0.0, 0.01, 2.8),
        ]
        return np.concatenate(top + body)

    colour = cloth_colour(a.cloth_colour)
    around = np.arctan2(edge[:, 0], edge[:, 2] - centre_z)
    order = np.argsort(around)
    seam = np.stack(
        [np.interp(turn, around[order], edge[order, i], period=2 * np.pi) for i in range(3)],
        axis=-1,
    )
    shoulders = garment([], -0.028)
    first = shoulders[:_SEGMENTS]
    neck = [
        seam + (first - seam) * t + np.array([0, -0.012 * t * (1 - t), 0]) for t in (0.0, 0.3, 0.65)
    ]
    covered = 2 * _SEGMENTS  # rings that every collar leaves open
    parts = [_lofted(np.concatenate([*neck, shoulders[:covered]]), skin_colour(a), "skin", rng)]
    if a.clothes == "turtleneck":
        top = [ring(-0.200, rx * 1.06, rz * 1.06, 0.030), ring(-0.197, rx * 1.15, rz * 1.13, 0.030),
               ring(-0.235, rx * 1.18, rz * 1.14, 0.032)]  # fmt: skip
    elif a.clothes == "crew neck":
        top = [ring(-0.250, rx * 1.10, rz * 1.06, 0.034), ring(-0.247, rx * 1.22, rz * 1.15, 0.034)]
    elif a.clothes == "V-neck":
        top = [ring(-0.252, rx * 1.22, rz * 1.10, 0.085), ring(-0.249, rx * 1.32, rz * 1.22, 0.085)]
    else:
        top = [ring(-0.240, rx * 1.15, rz * 1.10, 0.05), ring(-0.236, rx * 1.35, rz * 1.28, 0.05)]
    parts.append(_lofted(garment(top, 0.006), colour, "cloth", rng))
    if a.clothes == "hoodie":  # the hood, a thick roll that lies behind the neck
        roll = np.linspace(np.radians(62), np.radians(298), 40)
        path = np.stack(
            [
                (rx * 1.5 + 0.03) * np.sin(roll),
                -0.245 - 0.03 * np.cos(roll),
                centre_z + (rz * 1.3 + 0.03) * np.cos(roll),
            ],
            -1,
        )
        vertices, faces = tube(path, 0.034, closed=False, sides=12)
        vertices = vertices + 0.004 * waves(vertices, rng, 60)[:, None] * np.array([0.3, 1, 0.3])
        parts.append(_textured(vertices, faces, colour * 0.95, "cloth"))
    return parts


def _textured(vertices: np.ndarray, faces: np.ndarray, colour: np.ndarray, material: str) -> Mesh:
    weave = np.stack([vertices[:, 0] * 320 + vertices[:, 2] * 320, vertices[:, 1] * 320], axis=-1)
    return Mesh.part(vertices, faces, colour, material, strands=weave)


def _lofted(
    vertices: np.ndarray, colour: np.ndarray, material: str, rng: np.random.Generator
) -> Mesh:
    faces = grid_faces(len(vertices) // _SEGMENTS, _SEGMENTS)
    if material == "cloth":
        drop = smoothstep(vertices[:, 1], -0.25, -0.32)[:, None]
        vertices = vertices + 0.004 * drop * waves(vertices, rng, 30)[:, None] * np.array(
            [0.2, 0.6, 1.0]
        )
    return _textured(vertices, faces, colour, material)


def glasses(
    a: Attributes, shape: HeadShape, surface: HeadSurface, rng: np.random.Generator
) -> list[Mesh]:
    """Frame, bridge and temples; sunglasses also have dark lenses."""
    if a.glasses == "none":
        return []
    skin = shape.vertices
    pupil = 0.5 * (shape.eyes[0, 0] - shape.eyes[1, 0])
    middle = shape.eyes.mean(axis=0)
    width, height, power = {
        "round glasses": (0.036, 0.033, 2.0),
        "rectangular glasses": (0.043, 0.027, 4.5),
        "sunglasses": (0.044, 0.034, 3.0),
    }[a.glasses]
    width, height = np.array([width, height]) * rng.uniform(0.94, 1.08, 2)
    centre_x, centre_y = max(pupil, width + 0.010) + 0.002, middle[1] - 0.004
    near = (np.abs(skin[:, 1] - centre_y) < height) & (
        np.abs(np.abs(skin[:, 0]) - centre_x) < width
    )
    front = skin[near & (surface.ears < 0.06), 2].max() + 0.006
    bow = lambda x: front - 2.2 * np.maximum(np.abs(x) - 0.05, 0) ** 2  # noqa: E731
    if a.glasses == "sunglasses":
        frame = linear((24, 22, 24))
    else:
        frame = linear(
            [(24, 22, 24), (96, 58, 32), (150, 120, 60), (150, 152, 156), (120, 30, 36)][
                rng.integers(5)
            ]
        )
    radius = rng.uniform(0.0022, 0.0042)
    turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    c, s = np.cos(turn), np.sin(turn)
    r = (np.abs(c) ** power + np.abs(s) ** power) ** (-1 / power)
    parts, pieces = [], []
    for sign in (1, -1):
        x = sign * centre_x + width * c * r
        rim = np.stack([x, centre_y + height * s * r, bow(x)], axis=-1)
        pieces.append(tube(rim, radius, closed=True))
        if a.glasses == "sunglasses":
            lens = np.concatenate([rim.mean(axis=0, keepdims=True) + [0, 0, 0.003], rim])
            fan = np.stack(
                [np.zeros(36, int), 1 + np.arange(36), 1 + (np.arange(36) + 1) % 36], axis=-1
            )
            parts.append(Mesh.part(lens, fan, linear((22, 20, 22)), "lens"))
        hinge = np.array(
            [sign * (centre_x + width), centre_y + 0.3 * height, bow(centre_x + width)]
        )
        temple = np.abs(skin[:, 1] - hinge[1]) < 0.02
        side = (
            sign * skin[temple & (surface.ears < 0.06) & (np.abs(skin[:, 2]) < 0.10), 0]
        ).max() + 0.004
        ear = np.array([sign * side, hinge[1] + 0.002, 0.0])
        tip = np.array([sign * side, hinge[1] - 0.03, -0.035])
        pieces.append(
            tube(
                np.stack([hinge, 0.35 * hinge + 0.65 * ear, ear, tip]), radius * 0.85, closed=False
            )
        )
    gap = centre_x - width
    arc = np.linspace(-1, 1, 7)
    bridge = np.stack(
        [gap * arc, centre_y + 0.25 * height + 0.006 * (1 - arc**2), front + 0.004 * (1 - arc**2)],
        -1,
    )
    pieces.append(tube(bridge, radius, closed=False))
    return parts + [Mesh.part(v, f, frame, "frame") for v, f in pieces]


def hat(
    a: Attributes,
    shape: HeadShape,
    surface: HeadSurface,
    normals: np.ndarray,
    rng: np.random.Generator,
) -> list[Mesh]:
    """Beanie, cap, brimmed hat or headband, over whatever hair there is."""
    if a.hat == "none":
        return []
    skin, rest, colour = shape.vertices, surface.rest, cloth_colour(a.hat_colour)
    hair = hair_volume(a) if a.hair_style != "bald" else 0.0
    clear = (
        0.014 + (1.5 if a.hat != "headband" else 2.0) * min(hair, 0.03) + max(hair - 0.03, 0) * 1.1
    )
    edge = surface.hat
    ribs = np.stack([np.arctan2(rest[:, 0], rest[:, 2]) * 48, rest[:, 1] * 8], axis=-1)
    weave = np.stack([(rest[:, 0] + rest[:, 2]) * 320, rest[:, 1] * 320], axis=-1)
    up = np.zeros_like(rest)
    if a.hat == "headband":
        height = clear * np.clip(np.minimum(edge - 2, 17 - edge) / 3, -1, 1)
        return [shell(skin, normals, surface.faces, height, colour, "hat", weave, up)]
    inside = np.clip((edge + (7 if a.hat == "beanie" else 3)) / 4, -1, 1)  # 0 on the edge
    if a.hat == "beanie":
        fold = smoothstep(edge, 9, 7.5)
        height = inside * (clear + 0.012 * fold + 0.012 * smoothstep(surface.elevation, 40, 85))
        return [shell(skin, normals, surface.faces, height, colour, "hat", ribs, up)]
    height = inside * (clear + 0.016 * smoothstep(surface.elevation, 25, 70))
    parts = [shell(skin, normals, surface.faces, height, colour, "hat", weave, up)]
    return [*parts, _brim(a, skin, normals, surface, clear, colour)]


def _brim(
    a: Attributes, skin, normals, surface: HeadSurface, clear: float, colour: np.ndarray
) -> Mesh:
    """A cap's visor or a brim all around, from the hat's edge outwards."""
    line = np.flatnonzero(np.abs(surface.hat - 1) < 3.5)
    around = np.arctan2(surface.rest[line, 0], surface.rest[line, 2])
    at = (skin + normals * (clear * 0.9))[line]
    cap = a.hat == "cap"
    turn = np.linspace(-np.pi, np.pi, 96, endpoint=False)
    order = np.argsort(around)
    inner = np.stack(
        [np.interp(turn, around[order], at[order, i], period=2 * np.pi) for i in range(3)], axis=-1
    )
    for _ in range(10):
        inner = (np.roll(inner, 1, 0) + inner + np.roll(inner, -1, 0)) / 3
    if cap:
        front = np.abs(turn) < 1.15
        turn, inner = turn[front], inner[front]
    outward = unit(inner * np.array([1, 0, 1]))
    if cap:
        reach = 0.125 * np.sqrt(np.clip(1 - (turn / 1.2) ** 2, 0, 1))[:, None]
        drop = np.array([0, -0.18, 0])
        outward = unit(outward * np.array([0.35, 0, 1]))
    else:
        reach, drop = np.full((len(turn), 1), 0.085), np.array([0, -0.10, 0])
    rows = [inner + (outward + drop * t) * reach * t for t in (0.0, 0.35, 0.7, 1.0)]
    top = np.concatenate(rows)
    bottom = top - np.array([0, 0.006, 0])
    faces = grid_faces(4, len(turn), closed=not cap)
    rim = np.concatenate([rows[-1], rows[-1] - np.array([0, 0.006, 0])])
    vertices = np.concatenate([top, bottom, rim])
    whole = np.concatenate(
        [faces, faces[:, ::-1] + len(top), grid_faces(2, len(turn), not cap) + 2 * len(top)]
    )
    return _textured(vertices, whole, colour * 0.9, "hat")


def earrings(a: Attributes, shape: HeadShape, surface: HeadSurface) -> list[Mesh]:
    """Studs or hoops at the lowest point of each ear."""
    if a.earrings == "none":
        return []
    metal = linear({"gold": (212, 168, 84), "silver": (196, 198, 202)}[a.earring_metal])
    parts = []
    for sign in (1, -1):
        ear = np.flatnonzero((surface.ears > 0.06) & (sign * surface.rest[:, 0] > 0))
        lobe = shape.vertices[ear[surface.rest[ear, 1].argmin()]] + np.array(
            [sign * 0.003, 0.006, 0.002]
        )
        turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        if a.earrings == "hoop earrings":
            size = 0.022
            path = lobe + size * np.stack(
                [0.15 * sign * np.ones_like(turn), np.cos(turn) - 0.95, np.sin(turn)], axis=-1
            )
            vertices, faces = tube(path, 0.0026, closed=True)
        else:
            path = lobe + np.array([[0, 0, 0], [sign * 0.003, 0, 0], [sign * 0.006, 0, 0]])
            vertices, faces = tube(path, 0.0065, closed=False, sides=10)
            tip = np.concatenate([np.arange(20, 30)])
            vertices = np.concatenate([vertices, path[-1:] + [[sign * 0.003, 0, 0]]])
            faces = np.concatenate([faces, np.stack([tip, np.roll(tip, -1), np.full(10, 30)], -1)])
        parts.append(Mesh.part(vertices, faces, metal, "metal"))
    return parts
