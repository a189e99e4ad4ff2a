"""Texts that differ in one attribute only: hard negatives, without which a CLIP learns the obvious
attributes alone.

Among 256 subjects hair, skin and clothes tell nearly everybody apart, so the contrastive loss over
whole captions soon has nothing left to ask for, and glasses stay unseen (measured: zero-shot
accuracy 0.56 after 600 thousand pairs). Here each image is held against one text for every value of
an attribute, as in NegCLIP (Yuksekgonul et al., 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from semhead_lib.conditioning.headclip import captions
from semhead_lib.data.subjects import age_group

_WORN, _HAD = "a person wearing {}", "a person with {}"


@dataclass(frozen=True)
class Contrast:
    """One attribute: a text for each value, whose value an image shows, and from where it can be
    seen."""

    texts: Mapping[str, tuple[str, ...]]  # value -> what a person with it is called
    value: Callable[[Mapping[str, Any]], str | None]  # None: not to be asked
    seen_from: float = 180.0  # largest |azimuth| in degrees
    seen_beyond: float = 0.0  # smallest |azimuth|
    weight: float = 1.0  # in the loss: more for what is small or subtle in 64 pixels


def _texts(frame: str, phrases: Sequence[str]) -> tuple[str, ...]:
    """Phrases in a sentence, without colours and textures."""
    plain = (" ".join(phrase.format(c="", t="", m="").split()) for phrase in phrases)
    return tuple(captions.articled(frame.format(phrase)) for phrase in plain)


def _colour(a: Mapping[str, Any]) -> str | None:
    hidden = a["hair_style"] == "bald" or (
        a["hair_style"] == "shaved" and a["hat"] in captions.COVERING
    )
    return None if hidden else a["hair_colour"]


def _bearded(a: Mapping[str, Any]) -> str:
    return "yes" if a["facial_hair"] in ("goatee", "full beard") else "no"


_COLOURS = (
    "black",
    "dark brown",
    "brown",
    "light brown",
    "blond",
    "red",
    "grey",
    "white",
    "pink",
    "blue",
    "green",
    "purple",
)
_STYLES = {
    name: _texts(_HAD, words)
    for name, words in captions.STYLES.items()
    if name not in ("any", "tied")
}
_FACE, _HEAD = captions.SEEN_FROM["mood"], captions.SEEN_FROM["glasses"]

CONTRASTS: dict[str, Contrast] = {
    "hair colour": Contrast(
        {c: (f"a person with {c} hair", f"{c} hair") for c in _COLOURS}, _colour
    ),
    "hair style": Contrast(
        {**_STYLES, "bald": _texts(_HAD, captions.BALD)},
        lambda a: a["hair_style"],
        seen_beyond=captions.TIED_FROM,
    ),
    "glasses": Contrast(
        {
            name: _texts(_WORN, [w for w in words if w != "glasses"])
            for name, words in captions.GLASSES.items()
        },
        lambda a: a["glasses"],
        _HEAD,
        weight=3,
    ),
    "any glasses": Contrast(
        {
            "yes": _texts(_WORN, ("glasses", "spectacles", "eyeglasses")),
            "no": _texts(_WORN, captions.GLASSES["none"]),
        },
        lambda a: "no" if a["glasses"] == "none" else "yes",
        _HEAD,
        weight=3,
    ),
    "hat": Contrast(
        {
            name: _texts(_WORN, [w for w in words if w != "a {c} hat"])
            for name, words in captions.HATS.items()
        },
        lambda a: a["hat"],
    ),
    "any hat": Contrast(
        {
            "yes": ("a person wearing a hat", "a person with a hat on"),
            "no": _texts(_WORN, captions.HATS["none"]),
        },
        lambda a: "no" if a["hat"] == "none" else "yes",
    ),
    "facial hair": Contrast(
        {
            name: _texts("a man with {}", words)
            for name, words in captions.FACIAL_HAIR.items()
            if name != "beardless"
        },
        lambda a: a["facial_hair"] if a["gender"] == "man" else None,
        _HEAD,
    ),
    "beard": Contrast(
        {
            "yes": ("a person with a beard", "a man with a beard"),
            "no": ("a person with no beard", "no beard"),
        },
        _bearded,
        _HEAD,
    ),
    "gender": Contrast(
        {name: _texts("a {}", words) for name, words in captions.PEOPLE.items()},
        lambda a: a["gender"],
        _HEAD,
        weight=3,
    ),
    "age": Contrast(
        {name: _texts("a {} person", words) for name, words in captions.AGES.items()},
        lambda a: age_group(a["age"]),
        _HEAD,
    ),
    "expression": Contrast(
        {name: _texts("a person, {}", words) for name, words in captions.MOODS.items()},
        lambda a: a["expression"],
        _FACE,
    ),
}


@dataclass(frozen=True)
class ContrastBatch:
    """The texts of one contrast, and the images that are held against them."""

    texts: list[str]  # one a value
    images: list[int]  # rows of the batch
    values: list[int]  # of each of those images: the text that is true of it
    weight: float


def ask(
    subjects: Sequence[Mapping[str, Any]], azimuths: Sequence[float], rng: Random
) -> list[ContrastBatch]:
    """All contrasts for a batch of images of `subjects` seen from `azimuths`; those that no image
    shows are left out."""
    asked = []
    for contrast in CONTRASTS.values():
        values = list(contrast.texts)
        frame = rng.choice(captions.FRAMES)
        texts = [frame.format(rng.choice(contrast.texts[value])) for value in values]
        images, truths = [], []
        for row, (subject, azimuth) in enumerate(zip(subjects, azimuths, strict=True)):
            value = contrast.value(subject)
            if value is not None and contrast.seen_beyond <= abs(azimuth) <= contrast.seen_from:
                images.append(row)
                truths.append(values.index(value))
        if images:
            asked.append(ContrastBatch(texts, images, truths, contrast.weight))
    return asked
