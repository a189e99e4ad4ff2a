from pathlib import Path

import pytest
from PIL import Image

from semhead_lib.explore.live import LOSSES, TrainingPanel, loss_curves


def line(step, kimg, **changes):
    values = {name: float(step) for name in LOSSES}
    return {"step": step, "kimg": kimg, "images_per_second": 50.0, **values, **changes}


def grid(folder: Path, name: str, colour: str):
    (folder / "grids").mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(folder / "grids" / name)


class Screen:
    """What the panel shows, part by part."""

    def __init__(self):
        self.parts = []

    def put(self, thing, display_id):
        assert display_id is True and not hasattr(thing, "_ipython_display_"), (
            "it would be shown anew, not replaced"
        )
        place = len(self.parts)
        self.parts.append(thing)

        class Handle:
            def update(_, newer):
                self.parts[place] = newer

        return Handle()


def test_the_panel_follows_a_training(tmp_path):
    grid(tmp_path, "kimg-000001.0.png", "red")
    screen = Screen()
    panel = TrainingPanel(tmp_path, kimg=10, every=0, put=screen.put)
    assert "starting" in screen.parts[0].data and "after 1 thousand" in screen.parts[2].data
    panel(line(1, 1.0))
    panel(line(2, 4.0, loss_g=7.0))
    text, curves, heads = screen.parts
    figure = curves.figure
    assert figure.data[0].name == "generator" and list(figure.data[0].y) == [1.0, 7.0]
    assert list(figure.data[0].x) == [1.0, 4.0]
    assert "4.0</b> of 10 kimg, 50.0 images/s, about 2 min left" in text.data
    grid(tmp_path, "kimg-000004.0.png", "blue")
    panel(line(3, 5.0))
    assert screen.parts[2].data != heads.data and "after 4 thousand" in screen.parts[2].data


def test_the_panel_does_not_draw_too_often(tmp_path):
    screen = Screen()
    panel = TrainingPanel(tmp_path, kimg=10, every=1000, put=screen.put)
    panel(line(1, 1.0))
    assert not screen.parts[1].figure.data[0].x
    panel(line(2, 10.0))  # the last line is always drawn
    assert list(screen.parts[1].figure.data[0].x) == [1.0, 10.0] and len(screen.parts) == 2


def test_long_curves_are_thinned():
    figure = loss_curves([line(i, i / 10) for i in range(1000)])
    assert len(figure.data) == len(LOSSES) and len(figure.data[0].x) == 200
    assert figure.data[0].y[0] == pytest.approx(2.0) and figure.data[0].x[-1] == pytest.approx(99.9)
