"""Figures for notebooks: image grids, false colours, and plotly charts under one template.

Colours are those of Okabe and Ito (2008), which people with any colour vision can tell apart.
"""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from IPython.display import HTML, Markdown
from PIL import Image
from plotly.subplots import make_subplots
from torch import Tensor

from semhead_lib.cameras import orbit_angles

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
LAYOUT: dict[str, Any] = dict(
    template="plotly_white",
    colorway=list(COLOURS),
    font=dict(family="system-ui, sans-serif", size=13),
    margin=dict(l=60, r=20, t=50, b=50),
)


def image_grid(
    rows: Sequence[Tensor],  # each [K, 3, H, W] uint8
    gap: int = 2,  # white pixels between images
) -> Image.Image:
    """Rows of images as one image; shorter rows are filled with white.

    Raises ValueError when there is nothing to show.
    """
    if not rows or not max(len(row) for row in rows):
        raise ValueError("image_grid needs at least one image")
    _, _, h, w = rows[0].shape
    columns = max(len(row) for row in rows)
    sheet = torch.full(
        (3, len(rows) * (h + gap) - gap, columns * (w + gap) - gap), 255, dtype=torch.uint8
    )
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            sheet[:, i * (h + gap) : i * (h + gap) + h, j * (w + gap) : j * (w + gap) + w] = image
    return Image.fromarray(sheet.permute(1, 2, 0).numpy())


def show(image: Image.Image, alt: str, width: str = "100%") -> HTML:
    """An image for a notebook's output, enlarged at most four times; `alt` is for those who do not
    see it."""
    data = io.BytesIO()
    image.save(data, "WEBP", quality=92)
    code = base64.b64encode(data.getvalue()).decode()
    style = f"width:{width};max-width:{4 * image.width}px"
    return HTML(
        f'<img alt="{html.escape(alt)}" style="{style}" src="data:image/webp;base64,{code}">'
    )


def video(path: Path | str, alt: str, width: str = "100%") -> HTML:
    """A video (mp4) for a notebook's output: it plays by itself, again and again, without the
    file."""
    code = base64.b64encode(Path(path).read_bytes()).decode()
    source = f"data:video/mp4;base64,{code}"
    return HTML(
        f'<video aria-label="{html.escape(alt)}" style="width:{width}" src="{source}" autoplay '
        "loop muted playsinline "
        "controls></video>"
    )


def depth_colours(depth: Tensor) -> Tensor:  # [V, H, W] -> [V, 3, H, W] uint8
    """Depth as grey, near light and far dark over all views together; nothing is white."""
    hit = depth > 0
    near, far = (depth[hit].quantile(q) for q in (0.01, 0.99)) if hit.any() else (0.0, 1.0)
    grey = (235 - 200 * ((depth - near) / max(float(far - near), 1e-6)).clamp(0, 1)).to(torch.uint8)
    return torch.where(hit, grey, torch.tensor(255, dtype=torch.uint8))[:, None].expand(
        -1, 3, -1, -1
    )


def segmentation_colours(segmentation: Tensor) -> Tensor:  # [V, H, W] uint8 -> [V, 3, H, W] uint8
    """Classes in fixed, well separated colours; class 0 is white."""
    turn = (torch.arange(256) * 0.61803) % 1.0
    table = torch.stack(
        [
            (0.55 + 0.4 * torch.cos(2 * torch.pi * (turn + shift))) * 255
            for shift in (0.0, 1 / 3, 2 / 3)
        ],
        -1,
    )
    table[0] = 255
    return table.to(torch.uint8)[segmentation.long()].permute(0, 3, 1, 2)


def camera_sphere(labels: Tensor, title: str = "Cameras around the head") -> go.Figure:  # [N, 25]
    """Where cameras stand, as points on their sphere, coloured by azimuth; the face looks towards
    +z (the arrow)."""
    centre = labels[:, [3, 7, 11]].numpy()
    angles = orbit_angles(labels).numpy()
    hover = [f"azimuth {a:.0f}°, elevation {e:.0f}°" for a, e, _ in angles]
    marker = dict(
        size=3.5,
        color=angles[:, 0],
        colorscale="Twilight",
        cmin=-180,
        cmax=180,
        colorbar=dict(title="azimuth, °"),
    )
    # Plotly's vertical axis is z: show world (x, y, z) as (x, -z, y), with the front towards the
    # reader.
    points = go.Scatter3d(
        x=centre[:, 0],
        y=-centre[:, 2],
        z=centre[:, 1],
        mode="markers",
        marker=marker,
        text=hover,
        hoverinfo="text",
        name="cameras",
    )
    gaze = go.Scatter3d(
        x=[0, 0],
        y=[0, -1.2],
        z=[0, 0],
        mode="lines",
        line=dict(width=8, color=COLOURS[3]),
        name="gaze",
    )
    figure = go.Figure([points, gaze])
    titles = {"x": "x, subject's left", "y": "−z, back", "z": "y, up"}
    axes: dict[str, Any] = {f"{a}axis": dict(title=words) for a, words in titles.items()}
    figure.update_layout(**LAYOUT, title=title, height=560, showlegend=False)
    figure.update_scenes(aspectmode="data", camera_eye=dict(x=0.7, y=-2.0, z=0.9), **axes)
    return figure


