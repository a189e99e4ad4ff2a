"""What is wrong with a view is found: on parametric heads, where the truth is known."""

import json
from collections import defaultdict

import pytest
import torch
from stand_in import FAULTS, StandIn, wrong

from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.data.kontext.prompts import views_of
from semhead_lib.data.kontext.quality import CHECKS, Inspector, Limits

for needed in ("anny", "dlib", "cv2"):
    pytest.importorskip(needed)

PEOPLE, SIDE = 8, 128
FINDS = {
    "another person": {"person"},
    "another angle": {"view"},
    "cut off": {"inside", "size"},
    "copied": {"new", "view"},
}


@pytest.fixture(scope="module")
def judged():
    """Verdicts of all views of all people, right and wrong in each way."""
    clip = SemanticEncoder.load("headclip-64", device="cpu")
    stand_in, verdicts = StandIn(PEOPLE, side=SIDE), defaultdict(list)
    strangers = StandIn(48, seed=5000, side=64).portraits
    inspector = Inspector(clip.images, others=clip.images(strangers))
    for person, portrait in enumerate(stand_in.portraits):
        origin = inspector.origin(portrait)
        views = [v for v in views_of(person, 6) if v.azimuth]
        for fault in FAULTS:
            numbers = [100 * person + i for i in range(len(views))]
            made = [wrong(4000, person, v, SIDE, fault, n, portrait) for v, n in zip(views, numbers, strict=True)]
            verdicts[fault] += inspector(torch.stack(made), views, origin)
    return verdicts


@pytest.mark.slow
def test_every_fault_is_found_and_little_else(judged):
    right = judged["right"]
    table = {"right ones that pass": sum(v.passed for v in right) / len(right)}
    for fault, checks in FINDS.items():
        found = sum(bool(checks & set(v.failed)) for v in judged[fault])
        false = sum(bool(checks & set(v.failed)) for v in right)
        table[fault] = {"recall": found / len(judged[fault]), "precision": found / max(found + false, 1)}
    print(json.dumps(table, indent=1))
    for fault in FINDS:
        assert table[fault]["recall"] >= 0.9 and table[fault]["precision"] >= 0.9, (fault, table)
    assert table["right ones that pass"] > 0.75


@pytest.mark.slow
def test_a_verdict_says_why(judged):
    failed = next(v for v in judged["another angle"] if v.failed)
    (check,) = [c for c in failed.checks if c.name == "view"]
    assert "degrees, not" in check.reason and check.figure > check.limit == Limits().turned
    assert [c.name for c in failed.checks] == list(CHECKS)
    assert json.loads(json.dumps(failed.as_json()))["checks"][0]["name"] == "view"
    assert all(not c.reason for v in judged["right"] if v.passed for c in v.checks)
    good = next(v for v in judged["right"] if v.passed)
    assert good.score > failed.score


def test_limits_out_of_range():
    with pytest.raises(ValueError, match="the limit face must be positive, got 0"):
        Limits(face=0)
