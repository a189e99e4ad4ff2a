"""Extractors: the embedded one as its encoder has it, others from files of random weights, and none
from nothing."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import inception as blocks

from semhead_lib.conditioning.semantic import ASSETS, SemanticEncoder
from semhead_lib.evaluation.features import FeatureExtractor, stored_features
from semhead_lib.evaluation.headjudge.network import HeadJudge
from semhead_lib.evaluation.inception import CLASSES, FidInception, resize_like_tensorflow_1


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        0,
        256,
        (*shape, 3, 32, 32),
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.uint8,
    )


def test_the_embedded_encoder():
    extractor = FeatureExtractor.load("headclip-64", device="cpu", batch=3)
    encoder = SemanticEncoder.load("headclip-64", device="cpu")
    found = extractor.images(images(2, 4))
    assert found.shape == (2, 4, extractor.dimension) and found.dtype == torch.float32
    assert torch.allclose(
        found.flatten(0, 1), encoder.images(images(2, 4).flatten(0, 1)), atol=1e-5
    )
    assert (
        extractor.identity == str(encoder.identity)
        and extractor.unit_length
        and extractor.gamma == 1
    )
    assert torch.allclose(extractor(images(2) / 127.5 - 1), extractor.images(images(2)), atol=1e-5)


def test_the_judge_that_ships_is_the_default(tmp_path):
    """`headjudge` is the one in the package, `headjudge/FOLDER` another; both say which weights
    they have."""
    extractor = FeatureExtractor.load(device="cpu", batch=3)
    assert extractor.identity == FeatureExtractor.load("headjudge", device="cpu").identity
    judge = HeadJudge.load(ASSETS / "headjudge")
    found = extractor.images(images(4))
    assert found.shape == (4, extractor.dimension) and not extractor.unit_length
    assert torch.allclose(found, judge.features(images(4) / 127.5 - 1), atol=1e-5)
    torch.manual_seed(0)
    HeadJudge(judge.config).save(tmp_path)
    other = FeatureExtractor.load(f"headjudge/{tmp_path}", device="cpu")
    assert other.identity != extractor.identity and not torch.allclose(
        other.images(images(4)), found
    )
    with pytest.raises(FileNotFoundError, match=r"no headjudge in .*nowhere"):
        FeatureExtractor.load(f"headjudge/{tmp_path}/nowhere")


def shapes_of_maps(extractor: FeatureExtractor) -> list[list[int]]:
    return [list(m.shape) for m in extractor.maps(images(2) / 127.5 - 1)]


def test_maps_of_the_networks_that_ship():
    assert [s[2:] for s in shapes_of_maps(FeatureExtractor.load("headjudge", device="cpu"))] == [
        [64, 64],
        [32, 32],
        [16, 16],
        [8, 8],
    ]
    encoder = SemanticEncoder.load("headclip-64", device="cpu")
    maps = encoder.encode_with_maps(images(2) / 127.5 - 1)[1]
    assert shapes_of_maps(FeatureExtractor.of(encoder)) == [list(m.shape) for m in maps]


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    """Random weights under the names of the published file."""
    torch.manual_seed(0)
    network = blocks.Inception3(CLASSES, aux_logits=False, init_weights=False)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


def test_inception_from_a_file(inception_file):
    extractor = FeatureExtractor.load(f"inception/{inception_file}", device="cpu")
    found = extractor.images(images(2))
    assert (
        found.shape == (2, 2048)
        and extractor.gamma == 1 / 2048
        and not torch.equal(found[0], found[1])
    )
    assert extractor.identity.startswith("inception-2015-12-05 [weights ")
    assert shapes_of_maps(extractor) == [[2, 288, 35, 35], [2, 768, 17, 17], [2, 2048, 8, 8]]


def test_inception_pools_as_tensorflow_does(inception_file):
    """A constant image of what the pooling sees stays constant: zeros beyond the border would
    darken it."""
    network = FidInception(torch.load(inception_file, weights_only=True)).network
    ones = torch.ones(1, 5, 6, 6)
    for block in (network.Mixed_5b, network.Mixed_6e, network.Mixed_7b):
        assert torch.equal(block.pool(ones), ones)
    peak = torch.zeros(1, 1, 5, 5)
    peak[0, 0, 2, 2] = 9
    assert network.Mixed_7b.pool(peak).amax() == 1 and network.Mixed_7c.pool(peak).sum() == 81
    x = torch.randn(1, 192, 9, 9)
    *first, last = network.Mixed_5b(x).split([64, 64, 96, 32], dim=1)
    plain = blocks.InceptionA(192, 32).eval()
    plain.load_state_dict(network.Mixed_5b.state_dict())
    *expected, other = plain(x).split([64, 64, 96, 32], dim=1)
    assert all(torch.equal(a, b) for a, b in zip(first, expected, strict=True))
    assert torch.allclose(
        last[..., 1:-1, 1:-1], other[..., 1:-1, 1:-1], atol=1e-6
    ) and not torch.allclose(last, other)


def test_resizing_by_loops():
    image = torch.randn(1, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    found = resize_like_tensorflow_1(image, 11)[0, 0].numpy()
    source = image[0, 0].numpy()
    for i in range(11):
        for j in range(11):
            y, x = i * 5 / 11, j * 7 / 11
            rows, columns = (
                [min(int(y) + k, 4) for k in (0, 1)],
                [min(int(x) + k, 6) for k in (0, 1)],
            )
            top, bottom = (
                source[r, columns[0]] * (1 - x % 1) + source[r, columns[1]] * (x % 1) for r in rows
            )
            assert found[i, j] == pytest.approx(top * (1 - y % 1) + bottom * (y % 1), abs=1e-5)


def test_dinov2_from_a_file(tmp_path):
    import timm

    torch.manual_seed(0)
    network = timm.create_model(
        "vit_small_patch14_dinov2.lvd142m", num_classes=0, img_size=224
    ).eval()
    save_file(network.state_dict(), tmp_path / "small.safetensors")
    extractor = FeatureExtractor.load(f"dinov2/{tmp_path / 'small.safetensors'}", device="cpu")
    assert extractor.dimension == 384 and extractor.identity.startswith("dinov2-small [weights ")
    grey = torch.full((1, 3, 224, 224), 0.5)
    mean, std = (
        torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    with torch.no_grad():
        expected = network((grey - mean) / std)
    assert torch.allclose(extractor(torch.zeros(1, 3, 32, 32)), expected, atol=1e-4)
    assert shapes_of_maps(extractor) == [[2, 384, 16, 16]] * 4


@pytest.mark.parametrize(
    ("name", "file"), [("inception", "weights-inception-2015"), ("dinov2", "dinov2_vitl14")]
)
def test_absent_weights_are_named(name, file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(FileNotFoundError, match=rf"{file}.* from https://.*{name}/PATH.*headjudge"):
        FeatureExtractor.load(name)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        FeatureExtractor.load(f"{name}/{tmp_path}/nowhere.pth")


def test_files_that_execute_or_do_not_fit_are_refused(tmp_path):
    (tmp_path / "code.pth").write_bytes(pickle.dumps(np.random.default_rng, protocol=2))
    with pytest.raises(ValueError, match=r"code\.pth holds more than tensors"):
        FeatureExtractor.load(f"inception/{tmp_path / 'code.pth'}")
    save_file({"cls_token": torch.zeros(1, 1, 100)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="holds no DINOv2"):
        FeatureExtractor.load(f"dinov2/{tmp_path / 'other.safetensors'}")
    with pytest.raises(ValueError, match="do not fit"):
        FeatureExtractor.load(f"inception/{tmp_path / 'other.safetensors'}")


def test_features_are_stored_by_what_they_are_of(tmp_path):
    calls = []

    def encode(images):
        calls.append(len(images))
        return images.mean((2, 3))

    one, other = (FeatureExtractor(name, 3, False, encode) for name in ("one", "other"))
    first = stored_features(one, images(2, 2), tmp_path)
    assert torch.equal(stored_features(one, images(2, 2), tmp_path), first) and calls == [4]
    stored_features(one, images(2, 2, seed=1), tmp_path)
    stored_features(other, images(2, 2), tmp_path)
    assert calls == [4, 4, 4] and torch.equal(first, one.images(images(2, 2)))


def test_errors():
    extractor = FeatureExtractor("mean", 3, False, lambda images: images.mean((2, 3)))
    for wrong in (images(2).float(), images(2)[:, :2], images()):
        with pytest.raises(ValueError, match="images must be uint8"):
            extractor.images(wrong)
    with pytest.raises(ValueError, match="images must be float"):
        extractor(images(2))
    with pytest.raises(ValueError, match="open_clip knows no model"):
        FeatureExtractor.load("incepton")
