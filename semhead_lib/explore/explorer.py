"""The explorer: show heads by seed, text, photograph or subject of the data, and rotate them."""

from __future__ import annotations

import base64
import html
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from IPython.display import HTML
from PIL import Image
from torch import Tensor

from semhead_lib.atomic import write_atomically
from semhead_lib.cameras import RADIUS
from semhead_lib.conditioning.frontal.network import sureness
from semhead_lib.data.portraits.frontal import portrait_of
from semhead_lib.explore.controls import SIDE, ExplorerControls, png
from semhead_lib.explore.latest_task import LatestTask
from semhead_lib.models.generator import DEFAULT
from semhead_lib.models.mesh import Mesh
from semhead_lib.viz import scenes
from semhead_lib.viz.exports import write_mesh
from semhead_lib.viz.heads import HeadModel, HeadRequest


class HeadExplorer(ExplorerControls):
    """A widget of heads: a 3-D scene to rotate, and the generator's image from the same viewpoint.

    Its controls are attributes (`explorer.seed.value = 3` does what the slider does). Images and
    surfaces are computed in a background thread, the newest request first: `wait` returns when all
    are shown. Errors are shown in `message`.
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

    def wait(self, timeout: float | None = 60.0) -> bool:
        """Wait until everything requested is shown, at most `timeout` seconds; returns whether it is."""
        return self._work.wait(timeout)

    def close(self) -> None:
        """End the thread and close the widget."""
        if hasattr(self, "_work"):
            self._work.close()
        super().close()

    def save(self) -> Path | None:
        """Write image, surface and the request into a new folder; returns None after a failure,
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


def _enlarged(image: Tensor) -> bytes:  # [3, H, W] uint8 -> PNG
    side = max(image.shape[1:])
    return png(Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()), max(SIDE // side, 1))
