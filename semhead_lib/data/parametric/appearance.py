"""Colours of skin, eyes, hair and cloth, painted on the vertices of a head, and the light it is
seen in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from semhead_lib.data.parametric.attributes import Attributes
from semhead_lib.data.parametric.identity import HeadShape
from semhead_lib.data.parametric.scene import Light, Mesh, join, vertex_normals
from semhead_lib.data.parametric.surface import HeadSurface, smoothstep, waves


def linear(rgb: tuple[float, float, float] | np.ndarray) -> np.ndarray:
    """Linear light of display RGB given as 0..255. [..., 3] -> [..., 3]"""
    x = np.asarray(rgb, np.float64) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


_SKIN = np.array(  # display RGB along the tone axis
    [(246, 216, 198), (236, 192, 165), (216, 163, 130), (184, 130, 96), (137, 90, 63), (88, 56, 40)]
)
_EYES = {
    "brown": (104, 62, 30),
    "dark brown": (52, 31, 20),
    "hazel": (122, 98, 48),
    "green": (94, 124, 78),
    "blue": (84, 130, 176),
    "grey": (136, 148, 156),
}
HAIR = {
    "black": (36, 31, 30),
    "dark brown": (58, 38, 27),
    "brown": (96, 62, 40),
    "light brown": (140, 98, 62),
    "blond": (214, 174, 108),
    "red": (164, 72, 30),
    "grey": (140, 138, 136),
    "white": (226, 222, 216),
    "pink": (226, 110, 160),
    "blue": (50, 90, 190),
    "green": (56, 140, 84),
    "purple": (118, 66, 160),
}
_CLOTH = {
    "white": (228, 226, 222), "grey": (132, 134, 138), "black": (36, 36, 40), "navy": (36, 52, 96),
    "red": (172, 40, 44), "green": (58, 110, 70), "yellow": (226, 184, 66), "teal": (40, 128, 132),
    "brown": (112, 78, 54), "pink": (222, 146, 164),
}  # fmt: skip
NATURAL_HAIR = tuple(HAIR)[:8]


def hair_colour(name: str, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Linear albedo of a hair colour, its display RGB shifted by levels of 0 to 255. [3]"""
    return linear(np.clip(np.add(HAIR[name], shift), 0.0, 255.0))


def cloth_colour(name: str) -> np.ndarray:
    """Linear albedo of a cloth colour. [3]"""
    return linear(_CLOTH[name])


def iris_colour(name: str) -> np.ndarray:
    """Linear albedo of an iris. [3]"""
    return linear(_EYES[name])


def body_hair_colour(a: Attributes) -> np.ndarray:
    """Brows and beard: the hair's natural colour, a little darker; dyed hair leaves them brown.
    [3]"""
    name = a.hair_colour if a.hair_colour in NATURAL_HAIR else "dark brown"
    return hair_colour(name, a.hair_shift()) * (0.8 if name in ("white", "grey") else 0.6)


def skin_colour(a: Attributes) -> np.ndarray:
    """Linear albedo of plain skin. [3]"""
    tone = a.skin_tone * (len(_SKIN) - 1)
    rgb = np.array([np.interp(tone, np.arange(len(_SKIN)), _SKIN[:, i]) for i in range(3)])
    return linear(rgb) * (1 + a.undertone * np.array([0.03, -0.02, 0.05])) * 0.92


def skin(a: Attributes, shape: HeadShape, surface: HeadSurface, rng: np.random.Generator) -> Mesh:
    """The bare head, with blush, lips, lids, freckles, stubble and the shadow of shaved hair
    painted on."""
    rest, base = surface.rest, skin_colour(a)
    dark = a.skin_tone
    colour = np.tile(base, (len(rest), 1)) * (1 + 0.035 * waves(rest, rng, 30)[:, None])
    colour *= 1 + 0.02 * rng.standard_normal((len(rest), 1))

    def blend(weight, target):
        colour[:] += (target - colour) * np.clip(weight, 0, 1)[:, None]

    flush = np.clip(
        0.55 * surface.cheeks + 0.6 * surface.nose + 0.5 * (surface.ears > 0.06), 0, 1
    ) * (0.75 - 0.3 * dark)
    blend(flush, base * np.array([1.02, 0.74, 0.70]))
    to_lid, _ = surface.lid_edges
    blend(
        0.45 * smoothstep(to_lid, 0.035, 0.008) * (rest[:, 2] > 0.05),
        base * np.array([0.80, 0.66, 0.64]),
    )
    blend(0.75 * smoothstep(to_lid, 0.0045, 0.0015), base * np.array([0.30, 0.20, 0.19]))
    spots = waves(
        rest, rng, 260, 24
    )  # drawn for everyone, so that what follows does not depend on freckles
    if a.freckles:
        spots = smoothstep(spots, 1.1, 1.7) * smoothstep(np.abs(rest[:, 1] + 0.03), 0.10, 0.03)
        blend(0.6 * a.freckles * spots * (rest[:, 2] > 0.08), base * np.array([0.58, 0.40, 0.32]))

    hair, beard = hair_colour(a.hair_colour, a.hair_shift()), body_hair_colour(a)
    if a.hair_style != "bald":  # the scalp seen through hair
        weight = smoothstep(surface.hair(a.receding), 0.0, 0.7)
        blend(
            (0.62 if a.hair_style == "shaved" else 0.85)
            * weight
            * (1 + 0.12 * waves(rest, rng, 300)),
            0.8 * hair,
        )
    elif a.gender == "man":
        blend(0.10 * smoothstep(surface.hair(True), 0.0, 0.5), 0.5 * base)
    if a.gender == "man":
        grown = {
            "none": 0.10,
            "stubble": 0.50,
            "moustache": 0.12,
            "goatee": 0.12,
            "full beard": 0.75,
        }[a.facial_hair]
        blend(grown * surface.beard * (1 + 0.15 * waves(rest, rng, 300)), beard)
        under = {"moustache": surface.moustache, "goatee": surface.goatee}.get(a.facial_hair)
        if under is not None:
            blend(0.7 * under, beard)
    lips = base * np.array([0.92, 0.56, 0.55]) * (1 - 0.15 * dark)
    lips += (linear((150, 28, 40)) - lips) * 0.85 * a.lip_tint
    blend(surface.lips * 0.95, lips)

    vertices, faces = shape.vertices, surface.faces
    inside = surface.mouth_cavity
    normals = vertex_normals(vertices, faces)
    on_lips = surface.lips[faces].min(axis=1) > 0.5
    parts = []
    for name, chosen in (
        ("skin", ~inside & ~on_lips),
        ("lips", on_lips & ~inside),
        ("mouth", inside),
    ):
        tint = linear((92, 34, 34)) if name == "mouth" else colour
        parts.append(Mesh.part(vertices, faces[chosen], tint, name, normals))
    return share_vertices(parts)


