"""A whole FLUX.1 Kontext with random weights, loaded from its folder: it makes noise, but by the
real path."""

import logging
import shutil

import pytest
import torch

from semhead_lib.data.kontext.editor import KontextEditor
from semhead_lib.data.kontext.settings import MODEL, KontextSettings

SMALL = dict(pixels=32, steps=2, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def images():
    rng = torch.Generator().manual_seed(0)
    return list(torch.randint(0, 256, (5, 3, 40, 40), generator=rng, dtype=torch.uint8))


@pytest.fixture(scope="module")
def editor(tiny):
    return KontextEditor(KontextSettings(str(tiny), batch=3, **SMALL))


def test_images_depend_on_image_words_and_seed_alone(editor, images):
    words = ["from the left", "from behind", "from the right", "from above", "from behind"]
    together = editor.edit(images, words, [1, 2, 3, 4, 5])
    assert (
        together.shape == (5, 3, 32, 32)
        and together.dtype == torch.uint8
        and together.float().std() > 5
    )
    for i in (0, 3, 4):
        alone = editor.edit(images[i : i + 1], words[i : i + 1], [i + 1])
        assert (alone[0].int() - together[i].int()).abs().max() <= 1, "batches only round otherwise"
    first = together[0].int()
    assert (editor.edit(images[:1], words[:1], [2])[0].int() - first).abs().max() > 5, (
        "another seed"
    )
    assert (editor.edit(images[1:2], words[:1], [1])[0].int() - first).abs().max() > 5, (
        "another image"
    )
    assert (editor.edit(images[:1], ["x" * 40], [1])[0].int() - first).abs().max() > 1, (
        "other words"
    )


def test_what_it_says_of_itself(editor, tiny):
    described = editor.describe()
    assert described["model"] == tiny.name and described["steps"] == 2 and "batch" not in described
    assert "as the model's" in editor.licence and "Non-Commercial" in KontextEditor().licence
    assert KontextEditor().describe()["model"] == MODEL


def test_out_of_memory_halves_the_batch_and_goes_on(tiny, images, caplog, monkeypatch):
    editor, sizes = KontextEditor(KontextSettings(str(tiny), batch=5, **SMALL)), []
    run = KontextEditor._run

    def of_little_memory(self, pipeline, batch, words, seeds):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return run(self, pipeline, batch, words, seeds)

    expected = editor.edit(images, ["a"] * 5, range(5))
    monkeypatch.setattr(KontextEditor, "_run", of_little_memory)
    with caplog.at_level(logging.WARNING):
        made = editor.edit(images, ["a"] * 5, range(5))
    assert sizes == [5, 2, 2, 1] and editor.batch == 2 and "2 images at a time" in caplog.text
    assert (made.int() - expected.int()).abs().max() <= 1
    monkeypatch.setattr(
        KontextEditor, "_run", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no"))
    )
    with pytest.raises(MemoryError, match=r"one image does not fit .*quantise=4bit"):
        editor.edit(images, ["a"] * 5, range(5))
    monkeypatch.setattr(
        KontextEditor, "_run", lambda *_: (_ for _ in ()).throw(RuntimeError("another error"))
    )
    with pytest.raises(RuntimeError, match="another error"):
        editor.edit(images, ["a"] * 5, range(5))


def test_models_that_are_not_there(tiny, tmp_path, monkeypatch, images):
    def fails(model, pattern, kind):
        with pytest.raises(kind, match=pattern):
            KontextEditor(KontextSettings(model, **SMALL)).edit(images[:1], ["a"], [0])

    fails(
        str(tmp_path),
        r"not a folder in diffusers' form \(it has no model_index.json\)",
        FileNotFoundError,
    )
    fails("./nowhere/kontext", r"not a folder in diffusers' form", FileNotFoundError)
    shutil.copytree(tiny, tmp_path / "broken")
    next((tmp_path / "broken/transformer").glob("*.safetensors")).write_bytes(b"nothing")
    fails(str(tmp_path / "broken"), r"broken: not a FLUX.1 Kontext pipeline", ValueError)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    fails(
        MODEL,
        r"could not be fetched .*hf auth login.* or give model= the folder of a copy",
        FileNotFoundError,
    )


def test_a_gated_model(monkeypatch, images):
    diffusers = pytest.importorskip("diffusers")

    class GatedRepoError(OSError):
        """As of huggingface_hub, which needs an answer of the hub to be made."""

    def refused(*_, **__):
        try:
            raise GatedRepoError("403 Client Error")
        except GatedRepoError as error:
            raise OSError("cannot be read") from error

    monkeypatch.setattr(diffusers.FluxKontextPipeline, "from_pretrained", refused)
    with pytest.raises(
        PermissionError, match=r"is gated: accept its licence .*hf auth login.*HF_TOKEN"
    ):
        KontextEditor(KontextSettings(**SMALL)).edit(images[:1], ["a"], [0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(pixels=100), "pixels must be a multiple of 16, got 100"),
        (dict(dtype="int8"), "dtype must be one of bfloat16, float16, float32, got 'int8'"),
        (dict(offload="all"), "offload must be one of none, model, sequential"),
        (dict(steps=0), "steps must be an integer >= 1, got 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        KontextSettings(**settings)
