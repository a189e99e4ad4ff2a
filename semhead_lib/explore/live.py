"""A panel that shows a training while it runs: curves, the newest heads, speed and time left."""

from __future__ import annotations

import math
import time
from pathlib import Path

import ipywidgets as widgets
import plotly.graph_objects as go

from semhead_lib.explore.figures import COLOURS, LAYOUT
from semhead_lib.training.logs import Line, read_log
from semhead_lib.training.trainer import GRIDS

LOSSES = {
    "loss_g": "generator",
    "loss_d": "discriminator",
    "wrong_view": "wrong view",
    "wrong_condition": "wrong condition",
}


class TrainingPanel(widgets.VBox):
    """Give it to `train(..., listen=panel)`; it redraws at most every `every` seconds."""

    def __init__(self, folder: Path | str, kimg: float, every: float = 1.0) -> None:
        self._folder, self._total, self._every, self._drawn = Path(folder), kimg, every, -math.inf
        self._shown: Path | None = None
        self._figure = go.FigureWidget(loss_curves([]))
        self._picture = widgets.Image(format="png", layout=widgets.Layout(max_width="60%"))
        self._text = widgets.HTML("<i>starting</i>")
        self._lines: list[Line] = read_log(self._folder)
        super().__init__([self._text, self._figure, self._picture])
        self._draw()

    def __call__(self, line: Line) -> None:
        """Take one line of the log."""
        self._lines.append(line)
        if time.monotonic() - self._drawn >= self._every or line["kimg"] >= self._total:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        with self._figure.batch_update():
            for trace, (name, (x, y)) in zip(self._figure.data, _curves(self._lines).items(), strict=True):
                trace.x, trace.y, trace.name = x, y, LOSSES[name]
        if self._lines:
            line = self._lines[-1]
            left = (self._total - line["kimg"]) * 1000 / max(line["images_per_second"], 1e-9)
            self._text.value = (
                f"<b>{line['kimg']:.1f}</b> of {self._total:g} kimg, {line['images_per_second']:.1f} pictures/s, "
                f"about {left / 60:.0f} min left"
            )
        newest = max((self._folder / GRIDS).glob("*.png"), default=None)
        if newest is not None and newest != self._shown:
            self._picture.value, self._shown = newest.read_bytes(), newest


def loss_curves(lines: list[Line]) -> go.Figure:
    """The losses of a training over the pictures shown, each the mean of the lines around it."""
    figure = go.Figure()
    for k, (name, (x, y)) in enumerate(_curves(lines).items()):
        figure.add_scatter(x=x, y=y, name=LOSSES[name], mode="lines", line_color=COLOURS[k])
    figure.update_layout(**LAYOUT, title="Losses", height=340, hovermode="x unified")
    return figure.update_xaxes(title="pictures shown, thousands").update_yaxes(title="loss")


def _curves(lines: list[Line]) -> dict[str, tuple[list[float], list[float]]]:
    """Every curve's points, at most 200: means over equal numbers of lines."""
    step = max(-(-len(lines) // 200), 1)
    parts = [lines[i : i + step] for i in range(0, len(lines), step)]
    x = [part[-1]["kimg"] for part in parts]
    return {name: (x, [sum(line[name] for line in part) / len(part) for part in parts]) for name in LOSSES}
