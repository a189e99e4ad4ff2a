"""A dataset browser: find subjects by captions and attributes, and see their views and channels."""

from __future__ import annotations

import html
import io
from pathlib import Path

import ipywidgets as widgets
import torch
from IPython.display import HTML
from PIL import Image
from torch import Tensor

from semhead_lib.cameras import orbit_angles
from semhead_lib.data.dataset.reading import infos, load_subject
from semhead_lib.data.subjects import Subject
from semhead_lib.viz.plots import depth_colours, image_grid, segmentation_colours, show

CHANNELS = ("images", "masks", "depth", "normals", "segmentation")
_ANY = "any"
_COLUMNS = 9  # of the sheet; the first image is the frontal view


class DatasetBrowser(widgets.VBox):
    """A widget of a dataset's subjects. Raises as `Manifest.load` does.

    `words` keeps the subjects whose captions contain all of them; `attribute` with `value` (for
    words) or `between` (for numbers) filters them further; `place` steps through the rest.
    """

    def __init__(self, folder: Path | str, width: str = "100%") -> None:
        self._folder = Path(folder)
        known = infos(folder)
        self._captions = [info.caption.lower() for info in known]
        self._attributes = [info.attributes for info in known]
        self._found = list(range(len(known)))
        self._at: tuple[int, Subject] | None = None
        wide = widgets.Layout(width="420px")
        hidden, also = (widgets.Layout(width="420px", display="none") for _ in range(2))
        hint = "words of captions, such as: red hair glasses"
        self.words = widgets.Text(description="words", placeholder=hint, layout=wide)
        names = [n.replace("_", " ") for n in _simple(self._attributes)]
        self.attribute = widgets.Dropdown(
            description="attribute", options=[_ANY, *names], layout=wide
        )
        self.value = widgets.Dropdown(description="is", options=[_ANY], layout=hidden)
        self.between = widgets.FloatRangeSlider(
            description="between", layout=also, continuous_update=False
        )
        self.place = widgets.IntSlider(
            description="subject", max=max(len(known) - 1, 0), layout=wide, continuous_update=False
        )
        self.channel = widgets.Dropdown(description="channel", options=CHANNELS, layout=wide)
        self.text, self.sheet = (
            widgets.HTML(),
            widgets.Image(format="png", layout=widgets.Layout(width=width)),
        )
        rows = [
            [self.words, self.place],
            [self.attribute, self.value, self.between],
            [self.channel],
        ]
        super().__init__([*map(widgets.HBox, rows), self.text, self.sheet])
        self.attribute.observe(self._attribute_chosen, "value")
        for control in (self.words, self.value, self.between):
            control.observe(self._filtered, "value")
        for control in (self.place, self.channel):
            control.observe(self._show, "value")
        self._show()

    def found(self) -> list[int]:
        """The subjects that are left."""
        return list(self._found)

    def still(self, alt: str) -> HTML:
        """The current view, for a saved notebook."""
        image = (
            show(Image.open(io.BytesIO(self.sheet.value)), alt).data or ""
            if self.sheet.value
            else ""
        )
        return HTML(f"<div>{self.text.value}<br>{image}</div>")

    def _values(self) -> list:
        """The chosen attribute of every subject, None where it has none."""
        return [
            known.get(str(self.attribute.value).replace(" ", "_")) for known in self._attributes
        ]

    def _attribute_chosen(self, change=None) -> None:
        """Offer what the attribute can be: a list of words, or a range of numbers."""
        values = (
            [] if self.attribute.value == _ANY else [v for v in self._values() if v is not None]
        )
        numbers = bool(values) and all(_is_number(v) for v in values)
        self.value.layout.display = "" if values and not numbers else "none"
        self.between.layout.display = "" if numbers else "none"
        with self.value.hold_trait_notifications(), self.between.hold_trait_notifications():
            self.value.options = [_ANY, *sorted({str(v) for v in values} if not numbers else ())]
            low, high = (float(min(values)), float(max(values))) if numbers else (0.0, 1.0)
            self.between.min, self.between.max = (
                min(low, self.between.min),
                max(high, self.between.max),
            )
            self.between.value = (low, high)
            self.between.min, self.between.max = low, high
            self.between.step = max((high - low) / 100, 1e-6)
        self._filtered()

    def _has(self, value) -> bool:
        """Whether a subject with this value of the chosen attribute stays."""
        if self.attribute.value == _ANY:
            return True
        if self.between.layout.display != "none":
            return value is not None and self.between.lower <= value <= self.between.upper
        return self.value.value == _ANY or str(value) == self.value.value

    def _filtered(self, change=None) -> None:
        wanted, values = self.words.value.lower().split(), self._values()
        self._found = [
            i
            for i, known in enumerate(self._captions)
            if all(w in known for w in wanted) and self._has(values[i])
        ]
        with self.place.hold_trait_notifications():
            self.place.max = max(len(self._found) - 1, 0)
            self.place.value = 0
        self._show()

    def _show(self, change=None) -> None:
        if not self._found:
            self.text.value, self.sheet.value = "nobody is like this", b""
            return
        index = self._found[self.place.value]
        if self._at is None or self._at[0] != index:
            self._at = index, load_subject(self._folder, index)
        subject = self._at[1]
        azimuths = ", ".join(f"{a:.0f}" for a in orbit_angles(subject.cameras)[:, 0].tolist())
        self.text.value = (
            f"{self.place.value + 1} of {len(self._found)}: <b>{html.escape(subject.id)}</b> "
            f"{html.escape(subject.caption)}<br><small>first the frontal view, then azimuths "
            f"{azimuths}</small>"
        )
        images = channel_images(subject, str(self.channel.value))
        data = io.BytesIO()
        image_grid(list(images.split(_COLUMNS))).save(data, "PNG")
        self.sheet.value = data.getvalue()


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _simple(attributes: list[dict]) -> list[str]:
    """Names of the attributes that are words, numbers or yes and no, in order."""
    simple = {
        name
        for known in attributes
        for name, value in known.items()
        if isinstance(value, (str, bool, int, float))
    }
    return sorted(simple)


def channel_images(subject: Subject, channel: str) -> Tensor:  # [1 + V, 3, H, W] uint8
    """The frontal view, then one channel of all views; white where the subject has no such channel.

    Raises ValueError for another channel.
    """
    if channel not in CHANNELS:
        raise ValueError(f"channel must be one of {', '.join(CHANNELS)}, got {channel!r}")
    kept = subject.views if channel == "images" else getattr(subject, channel)
    if kept is None:
        shown = torch.full_like(subject.views, 255)
    elif channel == "masks":
        shown = kept[:, None].expand(-1, 3, -1, -1)
    elif channel in ("depth", "segmentation"):
        shown = (depth_colours if channel == "depth" else segmentation_colours)(kept)
    else:
        shown = kept
    return torch.cat([subject.frontal[None], shown])
