"""FLUX.1 Kontext as a source of subjects: portraits turned around, looked at, and asked for again
where that failed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semhead_lib.cameras import Camera, orbit_cameras
from semhead_lib.data.kontext.editor import Editor, KontextEditor
from semhead_lib.data.kontext.framing import reframed
from semhead_lib.data.kontext.prompts import WORDINGS, View, instruction, views_of
from semhead_lib.data.kontext.quality import Encode, Inspector, Limits, Origin, Verdict
from semhead_lib.data.kontext.settings import Choice, KontextSettings
from semhead_lib.data.kontext.viewpoint import Viewpoint
from semhead_lib.data.portraits.crop import resized
from semhead_lib.data.portraits.photos import SUFFIXES, read_photo
from semhead_lib.data.subjects import Subject

BALANCES = ("complete", "any")
_ASKED_SPREAD, _FACE_SPREAD, _NETWORK_SPREAD = (
    15.0,
    4.0,
    10.0,
)  # degrees, how far each source of an angle is off
_STRANGERS = 256  # other portraits that a view is compared with


@dataclass(frozen=True)
class KontextSource:
    """Subjects of the portraits in a folder, in the order of their names (`inputs.choose_portraits`
    writes such).

    Views that pass are kept with the direction they were found to show, at the size and place that
    heads have from there. With balance "complete" a subject of which a view failed at last keeps
    its frontal view alone, so that no side has more images than another; with "any" it keeps what
    passed. Either way every portrait is a subject, and what failed, and why, is in its provenance.
    """

    portraits: str  # folder of frontal crops
    kontext: KontextSettings = field(default_factory=KontextSettings)
    views_per_subject: int = 12  # around the head, the frontal one included
    resolution: int = 512  # pixels a side that are stored
    tries: int = Choice.tries  # seeds for each view at a time: the best is kept
    attempts: int = Choice.attempts  # times that what failed is asked for again, in other words
    balance: str = Choice.balance
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    encode: Callable[[], Encode] | None = (
        None  # makes what makes features: called where they are needed first
    )
    encoder: str = ""  # its identity
    input_terms: str = Choice.input_terms  # licence of the portraits
    editor: Editor | None = None  # in FLUX.1 Kontext's place
    name: str = "kontext"

    def __post_init__(self) -> None:
        views_of(0, self.views_per_subject)
        for key, low in (("resolution", 32), ("tries", 1), ("attempts", 1), ("seed", 0)):
            if getattr(self, key) < low:
                raise ValueError(f"{key} must be at least {low}, got {getattr(self, key)}")
        if self.balance not in BALANCES:
            raise ValueError(f"balance must be one of {', '.join(BALANCES)}, got {self.balance!r}")
        self.paths  # noqa: B018 - a folder that is not there is said at once

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def licence(self) -> str:
        """Terms of the views and of the portraits they were made from."""
        return f"{self._editor.licence} Portraits: {self.input_terms}"

    @cached_property
    def paths(self) -> list[Path]:
        """The portraits. Raises FileNotFoundError, or ValueError when there are none."""
        folder = Path(self.portraits)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: no such folder; 'semhead data portraits' makes one of photographs"
            )
        found = sorted(
            p
            for p in folder.iterdir()
            if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
        )
        if not found:
            raise ValueError(f"{folder}: no portraits in it ({', '.join(SUFFIXES)})")
        return found

    def describe(self) -> dict[str, Any]:
        """All settings that change what is made, as JSON."""
        files = "\n".join(f"{p.name} {p.stat().st_size}" for p in self.paths)
        names = hashlib.sha256(files.encode()).hexdigest()[:16]
        own = ("views_per_subject", "resolution", "tries", "attempts", "balance", "seed", "encoder")
        return {name: getattr(self, name) for name in own} | {
            "portraits": names,
            "input terms": self.input_terms,
            "limits": asdict(self.limits),
            "editor": self._editor.describe(),
        }

    def subject(self, index: int) -> Subject:
        """Portrait `index`, turned around."""
        path = self.paths[index]
        portrait = _square(read_photo(path), path)
        origin = self._inspector.origin(portrait)
        wanted = [
            view for view in views_of(index, self.views_per_subject) if view.azimuth
        ]  # the portrait is the front
        kept, failed = self._turn(portrait, origin, wanted, index)
        complete = len(kept) == len(wanted)
        used = kept if complete or self.balance == "any" else {}
        verdicts = [verdict for _, verdict, _ in used.values()]
        images = [
            portrait,
            *(reframed(image, verdict.frame) for image, verdict, _ in used.values()),
        ]
        masks = [
            origin.mask,
            *(reframed(verdict.mask[None], verdict.frame)[0] for verdict in verdicts),
        ]
        cameras = [
            Camera.orbit(0.0, 0.0).label,
            *(refined(v, view) for view, v in zip(used, verdicts, strict=True)),
        ]
        size = (self.resolution, self.resolution)
        kept = [
            {"asked": asdict(view), **verdict.as_json(), **how}
            for view, (_, verdict, how) in used.items()
        ]
        return Subject(
            id=f"k{self.seed}-{index:07d}",
            views=torch.stack([resized(p, size) for p in images]),
            cameras=torch.stack(cameras).float(),
            masks=torch.stack([resized(m[None], size)[0] for m in masks]),
            frontal=resized(portrait, size),
            attributes={"complete": complete, "views kept": len(kept), "views asked": len(wanted)},
            provenance={
                "source": self.name,
                "portrait": path.name,
                "seed": self.seed,
                "index": index,
                "wanted": [asdict(view) for view in wanted],
                "views": kept,
                "rejected": failed,
            },
            licence=self.licence,
        )

    def measured_by(self) -> tuple[Editor, Tensor]:
        """What makes the images, and a portrait, for an estimate of the time."""
        return self._editor, _square(read_photo(self.paths[0]), self.paths[0])

    def _turn(
        self, portrait: Tensor, origin: Origin, wanted: Sequence[View], index: int
    ) -> tuple[dict[View, tuple[Tensor, Verdict, dict]], list[dict[str, Any]]]:
        """The best image of each view that passed, and for each view how often which check failed."""
        best: dict[View, tuple[Tensor, Verdict, dict]] = {}
        failures: dict[View, Counter[str]] = {view: Counter() for view in wanted}
        for attempt in range(self.attempts):
            left = [view for view in wanted if view not in best for _ in range(self.tries)]
            if not left:
                break
            seeds = [_seed(self.seed, index, attempt, i) for i in range(len(left))]
            words = [instruction(view, attempt) for view in left]
            made = self._editor.edit([portrait] * len(left), words, seeds)
            verdicts = self._inspector(made, left, origin)
            for view, image, verdict, seed in zip(left, made, verdicts, seeds, strict=True):
                failures[view].update(verdict.failed)
                if verdict.passed and (view not in best or verdict.score > best[view][1].score):
                    best[view] = image, verdict, {"wording": attempt % len(WORDINGS), "seed": seed}
        rejected = [
            {"asked": asdict(view), "kept": view in best, "failed": dict(count)}
            for view, count in failures.items()
            if count
        ]
        return {view: best[view] for view in wanted if view in best}, rejected

    @cached_property
    def _editor(self) -> Editor:
        return self.editor or KontextEditor(self.kontext)

    @cached_property
    def _inspector(self) -> Inspector:
        if self.encode is None:
            raise ValueError("views are judged by features: encode is needed")
        encode = self.encode()
        rng = np.random.default_rng(self.seed)
        chosen = rng.permutation(len(self.paths))[:_STRANGERS]
        others = (
            encode([_square(read_photo(self.paths[i]), self.paths[i]) for i in chosen])
            if len(chosen) > 20
            else None
        )
        return Inspector(encode, self.limits, others)


def refined(verdict: Verdict, asked: View) -> Tensor:  # [25]
    """The camera of a view: between the direction that was asked for and the one that is seen, by
    how far each is usually off; the less certain what is seen, the nearer to what was asked for."""
    spread = _FACE_SPREAD if verdict.by_face else _NETWORK_SPREAD / max(verdict.seen.certainty, 0.1)
    share = _ASKED_SPREAD**2 / (_ASKED_SPREAD**2 + spread**2)
    azimuth = asked.azimuth + share * _turned(verdict.seen, asked)
    elevation = asked.elevation + share * (verdict.seen.elevation - asked.elevation)
    return orbit_cameras(torch.tensor([azimuth]), torch.tensor([elevation]))[0]


def _turned(seen: Viewpoint, asked: View) -> float:
    """Degrees of azimuth from what was asked for to what is seen, -180 to 180."""
    return (seen.azimuth - asked.azimuth + 180.0) % 360.0 - 180.0


def _square(image: Tensor, path: Path) -> Tensor:
    if image.shape[1] != image.shape[2]:
        height, width = image.shape[1:]
        raise ValueError(
            f"{path}: portraits are square crops ('semhead data portraits'), got {width} x "
            f"{height} pixels"
        )
    return image


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
