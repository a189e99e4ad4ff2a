"""What surfaces a head is made of: their classes (the semantic labels), shaders and shading
parameters."""

from __future__ import annotations

import numpy as np

SKIN_SHADER, HAIR_SHADER, EYE_SHADER, PLAIN_SHADER = 0, 1, 2, 3

BACKGROUND = 0
CLASSES = (  # index = value in the label images
    "background",
    "skin",
    "lips",
    "mouth",
    "eyes",
    "brows",
    "lashes",
    "hair",
    "beard",
    "glasses",
    "hat",
    "earrings",
    "cloth",
)

# name: shader, class, specular, gloss (exponent), depth of the fine texture, softness of the
# diffuse fall-off
_TABLE = {
    "skin": (SKIN_SHADER, "skin", 0.10, 18.0, 0.0, 0.30),
    "lips": (SKIN_SHADER, "lips", 0.22, 30.0, 0.0, 0.25),
    "mouth": (PLAIN_SHADER, "mouth", 0.10, 20.0, 0.0, 0.10),
    "eyes": (EYE_SHADER, "eyes", 0.90, 220.0, 0.0, 0.20),
    "brows": (HAIR_SHADER, "brows", 0.10, 20.0, 0.35, 0.20),
    "lashes": (HAIR_SHADER, "lashes", 0.00, 20.0, 0.0, 0.20),
    "hair": (HAIR_SHADER, "hair", 0.55, 40.0, 0.55, 0.20),
    "beard": (HAIR_SHADER, "beard", 0.20, 25.0, 0.50, 0.20),
    "frame": (PLAIN_SHADER, "glasses", 0.60, 60.0, 0.0, 0.05),
    "lens": (PLAIN_SHADER, "glasses", 0.90, 160.0, 0.0, 0.0),
    "hat": (PLAIN_SHADER, "hat", 0.03, 8.0, 0.35, 0.15),
    "metal": (PLAIN_SHADER, "earrings", 1.20, 50.0, 0.0, 0.0),
    "cloth": (PLAIN_SHADER, "cloth", 0.03, 8.0, 0.30, 0.15),
}
MATERIALS = tuple(_TABLE)


def material(name: str) -> int:
    """Index of a material by name."""
    return MATERIALS.index(name)


def parameters() -> np.ndarray:
    """The shading table the caster reads, [M, 6] float32: shader, class, specular, gloss, texture
    depth, softness."""
    rows = [(s, CLASSES.index(c), *rest) for s, c, *rest in _TABLE.values()]
    return np.array(rows, dtype=np.float32)
