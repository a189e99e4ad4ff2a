"""The explorer's controls, and the layout of its widgets."""

from __future__ import annotations

import html
import io
from typing import Any

import ipywidgets as widgets
from PIL import Image

from semhead_lib.cameras import ELEVATION_RANGE
from semhead_lib.viz.heads import IMAGES, HeadModel, HeadRequest
from semhead_lib.viz.plots import image_grid

SCENES = ("surface", "points", "volume")
SIDE = 384  # pixels of the images and of the scene's height
_GALLERY_COLUMNS = 12
_HINT = "subject 3, or words such as: a bald man with a beard"


class ExplorerControls(widgets.VBox):
    """The requested head, and the widgets that show it. Controls are attributes."""

    _folders: dict[str, str]  # name -> model
    _first: str  # the name of the model that is explored
    _subjects: int  # of the data that are offered
    _plot: Any  # the scene

    def asked(self) -> HeadRequest:
        """The head that the controls request."""
        c = self._controls
        return HeadRequest(
            c["seed"].value,
            c["other_seed"].value,
            c["along"].value,
            c["psi"].value,
            in_words(c["condition"].value),
            in_words(c["other_condition"].value),
            c["mixed"].value,
            c["condition_azimuth"].value,
        )

    def _make_controls(self, model: HeadModel, asked: HeadRequest) -> None:
        wide, style = widgets.Layout(width="330px"), {"description_width": "110px"}

        def slider(kind, value, low, high, step, words, **options):
            return kind(
                value=value,
                min=low,
                max=high,
                step=step,
                description=words,
                layout=wide,
                style=style,
                **options,
            )

        number, whole = widgets.FloatSlider, widgets.IntSlider
        subjects = [f"subject {i}" for i in range(self._subjects)]

        def condition(value, words):
            return widgets.Combobox(
                value=value,
                options=subjects,
                placeholder=_HINT,
                description=words,
                layout=wide,
                style=style,
                continuous_update=False,
                disabled=not model.takes_semantics,
            )

        self.seed = slider(whole, asked.seed, 0, 999, 1, "seed")
        self.psi = slider(number, asked.psi, 0.0, 1.2, 0.05, "truncation ψ")
        self.other_seed = slider(whole, asked.other_seed, 0, 999, 1, "other seed")
        self.along = slider(number, asked.along, 0.0, 1.0, 0.05, "towards it, in w")
        self.condition = condition(asked.condition, "condition")
        self.other_condition = condition(asked.other_condition, "other condition")
        self.mixed = slider(
            number, asked.mixed, 0.0, 1.0, 0.05, "towards it", disabled=not model.takes_semantics
        )
        self.condition_azimuth = slider(
            number, asked.condition_azimuth, -180.0, 180.0, 15.0, "condition azimuth °"
        )
        self.azimuth = slider(number, 20.0, -180.0, 180.0, 1.0, "azimuth °", readout_format=".0f")
        low, high = ELEVATION_RANGE
        self.elevation = slider(number, 5.0, low, high, 1.0, "elevation °", readout_format=".0f")
        self.kind = widgets.ToggleButtons(
            options=IMAGES, value=IMAGES[0], style={"button_width": "78px"}
        )
        self.scene = widgets.ToggleButtons(
            options=SCENES, value=SCENES[0], style={"button_width": "78px"}
        )
        others = [name for name in self._folders if name != self._first]
        self.beside = widgets.Dropdown(
            options=[("nothing", ""), *((n, n) for n in others)],
            value="",
            description="beside it",
            layout=wide,
            style=style,
        )
        self._controls = {
            name: getattr(self, name)
            for name in (
                "seed",
                "psi",
                "other_seed",
                "along",
                "condition",
                "other_condition",
                "mixed",
                "condition_azimuth",
                "azimuth",
                "elevation",
                "kind",
                "scene",
                "beside",
            )
        }

    def _layout(self, model: HeadModel) -> list[widgets.Widget]:
        square = widgets.Layout(width=f"{SIDE}px", height=f"{SIDE}px")
        self.image = widgets.Image(format="png", layout=square)
        hidden = widgets.Layout(width=f"{SIDE}px", height=f"{SIDE}px", display="none")
        self.other_image = widgets.Image(format="png", layout=hidden)
        self.upload = widgets.FileUpload(
            accept="image/*", description="a photo", disabled=not model.takes_semantics
        )
        self.snapshot = widgets.Button(description="snapshot", icon="camera")
        self.message = widgets.HTML()
        shown = widgets.HBox(
            [
                widgets.Box([self._plot], layout=widgets.Layout(flex="1 1 auto")),
                self.image,
                self.other_image,
            ]
        )
        gallery = []
        if self._subjects:
            images = model.gallery(self._subjects)
            rows = list(images.split(_GALLERY_COLUMNS))
            strip = png(image_grid(rows), 1)
            first = ", ".join(str(k * _GALLERY_COLUMNS) for k in range(len(rows)))
            caption = widgets.HTML(
                f"<small>subjects of the data, subject 0, 1, 2 ...; rows begin with {first}</small>"
            )
            gallery = [widgets.VBox([widgets.Image(value=strip, format="png"), caption])]
        columns = [
            widgets.VBox(
                [self.seed, self.psi, self.other_seed, self.along, self.azimuth, self.elevation]
            ),
            widgets.VBox(
                [self.condition, self.upload, self.other_condition, self.mixed]
                + ([self.condition_azimuth] if model.bank.mode.shows_view else [])
                + [self.beside, self.snapshot]
            ),
        ]
        choices = widgets.HBox([self.scene, self.kind])
        return [shown, choices, widgets.HBox(columns), self.message, *gallery]

    def _say(self, words: str) -> None:
        self.message.value = f"<small>{html.escape(words)}</small>"

    def _fail(self, error: Exception) -> None:
        self.message.value = f'<b role="alert" style="color:#B00020">{html.escape(str(error))}</b>'


def in_words(value: str) -> str:
    """The typed condition in words: anything but a subject or a known image is a text.

    >>> in_words("subject 3"), in_words("a bald man"), in_words("")
    ('subject 3', 'text: a bald man', 'subject 0')
    """
    value = value.strip()
    if not value:
        return "subject 0"
    kind = value.partition(" ")[0]
    return value if kind in ("subject", "text:", "image:") else f"text: {value}"


def png(image: Image.Image, times: int) -> bytes:
    data = io.BytesIO()
    how = Image.Resampling.BICUBIC
    image.resize((image.width * times, image.height * times), how).save(data, "PNG")
    return data.getvalue()
