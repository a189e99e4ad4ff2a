"""The predictor of frontal features on subjects of noise, with an encoder of random weights."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small_training import make_noise

from semhead_lib import api
from semhead_lib.cameras import orbit_angles
from semhead_lib.conditioning.frontal import network
from semhead_lib.conditioning.frontal.card import card, held_out, judge_and_describe
from semhead_lib.conditioning.frontal.network import (
    FrontalPredictor,
    Predicted,
    PredictorConfig,
    joined,
    predict_fronts,
    predictor_for,
)
from semhead_lib.conditioning.frontal.recipe import Recipe
from semhead_lib.conditioning.frontal.training import fit, train
from semhead_lib.conditioning.frontal.views import SeenViews, see_views
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.data.dataset.manifest import check_unseen
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.semantics import fill_semantics

ENCODER = "test-encoder [weights 0; input 32 px]"
QUICK = Recipe(epochs=30, batch=64, width=64, layers=1, photographs=1)


def turned(subjects=64, views=6, versions=2, dimension=16, maps=8, seed=0):
    """Fronts, and views whose features are the front's, shifted, and maps that tell the azimuth;
    seen from behind there is nothing of the front in them."""
    rng = torch.Generator().manual_seed(seed)
    fronts = F.normalize(torch.randn(subjects, dimension, generator=rng), dim=1)
    own = torch.arange(subjects).repeat_interleave(views)
    azimuth = torch.linspace(0, torch.pi, views).repeat(subjects)
    share = ((azimuth.cos() + 1) / 2)[:, None]
    other = F.normalize(torch.randn(len(own), versions, dimension, generator=rng), dim=2)
    shift = torch.zeros(dimension).index_fill_(0, torch.tensor(0), 1.5) * azimuth.sin()[:, None]
    mixed = share * fronts[own] + shift
    features = F.normalize(mixed[:, None] + (1 - share)[:, None] * other, dim=2)
    seen = torch.randn(len(own), versions, maps, generator=rng)
    seen[..., 0] = azimuth.cos()[:, None]
    return SeenViews(features, seen, torch.rad2deg(azimuth), own, fronts)


@pytest.fixture(scope="module")
def fitted():
    return fit(QUICK, turned(), ENCODER, progress=False)


def test_it_predicts_the_front_and_knows_when_it_cannot(fitted):
    predictor, log = fitted
    assert log[-1]["distance"] < 0.8 * log[0]["distance"]
    unseen = turned(seed=1)
    found = held_out(predictor, unseen)
    side = found["rendered"]["90"]
    assert side["predicted"]["cosine"] > side["feature"]["cosine"] + 0.1
    assert side["predicted"]["recall_1"] >= side["feature"]["recall_1"]
    assert found["rendered"]["certainty"] > 0.6, "views from behind show nothing of the front"
    found = predictor(unseen.features[:, 0], unseen.maps[:, 0])
    assert (found.features.norm(dim=1) - 1).abs().max() < 1e-5


def test_equal_seeds_give_equal_weights(fitted):
    again, _ = fit(QUICK, turned(), ENCODER, progress=False)
    for name, value in fitted[0].state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_weights_are_kept_in_half_precision(fitted, tmp_path):
    fitted[0].save(tmp_path)
    loaded, views = FrontalPredictor.load(tmp_path), turned(seed=1)
    one, other = (p(views.features[:, 0], views.maps[:, 0]) for p in (fitted[0], loaded))
    assert loaded.config == fitted[0].config and (one.features - other.features).abs().max() < 2e-2
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {"width": 65}))
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit its config\.json"):
        FrontalPredictor.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(content | {"colour": 1}))
    with pytest.raises(ValueError, match=r"config\.json is no predictor's: .*colour"):
        FrontalPredictor.load(tmp_path)


def test_several_photographs_are_joined_by_their_certainty():
    features = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), dim=1)
    both = joined(Predicted(features, torch.tensor([0.9, 0.5])))
    assert both.features[0, 0] / both.features[0, 1] == pytest.approx(5)
    assert both.certainty.tolist() == pytest.approx([0.9])


@pytest.fixture(scope="module")
def encoder():
    return SemanticEncoder.load(device="cpu")


@pytest.fixture(scope="module")
def dataset(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("subjects") / "data"
    make_noise(folder, semantic=False, subjects=6, views=2)
    fill_semantics(folder, encoder.images, str(encoder.identity), progress=False)
    return folder


def test_a_training_from_a_dataset(dataset, encoder, tmp_path):
    out, few = tmp_path / "out", replace(QUICK, epochs=2, batch=8)
    train(few, dataset, out, encoder, progress=False)
    metrics = judge_and_describe(out, dataset, encoder, progress=False)
    assert metrics["subjects"] == 6 and metrics["views"] == 12
    text = (out / "card.md").read_text()
    assert text == card(
        out,
        FrontalPredictor.load(out),
        json.loads((out / "recipe.json").read_text()),
        metrics,
    )
    assert "of 6 unseen subjects" in text and text.count("| rendered |") == 2, "sides"
    before = (out / "model.safetensors").read_bytes()
    train(few, dataset, out, encoder, progress=False)
    assert (out / "model.safetensors").read_bytes() == before, "finished"
    with pytest.raises(ValueError, match=r"another recipe: epochs is 2 there, 3 here"):
        train(replace(few, epochs=3), dataset, out, encoder, progress=False)
    subjects = SubjectsInMemory.load(dataset)
    images = subjects[0].views
    predictor = predictor_for(encoder, out)
    found = predict_fronts(encoder, predictor, images)
    assert found.features.shape == (2, encoder.dimension) and found.certainty.min() >= 0


def test_it_is_judged_on_subjects_that_it_has_not_seen(dataset, tmp_path):
    with pytest.raises(ValueError, match=r"unseen=.* is of the subjects of .* \(seed "):
        check_unseen(dataset, dataset)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        check_unseen(dataset, tmp_path / "nowhere")
    make_noise(tmp_path / "others", semantic=False, subjects=2, views=2, seed=5)
    check_unseen(dataset, tmp_path / "others")


def test_sides_that_no_view_shows_are_left_out(fitted):
    """Numbers of them would be none, which JSON cannot hold."""
    views = turned(views=1)
    metrics = held_out(fitted[0], views)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert "0" in metrics["rendered"] and "90" not in metrics["rendered"]


def test_views_that_were_encoded_are_not_encoded_again(dataset, encoder, tmp_path, monkeypatch):
    subjects = SubjectsInMemory.load(dataset)
    views = see_views(subjects, encoder, 1, tmp_path)
    assert views.features.shape[:2] == (12, 2) and views.fronts.shape == (6, encoder.dimension)
    plain = encoder.images(torch.cat([s.views for s in subjects]))
    assert (views.features[:, 0] - plain).abs().max() < 1e-3
    cameras = torch.cat([s.cameras for s in subjects])
    assert torch.equal(views.azimuths, orbit_angles(cameras)[:, 0])
    monkeypatch.setattr(encoder, "encode_with_maps", None)
    assert torch.equal(see_views(subjects, encoder, 1, tmp_path).features, views.features)


def test_a_feature_of_an_image_is_not_called_that_of_a_front(monkeypatch):
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"an image is .*; got torch\.uint8 \[3, 0, 0\]"):
        api.encode(image[:, :0, :0], front=True)
    monkeypatch.setattr(network, "EMBEDDED", "another")
    with pytest.raises(ValueError, match="no predictor of frontal features for headclip-64"):
        api.encode(image, front=True)


def test_another_encoder_is_refused(encoder, tmp_path):
    FrontalPredictor(PredictorConfig(ENCODER, 16, 8, width=8, layers=1)).save(tmp_path)
    with pytest.raises(ValueError, match="features of two encoders cannot be mixed"):
        predictor_for(encoder, tmp_path)
