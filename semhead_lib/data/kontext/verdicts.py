"""What is found out about a synthesised view: figures, limits, and a sentence for what fails."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from semhead_lib.data.kontext.framing import Frame
from semhead_lib.data.kontext.viewpoint import Viewpoint

SCORED = ("quality", "artefacts")  # filters by scores, where they are asked for
# in the order that the paper's filters are reported in, and then ours
CHECKS = (*SCORED, "view", "person", "one head", "inside", "size", "new", "background")


@dataclass(frozen=True)
class Limits:
    """What is still taken."""

    turned: float = (
        30.0  # degrees between the direction that is seen and the one that was asked for
    )
    strangers: float = (
        0.04  # share of other people who look more like the view than its own portrait does
    )
    likeness: float = 0.5  # cosine to the portrait, where there are too few others
    face: float = 0.6  # distance of dlib's identities, where both show a face; its author's limit
    cut: float = 0.03  # share of the upper borders that is not background
    size: float = 1.6  # times larger or smaller than heads are from that side
    copied: float = (
        0.97  # correlation with the portrait or its mirror image, for views from elsewhere
    )
    background: float = (
        0.12  # spread of the background's colours, and their distance from the portrait's; of 0..1
    )

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"the limit {name} must be positive, got {value}")


@dataclass(frozen=True)
class Check:
    """One look at a view."""

    name: str  # of CHECKS
    figure: float
    limit: float
    passed: bool
    reason: str  # why not; "" when passed


@dataclass(frozen=True)
class Verdict:
    """All looks at a view, and what was learnt of it."""

    checks: tuple[Check, ...]
    seen: Viewpoint  # from where
    by_face: bool  # the direction is a face's, not the network's
    mask: Tensor  # [S, S] uint8: the silhouette
    frame: Frame  # how the head sits in the image

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return [check.name for check in self.checks if not check.passed]

    @property
    def score(self) -> float:
        """How far from the limits, summed over the checks: of several that pass the highest is
        kept."""
        return sum(min((c.limit - c.figure) / c.limit, 1.0) for c in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Figures, limits and reasons, the direction and the frame."""
        checks = [{**asdict(c), "figure": round(c.figure, 4)} for c in self.checks]
        seen = {k: round(v, 3) for k, v in asdict(self.seen).items()}
        frame = {k: round(v, 4) for k, v in asdict(self.frame).items()}
        return {"checks": checks, "seen": seen, "by_face": self.by_face, "frame": frame}


@dataclass(frozen=True)
class Origin:
    """What a portrait's views are compared with."""

    image: Tensor  # [3, S, S] uint8: from the front, aligned
    feature: Tensor  # [D]
    identity: Any  # dlib's 128 numbers, or None where it finds no face
    background: Tensor  # [3]: mean colour, 0..1
    mask: Tensor  # [S, S] uint8
    frame: Frame
