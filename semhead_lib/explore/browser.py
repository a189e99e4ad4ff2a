"""A dataset to leaf through: its people by words of their captions, each with all views and channels."""

from __future__ import annotations

import html
import io
from pathlib import Path

import ipywidgets as widgets
import torch
from torch import Tensor

from semhead_lib.cameras import orbit_angles
from semhead_lib.data.manifest import Manifest
from semhead_lib.data.reading import captions, load_subject
from semhead_lib.data.subjects import Subject
from semhead_lib.explore.figures import depth_colours, label_colours, picture_grid

CHANNELS = ("pictures", "masks", "depth", "normals", "labels")
_COLUMNS = 9  # of the sheet; the first picture is the frontal view


class DatasetBrowser(widgets.VBox):
    """A widget of a dataset's subjects. Raises what `Manifest.load` raises.

    `words` keeps the subjects whose captions have all of them; `place` goes through those.
    """

    def __init__(self, folder: Path | str, width: str = "100%") -> None:
        self._folder = Path(folder)
        manifest = Manifest.load(folder)
        self._captions = captions(folder)
        self._found = list(range(len(self._captions)))
        self._at: tuple[int, Subject] | None = None
        hint = "words of captions, such as: red hair glasses"
        self.words = widgets.Text(description="words", placeholder=hint, layout=widgets.Layout(width="420px"))
        self.place = widgets.IntSlider(description="subject", min=0, max=max(manifest.subjects - 1, 0),
                                       continuous_update=False, layout=widgets.Layout(width="420px"))  # fmt: skip
        self.channel = widgets.Dropdown(description="channel", options=CHANNELS)
        self.text, self.sheet = widgets.HTML(), widgets.Image(format="png", layout=widgets.Layout(width=width))
        super().__init__([widgets.HBox([self.words, self.place, self.channel]), self.text, self.sheet])
        self.words.observe(self._filtered, "value")
        for control in (self.place, self.channel):
            control.observe(self._show, "value")
        self._show()

    def found(self) -> list[int]:
        """The subjects that have the words."""
        return list(self._found)

    def _filtered(self, change=None) -> None:
        wanted = self.words.value.lower().split()
        self._found = [i for i, caption in enumerate(self._captions) if all(w in caption.lower() for w in wanted)]
        with self.place.hold_trait_notifications():
            self.place.max = max(len(self._found) - 1, 0)
            self.place.value = 0
        self._show()

    def _show(self, change=None) -> None:
        if not self._found:
            self.text.value, self.sheet.value = "nobody's caption has all of these words", b""
            return
        index = self._found[self.place.value]
        if self._at is None or self._at[0] != index:
            self._at = index, load_subject(self._folder, index)
        subject = self._at[1]
        azimuths = ", ".join(f"{a:.0f}" for a in orbit_angles(subject.cameras)[:, 0].tolist())
        self.text.value = (
            f"{self.place.value + 1} of {len(self._found)}: <b>{html.escape(subject.id)}</b> "
            f"{html.escape(subject.caption)}<br><small>first the frontal view, then azimuths {azimuths}</small>"
        )
        pictures = channel_pictures(subject, self.channel.value)
        data = io.BytesIO()
        picture_grid(list(pictures.split(_COLUMNS))).save(data, "PNG")
        self.sheet.value = data.getvalue()


def channel_pictures(subject: Subject, channel: str) -> Tensor:  # [1 + V, 3, H, W] uint8
    """The frontal view, then one channel of all views; white where the subject has no such channel.

    Raises ValueError for another channel.
    """
    if channel not in CHANNELS:
        raise ValueError(f"channel must be one of {', '.join(CHANNELS)}, got {channel!r}")
    kept = subject.views if channel == "pictures" else getattr(subject, channel)
    if kept is None:
        shown = torch.full_like(subject.views, 255)
    elif channel == "masks":
        shown = kept[:, None].expand(-1, 3, -1, -1)
    elif channel in ("depth", "labels"):
        shown = (depth_colours if channel == "depth" else label_colours)(kept)
    else:
        shown = kept
    return torch.cat([subject.frontal[None], shown])
