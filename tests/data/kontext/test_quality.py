"""What is wrong with a view is found: on parametric heads, where the truth is known."""

import json

import pytest
from verdicts import FINDS, judged, table

from semhead_lib.data.kontext.quality import CHECKS, SCORED, Limits

for needed in ("anny", "dlib", "cv2"):
    pytest.importorskip(needed)


@pytest.fixture(scope="module")
def verdicts():
    return judged(people=4, side=128)


@pytest.mark.slow
def test_every_fault_is_found_and_little_else(verdicts):
    found = table(verdicts)
    print(json.dumps(found, indent=1))
    for fault in FINDS:
        assert found[fault]["recall"] >= 0.9 and found[fault]["precision"] >= 0.9, (fault, found)
    assert found["right"]["turned down"] < 0.25


@pytest.mark.slow
def test_a_verdict_says_why(verdicts):
    failed = next(v for v in verdicts["another angle"] if v.failed)
    (check,) = [c for c in failed.checks if c.name == "view"]
    assert "degrees, not" in check.reason and check.figure > check.limit == Limits().turned
    assert [c.name for c in failed.checks] == [name for name in CHECKS if name not in SCORED]
    told = json.loads(json.dumps(failed.as_json()))
    assert told["checks"][0]["name"] == "view" and set(told["frame"]) == {"scale", "right", "down"}
    assert all(not c.reason for v in verdicts["right"] if v.passed for c in v.checks)
    good = next(v for v in verdicts["right"] if v.passed)
    assert good.score > failed.score


def test_limits_out_of_range():
    with pytest.raises(ValueError, match="the limit face must be positive, got 0"):
        Limits(face=0)
