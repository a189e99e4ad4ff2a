"""An editor that understands its instructions, and knows the truth: parametric heads in FLUX.1
Kontext's place.

It is told the portrait it was given by its pixels. Some of what it makes is wrong on purpose: see
FAULTS.
"""

from __future__ import annotations

from functools import cache, lru_cache

import torch
from torch import Tensor

from semhead_lib.cameras import orbit_cameras
from semhead_lib.data.kontext.prompts import (
    AZIMUTHS,
    ELEVATIONS,
    FRONT,
    RINGS,
    WORDINGS,
    View,
    frontal_instruction,
    instruction,
    views_of,
)

FAULTS = ("right", "another person", "another angle", "cut off", "copied")
ASKED = {
    instruction(View(a, e), w): View(a, e)
    for a in (*AZIMUTHS, *(view.azimuth for view in views_of(0, 32)))
    for e in (*ELEVATIONS, *RINGS)
    for w in range(len(WORDINGS))
} | {frontal_instruction(w): FRONT for w in range(len(WORDINGS))}
_OFF = (90.0, -90.0, 180.0, 60.0, -60.0)  # degrees that another angle is away


@cache
def source(seed: int):
    from semhead_lib.data.parametric.source import ParametricSource

    return ParametricSource(seed=seed, views_per_subject=1, channels=())


@lru_cache(16)  # of one person most views are asked for in turn
def caster(seed: int, person: int):
    from semhead_lib.data.parametric.cast import Caster

    return Caster(source(seed).scene(person), "cpu")


def cast(seed: int, person: int, side: int, *views: View) -> Tensor:  # [V, 3, S, S] uint8
    """A person from some sides, in neutral light: the frontal image's."""
    from semhead_lib.data.parametric import appearance

    cameras = orbit_cameras(
        torch.tensor([float(v.azimuth) for v in views]),
        torch.tensor([float(v.elevation) for v in views]),
    )
    return caster(seed, person).cast(cameras, side, appearance.neutral_light(), 2).images


class StandIn:
    """Person i of a seed turned around; `fault(person, view, seed)` names what is to go wrong."""

    licence = "CC0-1.0"

    def __init__(
        self, people: int, fault=None, seed: int = 4000, side: int = 128, turned: float = 0.0
    ) -> None:
        self.people, self.fault, self.seed, self.side = (
            people,
            fault or (lambda *_: "right"),
            seed,
            side,
        )
        self.portraits = [cast(seed, i, side, View(turned, 0))[0] for i in range(people)]
        self.asked: list[tuple[int, View, str]] = []  # person, view, what was wrong

    def describe(self):
        return {"editor": "stand-in", "seed": self.seed}

    def edit(self, images, words, seeds) -> Tensor:
        return torch.stack([self._one(*job) for job in zip(images, words, seeds, strict=True)])

    def _one(self, image: Tensor, words: str, seed: int) -> Tensor:
        # what is none of the portraits is the frontal view that was made of the last one
        known = [i for i, portrait in enumerate(self.portraits) if torch.equal(portrait, image)]
        person = known[0] if known else self.asked[-1][0]
        view = ASKED[words]
        fault = self.fault(person, view, seed)
        self.asked.append((person, view, fault))
        return wrong(self.seed, person, view, self.side, fault, seed, self.portraits[person])


def wrong(
    seed: int, person: int, view: View, side: int, fault: str, number: int, portrait: Tensor
) -> Tensor:
    """A person's view with one thing wrong; also a right one is a few degrees off, as editors are."""
    rng = torch.Generator().manual_seed(number)
    azimuth, elevation = (
        (torch.randn(2, generator=rng) * torch.tensor([6.0, 4.0])).clamp(-12, 12).tolist()
    )
    if fault == "another person":
        person += 1000 + int(torch.randint(1000, (1,), generator=rng))
    if fault == "another angle":
        azimuth += _OFF[int(torch.randint(len(_OFF), (1,), generator=rng))]
    if fault == "copied":
        return portrait.flip(2) if number % 2 else portrait
    seen = View(
        (view.azimuth + azimuth + 180) % 360 - 180, max(min(view.elevation + elevation, 44), -29)
    )
    image = cast(seed, person, side, seen)[0]
    if fault == "cut off":
        shift = (side // 3, 0) if number % 2 else (0, (1 if number % 4 < 2 else -1) * side // 3)
        moved = torch.full_like(image, 212)
        moved[:, : side - shift[0]] = image[:, shift[0] :]
        image = moved.roll(shift[1], 2)
        if shift[1]:
            edge = slice(0, shift[1]) if shift[1] > 0 else slice(shift[1], None)
            image[:, :, edge] = 212
    return image
