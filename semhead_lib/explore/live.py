"""A panel that shows a training while it runs: curves, the newest heads, speed and time left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from IPython.display import HTML, display
from PIL import Image

from semhead_lib.training.logs import Line, read_log
from semhead_lib.training.trainer import GRIDS
from semhead_lib.viz.plots import COLOURS, LAYOUT, show

LOSSES = {
    "loss_g": "generator",
    "loss_d": "discriminator",
    "wrong_view": "wrong view",
    "wrong_condition": "wrong condition",
}


class TrainingPanel:
    """Give it to `train(..., listen=panel)`: it is displayed below the cell and updated at most every
    `every` seconds.

    Its parts are ordinary outputs that are replaced in place: the last state stays in the saved
    notebook.
    """

    def __init__(
        self,
        folder: Path | str,
        kimg: float,
        every: float = 2.0,  # seconds
        put: Callable[
            ..., Any
        ] = display,  # what shows an object and returns a handle with `update`
    ) -> None:
        self._folder, self._total, self._every = Path(folder), kimg, every
        self._put, self._handles, self._drawn = put, {}, -math.inf
        self._image: Path | None = None
        self._lines: list[Line] = read_log(self._folder)
        self._draw()

    def __call__(self, line: Line) -> None:
        """Take one line of the log."""
        self._lines.append(line)
        if time.monotonic() - self._drawn >= self._every or line["kimg"] >= self._total:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._show("text", HTML(self._text()))
        self._show("curves", Replaceable(loss_curves(self._lines)))
        newest = max((self._folder / GRIDS).glob("*.png"), default=None)
        if newest is not None and newest != self._image:
            self._image = newest
            words = (
                "Eight heads from eight azimuths, after "
                f"{float(newest.stem.removeprefix('kimg-')):g} thousand images"
            )
            self._show("heads", show(Image.open(newest).convert("RGB"), words, "50%"))

    def _text(self) -> str:
        if not self._lines:
            return "<i>starting</i>"
        line = self._lines[-1]
        left = max(self._total - line["kimg"], 0) * 1000 / max(line["images_per_second"], 1e-9)
        return (
            f"<b>{line['kimg']:.1f}</b> of {self._total:g} kimg, {line['images_per_second']:.1f} "
            "images/s, "
            f"about {left / 60:.0f} min left"
        )

    def _show(self, name: str, thing: Any) -> None:
        if name in self._handles:
            self._handles[name].update(thing)
        else:
            self._handles[name] = self._put(thing, display_id=True)


class Replaceable:
    """A plotly figure that a display can replace in place: by itself, plotly displays a new one each
    time."""

    def __init__(self, figure: go.Figure) -> None:
        self.figure = figure

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, Any]:
        return self.figure._repr_mimebundle_(include, exclude)


def loss_curves(lines: list[Line]) -> go.Figure:
    """The losses of a training over the images shown, each the mean of the lines around it."""
    figure = go.Figure()
    for k, (name, (x, y)) in enumerate(_curves(lines).items()):
        figure.add_scatter(x=x, y=y, name=LOSSES[name], mode="lines", line_color=COLOURS[k])
    figure.update_layout(**LAYOUT, title="Losses", height=340, hovermode="x unified")
    return figure.update_xaxes(title="images shown, thousands").update_yaxes(title="loss")


def _curves(lines: list[Line]) -> dict[str, tuple[list[float], list[float]]]:
    """Every curve's points, at most 200: means over equal numbers of lines."""
    step = max(-(-len(lines) // 200), 1)
    parts = [lines[i : i + step] for i in range(0, len(lines), step)]
    x = [part[-1]["kimg"] for part in parts]
    return {
        name: (x, [sum(line[name] for line in part) / len(part) for part in parts])
        for name in LOSSES
    }
