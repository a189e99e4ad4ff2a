"""Metrics and their protocols: JSON there and back, and what is refused."""

import json
from dataclasses import replace

import pytest

from semhead_lib.evaluation.protocol import Metric, Protocol, dumps

PROTOCOL = Protocol(
    "a generator",
    "some features",
    4,
    12,
    30,
    64,
    0,
    "0123abcd",
    "95 % by 100 half-samples of heads",
)


def test_json_there_and_back():
    metric = Metric(1.5, 1.0, 2.25, PROTOCOL)
    content = json.loads(dumps({"all": {"frechet": metric}, "heads": 4}))
    assert Metric.from_json(content["all"]["frechet"]) == metric and content["heads"] == 4
    assert str(metric) == "1.5 [1, 2.25]"


@pytest.mark.parametrize(
    ("key", "value"), [("judged", ""), ("heads", 0), ("images", 0), ("reference", -1)]
)
def test_a_protocol_makes_sense(key, value):
    with pytest.raises(ValueError, match=r"must say what|expected heads"):
        replace(PROTOCOL, **{key: value})


def test_a_figure_is_finite_and_its_interval_is_one():
    for numbers in ((float("nan"), 0, 1), (0, 0, float("inf"))):
        with pytest.raises(ValueError, match="must be finite"):
            Metric(*numbers, PROTOCOL)
    with pytest.raises(ValueError, match="must not be empty"):
        Metric(0.5, 1.0, 0.0, PROTOCOL)


def test_other_keys_are_refused():
    content = Metric(1.0, 1.0, 1.0, PROTOCOL).as_json()
    for wrong in ({**content, "extra": 1}, {"value": 1.0}, 3):
        with pytest.raises(ValueError, match="a metric has the keys value, low, high, protocol"):
            Metric.from_json(wrong)
    with pytest.raises(ValueError, match="a protocol has the keys judged"):
        Metric.from_json({**content, "protocol": {}})
    with pytest.raises(ValueError, match="JSON compliant"):
        dumps({"x": float("nan")})
