"""The shipped headclip-64 on subjects it has never seen, made afresh: what its card promises is
true."""

import json
import re

import pytest
import torch
from safetensors import safe_open

from semhead_lib import old_names
from semhead_lib.cameras import orbit_angles
from semhead_lib.conditioning.headclip import held_out
from semhead_lib.conditioning.headclip.card import MEDIAN_RANK, RECALL_1, RECALL_5, TARGETS, card
from semhead_lib.conditioning.headclip.recipe import Recipe
from semhead_lib.conditioning.semantic import ASSETS, EMBEDDED, SemanticEncoder
from semhead_lib.conditioning.zero_shot import QUESTIONS, answer
from semhead_lib.data.parametric.source import ParametricSource
from semhead_lib.metrics.retrieval import ranks

FOLDER = ASSETS / EMBEDDED
METRICS = json.loads(old_names.existing(FOLDER / "metrics.json").read_text())
RECIPE = Recipe(**json.loads((FOLDER / "config.json").read_text())["recipe"])


class OneTurn(ParametricSource):
    """The card's subjects, seen from -45 and 45 degrees alone: what is asserted needs no others."""

    def cameras(self, index):
        whole = super().cameras(index)
        return whole[orbit_angles(whole)[:, 0].abs().round() == 45]


@pytest.fixture(scope="module")
def subjects():
    """All 256 subjects of seed 20261122."""
    source = OneTurn(20261122, 128, held_out.VIEWS, "orbit", channels=())
    return [source.subject(i) for i in range(held_out.SUBJECTS)]


@pytest.fixture(scope="module")
def judged(subjects):
    """Their metrics."""
    return held_out.judge(SemanticEncoder.load(device="cpu"), subjects)


@pytest.mark.slow
def test_these_are_the_subjects_of_the_card(subjects, tmp_path):
    made = held_out.make_held_out(tmp_path, 20261122, workers=0, subjects=2, progress=False)
    for whole, here in zip(made, subjects, strict=False):
        assert whole.attributes == here.attributes and torch.equal(whole.frontal, here.frontal)
        both = orbit_angles(whole.cameras)[:, 0].abs().round() == 45
        assert both.sum() == 2 and torch.equal(whole.views[both], here.views)


def test_subjects_were_never_trained_on():
    assert RECIPE.data_seed not in held_out.SEEDS and set(METRICS["seeds"]) == {
        str(s) for s in held_out.SEEDS
    }
    trained, other = (
        ParametricSource(seed=s).attributes(0) for s in (RECIPE.data_seed, held_out.SEEDS[0])
    )
    assert trained != other


@pytest.mark.slow
@pytest.mark.parametrize("question", TARGETS)
def test_zero_shot(judged, question):
    assert judged["subjects"] == 256
    assert judged["zero_shot"][question]["accuracy"] >= TARGETS[question]


@pytest.mark.slow
def test_retrieval(judged):
    assert (
        judged["retrieval_45"]["recall_1"] >= RECALL_1
        and judged["retrieval_45"]["recall_5"] >= RECALL_5
    )
    assert judged["text"]["median_rank"] <= MEDIAN_RANK


@pytest.mark.slow
def test_the_card_tells_these_figures(judged):
    published = METRICS["seeds"]["20261122"]
    assert published["subjects"] == judged["subjects"]
    for name, got in judged["zero_shot"].items():
        assert got["accuracy"] == pytest.approx(
            published["zero_shot"][name]["accuracy"], abs=0.02
        ), name
    for name, got in judged["retrieval_45"].items():
        assert got == pytest.approx(published["retrieval_45"][name], abs=0.02), name


def test_the_card_is_of_these_weights_and_this_text():
    assert METRICS["encoder"] == str(SemanticEncoder.load(device="cpu").identity)
    assert (FOLDER / "card.md").read_text() == card(FOLDER, RECIPE, METRICS)
    for judged in METRICS["seeds"].values():
        assert -1 <= judged["dlib"]["rank_correlation"] <= 1 and judged["dlib"]["pairs"] > 10_000
    assert METRICS["images_per_second"] >= 200


def test_weights_are_small_and_complete():
    assert (FOLDER / "model.safetensors").stat().st_size <= 12e6
    with safe_open(FOLDER / "model.safetensors", "pt") as weights:
        assert all(weights.get_tensor(name).isfinite().all() for name in weights.keys())  # noqa: SIM118
    log = [json.loads(line) for line in (FOLDER / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, *range(12, RECIPE.steps + 1, 12)]
    assert log[-1]["loss"] < log[0]["loss"] / 3


def test_card_has_no_long_or_empty_lines():
    text = (FOLDER / "card.md").read_text()
    assert "{" not in text and "None" not in text and not re.search(r"\n\n\n", text)


def test_it_sees_the_view_as_clip_does():
    """Words for the view find images from there: the per-view feature is no view-invariant
    condition."""
    source = ParametricSource(
        seed=held_out.SEEDS[1],
        resolution=64,
        views_per_subject=4,
        view_sampling="orbit",
        channels=(),
    )
    encoder = SemanticEncoder.load(device="cpu")
    views = torch.cat([source.subject(i).views for i in range(8)])
    words = encoder.texts(
        [
            "a back view of a person",
            "a side view of a person from the right",
            "a front view of a person",
            "a side view of a person from the left",
        ]
    )
    said = (encoder.images(views) @ words.T).argmax(1)
    assert (said == torch.arange(4).repeat(8)).float().mean() >= 0.75


def test_answers_and_ranks():
    encoder = SemanticEncoder.load(device="cpu")
    question = QUESTIONS["gender"]
    texts = encoder.texts(["a photo of a woman", "a photo of a man"])
    subjects = [{"gender": "woman"}, {"gender": "man"}]
    assert answer(encoder, question, texts, subjects).accuracy == 1.0
    wrong = answer(encoder, question, texts, subjects[::-1])
    assert (wrong.accuracy, wrong.balanced, wrong.asked) == (0.0, 0.0, 2)
    assert ranks(torch.eye(4), torch.ones(4, 4)).tolist() == [4] * 4, (
        "an encoder that tells nothing is last"
    )
