"""Every metric that is written has a name for readers."""

import json
from pathlib import Path

import semhead_lib
from semhead_lib.metrics.names import HIGHER, LOWER, NAMES, ONE, better, display_name

SHIPPED = Path(semhead_lib.__file__).parent / "assets/semhead-128/metrics.json"


def test_every_metric_of_an_evaluation_has_a_name():
    scopes = json.loads(SHIPPED.read_text())["generated"].values()
    written = {metric for named in scopes for metric in named} | {"frechet_view", "frechet_random"}
    assert {m for m in written if not m.startswith("power_")} <= NAMES.keys()
    named = [display_name(metric) for metric in written]
    assert len(set(named)) == len(named) and not any("_" in name for name in named)
    assert {direction for _, direction in NAMES.values()} == {LOWER, HIGHER, ""}


def test_which_way_is_better():
    ways = {LOWER: "frechet_of_faces consistency_l1", HIGHER: "condition_cosine recall"}
    ways |= {ONE: "power_8-12", "": "mirrored_back condition_cosine_of_others unknown"}
    for way, metrics in ways.items():
        assert {better(metric) for metric in metrics.split()} == {way}
