"""Whole evaluations of toy heads and of untrained generators."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_heads import (
    BINS,
    ENCODER,
    EXTRACTOR,
    codes,
    heads,
    reference_stats,
    small_generator,
    subjects,
)

from semhead_lib.conditioning.modes import MODES, ConditionMode
from semhead_lib.evaluation import identity
from semhead_lib.evaluation.appearance import front_distances
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.evaluation.generated_views import head_consistency
from semhead_lib.evaluation.protocol import dumps
from semhead_lib.evaluation.report import Evaluation, evaluate, judge
from semhead_lib.evaluation.samples import styles
from semhead_lib.metrics.frechet import frechet_distance, kernel_distance

DISTANCES = {"frechet", "kernel"}
PARITY = "odd or even [numbers 2]"
OF_BINS = DISTANCES | {
    "precision",
    "recall",
    "density",
    "coverage",
    "diversity",
    "cross_view_recall_1",
    "cross_view_recall_5",
}


@pytest.fixture(scope="module")
def known():
    return reference_stats(60)


@pytest.fixture(scope="module")
def of_twins(known) -> Evaluation:
    """The matched real heads themselves in a generator's place."""
    return judge(known.matched_samples, known)


def test_every_figure_has_its_protocol_and_interval(of_twins, known):
    assert set(of_twins.generated) == set(of_twins.real) == {"all", *BINS.names}
    for side in (of_twins.generated, of_twins.real):
        for scope, metrics in side.items():
            assert set(metrics) >= (DISTANCES if scope == "all" else OF_BINS)
            for metric in metrics.values():
                p = metric.protocol
                assert (
                    metric.low <= metric.value <= metric.high
                    and p.judged == "real"
                    and p.resolution == 32
                )
                assert p.data == known.data and p.seed == 0 and p.heads == 60
                assert p.images == 60 or scope == "all"
    protocol = of_twins.generated["all"]["frechet"].protocol
    assert (protocol.features, protocol.images, protocol.reference) == (
        EXTRACTOR.identity,
        240,
        240,
    )
    assert of_twins.generated["0"]["cross_view_recall_1"].protocol.features == ENCODER.identity
    assert (
        "half-samples" in protocol.interval
        and "splits" in of_twins.real["all"]["frechet"].protocol.interval
    )


def test_real_heads_in_a_generators_place(of_twins):
    for scope in BINS.names:
        mine, real = of_twins.generated[scope], of_twins.real[scope]
        assert real["frechet"].low * 0.8 < mine["frechet"].value < real["frechet"].high * 1.2
        assert mine["cross_view_recall_1"].value == real["cross_view_recall_1"].value
        assert mine["diversity"].value == pytest.approx(1)
    bias = of_twins.generated["all"]["directional_bias"]
    assert bias.value < 2 * of_twins.real["all"]["directional_bias"].high
    assert of_twins.generated["all"]["condition_cosine"].value == pytest.approx(1, abs=1e-5)
    assert of_twins.generated["all"]["condition_recall_1"].value == 1


def test_heads_whose_back_is_another_head(known, of_twins):
    """All distances are as good as real: only the agreement of the sides shows it."""
    matched = known.matched_samples
    images = matched.images.clone()
    images[:, 2] = images[:, 2].roll(1, 0)
    found = judge(replace(matched, images=images), known)
    assert (
        found.generated["180"]["cross_view_recall_1"].high
        < 0.2
        < 0.5
        < found.real["180"]["cross_view_recall_1"].low
    )
    assert found.generated["0"] == of_twins.generated["0"]
    assert found.generated["180"]["frechet"].value == pytest.approx(
        of_twins.generated["180"]["frechet"].value
    )


def test_heads_that_do_not_follow_their_condition(known):
    made = heads(codes(60, seed=9), known.matched_samples.cameras)
    found = judge(
        replace(made, conditions=known.matched_samples.conditions, encoder=ENCODER.identity), known
    ).generated["all"]
    assert found["condition_recall_1"].value < 0.1
    others = found["condition_cosine_of_others"]
    assert found["condition_cosine"].low < others.value < found["condition_cosine"].high
    assert "condition_cosine" not in judge(made, known).generated["all"], "made without conditions"


def test_heads_that_are_few_subjects(known, of_twins):
    assert (
        of_twins.generated["all"]["mode_coverage"].value
        == of_twins.real["all"]["mode_coverage"].value
        == 1
    )
    matched = known.matched_samples
    few = torch.arange(60) % 3
    found = judge(
        replace(matched, images=matched.images[few], fronts=matched.fronts[few]), known
    ).generated["all"]
    assert found["mode_coverage"].high < 0.25, "three people, where real heads resemble dozens"


