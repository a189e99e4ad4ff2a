"""The notebooks as users have them: JupyterLab opens each, runs it with its defaults and shows what
it makes; in 00_quickstart a slider changes the head."""

import io
import json
import re
import time

import numpy as np
import pytest
from checks import FOLDER, shown_by
from PIL import Image

pytestmark = [pytest.mark.browser, pytest.mark.slow]
QUICKSTART, *OTHERS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
_STARTED, _EXECUTED, _CHANGED = 240_000, 900.0, 60.0  # milliseconds, seconds, seconds
_DRAWN = "canvas, iframe, img, .js-plotly-plot, video"  # of outputs
_STATE = """() => {
    const cells = [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')];
    return {cells: cells.length, prompts: cells.map(c => c.querySelector('.jp-InputPrompt')?.textContent ?? ''),
            errors: [...document.querySelectorAll('.jp-mod-error, [data-mime-type="application/vnd.jupyter.error"]')]
                .map(e => e.textContent.slice(0, 500))};
}"""


def seen(place) -> np.ndarray:  # -> [H, W, 3]
    return np.asarray(Image.open(io.BytesIO(place.screenshot())).convert("RGB")).astype(int)


def colours(image: np.ndarray) -> int:
    """How many well separated colours there are: an empty scene has one."""
    return len(np.unique((image // 24).reshape(-1, 3), axis=0))


def until_stable(place, least: int = 12, seconds: float = _CHANGED) -> np.ndarray:
    """The image of a place once it shows something and stays."""
    until, before = time.monotonic() + seconds, seen(place)
    while time.monotonic() < until:
        time.sleep(0.7)
        now = seen(place)
        if (
            now.shape == before.shape
            and np.abs(now - before).mean() < 0.2
            and colours(now) >= least
        ):
            return now
        before = now
    raise AssertionError(f"nothing stable to see within {seconds} s: {colours(before)} colours")


def until_drawn(place, what, seconds: float = _CHANGED) -> None:
    """Wait until a place shows something."""
    place.scroll_into_view_if_needed()
    until = time.monotonic() + seconds
    while colours(seen(place)) < 3:
        assert time.monotonic() < until, f"blank: {what}"
        time.sleep(0.3)


def changed(place, before: np.ndarray, seconds: float = _CHANGED) -> float:
    """Seconds until a place looks different."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        now = seen(place)
        if now.shape != before.shape or np.abs(now - before).mean() > 1:
            return time.monotonic() - began
        time.sleep(0.05)
    raise AssertionError(f"nothing changed within {seconds} s")


def executed(state: dict) -> bool:
    """Whether every cell has its number."""
    return all(re.search(r"\[\d+\]", prompt) for prompt in state["prompts"])


def run_all(browser, lab, name, artefacts):
    """A notebook executed from the menu, as a user does, and saved; its page."""
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.goto(lab.open(name), timeout=_STARTED)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=_STARTED)
    page.wait_for_selector(".jp-Toolbar-kernelName:has-text('Python 3')", timeout=_STARTED)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=_STARTED)
    page.click("text=Run >> nth=0")
    page.click("li[data-command='runmenu:run-all']")
    until = time.monotonic() + _EXECUTED
    while not executed(state := page.evaluate(_STATE)):
        if state["errors"] or time.monotonic() > until:
            page.screenshot(path=artefacts / f"{name}-failure.png")
            raise AssertionError(f"{name} did not run: {state}")
        time.sleep(0.5)
    page.click("text=File >> nth=0")
    page.click("li[data-command='docmanager:save']")
    while not saved(lab.checkout / "notebooks" / f"{name}.ipynb"):
        assert time.monotonic() < until, f"{name} was not saved"
        time.sleep(0.5)
    return page


def saved(path) -> bool:
    """Whether the file, which the server writes in place, has the number of every cell."""
    try:
        cells = json.loads(path.read_text())["cells"]
    except ValueError:
        return False
    return all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")


def look_at(page, lab, name):
    """Everything that a notebook draws is there, and what it writes is in the checkout's outputs/."""
    state = page.evaluate(_STATE)
    assert not state["errors"] and state["cells"] > 8
    drawn = page.locator(".jp-OutputArea-output").locator(_DRAWN)
    count = drawn.count()
    assert count >= 3
    for i in range(count):
        if drawn.nth(i).is_visible():
            until_drawn(drawn.nth(i), f"{name}, {i + 1} of {count} images, plots and scenes")
    path, results = lab.checkout / "notebooks" / f"{name}.ipynb", lab.checkout / "outputs" / name
    shown_by(path, results)
    assert not (lab.checkout / "notebooks" / "outputs").exists()


@pytest.fixture(scope="module")
def notebook(browser, lab, artefacts):
    """00_quickstart, executed."""
    page = run_all(browser, lab, QUICKSTART, artefacts)
    yield page
    page.close()
    lab.end_kernels()


def test_the_quickstart_runs_and_its_head_obeys(notebook, lab, artefacts):
    look_at(notebook, lab, QUICKSTART)
    assert not notebook.locator('[data-mime-type="application/vnd.jupyter.stderr"]').count()
    scene = notebook.locator(
        ".jp-OutputArea-output .k3d-target canvas, .jupyter-widgets canvas"
    ).first
    scene.scroll_into_view_if_needed()
    image = notebook.locator(".jupyter-widgets img").first
    head, drawn = until_stable(scene), until_stable(image)
    assert (head < 240).any(-1).mean() > 0.08, "a head fills part of the scene"
    notebook.screenshot(path=artefacts / "explorer-before.png")

    slider = notebook.locator(
        ".widget-slider:has-text('azimuth') .noUi-handle, .widget-hslider .noUi-handle"
    ).nth(0)
    slider.focus()
    began = time.monotonic()
    for _ in range(5):
        slider.press("PageUp")
    latency = changed(image, drawn)
    assert np.abs(until_stable(image) - drawn).mean() > 1
    until_stable(scene)
    notebook.screenshot(path=artefacts / "explorer-after.png")
    (artefacts / "latency.json").write_text(
        json.dumps(
            {
                "slider to image, s": round(time.monotonic() - began, 2),
                "first change, s": round(latency, 2),
            }
        )
    )
    assert not notebook.evaluate(_STATE)["errors"]


def test_turning_the_scene_turns_the_image(notebook, artefacts):
    scene = notebook.locator(".jupyter-widgets canvas").first
    scene.scroll_into_view_if_needed()
    image = notebook.locator(".jupyter-widgets img").first
    before, box = until_stable(image), scene.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    notebook.mouse.move(x, y)
    notebook.mouse.down()
    notebook.mouse.move(x + 120, y + 10, steps=8)
    notebook.mouse.up()
    assert changed(image, before) < _CHANGED
    until_stable(scene)
    notebook.screenshot(path=artefacts / "explorer-turned.png")


@pytest.mark.notebooks
@pytest.mark.parametrize("name", OTHERS)
def test_notebooks_run_with_their_defaults(browser, lab, artefacts, name):
    page = run_all(browser, lab, name, artefacts)
    look_at(page, lab, name)
    page.close()
    lab.end_kernels()
