"""What was measured of one training, on the way and at its end: one file a measurement, so that
none is made twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from semhead_lib import old_names
from semhead_lib.atomic import write_atomically
from semhead_lib.evaluation.protocol import dumps
from semhead_lib.evaluation.report import Evaluation


@dataclass(frozen=True)
class Result:
    """One evaluation of one generator."""

    kimg: float  # thousands of real images it had been shown
    condition_azimuth: float  # degrees, of the camera that modes with a view are conditioned on
    evaluation: Evaluation


def measured(
    folder: Path | str,
    kimg: float,
    condition_azimuth: float,
    measure: Callable[[], Evaluation],
    features: str
    | None = None,  # identity of what makes the features of the distances; None: whatever made them
) -> Evaluation:
    """What `measure` finds, kept in `folder`: it is called only where no earlier call left a result
    in these features.

    Raises ValueError naming the file for a result that is damaged.
    """
    path = Path(folder) / f"kimg-{kimg:09.3f}-azimuth-{condition_azimuth:g}.json"
    if not path.is_file() or (features and _read(path).evaluation.features() != features):
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "kimg": kimg,
            "condition_azimuth": condition_azimuth,
            "evaluation": measure().as_json(),
        }
        write_atomically(path, dumps(content).encode())
    return _read(path).evaluation


def read_results(folder: Path | str) -> list[Result]:
    """All results in a folder, by images shown, then azimuth. Raises ValueError naming a file that
    is damaged."""
    found = [_read(path) for path in sorted(Path(folder).glob("kimg-*.json"))]
    return sorted(found, key=lambda result: (result.kimg, result.condition_azimuth))


def _read(path: Path) -> Result:
    try:
        content = old_names.today(old_names.COLUMNS, json.loads(path.read_text(encoding="utf-8")))
        evaluation = Evaluation.from_json(content["evaluation"])
        return Result(float(content["kimg"]), float(content["condition_azimuth"]), evaluation)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not a result ({type(error).__name__}: {error}); remove it to measure anew"
        ) from None
