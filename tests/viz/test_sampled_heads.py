import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.models.config import preset
from semhead_lib.models.generator import Generator
from semhead_lib.viz.exports import write_mp4
from semhead_lib.viz.samples import sample


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    Generator(preset("semhead-32", condition_dim=128)).save(folder)
    features = normalize(torch.randn(16, 128), dim=1)
    identity = str(SemanticEncoder.load("headclip-64", device="cpu").identity)
    ConditionBank(ConditionMode("semantic", 128), identity, features).save(folder)
    return folder


def frames_of(path):
    import imageio_ffmpeg

    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    return about, list(reader)


def test_a_sheet_a_film_and_a_record(model, tmp_path):
    image = sample(model, tmp_path, heads=3, views=5, frames=6, fps=6, device="cpu")
    assert Image.open(image).size == (5 * 33 - 1, 3 * 33 - 1)
    about, frames = frames_of(tmp_path / "heads.mp4")
    assert about["size"] == (96, 32) and len(frames) == 6 and about["fps"] == 6
    record = json.loads((tmp_path / "heads.json").read_text())
    assert (
        record["mode"] == "semantic" and len(record["heads"]) == 3 and record["azimuths"][0] == -180
    )


def test_more_heads_begin_with_the_same(model, tmp_path):
    def rows(name, **changes):
        arguments = dict(views=2, frames=0, seed=5, device="cpu") | changes
        return Image.open(sample(model, tmp_path / name, **arguments)).convert("RGB")

    few, more, other = rows("few", heads=2), rows("more", heads=4), rows("other", heads=2, seed=6)
    assert more.crop((0, 0, *few.size)).tobytes() == few.tobytes()
    assert other.tobytes() != few.tobytes()
    assert not (tmp_path / "few" / "heads.mp4").exists()


def test_texts_and_images_make_heads(model, tmp_path, capsys):
    texts = "a woman with red hair; a man with a beard"
    assert (
        Image.open(sample(model, tmp_path / "t", heads=2, views=2, frames=0, texts=texts)).height
        == 4 * 33 - 1
    )
    record = json.loads((tmp_path / "t" / "heads.json").read_text())
    assert [row["condition"] for row in record["heads"]][::2] == [
        "a woman with red hair",
        "a man with a beard",
    ]
    Image.new("RGB", (80, 80), "tan").save(tmp_path / "face.png")
    sample(model, tmp_path / "i", heads=1, views=2, frames=0, images=tmp_path / "face.png")
    assert (
        json.loads((tmp_path / "i" / "heads.json").read_text())["heads"][0]["condition"] == "face"
    )
    assert re.search(
        r"^face: front (predicted|guessed), certainty 0\.\d\d", capsys.readouterr().err
    )


def test_a_density_grid_places_the_samples(tmp_path):
    """The same heads, near to the converged ones."""

    def heads(name, **changes):
        sheet = sample(
            "semhead-128", tmp_path / name, heads=2, views=3, frames=0, device="cpu", **changes
        )
        return np.asarray(Image.open(sheet).convert("RGB"), dtype=float)

    usual = heads("usual", grid=0, coarse=16, fine=16)
    by_grid = heads("grid", grid=48, coarse=48, fine=24)
    exact = heads("exact", grid=0, coarse=192, fine=192)
    off, off_by_grid = (np.square(found - exact).mean() for found in (usual, by_grid))
    assert 0 < off < 13 and 0 < off_by_grid < 32.5  # 37 and 33 dB
    record = json.loads((tmp_path / "grid" / "heads.json").read_text())
    assert [record[name] for name in ("grid", "coarse", "fine")] == [48, 48, 24]
    assert json.loads((tmp_path / "usual" / "heads.json").read_text())["grid"] == 0
    with pytest.raises(ValueError, match="fine must be at least 2 with a grid, got 1"):
        heads("few", grid=24, fine=1)


def test_says_what_cannot_be(model, tmp_path):
    with pytest.raises(ValueError, match="texts or images, not both"):
        sample(model, tmp_path, texts="a", images="b")
    with pytest.raises(ValueError, match="texts must hold a description"):
        sample(model, tmp_path, texts=" ; ")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        sample(model, tmp_path, images=tmp_path / "nowhere.png")
    with pytest.raises(FileNotFoundError, match="no generator 'semhead-1'"):
        sample("semhead-1", tmp_path)
    Generator(preset("semhead-32")).save(tmp_path / "none")
    ConditionBank(ConditionMode("none", 128), None, torch.zeros(0, 128)).save(tmp_path / "none")
    sample(tmp_path / "none", tmp_path / "out", heads=1, views=1, frames=0)
    with pytest.raises(ValueError, match="trained with mode none: it takes no texts"):
        sample(tmp_path / "none", tmp_path / "out", texts="a man")


def test_films_of_odd_sizes_and_bad_frames(tmp_path):
    write_mp4(tmp_path / "odd.mp4", torch.randint(0, 255, (3, 3, 31, 33), dtype=torch.uint8))
    assert frames_of(tmp_path / "odd.mp4")[0]["size"] == (34, 32)
    assert [p.name for p in tmp_path.iterdir()] == ["odd.mp4"]
    with pytest.raises(
        ValueError, match=r"frames must be uint8 \[T >= 1, 3, H, W\], got torch.float32"
    ):
        write_mp4(tmp_path / "bad.mp4", torch.zeros(3, 3, 8, 8))
