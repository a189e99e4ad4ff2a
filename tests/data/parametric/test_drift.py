"""Views that contradict each other: by how much, in what, and that nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from semhead_lib.data.dataset.encoding import decode_subject, encode_subject
from semhead_lib.data.parametric import appearance, attributes
from semhead_lib.data.parametric.drift import Amounts, Drift, Drifted
from semhead_lib.data.parametric.materials import CLASSES
from semhead_lib.data.parametric.source import ParametricSource
from semhead_lib.metrics.consistency import view_disagreement

SOURCE = ParametricSource(seed=1, resolution=64, views_per_subject=6)
INDEX = 1  # hair, a beard, a face that smiles
NOTHING = dict(expression_drift=0.0, hair_drift=0.0, light_drift=0.0)


def drifting(**amounts) -> ParametricSource:
    return replace(SOURCE, inconsistency=1.0, **NOTHING | amounts)


@pytest.fixture(scope="module")
def consistent():
    return SOURCE.subject(INDEX)


def test_views_without_a_drift_are_those_of_the_subject(consistent):
    """To the byte, also where each is of a scene of its own."""
    still = drifting().subject(INDEX)
    for name in ("views", "masks", "depth", "normals", "segmentation", "frontal", "cameras"):
        assert torch.equal(getattr(still, name), getattr(consistent, name)), name
    assert "inconsistency" not in SOURCE.describe() and "drift" not in consistent.provenance


def test_a_light_drifts_and_the_geometry_stays(consistent):
    seen = drifting(light_drift=0.5).subject(INDEX)
    for name in ("masks", "depth", "normals", "segmentation", "frontal"):
        assert torch.equal(getattr(seen, name), getattr(consistent, name)), name
    stops = torch.tensor([drift["stops"] for drift in seen.provenance["drift"]])
    inside = consistent.masks == 255
    bright, usual = (
        torch.stack([s.views[v].float().mean(0)[inside[v]].mean() for v in range(6)])
        for s in (seen, consistent)
    )
    assert stops.abs().max() > 0.2
    assert np.corrcoef(stops, bright / usual)[0, 1] > 0.8, "brighter where the drift says so"


def test_hair_drifts_and_nothing_else(consistent):
    seen = drifting(hair_drift=40.0).subject(INDEX)
    changed = (seen.views.int() - consistent.views.int()).abs().amax(1) > 4
    classes = torch.tensor([CLASSES.index(name) for name in ("hair", "beard", "brows")])
    hairy = torch.isin(consistent.segmentation.long(), classes)
    assert changed[hairy].float().mean() > 0.6
    bare = (consistent.segmentation == CLASSES.index("cloth")) & (consistent.masks == 255)
    assert changed[bare].float().mean() < 0.1
    assert torch.equal(seen.depth, consistent.depth)


def test_an_expression_moves_the_face_and_not_the_back(consistent):
    seen = drifting(expression_drift=0.7).subject(INDEX)
    turned = seen.cameras[:, 11].argsort()  # the camera's z: from the back to the front
    moved = (seen.depth - consistent.depth).abs().flatten(1).gt(1e-3).float().sum(1)
    assert moved[turned[-1]] > 20 > moved[turned[0]]
    assert torch.equal(seen.frontal, consistent.frontal), "where the condition comes from"


def test_what_a_view_drifts_by_is_its_own_and_known(consistent):
    """A function of seed, subject and view alone; written beside the subject and read again."""
    source = replace(SOURCE, inconsistency=1.5)
    drifts = source.drifts(INDEX)
    assert drifts == source.drifts(INDEX) != replace(source, seed=2).drifts(INDEX)
    assert drifts != source.drifts(INDEX + 1) and len({str(d) for d in drifts}) == 6
    assert drifts[:4] == replace(source, views_per_subject=4).drifts(INDEX)
    seen = source.subject(INDEX)
    read = decode_subject(encode_subject(seen))
    assert read.provenance["drift"] == [drift.as_json() for drift in drifts]
    assert read.attributes == consistent.attributes and read.caption == consistent.caption
    settings = source.describe()
    assert (settings["inconsistency"], settings["hair_drift"]) == (1.5, 12.0)


def test_amounts_are_standard_deviations():
    drawn = [Drift.draw(np.random.default_rng(i), Amounts(0.4, 20.0, 0.5)) for i in range(600)]
    for values, expected in (
        ([x for d in drawn for x in d.expression.values()], 0.4),
        ([x for d in drawn for x in d.hair], 20.0),
        ([d.stops for d in drawn], 0.5),
        ([d.degrees for d in drawn], 30.0),
        ([d.warmth for d in drawn], 0.25),
    ):
        assert np.std(values) == pytest.approx(expected, rel=0.1)
        assert np.mean(values) == pytest.approx(0.0, abs=0.15 * expected)
    assert "neutral" not in drawn[0].expression


def test_expressions_and_colours_stay_possible():
    who = SOURCE.attributes(INDEX)
    far = Drift({"smiling": 3.0, "frowning": -3.0}, (900.0, -900.0, 0.0), 0.0, 0.0, 0.0)
    as_seen = Drifted.of(who, far)
    strengths = as_seen.strengths()
    assert strengths["smiling"] == 1.0 and strengths["frowning"] == 0.0
    assert all(0 <= value <= 1 for value in attributes.actions(strengths).values())
    colour = appearance.hair_colour(who.hair_colour, as_seen.hair_shift())
    assert colour[0] == pytest.approx(1) and colour[1] == 0


def test_the_amount_of_the_contradiction_can_be_measured():
    """Of the same surface points seen by two neighbours: more drift, more difference."""
    by = {}
    for amount in (0.0, 1.0, 3.0):
        source = replace(SOURCE, inconsistency=amount, views_per_subject=8)
        found = [view_disagreement(source.subject(i)) for i in range(2)]
        by[amount] = sum(float(d.absolute.sum()) for d in found) / sum(
            float(d.pixels.sum()) for d in found
        )
        assert found[0].absolute.shape == (8,) and found[0].seen_twice() > 0.3
    assert by[0.0] < 0.035 and by[1.0] > 1.5 * by[0.0] and by[3.0] > 1.5 * by[1.0]


def test_mistakes():
    for name in ("inconsistency", "expression_drift", "hair_drift", "light_drift"):
        with pytest.raises(ValueError, match=f"{name} must be at least 0, got -1"):
            replace(SOURCE, **{name: -1.0})
