"""Figures that compare: values around a head, levels of a factor with their intervals, images side
by side."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from IPython.display import HTML
from PIL import Image

from semhead_lib.viz.plots import COLOURS, LAYOUT, show

_DASHES = ("solid", "dash", "dot", "dashdot")
_SIDES = {0: "front", 180: "back", -180: "back"}


def around_the_head(
    azimuths: Sequence[float],  # degrees
    curves: dict[str, Sequence[float]],  # name -> a value an azimuth
    *,
    title: str,
    bands: dict[str, tuple[Sequence[float], Sequence[float]]]
    | None = None,  # name of a curve -> its low and high
    floor: Sequence[float] | None = None,  # what real heads get
) -> go.Figure:
    """Values around a head that is seen from above and faces down; the subject's left is to the
    right."""
    figure, sides = go.Figure(), [a % 360 for a in azimuths]
    angles = [*sides, sides[0]]

    def closed(values: Sequence[float]) -> list[float]:
        return [*map(float, values), float(values[0])]

    for k, (name, values) in enumerate(curves.items()):
        colour, dash = COLOURS[k % len(COLOURS)], _DASHES[k % 4]
        if bands and name in bands:
            low, high = map(closed, bands[name])
            figure.add_scatterpolar(
                theta=[*angles, *reversed(angles)],
                r=[*high, *reversed(low)],
                fill="toself",
                fillcolor=colour,
                opacity=0.15,
                line_width=0,
                hoverinfo="skip",
                showlegend=False,
            )
        line = dict(color=colour, dash=dash)
        figure.add_scatterpolar(
            theta=angles, r=closed(values), name=name, mode="lines+markers", line=line
        )
    if floor is not None:
        line = dict(color="#888888", width=1.5)
        figure.add_scatterpolar(
            theta=angles, r=closed(floor), name="real heads", mode="lines", line=line
        )
    axis = dict(
        rotation=-90,
        direction="counterclockwise",
        tickvals=sides,
        ticktext=[_SIDES.get(round(a), f"{a:g}°") for a in azimuths],
    )
    layout = {**LAYOUT, "margin": dict(l=60, r=60, t=80, b=40)}
    radial = dict(rangemode="tozero", angle=-67.5, tickangle=0, nticks=4)
    figure.update_layout(
        **layout, title=title, height=480, polar=dict(angularaxis=axis, radialaxis=radial)
    )
    return figure


def intervals(
    names: Sequence[str],
    values: Sequence[float],
    bounds: Sequence[tuple[float, float]],  # low and high of each
    seeds: Sequence[Sequence[float]],  # what each mean is of
    *,
    title: str,
    x_title: str,
    floor: tuple[float, float] | None = None,  # low and high of what real heads get
) -> go.Figure:
    """A row a name: its value with its interval, every seed as a small dot, and the band of the
    floor behind, whose name stands above the rows."""
    figure, rows = go.Figure(), list(range(len(names)))
    if floor:
        figure.add_vrect(*floor, fillcolor="#888888", opacity=0.25, line_width=0, layer="below")
        above: dict[str, Any] = dict(yref="paper", y=1, yanchor="bottom", showarrow=False)
        figure.add_annotation(text="real heads", x=sum(floor) / 2, xanchor="center", **above)
    error = dict(
        type="data",
        symmetric=False,
        array=[high - value for value, (_, high) in zip(values, bounds, strict=True)],
        arrayminus=[value - low for value, (low, _) in zip(values, bounds, strict=True)],
    )
    each = [(value, row) for row, its in zip(rows, seeds, strict=True) for value in its]
    marker = dict(size=7, color="#888888", symbol="line-ns-open")
    figure.add_scatter(
        x=[v for v, _ in each], y=[r for _, r in each], mode="markers", marker=marker, name="a seed"
    )
    colours = [COLOURS[k % len(COLOURS)] for k in rows]
    figure.add_scatter(
        x=list(values),
        y=rows,
        mode="markers",
        marker=dict(size=10, color=colours),
        error_x=error,
        name="mean, 95 %",
    )
    layout = {**LAYOUT, "margin": dict(l=160, r=40, t=70, b=50)}  # a name above the right edge fits
    figure.update_layout(**layout, title=title, height=150 + 36 * len(rows), showlegend=False)
    figure.update_yaxes(tickvals=rows, ticktext=list(names), autorange="reversed", zeroline=False)
    return figure.update_xaxes(title=x_title, rangemode="tozero")


def side_by_side(
    images: Mapping[str, Image.Image], alt: str, columns: int = 2
) -> HTML:  # caption -> image
    """Images with their captions, in rows of `columns`; `alt` says in words what each of them
    shows."""
    cells = [
        '<figure style="margin:0 0 12px 0"><figcaption '
        f'style="margin-bottom:4px">{html.escape(caption)}</figcaption>'
        f"{show(image, f'{caption}: {alt}').data}</figure>"
        for caption, image in images.items()
    ]
    grid = f"display:grid;grid-template-columns:repeat({columns},minmax(0,1fr));gap:16px"
    return HTML(f'<div style="{grid}">{"".join(cells)}</div>')
