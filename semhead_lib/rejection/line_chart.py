"""Small line charts beside each other, as an SVG of a few kilobytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 190, 130  # of a panel's axes
_LEFT, _TOP, _RIGHT, _BOTTOM = 46, 30, 14, 42
_LINE, _LEVEL = "#0072B2", "#D55E00"  # of Okabe and Ito (2008)


def line_chart(
    x: Sequence[float],
    panels: Mapping[str, Sequence[float]],  # title -> a value at each x
    levels: Mapping[str, float],  # title -> a value to compare with, as a dashed line
    axis: str,  # what x is
    level: str,  # what the dashed line is
) -> str:
    """The SVG's text. Raises ValueError for panels of other lengths.

    >>> line_chart([0, 1], {"a": [1.0, 2.0]}, {"a": 1.5}, "x", "real").count("<polyline")
    1
    """
    if wrong := [title for title, values in panels.items() if len(values) != len(x)]:
        raise ValueError(f"{wrong[0]} must have {len(x)} values, got {len(panels[wrong[0]])}")
    step = _LEFT + _WIDTH + _RIGHT
    width, height = step * len(panels), _TOP + _HEIGHT + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for index, (title, values) in enumerate(panels.items()):
        parts += _panel(index * step + _LEFT, x, title, values, levels.get(title), axis, level)
    return "\n".join([*parts, "</svg>", ""])


def _panel(
    left: float,
    x: Sequence[float],
    title: str,
    values: Sequence[float],
    compared: float | None,
    axis: str,
    level: str,
) -> list[str]:
    shown = [*values, *([] if compared is None else [compared])]
    low, high = min(shown), max(shown)
    room = 0.08 * (high - low) or 1.0
    low, high = low - room, high + room

    def across(value: float) -> float:
        return left + _WIDTH * (value - min(x)) / ((max(x) - min(x)) or 1.0)

    def down(value: float) -> float:
        return _TOP + _HEIGHT * (high - value) / (high - low)

    bottom = _TOP + _HEIGHT
    parts = [
        f'<text x="{left}" y="{_TOP - 12}" font-weight="600">{escape(title)}</text>',
        f'<path d="M{left} {_TOP}V{bottom}H{left + _WIDTH}" fill="none" stroke="#888"/>',
        f'<text x="{left + _WIDTH / 2:.0f}" y="{bottom + 32}" text-anchor="middle">{escape(axis)}</text>',
    ]
    for value in (x[0], x[len(x) // 2], x[-1]):
        parts.append(
            f'<text x="{across(value):.1f}" y="{bottom + 15}" text-anchor="middle">{value:g}</text>'
        )
    for value in (min(shown), (min(shown) + max(shown)) / 2, max(shown)):
        place = down(value)
        parts.append(f'<path d="M{left - 4} {place:.1f}h4" stroke="#888"/>')
        parts.append(
            f'<text x="{left - 7}" y="{place + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        )
    if compared is not None:
        place = down(compared)
        parts.append(
            f'<path d="M{left} {place:.1f}h{_WIDTH}" stroke="{_LEVEL}" stroke-dasharray="5 4"/>'
        )
        parts.append(
            f'<text x="{left + _WIDTH}" y="{place - 4:.1f}" text-anchor="end" fill="{_LEVEL}">'
            f"{escape(level)}</text>"
        )
    points = " ".join(f"{across(a):.1f},{down(b):.1f}" for a, b in zip(x, values, strict=True))
    parts.append(f'<polyline points="{points}" fill="none" stroke="{_LINE}" stroke-width="2"/>')
    parts += [
        f'<circle cx="{across(a):.1f}" cy="{down(b):.1f}" r="3" fill="{_LINE}"/>'
        for a, b in zip(x, values, strict=True)
    ]
    return parts
