"""The encoder: names, identity, preprocessing, gradients, and errors that say what to do."""

import gzip
import json
import os
import re
import shutil

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage.data import astronaut

from semhead_lib.conditioning import semantic
from semhead_lib.conditioning.semantic import (
    ASSETS,
    EMBEDDED,
    SemanticEncoder,
    parse_name,
    require_encoder,
    same_encoder,
    stacked_semantics,
)
from semhead_lib.data.subjects import Subject

PHOTO = torch.from_numpy(astronaut().copy()).permute(2, 0, 1)
MODEL = f"local-dir:{semantic.ASSETS / semantic.EMBEDDED}"


@pytest.fixture(scope="module")
def encoder():
    return SemanticEncoder.load("headclip-64", device="cpu", batch=4)


def test_features_are_unit_vectors_whatever_the_batch(encoder):
    images = torch.randint(
        0, 256, (7, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    features = encoder.images(images)
    assert features.shape == (7, 128) and features.dtype == torch.float32
    assert torch.allclose(features.norm(dim=-1), torch.ones(7), atol=1e-5)
    assert torch.allclose(features[5:6], encoder.images(images[5:6]), atol=1e-5)
    assert torch.allclose(features, encoder.images(list(images)), atol=1e-5), (
        "a list of images is a batch"
    )
    assert encoder.images(images[:0]).shape == (0, 128)
    assert encoder.texts([]).shape == (0, 128)


@pytest.mark.parametrize(
    "box", [(0, 0, 512, 512), (0, 0, 300, 512), (10, 0, 410, 100), (0, 0, 64, 64), (0, 0, 40, 50)]
)
def test_images_are_resized_as_open_clip_does(encoder, box):
    model, _, preprocess = open_clip.create_model_and_transforms(MODEL)
    left, top, right, bottom = box
    image = PHOTO[:, top:bottom, left:right]
    with torch.no_grad():
        pil = Image.fromarray(image.permute(1, 2, 0).numpy())
        wanted = model.eval().encode_image(preprocess(pil)[None], normalize=True)
    assert (encoder.images(image[None]) * wanted).sum() > 0.999


@pytest.mark.parametrize("mode", ["squash", "longest"])
def test_other_resize_modes(mode):
    overrides = dict(resize_mode=mode, fill_color=128)
    model = open_clip.create_model(MODEL)
    model.visual.preprocess_cfg = model.visual.preprocess_cfg | overrides
    preprocess = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg), False
    )
    encoder = SemanticEncoder(model, MODEL, "test", "cpu", "float32", 4)
    image = PHOTO[:, :512, :300]
    with torch.no_grad():
        pil = Image.fromarray(image.permute(1, 2, 0).numpy())
        wanted = model.eval().encode_image(preprocess(pil)[None], normalize=True)
    assert (encoder.images(image[None]) * wanted).sum() > 0.999


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("std", float("nan"), "preprocess_cfg/std: expected three finite numbers, got nan"),
        ("std", [0.25, 0.0, 0.25], "preprocess_cfg/std: expected numbers above 0"),
        ("mean", [0.5, 0.5], "preprocess_cfg/mean: expected three finite numbers"),
        ("mean", "half", "preprocess_cfg/mean: expected three finite numbers, got 'half'"),
    ],
)
def test_a_folder_with_damaged_preprocessing_is_named(tmp_path, key, value, message):
    folder = tmp_path / "clip"
    shutil.copytree(semantic.ASSETS / "headclip-64", folder)
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["preprocess_cfg"][key] = value
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        SemanticEncoder.load(str(folder), device="cpu")
    assert str(path) in str(raised.value)


def test_images_of_unequal_sizes(encoder):
    images = [PHOTO, PHOTO[:, :200, :300], PHOTO[:, 100:, :]]
    together = encoder.images(images)
    assert torch.allclose(together, torch.cat([encoder.images(p[None]) for p in images]), atol=1e-4)


def test_gradients_reach_the_pixels(encoder):
    image = (PHOTO[None, :, :128, 128:256].float() / 127.5 - 1).requires_grad_()
    encoder.encode(image)[0, 0].backward()
    assert image.grad.abs().sum() > 0 and image.grad.isfinite().all()


