"""Prompts that make an image editor show a person from another side: a table of sides, and three
ways to say each.

Left and right are the picture's: at a positive azimuth the camera stands to the subject's left, and
the nose points to the picture's left. Numbers alone are followed loosely, so each side is also
described by what is seen of it.
"""

from __future__ import annotations

from dataclasses import dataclass

AZIMUTHS = (
    0,
    30,
    60,
    90,
    120,
    150,
    180,
    -150,
    -120,
    -90,
    -60,
    -30,
)  # degrees, even around the head
ELEVATIONS = (0, 20, 0, -15)  # degrees, in turn
# of more than 12 views: each elevation has a ring of views, even around the head, and each ring is
# turned by one step of azimuth from the one before
RINGS = (0, 20, -15, 40)
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # of views
KEEP = (
    "Keep the same person, the same hairstyle and hair colour, the same clothes, glasses and "
    "jewellery, the same soft "
    "light and the same plain background. The whole head stays inside the picture, at the same "
    "size."
)
WORDINGS = (
    "Move the camera around this person{angle}: {seen}{height}. {keep}",
    "Show the same person photographed{angle}: {seen}{height}. {keep}",
    "The same person on a turntable, turned away from the camera{angle}: {seen}{height}. {keep}",
)
FRONTAL_WORDINGS = (  # of the standard frontal view of a head that is turned
    "Turn this person to face the camera: a portrait straight from the front, head upright, both "
    "ears equally visible, eyes looking into the camera. {keep}",
    "Show the same person photographed straight from the front: the face symmetric in the picture, "
    "chin level, eyes looking into the camera. {keep}",
    "The same person in a passport photograph: the whole face from the front, head upright and in "
    "the middle of the picture. {keep}",
)
# up to this many degrees from the front: what is seen; {here} is the side that the nose points to
SIDES = (
    (10, "the face straight from the front"),
    (
        25,
        "the face turned slightly to the {here} of the picture, both eyes and both cheeks visible",
    ),
    (
        45,
        "a three-quarter view of the face, the nose pointing to the {here} of the picture, both "
        "eyes visible",
    ),
    (
        75,
        "the head almost in profile, the nose pointing to the {here} of the picture, the far eye "
        "hardly visible",
    ),
    (
        105,
        "the head in exact profile, the nose pointing to the {here} edge of the picture, one ear "
        "in the middle",
    ),
    (
        135,
        "the head from the side and behind, facing away to the {here}, ear and cheek visible, no "
        "eyes",
    ),
    (
        170,
        "the back of the head turned slightly to the {here}, mostly hair, only the edge of a "
        "cheek visible",
    ),
    (180, "the back of the head from directly behind, only hair and nape, no face at all"),
)


@dataclass(frozen=True)
class View:
    """Where a view is to be seen from, degrees: azimuth in (-180, 180], elevation positive
    upwards."""

    azimuth: float
    elevation: float


FRONT = View(0, 0)


def views_of(index: int, count: int = len(AZIMUTHS)) -> list[View]:
    """The views of subject `index`, the front first: even in azimuth for every subject, and in
    elevation over subjects; more than 12 also within a subject, in `RINGS`.

    Raises ValueError for a count that is none of `COUNTS`.

    >>> [v.azimuth for v in views_of(0, 4)], [v.elevation for v in views_of(1, 4)]
    ([0, 90, 180, -90], [20, 0, -15, 0])
    >>> [v.azimuth for v in views_of(0, 32) if v.elevation == 20]
    [11.25, 56.25, 101.25, 146.25, -168.75, -123.75, -78.75, -33.75]
    """
    if count not in COUNTS:
        raise ValueError(f"views must be one of {', '.join(map(str, COUNTS))}, got {count}")
    azimuths: tuple[float, ...]
    if len(AZIMUTHS) % count == 0:
        azimuths = AZIMUTHS[:: len(AZIMUTHS) // count]
    else:
        around = (360 * i / count for i in range(count))
        azimuths = tuple(a if a <= 180 else a - 360 for a in around)
    heights = ELEVATIONS if count <= len(AZIMUTHS) else RINGS
    return [View(a, heights[(index + i) % len(heights)]) for i, a in enumerate(azimuths)]


def instruction(view: View, wording: int = 0) -> str:
    """The words for a view; wordings are numbered on from 0, round and round.

    >>> instruction(View(90, 20)).split(". ")[0]  # doctest: +NORMALIZE_WHITESPACE
    'Move the camera around this person by 90 degrees: the head in exact profile, the nose pointing
    to the left edge of the picture, one ear in the middle, seen from slightly above'
    """
    away = abs(view.azimuth)
    seen = next(words for most, words in SIDES if away <= most + 1e-6)
    angle = "" if away <= SIDES[0][0] else f" by {away:.0f} degrees"
    height = ""
    if abs(view.elevation) > 5:
        how = "" if abs(view.elevation) > 30 else "slightly "
        height = f", seen from {how}{'above' if view.elevation > 0 else 'below'}"
    seen = seen.format(here="left" if view.azimuth > 0 else "right")
    return WORDINGS[wording % len(WORDINGS)].format(
        angle=angle, seen=seen, height=height, keep=KEEP
    )


def frontal_instruction(wording: int = 0) -> str:
    """The words for the standard frontal view of a photograph, numbered on in the same way."""
    return FRONTAL_WORDINGS[wording % len(FRONTAL_WORDINGS)].format(keep=KEEP)
