"""What became of the views that were asked for: kept, failed, and by which check, of a whole
dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from semhead_lib.data.dataset.encoding import SampleInfo
from semhead_lib.data.kontext.quality import CHECKS


@dataclass(frozen=True)
class ViewReport:
    """One azimuth of a dataset."""

    azimuth: float  # degrees, as asked for
    asked: int  # subjects of which this view was wanted
    kept: int  # subjects of which it is in the dataset
    failed: dict[str, int]  # check -> images that it turned down, tries that were mended included


def view_reports(infos: Iterable[SampleInfo]) -> list[ViewReport]:
    """A report an azimuth, in order. Raises ValueError for subjects of another source."""
    asked: Counter[float] = Counter()
    kept: Counter[float] = Counter()
    failed: dict[float, Counter[str]] = {}
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
    return [
        ViewReport(
            a, asked[a], kept[a], {c: failed[a][c] for c in CHECKS if a in failed and failed[a][c]}
        )
        for a in sorted(asked)
    ]


def is_balanced(reports: Iterable[ViewReport]) -> bool:
    """Whether every azimuth was kept equally often."""
    return len({report.kept for report in reports}) <= 1
