"""Who a parametric subject is, as one row of numbers: everything that is known, for what learns
from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from semhead_lib.data.parametric import attributes as tables

_CATEGORIES = {
    "gender": tables.GENDERS,
    "eye_colour": (*tables.EYE_COLOURS,),
    "hair_colour": (*tables.HAIR_COLOURS,),
    "hair_style": (*tables.HAIR_STYLES,),
    "hair_texture": (*tables.HAIR_TEXTURES,),
    "parting": ("none", *tables.PARTINGS),
    "facial_hair": (*tables.FACIAL_HAIR,),
    "glasses": (*tables.GLASSES,),
    "hat": (*tables.HATS,),
    "hat_colour": (*tables.CLOTH_COLOURS,),
    "earrings": (*tables.EARRINGS,),
    "earring_metal": tables.METALS,
    "clothes": (*tables.CLOTHES,),
    "cloth_colour": (*tables.CLOTH_COLOURS,),
    "expression": (*tables.EXPRESSIONS,),
}
_RANGES = {  # brought to [-1, 1]
    "age": tables.AGE_RANGE,
    "build": tables.BUILD_RANGE,
    "skin_tone": (0, 1),
    "undertone": (-1, 1),
    "freckles": (0, 1),
    "hair_length": (0, 1),
    "hair_thickness": (0, 1),
    "fringe": (0, 1),
    "receding": (0, 1),
    "brow_thickness": (0, 1),
    "lip_tint": (0, 1),
    "expression_strength": (0.6, 1),
    "light_azimuth": (-110, 110),
    "light_elevation": (15, 65),
    "light_warmth": (-1, 1),
    "light_contrast": (0.2, 1),
}

# shape controls that move a feature to one side (head-angle-out does not, despite its name)
SIDEWAYS = ("head-trans-out", "nose-trans-out", "mouth-trans-out", "neck-trans-out")


def attribute_numbers(attributes: Mapping[str, Any]) -> np.ndarray:  # [K] float32
    """Attributes of a parametric subject as numbers of about -1 to 1: a 1 for the right word of
    every category, ranges brought to [-1, 1], shares of ancestry, and the tied shape controls in
    the order of their names.

    Raises ValueError naming the attribute that is missing or unknown: not a parametric subject's.
    """
    try:
        words = [
            float(attributes[name] == word) for name, known in _CATEGORIES.items() for word in known
        ]
        ranges = [
            2 * (float(attributes[n]) - low) / (high - low) - 1
            for n, (low, high) in _RANGES.items()
        ]
        shares = [float(attributes["ancestry"][name]) for name in tables.ANCESTRIES]
        shape = [float(value) for _, value in sorted(attributes["shape"].items())]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"not the attributes of a parametric subject: {error} is missing"
        ) from None
    if sum(words) != len(_CATEGORIES):
        wrong = next(name for name, known in _CATEGORIES.items() if attributes[name] not in known)
        raise ValueError(
            f"not the attributes of a parametric subject: {wrong} is {attributes[wrong]!r}"
        )
    return np.asarray([*words, *ranges, *shares, *shape], dtype=np.float32)


def mirror_image(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a parametric subject's mirror image, x to -x. Where its strands of hair lie
    is drawn at random and not among them."""
    sides = {"left": "right", "right": "left"}
    try:
        return {
            **attributes,
            "parting": sides.get(attributes["parting"], attributes["parting"]),
            "light_azimuth": -attributes["light_azimuth"],
            "asymmetry": {name: -value for name, value in attributes["asymmetry"].items()},
            "shape": {
                name: -value if name in SIDEWAYS else value
                for name, value in attributes["shape"].items()
            },
        }
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"not the attributes of a parametric subject: {error} is missing"
        ) from None
