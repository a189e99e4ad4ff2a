"""The explorer: ask for heads by seed, words, photographs or subjects of the data; turn them."""

from __future__ import annotations

import base64
import html
import io
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import ipywidgets as widgets
from IPython.display import HTML
from PIL import Image
from torch import Tensor

from semhead_lib.atomic import write_atomically
from semhead_lib.cameras import ELEVATION_RANGE, RADIUS
from semhead_lib.conditioning.frontal.network import sureness
from semhead_lib.data.portraits.frontal import portrait_of
from semhead_lib.explore.latest_task import LatestTask
from semhead_lib.models.generator import DEFAULT
from semhead_lib.models.mesh import Mesh
from semhead_lib.viz import scenes
from semhead_lib.viz.exports import write_mesh
from semhead_lib.viz.heads import IMAGES, HeadModel, HeadRequest
from semhead_lib.viz.plots import image_grid

SCENES = ("surface", "points", "volume")
SIDE = 384  # pixels of the images and of the scene's height
_GALLERY_COLUMNS = 12
_HINT = "subject 3, or words such as: a bald man with a beard"


class HeadExplorer(widgets.VBox):
    """A widget of heads: a 3-D scene to turn, beside it the generator's own image from where the
    scene is looked at.

    Its controls are attributes (`explorer.seed.value = 3` does what the slider does). Images and
    surfaces are made in a thread beside the kernel, the newest task first: `wait` returns when all
    is drawn. Errors are shown in `message`.
    """

    def __init__(
        self,
        models: str | Mapping[str, str] = DEFAULT,  # or name -> model: the first, and others
        *,
        asked: HeadRequest | None = None,
        gallery: int = 12,  # subjects of the data that are offered
        mesh: int = 96,  # grid points a side of the surface
        out: Path | str = "outputs/explorer",  # folder of snapshots
        device: str = "auto",
    ) -> None:
        self._folders = {str(models): str(models)} if isinstance(models, str) else dict(models)
        self._device, self._mesh_side, self._out = device, mesh, Path(out)
        self._models: dict[str, HeadModel] = {}
        self._photos: dict[
            str, Tensor
        ] = {}  # that were given: models which are loaded later have to know them, too
        self._first = next(iter(self._folders))
        model, asked = self._model(self._first), asked or HeadRequest()
        self._subjects = model.in_gallery(gallery)
        self._make_controls(model, asked)
        self._plot = scenes.new_plot(SIDE)
        self._plot.menu_visibility = False
        scenes.as_the_generator(self._plot)
        self._mesh: Mesh | None = None
        self._drawn: tuple | None = None  # what the scene shows
        self._turning = False
        super().__init__(self._layout(model))
        self._work = LatestTask([self._draw_image, self._draw_scene], self._fail)
        self._look()
        for control in self._controls.values():
            control.observe(self._changed, "value")
        self._plot.observe(self._turned, "camera")
        self.upload.observe(self._uploaded, "value")
        self.snapshot.on_click(lambda _: self.save())
        self._changed()

    def asked(self) -> HeadRequest:
        """The head that the controls ask for."""
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

    def wait(self, timeout: float | None = 60.0) -> bool:
        """Until everything asked for is drawn, at most `timeout` seconds; whether it is."""
        return self._work.wait(timeout)

    def close(self) -> None:
        """End the thread, then what a widget ends."""
        if hasattr(self, "_work"):
            self._work.close()
        super().close()

    def save(self) -> Path | None:
        """Write image, surface and what was asked for into a new folder; None where that failed,
        with a message."""
        number = 1 + max(
            (int(p.name) for p in self._out.glob("[0-9]*") if p.name.isdecimal()), default=0
        )
        folder = self._out / f"{number:03d}"
        try:
            self.wait()
            folder.mkdir(parents=True)
            write_atomically(folder / "image.png", self.image.value)
            if self._mesh is not None:
                write_mesh(folder / "head.glb", self._mesh)
            about = {"model": self._folders[self._first], **asdict(self.asked())}
            about |= {"azimuth": self.azimuth.value, "elevation": self.elevation.value}
            write_atomically(folder / "asked.json", json.dumps(about, indent=1).encode() + b"\n")
        except (OSError, ValueError) as error:
            self._fail(error)
            return None
        self._say(f"saved in {folder}")
        return folder

    def still(self, alt: str) -> HTML:
        """The scene and the image as they are now, for a saved notebook: the scene can be turned
        without a kernel."""
        self.wait()
        code = base64.b64encode(self.image.value).decode()
        frame = scenes.embed(self._plot, alt, SIDE).data
        image = (
            f'<img alt="{html.escape(alt)}" style="height:{SIDE}px" '
            f'src="data:image/png;base64,{code}">'
        )
        return HTML(
            f'<div style="display:flex;gap:8px"><div style="flex:1">{frame}</div>{image}</div>'
        )

    def _model(self, name: str) -> HeadModel:
        if name not in self._models:
            model = HeadModel(self._folders[name], device=self._device)
            for photo, image in self._photos.items() if model.takes_semantics else ():
                model.know_image(photo, image)
            self._models[name] = model
        return self._models[name]

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
            strip = _png(image_grid(rows), 1)
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

    def _changed(self, change=None) -> None:
        """A control was moved."""
        if change is not None and change["owner"] in (self.azimuth, self.elevation):
            self._look()
        task = (
            self.asked(),
            self.azimuth.value,
            self.elevation.value,
            self.kind.value,
            self.scene.value,
            self.beside.value,
        )
        self._work.submit(task)

    def _look(self) -> None:
        """Turn the scene to the sliders' camera."""
        if not self._turning:
            self._turning = True
            scenes.look(self._plot, self.azimuth.value, self.elevation.value, RADIUS)
            self._turning = False

    def _turned(self, change) -> None:
        """The scene was turned by hand: the sliders, and so the image, follow."""
        if self._turning or len(change["new"]) < 3:
            return
        azimuth, elevation = scenes.angles(change["new"][:3])
        self._turning = True
        try:
            self.azimuth.value = round(azimuth)
            self.elevation.value = min(
                max(round(elevation), self.elevation.min), self.elevation.max
            )
        finally:
            self._turning = False

    def _uploaded(self, change) -> None:
        """A photograph was given: it becomes the condition."""
        if not self.upload.value:
            return
        file = self.upload.value[0]
        try:
            image, said = portrait_of(bytes(file["content"]), file["name"])
            self._photos[file["name"]], said_of = image, ""
            for model in self._models.values():
                if model.takes_semantics:
                    model.know_image(file["name"], image)
                    said_of = sureness(model.certainty[file["name"]])
            self._say("; ".join(filter(None, (said, said_of))))
            self.condition.value = f"image: {file['name']}"
            self._changed()  # another image may have the same name
        except (ValueError, OSError) as error:
            self._fail(error)
        except Exception as error:  # whatever is wrong with a photograph, the explorer stays
            self._fail(ValueError(f"{file['name']}: {type(error).__name__}: {error}"))

    def _draw_image(self, task: tuple) -> None:
        began = time.perf_counter()
        asked, azimuth, elevation, kind, _, beside = task
        model = self._model(self._first)
        self.image.value = _enlarged(model.image(model.style(asked), azimuth, elevation, kind))
        self.other_image.layout.display = "" if beside else "none"
        if beside:
            other = self._model(beside)
            self.other_image.value = _enlarged(
                other.image(other.style(asked), azimuth, elevation, kind)
            )
        self._say(f"image in {time.perf_counter() - began:.2f} s")

    def _draw_scene(self, task: tuple) -> None:
        asked, *_, scene, _ = task
        if self._drawn == (asked, scene):
            return
        began, model = time.perf_counter(), self._model(self._first)
        w, self._mesh, self._drawn = model.style(asked), None, None
        if scene == "volume":
            shown = scenes.volume(model.volume(w), model.generator.renderer.settings.box)
        else:
            self._mesh = model.mesh(w, self._mesh_side)
            shown = (scenes.surface if scene == "surface" else scenes.points)(self._mesh)
        scenes.show_only(self._plot, shown)
        self._drawn = (asked, scene)
        self._say(f"{scene} in {time.perf_counter() - began:.2f} s")

    def _say(self, words: str) -> None:
        self.message.value = f"<small>{html.escape(words)}</small>"

    def _fail(self, error: Exception) -> None:
        self.message.value = f'<b role="alert" style="color:#B00020">{html.escape(str(error))}</b>'


def in_words(value: str) -> str:
    """What was typed as a condition: what is neither a subject nor a known image is a text.

    >>> in_words("subject 3"), in_words("a bald man"), in_words("")
    ('subject 3', 'text: a bald man', 'subject 0')
    """
    value = value.strip()
    if not value:
        return "subject 0"
    kind = value.partition(" ")[0]
    return value if kind in ("subject", "text:", "image:") else f"text: {value}"


def _enlarged(image: Tensor) -> bytes:  # [3, H, W] uint8 -> PNG
    side = max(image.shape[1:])
    return _png(Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()), max(SIDE // side, 1))


def _png(image: Image.Image, times: int) -> bytes:
    data = io.BytesIO()
    how = Image.Resampling.BICUBIC
    image.resize((image.width * times, image.height * times), how).save(data, "PNG")
    return data.getvalue()
