"""Image models of timm as encoders of the condition."""

import sys
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage.data import astronaut

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small_training import make_noise

from semhead_lib import cli
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.semantic import SemanticEncoder, same_encoder
from semhead_lib.conditioning.timm_models import TimmModel
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.evaluation.features import FeatureExtractor

PHOTO = torch.from_numpy(astronaut().copy()).permute(2, 0, 1)
NAME = "test_vit.r160_in1k"  # 0.3 million weights, images of 160 pixels


def weights(path, name=NAME, seed=0, **options):
    """Random weights of a model in a file."""
    torch.manual_seed(seed)
    state = timm.create_model(name, **options).state_dict()
    if path.suffix == ".safetensors":
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    else:
        torch.save({"model": state}, path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return weights(tmp_path_factory.mktemp("weights") / "vit.safetensors")


@pytest.fixture(scope="module")
def encoder(file):
    return SemanticEncoder.load(f"timm/{NAME}/{file}", device="cpu", batch=4)


def by_timm(image, name, **config):  # [3, H, W] uint8 -> [1, D]
    """The feature as a user of timm computes it, of the weights of seed 0."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0).eval()
    model.load_state_dict(torch_state(name), strict=False)
    data = timm.data.resolve_model_data_config(model) | config
    transform = timm.data.create_transform(**data, is_training=False)
    with torch.no_grad():
        pil = Image.fromarray(image.permute(1, 2, 0).numpy())
        return torch.nn.functional.normalize(model(transform(pil)[None]), dim=1)


def torch_state(name):
    torch.manual_seed(0)
    return timm.create_model(name).state_dict()


@pytest.mark.parametrize("name", [NAME, "test_resnet.r160_in1k"])
@pytest.mark.parametrize("box", [(512, 512), (300, 512), (160, 160), (40, 50)])
def test_features_are_those_of_timm(name, box, tmp_path):
    file = weights(tmp_path / "w.safetensors", name)
    encoder = SemanticEncoder.load(f"timm/{name}/{file}", device="cpu")
    image = PHOTO[:, : box[0], : box[1]]
    found = encoder.images(image[None])
    assert found.shape == (1, encoder.dimension) and found.norm() == pytest.approx(1)
    assert (found * by_timm(image, name)).sum() > 0.999
    together = encoder.images([PHOTO, image])
    torch.testing.assert_close(together[1:], found, atol=1e-3, rtol=0)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.8])
def test_every_crop_mode_of_timm(mode, crop_pct):
    torch.manual_seed(0)
    network = timm.create_model(NAME, num_classes=0)
    network.load_state_dict(torch_state(NAME), strict=False)
    network.pretrained_cfg |= dict(crop_mode=mode, crop_pct=crop_pct)
    encoder = SemanticEncoder(TimmModel(network), "", "test", "cpu", "float32", 4)
    image = PHOTO[:, 100:500, 50:300]
    expected = by_timm(image, NAME, crop_mode=mode, crop_pct=crop_pct)
    assert (encoder.images(image[None]) * expected).sum() > 0.999


def test_the_identity_says_weights_and_preprocessing_and_tells_no_path(encoder, file, tmp_path):
    text = str(encoder.identity)
    assert text.startswith(f"timm/{NAME} [weights ") and str(file.parent) not in text
    assert "input 160 of 168 px, shortest, bicubic, mean and std [0.5, 0.5, 0.5]" in text
    same = SemanticEncoder.load(f"timm/{NAME}/{weights(tmp_path / 'w.pth')}", device="cpu")
    assert same_encoder(str(same.identity), text), "in another form, with a classifier"
    other = weights(tmp_path / "other.safetensors", seed=1)
    other = SemanticEncoder.load(f"timm/{NAME}/{other}", device="cpu")
    assert not same_encoder(str(other.identity), text)


@pytest.mark.parametrize("name", [NAME, "test_resnet.r160_in1k"])
def test_gradients_and_maps(name, tmp_path):
    file = weights(tmp_path / "w.safetensors", name)
    encoder = SemanticEncoder.load(f"timm/{name}/{file}", device="cpu")
    images = (torch.rand(2, 3, 64, 64) * 2 - 1).requires_grad_()
    features, maps = encoder.encode_with_maps(images)
    torch.testing.assert_close(features, encoder.encode(images), rtol=1e-4, atol=1e-5)
    assert len(maps) == 4 and all(m.ndim == 4 and len(m) == 2 for m in maps)
    (gradient,) = torch.autograd.grad(features[0, 0] + maps[0].square().sum(), images)
    assert gradient.abs().max() > 0
    extractor = FeatureExtractor.load(f"timm/{name}/{file}", device="cpu")
    assert extractor.identity == str(encoder.identity) and extractor.unit_length


def test_it_reads_no_texts(encoder):
    assert not encoder.reads_texts and SemanticEncoder.load(device="cpu").reads_texts
    with pytest.raises(ValueError, match=f"timm/{NAME} reads images alone"):
        encoder.texts(["an old man"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/test_vitt", "timm knows no model 'test_vitt'; near it: test_vit"),
        ("timm/test_vit.r161", "needs weights: 'timm/test_vit.TAG' or /FILE; tags: r160_in1k"),
        ("timm/", "timm knows no model ''"),
        ("test_vit/x", "timm's models are called timm/NAME"),
    ],
)
def test_names_that_mean_nothing(name, message):
    with pytest.raises(ValueError, match=message):
        SemanticEncoder.load(name, device="cpu")


def test_weights_that_cannot_be_had(monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(RuntimeError) as error:
        SemanticEncoder.load("timm/vit_small_patch14_dinov2.lvd142m")
    for part in (
        "'timm/vit_small_patch14_dinov2.lvd142m' are not on this machine",
        "no route to host",
        "timm.create_model('vit_small_patch14_dinov2.lvd142m', pretrained=True)",
        "encoder=headclip-64",
    ):
        assert part in str(error.value)


def test_files_that_do_not_fit(tmp_path, file):
    def load(path, name=NAME):
        return SemanticEncoder.load(f"timm/{name}/{path}", device="cpu")

    with pytest.raises(FileNotFoundError, match=r"nothing\.pth"):
        load(tmp_path / "nothing.pth")
    with pytest.raises(ValueError, match=r"vit\.safetensors: holds no weights of timm's test_re"):
        load(file, "test_resnet.r160_in1k")
    save_file({"weight": torch.zeros(2)}, tmp_path / "few.safetensors")
    with pytest.raises(ValueError, match=r"few\.safetensors: holds no weights of timm's test_vit"):
        load(tmp_path / "few.safetensors")
    (tmp_path / "damaged.pth").write_bytes(file.read_bytes()[:99])
    with pytest.raises(ValueError, match=r"damaged\.pth holds more than tensors, or is damaged"):
        load(tmp_path / "damaged.pth")


def test_from_encoding_over_training_to_heads_like_an_image(encoder, file, tmp_path, capsys):
    """By the commands."""

    def semhead(*words):
        return cli.main([str(word) for word in words])

    name, run = f"encoder=timm/{NAME}/{file}", tmp_path / "run"
    data = make_noise(tmp_path / "data", semantic=False, subjects=4)
    assert semhead("data", "encode", data, name, "device=cpu") == 0
    semantic = Manifest.load(data).layout.semantic
    assert semantic == {"encoder": str(encoder.identity), "dimension": 64}
    batch = ["subjects_per_batch=2", "views_per_subject=2", "views_per_head=2", "kimg=0.008"]
    assert semhead("train", data, run, "preset=semhead-32", "device=cpu", *batch) == 0
    bank = ConditionBank.load(run / "generator")
    assert bank.encoder == str(encoder.identity) and bank.features.shape == (4, 64)
    Image.fromarray(PHOTO.permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
    sample = ["sample", run / "generator", tmp_path / "out", "heads=1", "views=2"]
    sample += [f"images={tmp_path / 'photo.png'}"]
    assert semhead(*sample, name) == 0 and (tmp_path / "out/heads.png").is_file()
    assert semhead(*sample) != 0
    assert "features of two encoders cannot be mixed" in capsys.readouterr().err
