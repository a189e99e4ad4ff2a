"""Hair drawn back to a tie: buns and ponytails."""

from __future__ import annotations

import numpy as np

from semhead_lib.data.parametric.locks import Growth, grow, ribbons, unit
from semhead_lib.data.parametric.scene import Mesh
from semhead_lib.data.parametric.styling import Styling, hair_volume
from semhead_lib.data.parametric.surface import Roots

DOWN = np.array([0.0, -1.0, 0.0])


def gathered(styling: Styling, roots: Roots) -> list[Mesh]:
    """Hair drawn back over the head to a tie, then a bun or a tail."""
    p, n = styling.place(roots)
    tie, rng = styling.tie, styling.rng
    reach = np.linalg.norm(tie - p, axis=-1) * 1.12
    clearance = hair_volume(styling.a) * rng.uniform(0.9, 1.5, len(p))
    growth = Growth(reach, lift=0.05, gravity=0.0, comb=1.2, clearance=clearance, steps=8)
    path, out = grow(p, n, styling.to_tie, growth, styling.body, rng)
    parts = [
        ribbons(
            path, out, rng.uniform(0.010, 0.015, len(p)), styling.colour, "hair", rng, taper=0.3
        )
    ]
    return parts + (_bun(styling, tie) if styling.a.hair_style == "bun" else _tail(styling, tie))


def _bun(styling: Styling, tie: np.ndarray) -> list[Mesh]:
    radius = 0.045 + 0.022 * styling.rng.random()
    outward = unit(tie - np.array([0, 0.03, 0]))
    centre = tie + outward * radius * 0.6
    n, k = 90, 12
    axis = unit(outward + 0.55 * styling.rng.normal(0, 1, (n, 3)))
    u = unit(np.cross(axis, styling.rng.normal(0, 1, (n, 3))))
    v = np.cross(axis, u)
    turn = np.linspace(0, 1.5 * np.pi, k)[None, :, None]
    height = styling.rng.uniform(-0.75, 0.75, (n, 1, 1))
    ring = (
        np.sqrt(1 - height**2) * (np.cos(turn) * u[:, None] + np.sin(turn) * v[:, None])
        + height * axis[:, None]
    )
    path = centre + radius * ring * styling.rng.uniform(0.92, 1.06, (n, 1, 1))
    return [
        ribbons(path, ring, 0.012, styling.colour, "hair", styling.rng, taper=0.3, root_shade=0.1)
    ]


def _tail(styling: Styling, tie: np.ndarray) -> list[Mesh]:
    n = 110
    length = 0.20 + 0.20 * styling.rng.random()
    jitter = styling.rng.normal(0, 0.009, (n, 3))
    start = tie + jitter
    outward = unit(tie - np.array([0, 0.02, 0]))
    normal = unit(outward + 20 * jitter)
    growth = Growth(
        length * styling.rng.uniform(0.85, 1.1, n),
        lift=0.7,
        gravity=0.32,
        comb=0.05,
        clearance=0.012,
        steps=14,
        **styling.curl_of(length),
    )
    path, out = grow(
        start,
        normal,
        lambda p: np.broadcast_to(outward + DOWN, p.shape),
        growth,
        styling.body,
        styling.rng,
    )
    return [
        ribbons(
            path,
            unit(out + normal[:, None]),
            0.012,
            styling.colour,
            "hair",
            styling.rng,
            root_shade=0.1,
        )
    ]
