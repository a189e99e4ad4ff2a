"""The outputs that notebooks are committed with: executed with their defaults, made still and small.

    python -m semhead_lib.reproduce.outputs            (`make notebooks`)
    python -m semhead_lib.reproduce.outputs 03 05      these alone

A page that shows a repository draws no widgets, no plotly figures and no 3-D scenes. Each of them
is photographed by a headless Chromium, a video becomes a looping image, and every image is stored
as PNG or JPEG with its description; below what could be turned, a line says where it still can.
Sources are left as they are; the notebook's metadata keep a digest of the code cells that were
executed, by which `problems` finds outputs that are out of date.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from semhead_lib.reproduce.notebooks import read_notebook
from semhead_lib.reproduce.profiles import by_prefix
from semhead_lib.reproduce.provenance import find_root
from semhead_lib.reproduce.runs import write_text

IMAGE, NOTEBOOK, ALL = 80_000, 1_000_000, 6_000_000  # bytes: of an image, a notebook, all of them
KEY = "semhead"  # in a notebook's metadata: {"executed": digest}
_PLOTLY = "application/vnd.plotly.v1+json"
_WIDTH = 820  # pixels of what is photographed
_VIDEO, _COLOURS = 128, 32  # pixels a side of a looping image, and its colours
_SWING = 9  # views of a 3-D scene
_PATIENCE = 300  # seconds: 3-D scenes are drawn without a GPU
_LEAST = 520  # pixels of an image's width, of which smaller ones are enlarged to a multiple
_MACHINE = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users|var|mnt|data|opt)/[\w./-]+")
_WORDS = re.compile(r'(?:alt|title|aria-label)="([^"]*)"')
_DATA = re.compile(r'src="data:(?:image|video)/\w+;base64,([^"]*)"')
_ALIVE = (  # below the image of a scene or a hover plot
    "*Interactive on [the page of a run](../docs/scaling.md#the-pages-of-a-run): "
    '`make reproduce ARGS="only={number}"` writes `papermill_runs/smoke/main/pages/{name}.html`.*'
)
_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: white; font: 14px system-ui, sans-serif; }} img {{ max-width: 100%; }}
</style>{script}<div id="shown" style="width:{width}px">{content}</div>"""