def test_conditions_that_are_no_features_of_fronts():
    """The condition may be anything: heads are compared with the fronts of those whose condition
    they have."""
    dataset = [
        replace(s, semantic=torch.tensor([i % 2, 1.0 - i % 2]), semantic_encoder=PARITY)
        for i, s in enumerate(subjects(60))
    ]
    mode = ConditionMode("semantic", 2)
    settings = dict(heads=30, bins=BINS, consistency_heads=0)
    found = evaluate(
        small_generator(mode),
        dataset,
        mode,
        EXTRACTOR,
        ENCODER,
        condition_encoder=PARITY,
        **settings,
    )
    cosine = found.generated["all"]["condition_cosine"]
    assert cosine.protocol.features == ENCODER.identity and -1 <= cosine.value <= 1
    with pytest.raises(ValueError, match="features of two encoders"):
        evaluate(small_generator(mode), dataset, mode, EXTRACTOR, ENCODER, **settings)


@pytest.mark.parametrize("name", ["semantic", "view"])
def test_conditioned_on_another_camera(known, name):
    mode = ConditionMode(name, 12)
    front, *others = (
        evaluate(
            small_generator(mode), known, mode, condition_camera=camera, consistency_heads=2
        ).generated["all"]
        for camera in ("front", 90, "rendered", "random")
    )
    if not mode.shows_view:
        assert all(other == front for other in others), "it is conditioned on no camera"
        return
    values = {tuple(m.value for m in x.values()) for x in (front, *others)}
    assert len(values) == 4
    for camera, found in zip(("90", "rendered", "random"), others, strict=True):
        assert (
            found["frechet"]
            .protocol.judged.split(", psi")[0]
            .endswith(f"mode view, condition camera {camera}")
        )
    assert "consistency_psnr" in others[0] and "consistency_psnr" not in others[1]
    with pytest.raises(ValueError, match=r"condition_camera must be front, .* got 'left'"):
        evaluate(small_generator(mode), known, mode, condition_camera="left")


def test_fronts_are_compared_with_fronts(known):
    """A generator of the reference's own fronts has distance 0, and real heads their floor."""
    mode = ConditionMode("none", 0)
    found = evaluate(small_generator(mode), known, mode, consistency_heads=0)
    for name, distance in (("frechet_front", frechet_distance), ("kernel_front", kernel_distance)):
        judged, real = found.generated["all"][name], found.real["all"][name]
        assert judged.low <= judged.value <= judged.high and real.value < judged.value
        copies = front_distances(known.fronts[0], "copies", known)[0]["all"][name]
        gamma = {} if name == "frechet_front" else {"gamma": EXTRACTOR.gamma}
        expected = distance(known.fronts[0], known.fronts[0], **gamma)
        assert copies.value == pytest.approx(expected, abs=1e-6) and copies.value < real.value
        assert judged.protocol.images == judged.protocol.heads == len(known.matched)


@pytest.mark.parametrize("name", MODES)
def test_an_untrained_generator_of_every_mode(name):
    mode, dataset = ConditionMode(name, 12), subjects(60, semantic="semantic" in name)
    found = evaluate(
        small_generator(mode),
        dataset,
        mode,
        EXTRACTOR,
        ENCODER,
        heads=30,
        bins=BINS,
        consistency_heads=2,
    )
    whole = found.generated["all"]
    assert ("condition_cosine" in whole) == mode.uses_semantics
    assert whole["frechet"].low > 2 * found.real["all"]["frechet"].high
    backs = {"face_on_back", "heads_with_face_on_back", "mirrored_back"}
    assert backs <= whole.keys() and backs <= found.real["all"].keys()
    assert (
        f"mode {name}, " in whole["frechet"].protocol.judged
        and found.real["0"]["frechet"].protocol.judged == "real"
    )
    assert (
        whole["consistency_seen_twice"].protocol.heads == 2
        and "consistency_seen_twice" in found.generated["-90"]
    )
    assert Evaluation.from_json(json.loads(dumps(found.as_json()))) == found


