"""Views are counted by azimuth: asked for, kept, and turned down by which check."""

import pytest

from semhead_lib.data.dataset.sample_info import VERSION, SampleInfo
from semhead_lib.data.kontext.report import ViewReport, is_balanced, view_reports


def info(name, kept, rejected):
    told = {
        "wanted": [{"azimuth": a} for a in (90, 180)],
        "views": [{"asked": {"azimuth": a}} for a in kept],
        "rejected": [
            {"asked": {"azimuth": a}, "kept": a in kept, "failed": f} for a, f in rejected
        ],
    }
    return SampleInfo(
        name, VERSION, 32, 1, "png", ("views",), None, None, None, {}, "", told, "CC0-1.0"
    )


def test_views_are_counted():
    reports = view_reports(
        [
            info("a", [90, 180], [(180, {"view": 2})]),
            info("b", [], [(90, {"person": 3, "view": 1}), (180, {"view": 3})]),
            info("c", [90, 180], []),
        ]
    )
    assert reports == [
        ViewReport(90, 3, 2, {"view": 1, "person": 3}),
        ViewReport(180, 3, 2, {"view": 5}),
    ]
    assert is_balanced(reports) and not is_balanced([*reports, ViewReport(0, 3, 1, {})])


def test_filters_that_dropped_views_and_frontalised_portraits():
    """In the order of the checks; the fronts have a row of their own, which balance leaves out."""
    some = [info(name, [90, 180], [(90, {"view": 2, "artefacts": 1})]) for name in "abc"]
    for record, kept in zip(some, (True, False, None), strict=True):
        record.provenance["rejected"][0]["dropped_by"] = {"view": 1, "artefacts": 1}
        if kept is not None:
            failed = {"failed": {"person": 2}, "dropped_by": {"person": 2}} if not kept else {}
            record.provenance["frontalised"] = {"kept": kept, **failed}
    front, side, back = reports = view_reports(some)
    assert front == ViewReport(0.0, 2, 1, {"person": 2}, {"person": 2}, frontalised=True)
    assert side.dropped == {"artefacts": 3, "view": 3} and list(side.dropped) == [
        "artefacts",
        "view",
    ]
    assert back.dropped == {} and is_balanced(reports)


def test_other_datasets_have_no_such_record():
    other = info("a", [], [])
    other.provenance.clear()
    with pytest.raises(ValueError, match="subject a does not come from the source kontext"):
        view_reports([other])