def execute(path: Path, root: Path) -> dict[str, Any]:
    """A notebook (JSON) executed with its defaults, as if in a fresh checkout: what earlier runs left in
    outputs/ is not seen. Raises RuntimeError with the end of what Papermill printed."""
    with tempfile.TemporaryDirectory() as folder:
        place, target = Path(folder) / root.name, Path(folder) / "executed.ipynb"
        place.mkdir()
        for entry in root.iterdir():
            if entry.name not in ("outputs", ".git"):
                (place / entry.name).symlink_to(entry.resolve())
        command = [sys.executable, "-m", "papermill", str(path), str(target), "--cwd", str(place)]
        command += ["--kernel", "python3", "--no-progress-bar"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{path.name} failed:\n{done.stderr[-3000:]}")
        text = target.read_text(encoding="utf-8")
    return json.loads(text.replace(f"{place}/", "").replace(f"{root}/", ""))


def with_outputs(path: Path, executed: dict[str, Any], browser: Any) -> dict[str, Any]:
    """The notebook of `path` with the outputs of its executed copy, still and small."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    count = 0
    for cell, ran in zip(notebook["cells"], executed["cells"], strict=True):
        if cell["cell_type"] == "code":
            count += 1
            cell["execution_count"] = count
            cell["outputs"] = list(_still(ran["outputs"], count, browser, path.stem))
    notebook["metadata"][KEY] = {"executed": read_notebook(path).code_digest}
    return notebook


def problems(path: Path) -> list[str]:
    """What is wrong with the committed outputs of a notebook, a line each."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    found = []
    if notebook["metadata"].get(KEY, {}).get("executed") != read_notebook(path).code_digest:
        found.append("its outputs are not those of its sources: run `make notebooks`")
    if path.stat().st_size > NOTEBOOK:
        found.append(f"it has {path.stat().st_size} bytes, more than {NOTEBOOK}")
    outputs = [
        (i, output)
        for i, cell in enumerate(notebook["cells"])
        for output in cell.get("outputs", [])
    ]
    for i, output in outputs:
        kind, data = output["output_type"], output.get("data", {})
        if kind == "error" or output.get("name") == "stderr":
            found.append(f"cell {i} has an output of {output.get('name', kind)}")
        for mime in data:
            if mime.startswith("image/"):
                size = len(base64.b64decode("".join(data[mime])))
                if size > IMAGE:
                    found.append(f"cell {i}: an image of {size} bytes, more than {IMAGE}")
                if not output["metadata"].get(mime, {}).get("alt"):
                    found.append(f"cell {i}: an image without a description")
            elif mime.startswith("application/") and not mime.startswith("application/vnd.semhead"):
                found.append(f"cell {i}: {mime} is not drawn by pages")
        words = [*output.get("text", []), *data.get("text/plain", []), *data.get("text/html", [])]
        found += [f"cell {i}: a path of a machine, {p}" for p in _MACHINE.findall("".join(words))]
    if not any(
        mime.startswith("image/") for _, output in outputs for mime in output.get("data", {})
    ):
        found.append("it shows no image")
    return found


def _still(
    outputs: list[dict[str, Any]], count: int, browser: Any, name: str
) -> Iterator[dict[str, Any]]:
    for output in outputs:
        data, kind = output.get("data", {}), output["output_type"]
        if kind == "error":
            raise RuntimeError("".join(output["traceback"]))
        if kind == "stream":
            if output["name"] != "stderr":
                yield output
            continue
        if any("widget-view" in mime for mime in data):
            continue  # the still beside it is what is left of it
        page = "".join(data.get("text/html", ""))
        if _PLOTLY in data:
            alt, mime, image = _plot(data[_PLOTLY], browser)
        elif "<video" in page or "<img" in page or "<iframe" in page:
            alt, mime, image = _of_page(page, browser)
        else:
            kept = {k: v for k, v in data.items() if k != _PLOTLY}
            yield {**output, "data": kept, "metadata": {}} | _counted(output, count)
            continue
        code = base64.b64encode(image).decode()
        shown = {"data": {mime: code, "text/plain": [alt]}, "metadata": {mime: {"alt": alt}}}
        yield {**shown, "output_type": kind} | _counted(output, count)
        if "<iframe" in page:
            words = _ALIVE.format(number=name.partition("_")[0], name=name)
            said = {"text/markdown": [words], "text/plain": [words.strip("*")]}
            yield {"output_type": "display_data", "data": said, "metadata": {}}


def _counted(output: dict[str, Any], count: int) -> dict[str, Any]:
    return {"execution_count": count} if output["output_type"] == "execute_result" else {}


def _plot(figure: dict[str, Any], browser: Any) -> tuple[str, str, bytes]:
    import plotly.io
    from plotly.offline import get_plotlyjs

    alt = figure["layout"].get("title", {}).get("text", "") or "A plot"
    parts = {key: figure[key] for key in ("data", "layout")}
    parts["layout"] = {**parts["layout"], "width": _WIDTH}
    content = plotly.io.to_html(
        parts, {"displayModeBar": False}, include_plotlyjs=False, full_html=False, validate=False
    )
    script = f"<script>{get_plotlyjs()}</script>"
    seconds = 8.0 if any("3d" in trace.get("type", "") for trace in figure["data"]) else 0.3
    return alt, *stored(_photograph(content, browser, script, seconds), drawn=True)


def _of_page(page: str, browser: Any) -> tuple[str, str, bytes]:
    alt = html.unescape("; ".join(dict.fromkeys(_WORDS.findall(page)))) or "An image"
    found = _DATA.findall(page)
    if "<video" in page:
        return alt, "image/png", looping(_frames(base64.b64decode(found[0])))
    if len(found) == 1 and "<iframe" not in page:
        image = Image.open(io.BytesIO(base64.b64decode(found[0]))).convert("RGB")
        times = -(-_LEAST // image.width)
        size = (image.width * times, image.height * times)
        return alt, *stored(image.resize(size, Image.Resampling.BICUBIC))
    if "<iframe" in page and not found and "plotly" not in page:
        return alt, "image/png", looping(_turned(page, browser))
    return alt, *stored(_photograph(page, browser, seconds=6.0 if "<iframe" in page else 0.5))


def _photograph(content: str, browser: Any, script: str = "", seconds: float = 0.0) -> Image.Image:
    page = _opened(content, browser, script, seconds)
    box = page.evaluate("() => document.querySelector('#shown').getBoundingClientRect().toJSON()")
    clip = {"x": 0, "y": 0, "width": _WIDTH, "height": max(box["height"], 1)}
    image = Image.open(io.BytesIO(page.screenshot(clip=clip, full_page=True)))
    page.close()
    return image.convert("RGB")


def _turned(content: str, browser: Any) -> list[Image.Image]:
    """A 3-D scene, dragged a quarter of its width to the right and back again."""
    page = _opened(content, browser, seconds=6.0)
    box = page.locator("iframe").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    clip = {
        "x": x - box["height"] / 2,
        "y": box["y"],
        "width": box["height"],
        "height": box["height"],
    }
    page.mouse.move(x, y)
    page.mouse.down()
    frames = []
    for k in range(_SWING):
        page.mouse.move(x + box["width"] / 4 * k / (_SWING - 1), y)
        page.wait_for_timeout(400)
        image = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
        frames.append(image.resize((_VIDEO * 2, _VIDEO * 2), Image.Resampling.LANCZOS))
    page.close()
    return frames + frames[-2:0:-1]


def _opened(content: str, browser: Any, script: str = "", seconds: float = 0.0) -> Any:
    page = browser.new_page(viewport={"width": _WIDTH, "height": 900})
    page.set_default_timeout(1000 * _PATIENCE)
    page.set_content(_PAGE.format(script=script, width=_WIDTH, content=content))
    for frame in page.frames[1:]:
        frame.add_style_tag(content=".lil-gui, .dg { display: none !important }")  # k3d's menu
    page.wait_for_timeout(1000 * seconds)
    return page


def stored(image: Image.Image, drawn: bool = False) -> tuple[str, bytes]:
    """An image as PNG of few colours where it is a drawing, else as JPEG: its MIME type and at most
    IMAGE bytes."""
    if drawn:
        written = io.BytesIO()
        image.quantize(64, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
        if written.tell() <= IMAGE:
            return "image/png", written.getvalue()
    for quality in range(72, 20, -8):
        written = io.BytesIO()
        image.save(written, "JPEG", quality=quality, optimize=True)
        if written.tell() <= IMAGE:
            return "image/jpeg", written.getvalue()
    return stored(image.resize((image.width * 3 // 4, image.height * 3 // 4)), drawn)


def looping(frames: list[Image.Image], seconds: float = 3.0) -> bytes:
    """An animated PNG that shows frames again and again, of at most IMAGE bytes: of every second
    frame, then every fourth, then smaller ones, until it is small enough."""
    width, height = frames[0].size
    strip = Image.new("RGB", (4 * width, height))
    for k in range(4):
        strip.paste(frames[k * len(frames) // 4], (k * width, 0))
    colours = strip.quantize(_COLOURS)  # of all frames
    first, *rest = (f.quantize(palette=colours, dither=Image.Dither.NONE) for f in frames)
    written, each = io.BytesIO(), round(1000 * seconds / len(frames))
    first.save(written, "PNG", save_all=True, append_images=rest, duration=each, loop=0)
    if written.tell() <= IMAGE:
        return written.getvalue()
    if len(frames) > 3:
        return looping(frames[::2], seconds)
    size = (width * 3 // 4, height * 3 // 4)
    return looping([frame.resize(size) for frame in frames], seconds)


def _frames(video: bytes) -> list[Image.Image]:
    import imageio_ffmpeg

    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(video)
        file.flush()
        reader = imageio_ffmpeg.read_frames(file.name)
        size = next(reader)["size"]
        frames = [Image.frombytes("RGB", size, frame) for frame in reader]
    small = (_VIDEO, _VIDEO * size[1] // size[0])
    return [frame.resize(small, Image.Resampling.BICUBIC) for frame in frames]


def main(words: list[str]) -> int:
    """Execute the notebooks that are named, or all, and write them with their outputs."""
    from playwright.sync_api import sync_playwright

    root = find_root(Path.cwd()).resolve()
    paths = {path.stem: path for path in sorted((root / "notebooks").glob("*.ipynb"))}
    for name in [by_prefix(word, list(paths)) for word in words] or list(paths):
        began = time.monotonic()
        executed = execute(paths[name], root)
        with sync_playwright() as driver:
            chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
            flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
            browser = driver.chromium.launch(executable_path=chromium, args=flags)
            notebook = with_outputs(paths[name], executed, browser)
            browser.close()
        write_text(paths[name], json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
        size, took = paths[name].stat().st_size, time.monotonic() - began
        print(f"{name}: {size / 1e3:.0f} kB in {took:.0f} s", flush=True)
        for problem in problems(paths[name]):
            print(f"  {problem}", flush=True)
    return int(any(problems(path) for path in paths.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
