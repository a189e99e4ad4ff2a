"""Images and charts: what they hold, and that they carry words."""

import base64
import io
import re

import pytest
import torch
from PIL import Image

from semhead_lib import cameras
from semhead_lib.viz import plots, scenes


def test_image_grid_places_images():
    red = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    red[:, 0] = 255
    sheet = plots.image_grid([red, red[:1]], gap=1)
    assert sheet.size == (9, 9)
    assert sheet.getpixel((0, 0)) == (255, 0, 0) and sheet.getpixel((4, 0)) == (255, 255, 255)
    assert sheet.getpixel((6, 6)) == (255, 255, 255)  # the short row is filled with white
    with pytest.raises(ValueError, match="at least one image"):
        plots.image_grid([])


def test_show_carries_words_and_image():
    shown = plots.show(Image.new("RGB", (8, 8), (0, 114, 178)), 'heads & "hats"').data
    assert 'alt="heads &amp; &quot;hats&quot;"' in shown
    data = base64.b64decode(re.search(r"base64,([^\"]+)", shown).group(1))
    assert Image.open(io.BytesIO(data)).size == (8, 8)


def test_false_colours():
    depth = torch.tensor([[[0.0, 2.5], [2.7, 2.9]]])
    grey = plots.depth_colours(depth)
    assert grey.shape == (1, 3, 2, 2) and grey[0, 0, 0, 0] == 255
    assert grey[0, 0, 0, 1] > grey[0, 0, 1, 0] > grey[0, 0, 1, 1]
    coloured = plots.segmentation_colours(torch.arange(13, dtype=torch.uint8).reshape(1, 1, 13))
    assert coloured[0, :, 0, 0].tolist() == [255, 255, 255]
    assert len({tuple(c) for c in coloured[0, :, 0].T.tolist()}) == 13


def test_charts():
    labels = cameras.orbit_cameras(torch.tensor([0.0, 90.0]), torch.tensor([0.0, 0.0]))
    sphere = plots.camera_sphere(labels).data[0]
    assert list(sphere.y) == pytest.approx([-2.7, 0.0], abs=1e-6) and list(
        sphere.x
    ) == pytest.approx([0.0, 2.7], abs=1e-6)
    bars = plots.histograms({"hair": ["bald", "long", "long"], "age": [1.0, 2.0]}).data
    assert bars[0].x == ("long", "bald") and bars[0].y == (2, 1) and bars[1].type == "histogram"


def test_scene_survives_in_a_page():
    plot = scenes.new_plot()
    scenes.add_mesh(
        plot,
        [[0, 0, 0], [1, 0, 0], [0, 1, 0]],
        [[0, 1, 2]],
        torch.tensor([[1.0, 0, 0]] * 3).numpy(),
    )
    scenes.add_cameras(plot, cameras.orbit_cameras(torch.tensor([0.0]), torch.tensor([0.0])))
    scenes.look(plot, 0.0, 0.0, 4.0)
    assert plot.camera[:3] == pytest.approx([0.0, -4.0, 0.0], abs=1e-6)
    mesh, lines = plot.objects
    assert mesh.colors.tolist() == [0xFF0000] * 3
    apex = lines.vertices[0]
    assert apex == pytest.approx(
        [0.0, -2.7, 0.0], abs=1e-6
    )  # the camera stands in front: towards the reader
    shown = scenes.embed(plot, "one triangle").data
    assert 'title="one triangle"' in shown and "srcdoc=" in shown
