"""Polar plots of values around a head as self-contained SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")  # Okabe and Ito, 2008
_GREY, _SIZE, _RADIUS = "#777777", 400, 130  # pixels
_DASHES = ("", "7 4", "2 3", "9 3 2 3")
_SIDES = {0: "front", 180: "back"}


def polar_plot(
    azimuths: Sequence[float],  # degrees, in order around the head
    curves: Mapping[str, Sequence[float | None]],  # name -> a value an azimuth; None: there is none
    *,
    title: str,
    floor: Sequence[float | None] | None = None,  # what real heads get
) -> str:
    """Values around a head that is seen from above and faces down; the subject's left is to the
    right. The radius begins at 0. Raises ValueError if there is no value."""
    everything = [v for c in (*curves.values(), floor or ()) for v in c if v is not None]
    if not everything:
        raise ValueError(f"{title}: there is no value to draw")
    rings = ticks(max(everything))
    middle, lines = _SIZE / 2, []

    def place(azimuth: float, radius: float) -> tuple[float, float]:
        turn = math.radians(azimuth)
        return middle + radius * math.sin(turn), middle + radius * math.cos(turn)

    for ring in rings:
        radius = _RADIUS * ring / rings[-1]
        lines.append(f'<circle cx="{middle}" cy="{middle}" r="{radius:.1f}" class="ring"/>')
        x, y = place(azimuths[0] + 180 / len(azimuths), radius)
        lines.append(f'<text x="{x:.1f}" y="{y:.1f}" class="tick">{ring:g}</text>')
    for azimuth in azimuths:
        x, y = place(azimuth, _RADIUS)
        lines.append(f'<line x1="{middle}" y1="{middle}" x2="{x:.1f}" y2="{y:.1f}" class="ring"/>')
        x, y = place(azimuth, _RADIUS + 22)
        words = _SIDES.get(round(azimuth) % 360, f"{azimuth:g}°")
        lines.append(f'<text x="{x:.1f}" y="{y + 4:.1f}" class="side">{words}</text>')
    for k, (name, values) in enumerate(curves.items()):
        colour, dash = COLOURS[k % len(COLOURS)], _DASHES[k % len(_DASHES)]
        lines += _curve(azimuths, values, rings[-1], place, colour, dash, name)
    if floor is not None:
        lines += _curve(azimuths, floor, rings[-1], place, _GREY, "", "real heads", dots=False)
    named = [(n, COLOURS[k % len(COLOURS)]) for k, n in enumerate(curves)]
    named += [("real heads", _GREY)] * (floor is not None)
    for k, (name, colour) in enumerate(named):
        y = _SIZE + 8 + 20 * k
        dash = _DASHES[k % len(_DASHES)] if k < len(curves) else ""
        lines.append(
            f'<line x1="40" y1="{y}" x2="76" y2="{y}" stroke="{colour}" stroke-width="2.5" '
            f'stroke-dasharray="{dash}"/><text x="86" y="{y + 4}">{html.escape(name)}</text>'
        )
    height = _SIZE + 20 * len(named) + 8
    words = html.escape(title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{words}" width="{_SIZE}" '
        f'height="{height}" viewBox="0 0 {_SIZE} {height}"><style>text{{font:13px system-ui,'
        "sans-serif;fill:#111}.ring{fill:none;stroke:#ddd}.tick{fill:#777;font-size:11px;"
        "text-anchor:middle}.side{text-anchor:middle}.title{font-weight:600;text-anchor:middle}"
        f'</style><text x="{middle}" y="20" class="title">{words}</text>'
        + "".join(lines)
        + "</svg>"
    )


def ticks(largest: float, most: int = 4) -> list[float]:
    """Round numbers from above 0 to `largest` or just beyond.

    >>> ticks(0.93), ticks(34)
    ([0.25, 0.5, 0.75, 1.0], [10.0, 20.0, 30.0, 40.0])
    """
    if not largest > 0:
        return [1.0]
    power = 10.0 ** math.floor(math.log10(largest / most))
    step = next(power * s for s in (1, 2, 2.5, 5, 10, 20) if power * s * most >= largest * 0.999)
    return [round(step * k, 12) for k in range(1, math.ceil(largest / step * 0.999) + 1)]


def _curve(azimuths, values, largest, place, colour, dash, name, dots=True) -> list[str]:
    points = [
        None if v is None else place(a, _RADIUS * max(v, 0.0) / largest)
        for a, v in zip(azimuths, values, strict=True)
    ]
    lines, n = [], len(points)
    for k, point in enumerate(points):
        other = points[(k + 1) % n]
        if point and other and n > 1:
            lines.append(
                f'<line x1="{point[0]:.1f}" y1="{point[1]:.1f}" x2="{other[0]:.1f}" '
                f'y2="{other[1]:.1f}" stroke="{colour}" stroke-width="2.5" '
                f'stroke-dasharray="{dash}"/>'
            )
        if point and dots:
            words = html.escape(f"{name}, {azimuths[k]:g}°: {values[k]:.3g}")
            lines.append(
                f'<circle cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="3.5" fill="{colour}">'
                f"<title>{words}</title></circle>"
            )
    return lines