def histograms(
    values: dict[str, Sequence],  # title -> numbers or words
    columns: int = 3,
    title: str = "",
) -> go.Figure:
    """One small histogram a title: numbers in bins, words as counts from the most common down."""
    rows = -(-len(values) // columns)
    figure = make_subplots(
        rows=rows, cols=columns, subplot_titles=list(values), vertical_spacing=0.42 / max(rows, 2)
    )
    for k, data in enumerate(values.values()):
        colour = COLOURS[k % 6]
        if data and isinstance(data[0], str):
            words, counts = zip(*Counter(data).most_common(), strict=True)
            trace = go.Bar(x=words, y=counts, marker_color=colour)
        else:
            trace = go.Histogram(x=np.asarray(data, float), nbinsx=18, marker_color=colour)
        figure.add_trace(trace, row=k // columns + 1, col=k % columns + 1)
    layout = {**LAYOUT, "margin": dict(l=60, r=20, t=90, b=60)}
    figure.update_layout(
        **layout, title=title, height=160 + 240 * rows, showlegend=False, bargap=0.05
    )
    figure.update_xaxes(tickangle=35)
    return figure


def distance_histogram(same: np.ndarray, different: np.ndarray, title: str) -> go.Figure:
    """Two overlaid densities of distances between images: of one subject, and of two subjects."""
    figure = go.Figure(
        [
            go.Histogram(
                x=values,
                histnorm="probability density",
                name=name,
                opacity=0.65,
                marker_color=colour,
                nbinsx=60,
            )
            for values, name, colour in (
                (same, "same subject", COLOURS[0]),
                (different, "different subjects", COLOURS[1]),
            )
        ]
    )
    figure.update_layout(**LAYOUT, title=title, barmode="overlay", height=380)
    figure.update_xaxes(title="distance between identity features")
    figure.update_yaxes(title="density")
    return figure


def lines(
    x: Sequence[float],
    curves: dict[str, Sequence[float]],  # name -> y
    *,
    title: str,
    x_title: str,
    y_title: str,
    bands: dict[str, tuple[Sequence[float], Sequence[float]]]
    | None = None,  # name of a curve -> its low and high
) -> go.Figure:
    """Curves over a common x, each in a colour and a dash of its own, some with a shaded band."""
    figure = go.Figure()
    for k, (name, y) in enumerate(curves.items()):
        colour, dash = COLOURS[k % len(COLOURS)], ("solid", "dash", "dot", "dashdot")[k % 4]
        if bands and name in bands:
            low, high = (list(map(float, side)) for side in bands[name])
            figure.add_scatter(
                x=[*x, *reversed(x)],
                y=[*high, *reversed(low)],
                fill="toself",
                fillcolor=colour,
                opacity=0.18,
                line_width=0,
                hoverinfo="skip",
                showlegend=False,
            )
        figure.add_scatter(
            x=list(x),
            y=list(map(float, y)),
            name=name,
            mode="lines+markers",
            line=dict(color=colour, dash=dash),
        )
    figure.update_layout(**LAYOUT, title=title, height=400, hovermode="x unified")
    return figure.update_xaxes(title=x_title).update_yaxes(title=y_title)


def heatmap(
    table: Sequence[Sequence[float]],  # rows of values
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    low: float = 0.0,
    high: float = 1.0,
) -> go.Figure:
    """A table of values, coloured from `low` to `high` and written into its cells."""
    figure = go.Figure(
        go.Heatmap(
            z=table,
            x=list(columns),
            y=list(rows),
            zmin=low,
            zmax=high,
            colorscale="Cividis",
            texttemplate="%{z:.2f}",
            colorbar=dict(thickness=12),
            xgap=2,
            ygap=2,
        )
    )
    layout = {**LAYOUT, "margin": dict(l=190, r=20, t=70, b=20)}
    figure.update_layout(**layout, title=title, height=130 + 32 * len(rows))
    return figure.update_yaxes(autorange="reversed").update_xaxes(side="top")


def bars(
    names: Sequence[str],
    groups: dict[str, Sequence[float]],  # name of a group -> one value a name
    *,
    title: str,
    y_title: str,
) -> go.Figure:
    """Groups of bars side by side, their values written above them."""
    figure = go.Figure(
        [
            go.Bar(
                name=group,
                x=list(names),
                y=list(map(float, y)),
                texttemplate="%{y:.2f}",
                textposition="outside",
                marker_color=COLOURS[k % len(COLOURS)],
                cliponaxis=False,
            )
            for k, (group, y) in enumerate(groups.items())
        ]
    )
    figure.update_layout(
        **LAYOUT, title=title, barmode="group", height=400, showlegend=len(groups) > 1
    )
    return figure.update_yaxes(title=y_title)


def claim_table(
    claims: Sequence[tuple[str, str, bool]],
) -> Markdown:  # claim, what was measured, whether it holds
    """Claims with the numbers that speak for or against them. A claim that does not hold here is
    printed as such."""
    rows = [
        f"| {claim} | {figure} | {'holds' if true else '**does not hold**'} |"
        for claim, figure, true in claims
    ]
    return Markdown("\n".join(["| claim | measured | here |", "|---|---|---|", *rows]))