@pytest.mark.parametrize("name", ["headclip-64", "ViT-B-32"])
def test_maps_of_the_tower_on_the_way(encoder, name, tmp_path):
    if name != "headclip-64":
        torch.manual_seed(0)
        save_file(
            {k: v.contiguous() for k, v in open_clip.create_model(name).state_dict().items()},
            tmp_path / "w.safetensors",
        )
        encoder = SemanticEncoder.load(f"{name}/{tmp_path}/w.safetensors", device="cpu")
    images = (torch.rand(2, 3, 64, 64) * 2 - 1).requires_grad_()
    features, maps = encoder.encode_with_maps(images)
    torch.testing.assert_close(features, encoder.encode(images), rtol=1e-4, atol=1e-5)
    assert len(maps) >= 4 and all(m.ndim == 4 and len(m) == 2 for m in maps)
    sides = [m.shape[-1] for m in maps]
    assert sides == sorted(sides, reverse=True)
    (gradient,) = torch.autograd.grad(maps[0].square().sum(), images)
    assert gradient.abs().max() > 0


def test_lower_precision_is_close(encoder):
    half = SemanticEncoder.load("headclip-64", device="cpu", dtype="bfloat16")
    assert half.identity == encoder.identity
    assert (half.images(PHOTO[None]) * encoder.images(PHOTO[None])).sum() > 0.98
    assert half.images(PHOTO[None]).dtype == torch.float32


def test_identity_follows_weights_and_preprocessing_and_tells_no_path(encoder, tmp_path):
    folder = semantic.ASSETS / semantic.EMBEDDED
    for name in ("open_clip_config.json", "bpe.txt.gz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    weights = load_file(folder / "model.safetensors")
    save_file({k: v.float() for k, v in weights.items()}, tmp_path / "model.safetensors")
    same = SemanticEncoder.load(str(tmp_path), device="cpu")
    assert same_encoder(str(same.identity), str(encoder.identity)), (
        "only the form in which weights are stored differs"
    )
    assert str(tmp_path) not in str(same.identity)
    weights["logit_scale"] += 1
    save_file(weights, tmp_path / "model.safetensors")
    other = SemanticEncoder.load(f"local-dir:{tmp_path}", device="cpu")
    assert not same_encoder(str(other.identity), str(encoder.identity))
    with pytest.raises(ValueError, match="cannot be mixed"):
        require_encoder(str(other.identity), str(encoder.identity), "datasets/heads")
    with pytest.raises(ValueError, match="semhead data encode datasets/heads"):
        require_encoder(None, str(encoder.identity), "datasets/heads")


def test_stacking_refuses_features_of_two_encoders():
    labels = torch.zeros(1, 25)
    empty = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)

    def subject(key, encoder):
        feature = torch.ones(4) if encoder else None
        return Subject(key, empty, labels, empty[0], semantic=feature, semantic_encoder=encoder)

    one, other = "a [weights 1; input x]", "b [weights 2; input x]"
    features, encoder = stacked_semantics([subject("p1", one), subject("p2", one)])
    assert features.shape == (2, 4) and encoder == one
    with pytest.raises(ValueError, match="subject p2: features of two encoders"):
        stacked_semantics([subject("p1", one), subject("p2", other)])
    with pytest.raises(ValueError, match="subject p2 has no semantic"):
        stacked_semantics([subject("p1", one), subject("p2", None)])
    with pytest.raises(ValueError, match="no subjects"):
        stacked_semantics([])


