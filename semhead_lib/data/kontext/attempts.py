"""Views asked of an editor: several seeds at a time, in other words where all failed, and the best
that passes its checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from semhead_lib.cameras import orbit_cameras
from semhead_lib.data.kontext.editor import Editor
from semhead_lib.data.kontext.framing import reframed
from semhead_lib.data.kontext.prompts import WORDINGS, View
from semhead_lib.data.kontext.quality import Inspector
from semhead_lib.data.kontext.verdicts import Origin, Verdict

_ASKED_SPREAD, _FACE_SPREAD, _NETWORK_SPREAD = (
    15.0,
    4.0,
    10.0,
)  # degrees, how far each source of an angle is off


@dataclass(frozen=True)
class Made:
    """A view that passed."""

    image: Tensor  # [3, S, S] uint8, as the editor made it
    verdict: Verdict
    wording: int
    seed: int

    def camera(self, asked: View) -> Tensor:  # [25]
        """The camera: between the direction that was asked for and the one that is seen, by how far
        each is usually off; the less certain what is seen, the nearer to what was asked for."""
        seen, by_face = self.verdict.seen, self.verdict.by_face
        spread = _FACE_SPREAD if by_face else _NETWORK_SPREAD / max(seen.certainty, 0.1)
        share = _ASKED_SPREAD**2 / (_ASKED_SPREAD**2 + spread**2)
        turned = (seen.azimuth - asked.azimuth + 180.0) % 360.0 - 180.0
        azimuth = asked.azimuth + share * turned
        elevation = asked.elevation + share * (seen.elevation - asked.elevation)
        return orbit_cameras(torch.tensor([azimuth]), torch.tensor([elevation]))[0]

    @property
    def reframed(self) -> tuple[Tensor, Tensor]:  # [3, S, S], [S, S] uint8
        """Image and mask as the view's camera sees them."""
        both = (self.image, self.verdict.mask[None])
        image, mask = (reframed(x, self.verdict.frame) for x in both)
        return image, mask[0]

    def as_json(self) -> dict[str, Any]:
        return {**self.verdict.as_json(), "wording": self.wording, "seed": self.seed}


@dataclass(frozen=True)
class Found:
    """What came of the views that were wanted."""

    best: dict[View, Made]  # of each that passed
    # of each that failed at least once: how often which checks failed, and which one dropped it,
    # the first of those in the order of `quality.CHECKS`
    rejected: list[dict[str, Any]]


def ask(
    editor: Editor,
    inspector: Inspector,
    origin: Origin,  # what the views are made from
    wanted: Sequence[View],
    words: Callable[[View, int], str],  # of a view at an attempt
    seed: Callable[[int, int], int],  # of an attempt and a place among its images
    *,
    tries: int,
    attempts: int,
) -> Found:
    """The best image of each view that passed, and what was wrong with the others."""
    best: dict[View, Made] = {}
    failed: dict[View, Counter[str]] = {view: Counter() for view in wanted}
    dropped: dict[View, Counter[str]] = {view: Counter() for view in wanted}
    for attempt in range(attempts):
        left = [view for view in wanted if view not in best for _ in range(tries)]
        if not left:
            break
        seeds = [seed(attempt, i) for i in range(len(left))]
        asked = [words(view, attempt) for view in left]
        made = editor.edit([origin.image] * len(left), asked, seeds)
        verdicts = inspector(made, left, origin, asked)
        for view, image, verdict, number in zip(left, made, verdicts, seeds, strict=True):
            failed[view].update(verdict.failed)
            dropped[view].update(verdict.failed[:1])
            if verdict.passed and (view not in best or verdict.score > best[view].verdict.score):
                best[view] = Made(image, verdict, attempt % len(WORDINGS), number)
    rejected = [
        {
            "asked": asdict(view),
            "kept": view in best,
            "failed": dict(count),
            "dropped_by": dict(dropped[view]),
        }
        for view, count in failed.items()
        if count
    ]
    return Found({view: best[view] for view in wanted if view in best}, rejected)
