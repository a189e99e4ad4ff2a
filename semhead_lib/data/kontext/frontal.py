"""What the views of a subject are made from: its portrait, or a frontal view of one that is turned."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from torch import Tensor

from semhead_lib.data.kontext.settings import CHOSEN
from semhead_lib.data.kontext.verdicts import Origin
from semhead_lib.files import read_rows


@dataclass(frozen=True)
class Front:
    """What the views of a subject are made from."""

    origin: Origin
    camera: Tensor  # [25] of its image
    is_frontal: bool  # views can be asked for
    record: dict[str, Any] | None = None  # of its making, where it was made


def portrait_angles(folder: Path | str) -> dict[str, tuple[float, float]]:
    """Azimuth and elevation, degrees, of the portraits that the folder's portraits.csv knows; none
    without one. Raises ValueError naming it when it is damaged."""
    path = Path(folder) / CHOSEN
    rows = [row for row in read_rows(path) if row.get("portrait")] if path.is_file() else []
    try:
        found = {row["portrait"]: (float(row["azimuth"]), float(row["elevation"])) for row in rows}
        if wrong := [name for name, angles in found.items() if not all(map(isfinite, angles))]:
            raise ValueError(f"{wrong[0]} has {found[wrong[0]]}")
        return found
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: expected azimuth and elevation of every portrait: {error!r}"
        ) from None
