"""Brows, lashes and beards."""

from __future__ import annotations

import numpy as np

from semhead_lib.data.parametric.appearance import body_hair_colour
from semhead_lib.data.parametric.locks import Growth, grow, ribbons, unit
from semhead_lib.data.parametric.scene import Mesh
from semhead_lib.data.parametric.styling import Styling
from semhead_lib.data.parametric.surface import smoothstep


def facial_hair(styling: Styling) -> list[Mesh]:
    """Brows, lashes and beard of the head that is styled."""
    return [_brows(styling), _lashes(styling), *_beard(styling)]


def _brows(styling: Styling) -> Mesh:
    roots, along = styling.surface.brow_roots
    p, n = styling.place(roots)
    side = np.sign(roots.rest[:, 0])
    heading = np.stack([side, 0.9 - 1.5 * along, -0.25 * np.ones_like(along)], axis=-1)
    thickness = 0.6 + 0.7 * styling.a.brow_thickness
    growth = Growth(
        0.017 * (1 - 0.3 * along), lift=0.12, gravity=0.0, comb=0.3, clearance=0.0016, steps=3
    )
    path, out = grow(p, n, lambda q: heading, growth, styling.body, styling.rng)
    colour = body_hair_colour(styling.a)
    return ribbons(path, out, 0.0030 * thickness, colour, "brows", styling.rng, root_shade=0.0)


def _lashes(styling: Styling) -> Mesh:
    _, upper = styling.surface.lid_edges
    rows = np.concatenate(upper)
    p = styling.shape.vertices[rows] + np.array([0, 0, 0.0005])
    eye = styling.surface.model.neutral.eyes[np.repeat([0, 1], [len(u) for u in upper])]
    fan = (styling.surface.rest[rows, 0] - eye[:, 0]) * 25
    heading = unit(np.stack([fan, np.full(len(rows), 0.35), np.ones(len(rows))], axis=-1))
    steps = np.linspace(0, 1, 4)[None, :, None]
    path = p[:, None] + 0.010 * (heading[:, None] * steps + np.array([0, 0.5, 0]) * steps**2)
    out = np.broadcast_to(np.array([0.0, 1.0, 0.1]), path.shape)
    size = 0.0018
    return ribbons(
        path, out, size, np.array([0.012, 0.010, 0.010]), "lashes", styling.rng, root_shade=0.0
    )


def _beard(styling: Styling) -> list[Mesh]:
    kind = styling.a.facial_hair
    if kind in ("none", "stubble"):
        return []
    weight = {
        "moustache": styling.surface.moustache,
        "goatee": styling.surface.goatee,
        "full beard": styling.surface.beard,
    }[kind]
    roots = styling.surface.moustache_roots if kind == "moustache" else styling.surface.beard_roots
    grown = roots.blend @ weight
    roots = roots.take(np.flatnonzero(grown > 0.25))
    p, n = styling.place(roots)
    y = roots.rest[:, 1]
    size = styling.rng.uniform(0.7, 1.5)
    length = (0.016 + 0.030 * smoothstep(y, -0.12, -0.2)) * size
    length = np.where(y > -0.125, np.minimum(length, 0.020), length) * styling.rng.uniform(
        0.8, 1.2, len(p)
    )
    outward = np.stack(
        [
            0.9 * np.sign(p[:, 0]) * smoothstep(y, -0.13, -0.115),
            np.full(len(p), -1.0),
            0.25 + 0 * y,
        ],
        -1,
    )
    growth = Growth(
        length,
        lift=0.35,
        gravity=0.1,
        comb=0.3,
        clearance=0.006 * size,
        curl=0.002,
        turns=1.5,
        steps=4,
    )
    path, out = grow(p, n, lambda q: outward, growth, styling.body, styling.rng)
    return [
        ribbons(
            path,
            out,
            0.0068,
            body_hair_colour(styling.a),
            "beard",
            styling.rng,
            taper=0.7,
            strands=4,
        )
    ]
