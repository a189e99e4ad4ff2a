"""Captions: the attributes of a parametric subject in words."""

from __future__ import annotations

from semhead_lib.data.parametric.attributes import Attributes
from semhead_lib.data.subjects import age_group


def hair_phrase(a: Attributes) -> str:
    """Hair in words: "long wavy blond hair with a fringe"."""
    if a.hair_style == "bald":
        return "a bald head"
    colour = f"{a.hair_colour} hair"
    phrase = {
        "shaved": f"shaved {colour}",
        "bob": f"a {a.hair_texture} bob of {colour}",
        "bun": f"{a.hair_texture} {colour} in a bun",
        "ponytail": f"{a.hair_texture} {colour} in a ponytail",
        "afro": f"an afro of {colour}",
        "medium": f"medium-length {a.hair_texture} {colour}",
    }.get(a.hair_style, f"{a.hair_style} {a.hair_texture} {colour}")
    return (
        phrase
        + (" with a fringe" if a.fringe else "")
        + (" and a receding hairline" if a.receding else "")
    )


def caption(a: Attributes) -> str:
    """One English sentence with what an image can show."""
    article = "an" if age_group(a.age)[0] in "aeiou" else "a"
    worn = [x for x in (a.glasses, a.earrings) if x != "none"]
    worn = [w if w.endswith("s") else f"a {w}" for w in worn]
    if a.hat != "none":
        worn.append(f"a {a.hat_colour} {a.hat}")
    worn.append(f"a {a.cloth_colour} {a.clothes}{'' if a.clothes == 'hoodie' else ' top'}")
    features = [f"{a.skin} skin", hair_phrase(a)]
    if a.glasses != "sunglasses":
        features.insert(1, f"{a.eye_colour} eyes")
    if a.lip_tint > 0.5:
        features.append("red lips")
    if a.facial_hair != "none":
        features.append(a.facial_hair if a.facial_hair == "stubble" else f"a {a.facial_hair}")
    mood = "" if a.expression == "neutral" else f", {a.expression}"
    listed = lambda words: ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]  # noqa: E731
    return (
        f"{article} {age_group(a.age)} {a.gender} with {listed(features)}, wearing "
        f"{listed(worn)}{mood}"
    )
