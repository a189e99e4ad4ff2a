"""The metrics of models that are known: perfect, evenly bad, and worse from behind."""

import pytest
import torch
from toy_heads import (
    BINS,
    ENCODER,
    EXTRACTOR,
    around,
    codes,
    draw,
    heads,
    reference_stats,
    subjects,
)

from semhead_lib.evaluation.reference_statistics import ReferenceStatistics
from semhead_lib.evaluation.samples import Samples, real_samples
from semhead_lib.metrics.azimuth import AzimuthBins, BinnedFeatures

N = 120


@pytest.fixture(scope="module")
def known() -> ReferenceStatistics:
    return reference_stats(N)


def features(
    known: ReferenceStatistics, code: torch.Tensor, behind: torch.Tensor | None = None
) -> BinnedFeatures:
    """Of heads with these codes, and others where only the view from behind looks."""
    cameras = known.matched_samples.cameras
    images = draw(code, cameras)
    if behind is not None:
        images[:, 2] = draw(behind, cameras[:, 2:3])[:, 0]
    return BinnedFeatures.of(EXTRACTOR.images(images), cameras, BINS)


def bias(known: ReferenceStatistics, judged: BinnedFeatures) -> float:
    return known.measure(judged)[0]["all", "directional_bias"]


def highest_real(known: ReferenceStatistics, metric: str = "directional_bias") -> float:
    return max(numbers["all", metric] for numbers in known.real)


def test_a_perfect_model_is_at_the_floor(known):
    numbers, _ = known.measure(features(known, codes(N, seed=77)))
    for scope in BINS.names:
        real = torch.tensor([n[scope, "frechet"] for n in known.real])
        assert abs(numbers[scope, "frechet"] - real.mean()) < 4 * real.std()
        assert (
            numbers[scope, "diversity"] == pytest.approx(1, abs=0.1)
            and numbers[scope, "coverage"] > 0.9
        )
    assert numbers["all", "directional_bias"] < 1.5 * highest_real(known)
    assert abs(numbers["all", "kernel"]) < 3 * max(abs(n["all", "kernel"]) for n in known.real)


def test_an_evenly_bad_model_is_not_biased(known):
    """Heads that vary half as much, from every side; the real data varies half as much from
    behind."""
    numbers, _ = known.measure(features(known, 0.5 * codes(N, seed=77)))
    assert numbers["0", "frechet"] > 2 * float(known.floor[0]) and numbers["180", "diversity"] < 0.8
    assert numbers["0", "frechet"] > 2 * numbers["180", "frechet"], (
        "distances differ from side to side"
    )
    assert numbers["all", "directional_bias"] < 1.5 * highest_real(known)


def test_bias_grows_as_the_back_gets_worse(known):
    code = codes(N, seed=77)
    noisy = [
        bias(known, features(known, code, code + s * codes(N, seed=78))) for s in (0.5, 1.0, 2.0)
    ]
    few = [bias(known, features(known, code, code[torch.arange(N) % k])) for k in (60, 20, 5)]
    alike = [bias(known, features(known, code, s * code)) for s in (0.8, 0.6, 0.3)]
    shifted = [bias(known, features(known, code, code + s)) for s in (0.05, 0.1, 0.2)]
    for grown in (noisy, few, alike, shifted):
        assert (
            grown == sorted(grown)
            and grown[0] > highest_real(known)
            and grown[2] > 3 * grown[0] - 2 * highest_real(known)
        )


def test_fewer_heads_behind_cost_diversity_and_recall_there_alone(known):
    code = codes(N, seed=77)
    numbers, _ = known.measure(features(known, code, code[torch.arange(N) % 8]))
    assert numbers["180", "recall"] < 0.5 < numbers["0", "recall"]
    assert numbers["180", "diversity"] < 0.4 and numbers["0", "diversity"] == pytest.approx(
        1, abs=0.1
    )
    assert numbers["all", "directional_bias_of_diversity"] > 5 * highest_real(
        known, "directional_bias_of_diversity"
    )


def test_the_floor_is_real_against_real(known):
    assert known.scale.counts.tolist() == [N] * 4 and known.floor.shape == (4,)
    assert float(known.floor[0]) > 2 * float(known.floor[2]), "the front varies more"
    assert known.phi == pytest.approx(float((known.floor / known.scale.variance).mean()))
    ratio = known._half_floor / known.floor
    assert torch.allclose(ratio, torch.full_like(ratio, 2), rtol=0.3), (
        "half as many heads, twice the floor"
    )


def test_half_samples_spread_around_the_whole(known):
    """They are farther from the reference by the floor alone, and that is taken off."""
    code = codes(N, seed=77)
    numbers, halves = known.measure(features(known, code + 0.05, code + 0.15))
    quality = "all", "directional_bias_of_quality"
    mean = sum(half[quality] for half in halves) / len(halves)
    assert mean == pytest.approx(numbers[quality], rel=0.1) and numbers[quality] > 0.1
    drawn = [half["180", "frechet"] for half in halves]
    assert min(drawn) < numbers["180", "frechet"] + float(known.floor[2]) < max(drawn)


def test_the_same_seed_gives_the_same_numbers(known):
    one, other = (known.measure(features(known, codes(N, seed=77))) for _ in range(2))
    assert one == other and len(one[1]) == 12
    assert reference_stats(40).real == reference_stats(40).real != reference_stats(40, seed=1).real


def test_stored_features_serve_again(tmp_path, known):
    sets = real_samples(subjects(120), 60)
    first = ReferenceStatistics.of(*sets, EXTRACTOR, ENCODER, bins=BINS, store=tmp_path)
    written = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    second = ReferenceStatistics.of(*sets, EXTRACTOR, ENCODER, bins=BINS, store=tmp_path)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == written and len(
        written
    ) == 7
    assert (
        torch.equal(first.reference.features, second.reference.features)
        and first.data == second.data != known.data
    )


def test_errors(known):
    sets = real_samples(subjects(60), 30)
    with pytest.raises(ValueError, match="the bin at azimuth 45 has views of 0 judged"):
        ReferenceStatistics.of(*sets, EXTRACTOR, bins=AzimuthBins(8))
    with pytest.raises(ValueError, match="30 of 32 and 20 of 32"):
        some = Samples(sets[1].images[:20], sets[1].cameras[:20], sets[1].fronts[:20], "real")
        ReferenceStatistics.of(sets[0], some, EXTRACTOR, bins=BINS)
    with pytest.raises(ValueError, match="must be at least 2, got 1 and 100"):
        ReferenceStatistics.of(*sets, EXTRACTOR, bins=BINS, splits=1)
    other = heads(codes(N, 1), around(N, 1)[:, [1, 2, 3, 0]])
    with pytest.raises(ValueError, match="the cameras of the matched real heads"):
        known.measure(BinnedFeatures.of(EXTRACTOR.images(other.images), other.cameras, BINS))
