"""Captions to train a CLIP with: what one image of a head shows, in many words, with and without
words for the view.

`describe` tells only what can be seen from where the camera stands, as captions of photographs do:
no eyes from behind, and from the front a bun or a ponytail is hair that is tied back. Now and then
it gives the subject's full caption instead, as people do who know whom they have photographed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from semhead_lib.data.subjects import age_group

FULL_CAPTION = 0.2  # share of captions that are the subject's own, whatever the view shows
VIEW_WORDS = 0.4  # share of the others that tell the view
SHORT = 0.25  # share of the others that tell one or two features only
KEPT = (0.5, 0.8, 1.0)  # a longer caption tells each feature with one of these chances
TAGS = 0.2  # share of the others that are a list of words, not a sentence

# Largest |azimuth| in degrees from which a feature can be seen.
SEEN_FROM = {
    "eyes": 65,
    "lips": 75,
    "mood": 70,
    "freckles": 70,
    "brows": 75,
    "glasses": 105,
    "facial hair": 105,
    "fringe": 80,
    "receding": 80,
    "earrings": 130,
    "collar": 120,
}
COVERING = ("beanie", "cap", "brimmed hat")  # hats that hide what is shaved
TIED_FROM = 40  # |azimuth| from which a bun or a ponytail shows as what it is

PEOPLE = {
    "woman": ("woman", "woman", "lady", "female", "female person"),
    "man": ("man", "man", "gentleman", "male", "male person"),
}
AGES = {
    "teenage": ("teenage", "adolescent"),
    "young": ("young", "youthful"),
    "middle-aged": ("middle-aged", "mature"),
    "old": ("old", "elderly", "senior"),
}
FRAMES = (
    "{}",
    "{}",
    "a photo of {}",
    "a picture of {}",
    "a portrait of {}",
    "an image of {}",
    "a render of {}",
    "the head of {}",
    "a photo showing {}",
    "this is {}",
)
SKIN = ("{} skin", "{} skin", "a {} complexion")
STYLES = {
    "shaved": ("shaved {c} hair", "a shaved head with {c} stubble", "a {c} buzz cut"),
    "short": ("short {t} {c} hair", "a short {t} {c} haircut", "{c} {t} hair cut short"),
    "medium": ("medium-length {t} {c} hair", "{t} {c} hair of medium length"),
    "bob": ("a {t} bob of {c} hair", "a {t} {c} bob", "{c} {t} hair in a bob"),
    "long": ("long {t} {c} hair", "{t} {c} hair that is long"),
    "afro": ("an afro of {c} hair", "a {c} afro", "big curly {c} hair"),
    "bun": ("{t} {c} hair in a bun", "a {c} bun", "{c} {t} hair tied in a bun"),
    "ponytail": ("{t} {c} hair in a ponytail", "a {c} ponytail", "{c} {t} hair tied in a ponytail"),
    "tied": ("{t} {c} hair tied back", "{c} hair pulled back", "tied back {t} {c} hair"),
    "any": ("{c} hair", "{c} hair", "hair that is {c}"),
}
BALD = ("a bald head", "no hair", "a hairless head")
FACIAL_HAIR = {
    "stubble": ("stubble", "a stubbly chin", "a five o'clock shadow"),
    "moustache": ("a moustache", "a mustache"),
    "goatee": ("a goatee", "a goatee beard", "a chin beard"),
    "full beard": ("a full beard", "a beard", "a thick beard"),
    "none": ("no beard", "a clean-shaven face", "no facial hair", "a shaved chin"),
    "beardless": ("no beard", "no facial hair"),  # what is said of women
}
GLASSES = {
    "round glasses": ("round glasses", "round spectacles", "round eyeglasses", "glasses"),
    "rectangular glasses": (
        "rectangular glasses",
        "square spectacles",
        "rectangular eyeglasses",
        "glasses",
    ),
    "sunglasses": ("sunglasses", "dark glasses", "shades"),
    "none": ("no glasses", "no spectacles"),
}
HATS = {
    "beanie": ("a {c} beanie", "a {c} knit cap", "a {c} hat", "a {c} woolly hat"),
    "cap": ("a {c} cap", "a {c} baseball cap", "a {c} hat"),
    "brimmed hat": ("a {c} brimmed hat", "a {c} hat with a brim", "a {c} hat"),
    "headband": ("a {c} headband", "a {c} hairband"),
    "none": ("no hat", "nothing on the head"),
}
EARRINGS = {
    "stud earrings": ("{m} stud earrings", "small {m} earrings", "earrings"),
    "hoop earrings": ("{m} hoop earrings", "{m} hoops", "earrings"),
}
CLOTHES = {
    "crew neck": ("a {c} crew neck top", "a {c} t-shirt", "a {c} shirt"),
    "V-neck": ("a {c} V-neck top", "a {c} V-neck", "a {c} top with a V neck"),
    "turtleneck": ("a {c} turtleneck top", "a {c} turtleneck", "a {c} roll-neck sweater"),
    "hoodie": ("a {c} hoodie", "a {c} hooded sweatshirt"),
    "any": ("{c} clothes", "a {c} top"),
}
MOODS = {
    "neutral": ("neutral", "with a neutral expression"),
    "smiling": ("smiling", "with a smile", "happy"),
    "frowning": ("frowning", "with a frown", "angry"),
    "surprised": ("surprised", "looking surprised", "with raised eyebrows"),
    "squinting": ("squinting", "with narrowed eyes"),
}
VIEWS = {  # {s} is the subject's side that is seen, {} what is shown
    "front": (
        "a front view of {}",
        "{}, facing the camera",
        "{}, seen from the front",
        "a frontal portrait of {}",
    ),
    "front side": (
        "a three-quarter view of {} from the {s}",
        "{}, turned slightly, seen from the {s}",
        "{}, seen from the front {s}",
    ),
    "side": (
        "a side view of {} from the {s}",
        "{}, seen from the {s} side",
        "the {s} profile of {}",
        "{}, in profile",
    ),
    "back side": (
        "{}, seen from behind and from the {s}",
        "{}, turned away, seen from the back {s}",
    ),
    "back": (
        "a back view of {}",
        "{}, seen from behind",
        "the back of the head of {}",
        "{}, facing away",
    ),
}
HEIGHTS = {
    "above": ("from above", "from a high angle"),
    "below": ("from below", "from a low angle"),
}


def view_of(azimuth: float) -> str:
    """The key of VIEWS for an azimuth in degrees.

    >>> [view_of(a) for a in (0, 45, -90, 140, 180)]
    ['front', 'front side', 'side', 'back side', 'back']
    """
    edges = {"front": 20, "front side": 65, "side": 115, "back side": 155}
    return next((name for name, edge in edges.items() if abs(azimuth) < edge), "back")


def describe(
    attributes: Mapping[str, Any],  # of a parametric head, as stored in datasets
    caption: str,  # its full caption
    azimuth: float,  # degrees, of the camera
    elevation: float,  # degrees
    rng: Random,
) -> str:
    """One caption of one image, drawn from all that could be said."""
    if rng.random() < FULL_CAPTION:
        return caption
    a, features = attributes, list(_features(attributes, abs(azimuth), rng))
    if rng.random() < SHORT:
        said = dict(_shuffled(features, rng)[: rng.choice((1, 2))])
    else:
        keep = rng.choice(KEPT)
        said = {kind: text for kind, text in features if rng.random() < keep}
    person = _person(a, said, rng)
    if rng.random() < TAGS:
        tags = [_bare(text) for text in (person, *said.values())]
        return ", ".join(_shuffled(tags, rng))
    mood = said.pop("mood", "")
    worn = [said.pop(kind) for kind in ("glasses", "earrings", "hat", "clothes") if kind in said]
    text = person
    if said:
        text += " with " + _listed(_shuffled(list(said.values()), rng))
    if worn:
        text += (", wearing " if said else " wearing ") + _listed(_shuffled(worn, rng))
    text += f", {mood}" if mood else ""
    if rng.random() < VIEW_WORDS:
        return _from_view(text, azimuth, elevation, rng)
    return rng.choice(FRAMES).format(text)


def _features(a: Mapping[str, Any], turn: float, rng: Random) -> Iterator[tuple[str, str]]:
    """What shows from `turn` degrees off the front, kind by kind."""
    seen = {kind for kind, limit in SEEN_FROM.items() if turn < limit}
    yield "skin", articled(rng.choice(SKIN).format(a["skin"]))
    yield "hair", _hair(a, turn, seen, rng)
    if "eyes" in seen and a["glasses"] != "sunglasses":
        yield "eyes", f"{a['eye_colour']} eyes"
    if "lips" in seen and a["lip_tint"] > 0.5:
        yield "lips", rng.choice(("red lips", "lipstick"))
    if "freckles" in seen and a["freckles"] > 0.5:
        yield "freckles", "freckles"
    if "brows" in seen and abs(a["brow_thickness"] - 0.5) > 0.3:
        yield (
            "brows",
            rng.choice(("{} eyebrows", "{} brows")).format(
                "thick" if a["brow_thickness"] > 0.5 else "thin"
            ),
        )
    if "facial hair" in seen and (a["facial_hair"] != "none" or rng.random() < 0.5):
        words = FACIAL_HAIR["beardless" if a["gender"] == "woman" else a["facial_hair"]]
        yield "facial hair", rng.choice(words)
    if "glasses" in seen and (a["glasses"] != "none" or rng.random() < 0.5):
        yield "glasses", rng.choice(GLASSES[a["glasses"]])
    if "earrings" in seen and a["earrings"] != "none":
        yield "earrings", rng.choice(EARRINGS[a["earrings"]]).format(m=a["earring_metal"])
    if a["hat"] != "none" or rng.random() < 0.4:
        yield "hat", rng.choice(HATS[a["hat"]]).format(c=a["hat_colour"])
    clothes = a["clothes"] if "collar" in seen or a["clothes"] == "hoodie" else "any"
    yield "clothes", rng.choice(CLOTHES[clothes]).format(c=a["cloth_colour"])
    if "mood" in seen and (a["expression"] != "neutral" or rng.random() < 0.2):
        yield "mood", rng.choice(MOODS[a["expression"]])


def _hair(a: Mapping[str, Any], turn: float, seen: set[str], rng: Random) -> str:
    style = a["hair_style"]
    if style == "bald":
        return rng.choice(BALD)
    if style in ("bun", "ponytail") and turn < TIED_FROM:
        style = "tied"
    if rng.random() < 0.25:
        style = "any"
    text = rng.choice(STYLES[style]).format(c=a["hair_colour"], t=a["hair_texture"])
    if "fringe" in seen and a["fringe"] and rng.random() < 0.7:
        text += rng.choice((" with a fringe", " with bangs"))
    if "receding" in seen and a["receding"] and rng.random() < 0.7:
        text += " and a receding hairline"
    return text


def _person(a: Mapping[str, Any], said: dict[str, str], rng: Random) -> str:
    """Who it is: with age, build and gender, or some of them."""
    who = rng.choice(PEOPLE[a["gender"]]) if rng.random() < 0.8 else "person"
    words = [rng.choice(AGES[age_group(a["age"])])] if rng.random() < 0.7 else []
    if abs(a["build"] - 0.55) > 0.2 and rng.random() < 0.4:
        words.insert(0, rng.choice(("heavy", "stout") if a["build"] > 0.55 else ("slim", "thin")))
    if said.get("hair") in BALD and rng.random() < 0.3:
        words.append("bald")
    text = " ".join([*words, who])
    return articled(f"a {text}")


def _from_view(text: str, azimuth: float, elevation: float, rng: Random) -> str:
    phrase = rng.choice(VIEWS[view_of(azimuth)]).format(text, s="left" if azimuth > 0 else "right")
    height = "above" if elevation > 18 else "below" if elevation < -15 else None
    return f"{phrase}, {rng.choice(HEIGHTS[height])}" if height and rng.random() < 0.6 else phrase


def _shuffled(words: list, rng: Random) -> list:
    return rng.sample(words, len(words))


def articled(text: str) -> str:
    """`text`, with "an" for the "a" at its start before a vowel."""
    return f"an {text[2:]}" if text.startswith("a ") and text[2] in "aeiou" else text


def _bare(text: str) -> str:
    return text.removeprefix("a ").removeprefix("an ").removeprefix("with ")


def _listed(words: list[str]) -> str:
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
