"""Views of one subject that contradict each other, as those of an image editor do: in each view the
expression, the colour of the hair and the light drift, each on its own, by a known amount.

The frontal image, from which the semantic condition is computed, does not drift. What a view drifts
by depends on the seed, the subject and the view alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from semhead_lib.data.parametric.attributes import EXPRESSIONS, Attributes
from semhead_lib.data.parametric.scene import Light

DEGREES = 60.0  # that the key light turns by for each stop of brightness
WARMTH = 0.5  # that it gets warmer or colder by for each stop


@dataclass(frozen=True)
class Amounts:
    """Standard deviations."""

    expression: float  # of the strength of each expression; 1 is a full smile
    hair: float  # of the hair's R, G and B, levels of 0 to 255
    light: float  # of the brightness, stops; direction and warmth drift along


@dataclass(frozen=True)
class Drift:
    """What one view has otherwise than its subject."""

    expression: dict[str, float]  # added to the strength of each expression
    hair: tuple[float, float, float]  # added to the hair's display RGB, levels of 0 to 255
    stops: float  # brightness of all light
    degrees: float  # of the key light's azimuth
    warmth: float  # of the key light

    @classmethod
    def draw(cls, rng: np.random.Generator, amounts: Amounts) -> Drift:
        """The drift of a view."""
        names = [name for name in EXPRESSIONS if name != "neutral"]
        strengths = rng.normal(0.0, 1.0, len(names)) * amounts.expression
        hair = rng.normal(0.0, 1.0, 3) * amounts.hair
        stops, turn, warmth = rng.normal(0.0, 1.0, 3) * amounts.light
        return cls(
            {name: round(float(x), 4) for name, x in zip(names, strengths, strict=True)},
            (round(float(hair[0]), 2), round(float(hair[1]), 2), round(float(hair[2]), 2)),
            round(float(stops), 4),
            round(float(DEGREES * turn), 2),
            round(float(WARMTH * warmth), 4),
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "hair": list(self.hair)}

    def light(self, usual: Light) -> Light:
        """That light at another brightness; its direction and warmth are the subject's matter."""
        times = 2.0**self.stops
        changed = {name: getattr(usual, name) * times for name in ("key", "fill", "sky", "ground")}
        return replace(usual, **changed)


@dataclass(frozen=True)
class Drifted(Attributes):
    """A subject as one view shows it."""

    drift: Drift

    @classmethod
    def of(cls, who: Attributes, drift: Drift) -> Drifted:
        known = {f.name: getattr(who, f.name) for f in fields(Attributes)}
        known["light_azimuth"] += drift.degrees
        known["light_warmth"] += drift.warmth
        return cls(**known, drift=drift)

    def strengths(self) -> dict[str, float]:
        own = self.usual_strengths()
        moved = {name: own.get(name, 0.0) + x for name, x in self.drift.expression.items()}
        return {name: float(np.clip(x, 0.0, 1.0)) for name, x in moved.items()}

    def hair_shift(self) -> tuple[float, float, float]:
        return self.drift.hair
