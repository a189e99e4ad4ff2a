"""What was measured of one training, on the way and at its end: one file a measurement, so that
none is made twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from semhead_lib import old_names
from semhead_lib.atomic import write_atomically
from semhead_lib.conditioning.cameras import FRONT, condition_camera_name
from semhead_lib.evaluation.protocol import dumps
from semhead_lib.evaluation.result import Evaluation
from semhead_lib.files import read_bytes


@dataclass(frozen=True)
class Result:
    """One evaluation of one generator."""

    kimg: float  # thousands of real images it had been shown
    condition_camera: str  # that modes with a view are conditioned on (conditioning/cameras.py)
    evaluation: Evaluation


def measured(
    folder: Path | str,
    kimg: float,
    condition_camera: str | float,
    measure: Callable[[], Evaluation],
    features: str
    | None = None,  # identity of what makes the features of the distances; None: whatever made them
) -> Evaluation:
    """What `measure` finds, kept in `folder`: it is called only where no earlier call left a result
    in these features.

    Raises ValueError naming the file for a result that is damaged.
    """
    camera = condition_camera_name(condition_camera)
    path = Path(folder) / f"kimg-{kimg:09.3f}-camera-{camera}.json"
    if not path.is_file():
        path = _earlier(path, kimg, camera)
    if not path.is_file() or (features and _read(path).evaluation.features() != features):
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "kimg": kimg,
            "condition_camera": camera,
            "evaluation": measure().as_json(),
        }
        write_atomically(path, dumps(content).encode())
    return _read(path).evaluation


def read_results(folder: Path | str) -> list[Result]:
    """All results in a folder, by images shown, then condition camera. Raises ValueError naming a
    file that is damaged."""
    found = [_read(path) for path in sorted(Path(folder).glob("kimg-*.json"))]
    return sorted(found, key=lambda result: (result.kimg, result.condition_camera))


def _earlier(path: Path, kimg: float, camera: str) -> Path:
    """The file of an earlier version that holds the same, where there is one."""
    azimuth = "0" if camera == FRONT else camera
    earlier = path.with_name(f"kimg-{kimg:09.3f}-azimuth-{azimuth}.json")
    return earlier if earlier.is_file() else path


def _read(path: Path) -> Result:
    try:
        content = old_names.today(old_names.COLUMNS, json.loads(read_bytes(path)))
        camera = condition_camera_name(content["condition_camera"])
        evaluation = Evaluation.from_json(content["evaluation"])
        return Result(float(content["kimg"]), camera, evaluation)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path}: not a result ({type(error).__name__}: {error}); remove it to measure anew"
        ) from None