def test_a_local_file_of_any_open_clip_model(tmp_path):
    torch.manual_seed(0)
    model = open_clip.create_model("RN50")  # random weights
    save_file(model.half().state_dict(), tmp_path / "clip.safetensors")
    encoder = SemanticEncoder.load(f"RN50/{tmp_path}/clip.safetensors", device="cpu")
    assert (
        encoder.identity.name == "RN50" and encoder.dimension == 1024 and encoder.resolution == 224
    )
    assert encoder.images(PHOTO[None]).shape == (1, 1024)
    assert encoder.texts(["a head"]).shape == (1, 1024)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-32", "needs weights: 'ViT-B-32/TAG' or 'ViT-B-32/FILE'; tags: openai"),
        ("ViT-B-33/openai", "no model 'ViT-B-33'; near it: ViT-B-32"),
        ("ViT-B-32/opnai", "'opnai' is no file and no tag"),
        ("headclip", "near it: headclip-64"),
        ("/nowhere/model", "holds no open_clip_config.json"),
        ("local-dir:nowhere", "holds no open_clip_config.json"),
    ],
)
def test_names_that_mean_nothing(name, message):
    with pytest.raises(ValueError, match=message):
        parse_name(name)


def test_weights_that_cannot_be_had(monkeypatch):
    def offline(*_, **__):
        raise RuntimeError("no route to host")

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(RuntimeError) as error:
        SemanticEncoder.load("ViT-L-14/openai")
    for part in (
        "'ViT-L-14/openai'",
        "no route to host",
        "open_clip.create_model('ViT-L-14', pretrained='openai')",
        "encoder=headclip-64",
    ):
        assert part in str(error.value)
    with pytest.raises(RuntimeError, match=r"open_clip\.create_model\('hf-hub:laion/clip'\)"):
        SemanticEncoder.load("hf-hub:laion/clip")


def test_a_file_that_does_not_fit(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "clip.safetensors")
    with pytest.raises(ValueError, match="cannot be loaded"):
        SemanticEncoder.load(f"RN50/{tmp_path}/clip.safetensors", device="cpu")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.images(torch.zeros(1, 3, 8, 8)), "must be uint8 of shape"),
        (
            lambda e: e.images(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)),
            r"got torch.uint8 of shape \[1, 8, 8\]",
        ),
        (lambda e: e.texts("a head"), "must be a list"),
        (lambda e: SemanticEncoder.load(dtype="float64"), "dtype must be one of"),
        (lambda e: SemanticEncoder.load(batch=0), "batch must be at least 1"),
    ],
)
def test_bad_input(encoder, call, message):
    with pytest.raises(ValueError, match=message):
        call(encoder)


def test_long_texts_are_cut(encoder):
    long = "a man with a beard " * 40
    assert torch.allclose(encoder.texts([long]), encoder.texts([long * 2]), atol=1e-6)
    assert np.isfinite(encoder.texts(["", "日本語"]).numpy()).all()


def test_a_pipe_in_the_place_of_weights_is_not_waited_for(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors: is no file that can be read to an"):
        SemanticEncoder.load(str(tmp_path), device="cpu")


def test_a_torchscript_archive_is_not_run(tmp_path):
    """OpenAI's own files of CLIP are such programs."""
    path = tmp_path / "ViT-B-32.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(
        ValueError, match=r"ViT-B-32\.pt: is a TorchScript archive.*ViT-B-32/openai"
    ):
        SemanticEncoder.load(f"ViT-B-32/{path}", device="cpu")


def nan_weights(path):
    tensors = load_file(path)
    save_file({name: t * float("nan") for name, t in tensors.items()}, path)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("model.safetensors", lambda path: path.write_bytes(path.read_bytes()[:99])),
        ("model.safetensors", nan_weights),
        ("open_clip_config.json", lambda path: path.write_bytes(b'{"model_cfg":')),
        ("open_clip_config.json", lambda path: path.write_bytes(b'{"model_cfg": {}}')),
        ("bpe.txt.gz", lambda path: path.write_bytes(b"version https://git-lfs")),
        ("bpe.txt.gz", lambda path: path.unlink()),
        ("bpe.txt.gz", lambda path: path.write_bytes(gzip.compress(b"of another model\na b\n"))),
    ],
)
def test_a_damaged_folder_names_the_file(tmp_path, file, damage):
    folder = shutil.copytree(ASSETS / EMBEDDED, tmp_path / "clip")
    damage(folder / file)
    with pytest.raises(ValueError, match=file.replace(".", r"\.")):
        SemanticEncoder.load(str(folder), device="cpu").texts(["an old man"])
