"""FLUX.1 Kontext as a source of subjects: portraits turned around, looked at, and asked for again
where that failed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semhead_lib.cameras import Camera
from semhead_lib.data.kontext.attempts import Found, ask
from semhead_lib.data.kontext.editor import Editor, KontextEditor
from semhead_lib.data.kontext.filters import CLIP, NONE, Filter, Score, is_plug_in, load_score
from semhead_lib.data.kontext.frontal import Front, portrait_angles
from semhead_lib.data.kontext.prompts import (
    FRONT,
    View,
    frontal_instruction,
    instruction,
    views_of,
)
from semhead_lib.data.kontext.quality import (
    SCORED,
    Encode,
    Inspector,
    Limits,
    Origin,
)
from semhead_lib.data.kontext.settings import Choice, KontextSettings
from semhead_lib.data.portraits.crop import resized
from semhead_lib.data.portraits.photos import SUFFIXES, read_photo
from semhead_lib.data.subjects import Subject
from semhead_lib.settings import check

_STRANGERS = 256  # other portraits that a view is compared with
_FRONTAL = Camera.orbit(0.0, 0.0).label


@dataclass(frozen=True)
class KontextSource:
    """Subjects of the portraits in a folder, in the order of their names (`inputs.choose_portraits`
    writes such).

    A portrait that is turned, by the folder's portraits.csv, is first made a frontal view of
    (`frontalise`), which takes its place. Where that fails, the subject has its photograph alone,
    with the camera that this was taken from.

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
    frontalise: str = Choice.frontalise  # which portraits are first made a frontal view of
    frontal_within: float = Choice.frontal_within  # degrees beyond which a portrait is turned
    quality: str = Choice.quality  # filters of views by a score (`filters`), and the least scores
    quality_least: float = Choice.quality_least
    artefacts: str = Choice.artefacts
    artefacts_least: float = Choice.artefacts_least
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    encode: Callable[[], Encode] | None = (
        None  # makes what makes features: called where they are needed first
    )
    encoder: str = ""  # its identity
    clip: Callable[[str], Score] | None = None  # makes the score of a filter that is "clip"
    input_terms: str = Choice.input_terms  # licence of the portraits
    editor: Editor | None = None  # in FLUX.1 Kontext's place
    name: str = "kontext"

    def __post_init__(self) -> None:
        views_of(0, self.views_per_subject)
        for key, low in (("resolution", 32), ("seed", 0)):
            if getattr(self, key) < low:
                raise ValueError(f"{key} must be at least {low}, got {getattr(self, key)}")
        check(Choice(**{f.name: getattr(self, f.name) for f in fields(Choice)}))
        self.paths  # noqa: B018 - a folder that is not there is said at once
        for name in SCORED:
            if is_plug_in(getattr(self, name)):
                load_score(name, getattr(self, name))
        if self._turned and self.frontalise == "none":
            raise ValueError(
                f"{self.portraits}: {len(self._turned)} of {len(self)} portraits are turned by "
                f"more than {self.frontal_within:g} degrees, {self._turned[0]} the first of them: "
                "they need frontalise=turned, or 'semhead data portraits ... turned=0', which "
                "leaves them out"
            )

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
        own += tuple(
            key for name in SCORED if getattr(self, name) != NONE for key in (name, f"{name}_least")
        )
        frontalised = {}
        if self.frontalised:
            turned = hashlib.sha256("\n".join(self._turned).encode()).hexdigest()[:16]
            own += ("frontalise", "frontal_within")
            frontalised = {"turned": turned}
        return {name: getattr(self, name) for name in own} | {
            "portraits": names,
            "input terms": self.input_terms,
            "limits": asdict(self.limits),
            "editor": self._editor.describe(),
            **frontalised,
        }

    def subject(self, index: int) -> Subject:
        """Portrait `index`, turned around."""
        path = self.paths[index]
        front = self._front(_square(read_photo(path), path), path, index)
        wanted = views_of(index, self.views_per_subject)[1:]  # the portrait is the front
        found = Found({}, [])
        if front.is_frontal:
            found = self._ask(front.origin, wanted, instruction, index)
        complete = front.is_frontal and len(found.best) == len(wanted)
        used = found.best if complete or self.balance == "any" else {}
        seen = [made.reframed for made in used.values()]
        cameras = [front.camera, *(made.camera(view) for view, made in used.items())]
        size = (self.resolution, self.resolution)
        return Subject(
            id=f"k{self.seed}-{index:07d}",
            views=torch.stack(
                [resized(p, size) for p in (front.origin.image, *(image for image, _ in seen))]
            ),
            cameras=torch.stack(cameras).float(),
            masks=torch.stack(
                [resized(m[None], size)[0] for m in (front.origin.mask, *(m for _, m in seen))]
            ),
            frontal=resized(front.origin.image, size),
            attributes={"complete": complete, "views kept": len(used), "views asked": len(wanted)},
            provenance={
                "source": self.name,
                "portrait": path.name,
                "seed": self.seed,
                "index": index,
                "wanted": [asdict(view) for view in wanted],
                "views": [{"asked": asdict(view), **m.as_json()} for view, m in used.items()],
                "rejected": found.rejected,
                **({} if front.record is None else {"frontalised": front.record}),
            },
            licence=self.licence,
        )

    @property
    def frontalised(self) -> float:
        """The share of portraits that a frontal view is made of."""
        count = {"none": 0, "all": len(self), "turned": len(self._turned)}
        return count[self.frontalise] / len(self)

    def measured_by(self) -> tuple[Editor, Tensor]:
        """What makes the images, and a portrait, for an estimate of the time."""
        return self._editor, _square(read_photo(self.paths[0]), self.paths[0])

    def _front(self, photo: Tensor, path: Path, index: int) -> Front:
        """What the views of a portrait are made from: itself, or the frontal view of it."""
        turned = path.name in self._turned
        if not turned and self.frontalise != "all":
            return Front(self._inspector.origin(photo), _FRONTAL, True)
        azimuth, elevation = self._angles.get(path.name, (0.0, 0.0))
        camera = Camera.orbit(azimuth, elevation).label if turned else _FRONTAL
        origin = self._inspector.origin(photo, camera)
        found = self._ask(origin, [FRONT], lambda _, a: frontal_instruction(a), index, 1)
        record = {"photograph": {"azimuth": azimuth, "elevation": elevation}}
        record |= found.rejected[0] if found.rejected else {"asked": asdict(FRONT), "kept": True}
        if FRONT not in found.best:
            return Front(origin, camera, not turned, record)
        made = found.best[FRONT]
        new = self._inspector.origin(made.reframed[0])
        return Front(new, made.camera(FRONT), True, record | made.as_json())

    def _ask(
        self,
        origin: Origin,
        wanted: Sequence[View],
        words: Callable[[View, int], str],
        index: int,
        *stage: int,  # what else the seeds depend on
    ) -> Found:
        return ask(
            self._editor,
            self._inspector,
            origin,
            wanted,
            words,
            lambda attempt, i: _seed(self.seed, index, attempt, i, *stage),
            tries=self.tries,
            attempts=self.attempts,
        )

    @cached_property
    def _angles(self) -> dict[str, tuple[float, float]]:
        return portrait_angles(self.portraits)

    @cached_property
    def _turned(self) -> list[str]:
        """Portraits that are not frontal, in order."""
        return [
            p.name
            for p in self.paths
            if max(map(abs, self._angles.get(p.name, (0.0, 0.0)))) > self.frontal_within
        ]

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
        return Inspector(encode, self.limits, others, self._filters)

    @property
    def _filters(self) -> list[Filter]:
        """Those that score views, in order."""
        filters = []
        for name in SCORED:
            function, least = getattr(self, name), getattr(self, f"{name}_least")
            if function == CLIP and self.clip is None:
                raise ValueError(f"{name}=clip needs an encoder of images and texts (clip)")
            if function == CLIP and self.clip is not None:
                filters.append(Filter(name, function, least, self.clip(name)))
            elif function != NONE:
                filters.append(Filter(name, function, least, load_score(name, function)))
        return filters


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
