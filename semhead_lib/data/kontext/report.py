"""What became of the views that were asked for: kept, failed, and by which check, of a whole
dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from semhead_lib.data.dataset.sample_info import SampleInfo
from semhead_lib.data.kontext.quality import CHECKS


@dataclass(frozen=True)
class ViewReport:
    """One azimuth of a dataset."""

    azimuth: float  # degrees, as asked for
    asked: int  # subjects of which this view was wanted
    kept: int  # subjects of which it is in the dataset
    failed: dict[str, int]  # check -> images that it turned down, tries that were mended included
    # the filter that dropped an image, the first one in the order of CHECKS -> images; empty for
    # datasets from before it was noted
    dropped: dict[str, int] = field(default_factory=dict)
    frontalised: bool = False  # of the frontal views of portraits that were turned


def view_reports(infos: Iterable[SampleInfo]) -> list[ViewReport]:
    """A report an azimuth, in order, after one of the portraits that were frontalised, if any.
    Raises ValueError for subjects of another source."""
    asked: Counter[float] = Counter()
    kept: Counter[float] = Counter()
    failed: dict[float, Counter[str]] = {}
    dropped: dict[float, Counter[str]] = {}
    fronts = []
    for info in infos:
        provenance = info.provenance
        if not {"wanted", "views", "rejected"} <= provenance.keys():
            raise ValueError(
                f"subject {info.id} does not come from the source kontext: it has no record of "
                "its views"
            )
        here = [view["asked"]["azimuth"] for view in provenance["views"]]
        asked.update(view["azimuth"] for view in provenance["wanted"])
        kept.update(here)
        for view in provenance["rejected"]:
            failed.setdefault(view["asked"]["azimuth"], Counter()).update(view["failed"])
            dropped.setdefault(view["asked"]["azimuth"], Counter()).update(
                view.get("dropped_by", {})
            )
        if "frontalised" in provenance:
            fronts.append(provenance["frontalised"])
    return [
        *([_of_fronts(fronts)] if fronts else []),
        *(
            ViewReport(a, asked[a], kept[a], _ordered(failed.get(a)), _ordered(dropped.get(a)))
            for a in sorted(asked)
        ),
    ]


def is_balanced(reports: Iterable[ViewReport]) -> bool:
    """Whether every azimuth was kept equally often; frontalised portraits do not count, as all
    subjects have a front."""
    return len({report.kept for report in reports if not report.frontalised}) <= 1


def _of_fronts(fronts: list[dict[str, Any]]) -> ViewReport:
    """The report of frontal views that were made of portraits."""
    failed, dropped = (
        sum((Counter(front.get(key, {})) for front in fronts), Counter())
        for key in ("failed", "dropped_by")
    )
    kept = sum(front["kept"] for front in fronts)
    return ViewReport(0.0, len(fronts), kept, _ordered(failed), _ordered(dropped), True)


def _ordered(counts: Counter[str] | None) -> dict[str, int]:
    return {check: counts[check] for check in CHECKS if counts and counts[check]}