def test_consistency_is_that_of_its_bin(known):
    mode = ConditionMode("semantic", 12)
    generator = small_generator(mode)
    found = evaluate(generator, known, mode, consistency_heads=3).generated
    w = styles(generator, mode, known.matched_samples)[:3]
    for scope, azimuths in (
        ("-90", (-90.0,)),
        ("180", (180.0,)),
        ("all", (0.0, 90.0, 180.0, -90.0)),
    ):
        expected = head_consistency(generator, w, azimuths)
        assert found[scope]["consistency_l1"].value == pytest.approx(expected.l1(), rel=1e-3)
        assert found[scope]["consistency_seen_twice"].value == pytest.approx(
            expected.seen_twice(), rel=1e-3
        )


def test_generators_share_a_yardstick_and_seeds_repeat(known):
    mode = ConditionMode("semantic", 12)
    one, again, other = (
        evaluate(small_generator(mode), known, mode, seed=s, consistency_heads=0) for s in (0, 0, 1)
    )
    assert one == again and one.real == other.real and one.generated != other.generated


def test_identity_is_there_when_asked_for(known, monkeypatch):
    class Judge:
        def identity(self, image):
            return np.append(image.float().mean((1, 2)).numpy(), 0.0)

    monkeypatch.setattr(identity, "face_judge", Judge)
    found = evaluate(
        small_generator(ConditionMode("none", 12)),
        known,
        ConditionMode("none", 12),
        consistency_heads=0,
        identity_heads=8,
    )
    for side in (found.generated, found.real):
        assert (
            side["all"]["faces_found"].value == 1
            and side["all"]["faces_found"].protocol.images == 8
        )
        assert "identity_auc" not in side["all"], (
            "one view a head near the front: no two of one head to compare"
        )


def test_judged_by_headjudge_and_semantics_by_the_embedded_encoder():
    """Unless others are given; a CLIP that is given judges both."""
    mode, dataset = ConditionMode("none", 12), subjects(48, semantic=False)
    settings = dict(heads=24, bins=BINS, consistency_heads=0)
    whole = evaluate(small_generator(mode), dataset, mode, **settings)
    kinds = {
        name: f.protocol.features.partition(" [")[0] for name, f in whole.generated["all"].items()
    }
    assert {kinds[name] for name in ("frechet", "kernel", "directional_bias")} == {"headjudge"}
    assert kinds["mode_coverage"] == "headclip-64" and whole.features().startswith(
        "headjudge [weights "
    )
    sides = whole.generated["0"]
    assert sides["cross_view_recall_1"].protocol.features.startswith("headclip-64 [")
    assert all(
        sides[name].protocol.features == whole.features()
        for name in ("recall", "coverage", "diversity")
    )
    clip = FeatureExtractor.load("headclip-64", device="cpu")
    assert (
        evaluate(small_generator(mode), dataset, mode, clip, **settings).features() == clip.identity
    )


def test_all_views_as_a_list(of_twins):
    rows = of_twins.overall().splitlines()
    mine, real = of_twins.generated["all"], of_twins.real["all"]
    assert (
        len(rows) == 2 + len(mine)
        and f"| Fréchet distance | {mine['frechet']} | {real['frechet']} |" in rows
    )
    assert f"| condition recall@1 | {mine['condition_recall_1']} | – |" in rows
    assert of_twins.overall(["kernel", "nothing"]).splitlines()[2:] == [
        row for row in rows if row.startswith("| kernel distance |")
    ]


def test_the_table_has_a_row_a_scope(of_twins):
    rows = of_twins.table(["frechet", "directional_bias"]).splitlines()
    assert rows[0] == "| azimuth | Fréchet distance | directional bias |" and len(rows) == 2 + 5
    assert rows[2].startswith("| all | ") and rows[3].endswith(" | – / – |") and " / " in rows[3]
    assert "cross-view recall@5" in of_twins.table()


def test_errors(known):
    mode = ConditionMode("semantic", 12)
    with pytest.raises(ValueError, match="features of two encoders"):
        evaluate(small_generator(mode), subjects(60), mode, EXTRACTOR, heads=30, bins=BINS)
    matched = known.matched_samples
    with pytest.raises(ValueError, match="in their order"):
        judge(replace(matched, cameras=matched.cameras.flip(0)), known)
    small = replace(
        matched, images=matched.images[..., ::2, ::2], fronts=matched.fronts[..., ::2, ::2]
    )
    with pytest.raises(ValueError, match="32 pixels a side, got 16"):
        judge(small, known)
    with pytest.raises(ValueError, match="keys generated and real"):
        Evaluation.from_json({"generated": {}})
    assert torch.equal(known.matched.view, torch.arange(4).expand(60, 4))
