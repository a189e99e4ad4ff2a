"""Hair styles: a thin shell in the hair's colour with locks growing through it."""

from __future__ import annotations

import numpy as np

from semhead_lib.data.parametric.gathered_hair import gathered
from semhead_lib.data.parametric.locks import Growth, grow, ribbons, unit
from semhead_lib.data.parametric.scene import Mesh
from semhead_lib.data.parametric.styling import Styling, hair_volume, shell
from semhead_lib.data.parametric.surface import Roots, directions, smoothstep, waves


def hair(styling: Styling) -> list[Mesh]:
    """All the hair of the head; nothing for a bald one."""
    a = styling.a
    if a.hair_style == "bald":
        return []
    parts = [_undercoat(styling)]
    if a.hair_style == "shaved":
        return parts
    roots = styling.surface.scalp_roots
    inside = roots.blend @ styling.surface.hair(a.receding) > 0.05
    hat = roots.blend @ styling.surface.hat
    covered = {"beanie": hat > -2, "cap": hat > 0, "brimmed hat": hat > 0}.get(
        a.hat, np.zeros(len(roots), bool)
    )
    roots = roots.take(np.flatnonzero(inside & ~covered))
    make = {
        "short": _short,
        "afro": _afro,
        "bun": gathered,
        "ponytail": gathered,
    }
    parts += make.get(a.hair_style, _falling)(styling, roots)
    if a.fringe:
        parts += _fringe(styling)
    return parts


def _undercoat(styling: Styling) -> Mesh:
    a, rest = styling.a, styling.surface.rest
    weight = styling.surface.hair(a.receding)
    rough = {"afro": 0.10, "shaved": 0.0}.get(
        a.hair_style, {"straight": 0.05, "wavy": 0.10, "curly": 0.2}[a.hair_texture]
    )
    fine = waves(rest, styling.rng, 90) + 0.6 * waves(rest, styling.rng, 35)
    height = (
        hair_volume(a)
        * np.sqrt(smoothstep(weight, 0, 0.8 if a.hair_style != "afro" else 1.0))
        * (1 + rough * fine)
    )
    if a.hair_style == "afro":  # rounder: thicker on top and behind than at the temples
        height *= 0.75 + 0.35 * smoothstep(styling.surface.elevation, -20, 50)
    height = np.where(weight > 0, height + 0.003 * np.minimum(weight / 0.15, 1), 0.06 * weight)
    turn = np.arctan2(rest[:, 0], rest[:, 2])
    strands = np.stack([turn * 60, styling.surface.elevation / 9], axis=-1)
    if a.hair_style in ("afro", "shaved") or a.hair_texture == "curly":
        strands = np.stack(
            [rest[:, 0] * 260 + rest[:, 2] * 190, rest[:, 1] * 260 + rest[:, 2] * 150], axis=-1
        )
    comb = (
        styling.comb(styling.shape.vertices)
        if a.hair_style not in ("bun", "ponytail")
        else styling.to_tie(styling.shape.vertices)
    )
    tangent = unit(comb - styling.normals * (comb * styling.normals).sum(-1, keepdims=True))
    shade = 0.95 if a.hair_style in ("afro", "shaved") else 0.7
    return shell(
        styling.shape.vertices,
        styling.normals,
        styling.surface.faces,
        height,
        styling.colour * shade,
        "hair",
        strands,
        tangent,
    )


def _short(styling: Styling, roots: Roots) -> list[Mesh]:
    p, n = styling.place(roots)
    length = 0.035 + 0.05 * styling.a.hair_length
    top = smoothstep(p[:, 1], 0.0, 0.13)
    lengths = length * (0.45 + 0.75 * top) * styling.rng.uniform(0.8, 1.2, len(p))
    clearance = hair_volume(styling.a) * (0.6 + 0.6 * top) * styling.rng.uniform(0.6, 1.4, len(p))
    growth = Growth(
        lengths,
        lift=0.3,
        gravity=0.22,
        comb=0.3,
        clearance=clearance,
        cling=0.6,
        steps=5,
        **styling.curl_of(length),
    )
    path, out = grow(p, n, styling.comb, growth, styling.body, styling.rng)
    return [
        ribbons(
            path,
            out,
            styling.rng.uniform(0.009, 0.015, len(p)),
            styling.colour,
            "hair",
            styling.rng,
        )
    ]


def _falling(styling: Styling, roots: Roots) -> list[Mesh]:
    """Medium, bob and long hair, in two layers so that it hides the neck."""
    a = styling.a
    low, high = {"medium": (0.10, 0.15), "bob": (0.19, 0.25), "long": (0.32, 0.50)}[a.hair_style]
    length = low + (high - low) * a.hair_length
    p, n = styling.place(roots)
    height = smoothstep(p[:, 1], -0.08, 0.18)
    lengths = length * (0.72 + 0.38 * height) * styling.rng.uniform(0.9, 1.06, len(p))
    if a.hair_style == "bob":  # cut along one line
        lengths = length * (0.55 + 0.6 * height) * styling.rng.uniform(0.97, 1.03, len(p))
    clearance = hair_volume(a) * styling.rng.uniform(0.5, 1.5, len(p))
    curl = styling.curl_of(length)
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
    path, out = grow(p, n, styling.comb, growth, styling.body, styling.rng)
    width = styling.rng.uniform(0.013, 0.020, len(p)) * (0.8 + 0.4 * a.hair_thickness)
    taper = 0.35 if a.hair_style == "bob" else 0.75
    return [ribbons(path, out, width, styling.colour, "hair", styling.rng, taper=taper)]


def _afro(styling: Styling, roots: Roots) -> list[Mesh]:
    p, n = styling.place(roots)
    volume = hair_volume(styling.a)
    start = p + n * volume * 0.75
    random = unit(styling.rng.normal(0, 1, p.shape))
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
        start, unit(n + 0.4 * random), lambda q: random[: len(q)], growth, styling.body, styling.rng
    )
    return [
        ribbons(path, out, 0.0095, styling.colour, "hair", styling.rng, taper=0.4, root_shade=0.45)
    ]


def _fringe(styling: Styling) -> list[Mesh]:
    roots = styling.surface.scalp_roots
    turn, elevation = directions(roots.rest)
    chosen = np.flatnonzero((turn < 52) & (elevation > 30) & (elevation < 62))
    p, n = styling.place(roots.take(chosen))
    brow = 0.058 - 0.012 * styling.rng.random()
    lengths = np.clip((p[:, 1] - brow) * 1.22, 0.03, 0.16) * styling.rng.uniform(0.92, 1.06, len(p))
    sweep = {"left": 0.35, "right": -0.35}.get(styling.a.parting, 0.0)

    def forward(q: np.ndarray) -> np.ndarray:
        return np.stack([q[:, 0] * 1.2 + sweep, np.full(len(q), -0.7), np.full(len(q), 0.9)], -1)

    growth = Growth(
        lengths,
        lift=0.3,
        gravity=0.2,
        comb=0.3,
        clearance=0.012,
        steps=7,
        **styling.curl_of(0.1),
    )
    path, out = grow(p, n, forward, growth, styling.body, styling.rng)
    return [ribbons(path, out, 0.0095, styling.colour, "hair", styling.rng, taper=0.55)]