def share_vertices(parts: list[Mesh]) -> Mesh:
    """Parts over one vertex array as one mesh that keeps that array once; the first part's vertex
    values win."""
    return replace(
        parts[0],
        faces=np.concatenate([p.faces for p in parts]),
        material=np.concatenate([p.material for p in parts]),
    )


def eyes(shape: HeadShape, rng: np.random.Generator) -> Mesh:
    """Both eyeballs, looking straight ahead with a little vergence; the iris is shaded from the
    angle to the gaze."""
    rings, sectors = 14, 24
    polar = np.linspace(0, 0.62 * np.pi, rings)[:, None]
    turn = 2 * np.pi * np.arange(sectors)[None] / sectors
    sphere = np.stack(
        [
            np.sin(polar) * np.cos(turn),
            np.sin(polar) * np.sin(turn),
            np.cos(polar) * np.ones_like(turn),
        ],
        axis=-1,
    ).reshape(-1, 3)
    i = (np.arange(rings - 1)[:, None] * sectors + np.arange(sectors)[None]).reshape(-1)
    j = (
        np.arange(rings - 1)[:, None] * sectors + (np.arange(sectors)[None] + 1) % sectors
    ).reshape(-1)
    faces = np.concatenate(
        [np.stack([i, i + sectors, j], -1), np.stack([j, i + sectors, j + sectors], -1)]
    )
    gaze = rng.normal(0, 0.03, 2)
    parts = []
    for sign, centre in zip((1, -1), shape.eyes, strict=True):
        yaw, pitch = gaze[0] - sign * 0.035, gaze[1]
        forward = np.array([np.sin(yaw), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
        right = np.cross([0, 1, 0], forward)
        right /= np.linalg.norm(right)
        frame = np.stack([right, np.cross(forward, right), forward])
        bulge = 1 + 0.06 * smoothstep(
            np.arccos(np.clip(sphere[:, 2], -1, 1)), 0.55, 0.2
        )  # the cornea
        vertices = centre + shape.eye_radius * 0.985 * (sphere * bulge[:, None]) @ frame
        parts.append(Mesh.part(vertices, faces, np.array((0.7, 0.7, 0.7)), "eyes", tangents=sphere))
    return join(parts)


def light(a: Attributes) -> Light:
    """The subject's light: a warm or cold key from its side, a fill from the other side, sky and
    ground."""
    warm = np.array([1 + 0.08 * a.light_warmth, 1.0, 1 - 0.12 * a.light_warmth])
    return Light(
        key_direction=_towards(a.light_azimuth, a.light_elevation),
        key=(0.45 + 0.45 * a.light_contrast) * warm,
        fill_direction=_towards(a.light_azimuth + 165, 15),
        fill=(0.42 - 0.14 * a.light_contrast) / warm,
        sky=np.array([0.58, 0.59, 0.62]) * (1.15 - 0.45 * a.light_contrast),
        ground=np.array([0.30, 0.28, 0.26]),
    )


def neutral_light() -> Light:
    """White, soft and frontal: the light of every frontal view."""
    return Light(
        _towards(20, 40),
        np.full(3, 0.58),
        _towards(-40, 10),
        np.full(3, 0.25),
        np.full(3, 0.52),
        np.full(3, 0.30),
        key_spread=0.06,
    )


def _towards(azimuth: float, elevation: float) -> np.ndarray:
    a, e = np.radians([azimuth, elevation])
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
