"""Verdicts on views with known faults, and how often they are right."""

from __future__ import annotations

from collections import defaultdict

import torch
from stand_in import FAULTS, StandIn, wrong

from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.data.kontext.prompts import views_of
from semhead_lib.data.kontext.quality import Inspector, Verdict

FINDS = {  # the checks that are meant to find a fault
    "another person": {"person"},
    "another angle": {"view"},
    "cut off": {"inside", "size"},
    "copied": {"new", "view"},
}


def judged(people: int, side: int, views: int = 6, strangers: int = 48) -> dict[str, list[Verdict]]:
    """Verdicts of all views of all people but the frontal one, right and wrong in each way."""
    clip = SemanticEncoder.load("headclip-64", device="cpu")
    stand_in, verdicts = StandIn(people, side=side), defaultdict(list)
    inspector = Inspector(
        clip.images, others=clip.images(StandIn(strangers, seed=5000, side=64).portraits)
    )
    for person, portrait in enumerate(stand_in.portraits):
        origin = inspector.origin(portrait)
        wanted = [v for v in views_of(person, views) if v.azimuth]
        for fault in FAULTS:
            numbers = [100 * person + i for i in range(len(wanted))]
            made = [
                wrong(4000, person, v, side, fault, n, portrait)
                for v, n in zip(wanted, numbers, strict=True)
            ]
            verdicts[fault] += inspector(torch.stack(made), wanted, origin)
    return verdicts


def table(verdicts: dict[str, list[Verdict]]) -> dict[str, dict[str, float]]:
    """Of each fault: views, precision and recall of its checks, and the share that does not pass
    all checks."""
    right, found = verdicts["right"], {}
    found["right"] = {"views": len(right), "turned down": _share(not v.passed for v in right)}
    for fault, checks in FINDS.items():
        hits = sum(bool(checks & set(v.failed)) for v in verdicts[fault])
        false = sum(bool(checks & set(v.failed)) for v in right)
        found[fault] = {
            "views": len(verdicts[fault]),
            "precision": round(hits / max(hits + false, 1), 3),
            "recall": round(hits / len(verdicts[fault]), 3),
            "turned down": _share(not v.passed for v in verdicts[fault]),
        }
    return found


def _share(flags) -> float:
    flags = list(flags)
    return round(sum(flags) / len(flags), 3)
