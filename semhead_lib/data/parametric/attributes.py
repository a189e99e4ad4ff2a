"""Who a parametric subject is: attributes drawn from the distributions written here, and what the
body model makes of them.

Attributes are drawn independently of each other wherever a body allows it: skin tone does not
follow from ancestry, hair style, jewellery and lipstick do not follow from gender. The only ties
are physical or plain: beards (and their shadow) grow on men here; a hat covers the top of the head
and does not fit over an afro or a bun, so hats are a little rarer than their table says; hair greys
with age, so grey and white are more common than theirs; and what a style or a hat leaves no room
for (a fringe, a parting, a receding hairline) is not there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

GENDERS = ("woman", "man")
AGE_RANGE = (16, 80)  # years, uniform
ANCESTRIES = (
    "african",
    "asian",
    "european",
)  # Anny's shape axes; shares from Dirichlet(0.6, 0.6, 0.6)
BUILD_RANGE = (0.25, 0.85)  # Anny's weight axis, uniform
SHAPE_STD = 0.35  # standard deviation of each tied shape control, clipped to +-1
MOUTH_STD = 0.22  # the mouth's controls add up more than others
ASYMMETRY_STD = 0.06  # what left and right differ by
SIDEWAYS_STD = 0.08  # of the controls that move one feature out of the middle
_SIDEWAYS = (
    "head-trans-out",
    "head-angle-out",
    "nose-trans-out",
    "mouth-trans-out",
    "neck-trans-out",
)

# Display RGB of typical skin from fair to deep; the tone is uniform along it, the undertone shifts
# red against yellow.
SKIN_TONES = ("very fair", "fair", "medium", "olive", "brown", "deep brown")
EYE_COLOURS = {
    "brown": 0.34,
    "dark brown": 0.22,
    "hazel": 0.14,
    "green": 0.12,
    "blue": 0.12,
    "grey": 0.06,
}
HAIR_COLOURS = {
    "black": 0.20,
    "dark brown": 0.18,
    "brown": 0.14,
    "light brown": 0.09,
    "blond": 0.13,
    "red": 0.08,
    "grey": 0.05,
    "white": 0.05,
    "pink": 0.02,
    "blue": 0.02,
    "green": 0.02,
    "purple": 0.02,
}
HAIR_STYLES = {
    "bald": 0.06,
    "shaved": 0.09,
    "short": 0.20,
    "medium": 0.13,
    "bob": 0.11,
    "long": 0.16,
    "bun": 0.08,
    "ponytail": 0.09,
    "afro": 0.08,
}
HAIR_TEXTURES = {"straight": 0.45, "wavy": 0.30, "curly": 0.25}
PARTINGS = {"middle": 0.3, "left": 0.25, "right": 0.25, "swept back": 0.2}
FACIAL_HAIR = {
    "none": 0.45,
    "stubble": 0.15,
    "moustache": 0.12,
    "goatee": 0.12,
    "full beard": 0.16,
}  # men only
GLASSES = {"none": 0.70, "round glasses": 0.11, "rectangular glasses": 0.12, "sunglasses": 0.07}
HATS = {"none": 0.78, "beanie": 0.07, "cap": 0.05, "brimmed hat": 0.05, "headband": 0.05}
EARRINGS = {"none": 0.70, "stud earrings": 0.15, "hoop earrings": 0.15}
CLOTHES = {"crew neck": 0.35, "V-neck": 0.25, "turtleneck": 0.2, "hoodie": 0.2}
CLOTH_COLOURS = {
    "white": 0.12,
    "grey": 0.12,
    "black": 0.12,
    "navy": 0.12,
    "red": 0.1,
    "green": 0.1,
    "yellow": 0.08,
    "teal": 0.08,
    "brown": 0.08,
    "pink": 0.08,
}
EXPRESSIONS = {
    "neutral": 0.5,
    "smiling": 0.25,
    "frowning": 0.1,
    "surprised": 0.08,
    "squinting": 0.07,
}
METALS = ("gold", "silver")  # of earrings
_BUSHY = ("afro", "bun")  # styles that no hat fits over
_COVERING = ("beanie", "cap", "brimmed hat")
_PARTED = ("short", "medium", "bob", "long")


@dataclass(frozen=True)
class Attributes:
    """Everything that makes a subject, as plain JSON values."""

    gender: str
    age: int  # years
    ancestry: dict[str, float]  # shares that sum to 1 but for rounding
    build: float  # 0 slim .. 1 heavy
    skin_tone: float  # 0 very fair .. 1 deep brown
    undertone: float  # -1 yellow .. 1 red
    freckles: float  # 0 none .. 1 many
    eye_colour: str
    hair_colour: str
    hair_style: str
    hair_texture: str
    hair_length: float  # within its style, 0 short .. 1 long
    hair_thickness: float  # 0 fine .. 1 thick
    parting: str
    fringe: bool
    receding: bool
    brow_thickness: float  # 0 thin .. 1 thick
    lip_tint: float  # 0 natural .. 1 red lipstick
    facial_hair: str
    glasses: str
    hat: str
    hat_colour: str
    earrings: str
    earring_metal: str
    clothes: str
    cloth_colour: str
    expression: str
    expression_strength: float  # 0..1
    shape: dict[str, float] = field(repr=False)  # tied shape controls, -1..1
    asymmetry: dict[str, float] = field(repr=False)  # added to the left, taken from the right
    light_azimuth: float  # degrees, where the key light stands
    light_elevation: float  # degrees
    light_warmth: float  # -1 cold .. 1 warm
    light_contrast: float  # 0 flat .. 1 strong

    def as_json(self) -> dict:
        """The attributes with one more key for readers: the name of the skin tone."""
        return {**asdict(self), "skin": self.skin}

    @property
    def skin(self) -> str:
        """Name of the skin tone."""
        return SKIN_TONES[min(int(self.skin_tone * len(SKIN_TONES)), len(SKIN_TONES) - 1)]

    def usual_strengths(self) -> dict[str, float]:
        """How strong each expression of the subject is, 0..1; what is not named is not there."""
        return {self.expression: self.expression_strength}

    def strengths(self) -> dict[str, float]:
        """The same of what is seen."""
        return self.usual_strengths()

    def hair_shift(self) -> tuple[float, float, float]:
        """Added to the display RGB of the hair's colour, levels of 0 to 255."""
        return 0.0, 0.0, 0.0


def _pick(rng: np.random.Generator, table: dict[str, float]) -> str:
    weights = np.array(list(table.values()))
    return list(table)[rng.choice(len(table), p=weights / weights.sum())]


def sample_attributes(rng: np.random.Generator, controls: tuple[str, ...]) -> Attributes:
    """Draw a subject; `controls` are the names of the tied shape controls of the head model."""
    gender, age = GENDERS[rng.integers(2)], int(rng.integers(AGE_RANGE[0], AGE_RANGE[1] + 1))
    style, colour = _pick(rng, HAIR_STYLES), _pick(rng, HAIR_COLOURS)
    if rng.random() < np.clip((age - 50) / 40, 0, 0.7):
        colour = ("grey", "white")[rng.integers(2)]
    hat = _pick(rng, HATS)
    hat = "none" if style == "afro" or (style == "bun" and hat != "headband") else hat
    receding = bool(
        rng.random() < 0.35 and style in ("short", "shaved") and age > 30 and hat not in _COVERING
    )
    fringe = bool(
        style in ("short", "medium", "bob", "long", "ponytail")
        and not receding
        and rng.random() < 0.35
    )
    std = [
        SIDEWAYS_STD if name in _SIDEWAYS else MOUTH_STD if name.startswith("mouth") else SHAPE_STD
        for name in controls
    ]
    shape = np.clip(rng.normal(0, std), -1, 1).round(4)
    asymmetry = rng.normal(0, ASYMMETRY_STD, len(controls)).round(4)
    return Attributes(
        gender=gender,
        age=age,
        ancestry=dict(
            zip(ANCESTRIES, (float(x) for x in rng.dirichlet([0.6] * 3).round(4)), strict=True)
        ),
        build=round(float(rng.uniform(*BUILD_RANGE)), 4),
        skin_tone=round(float(rng.random()), 4),
        undertone=round(float(rng.uniform(-1, 1)), 4),
        freckles=round(float(max(rng.uniform(-2.0, 1.0), 0.0)), 4),
        eye_colour=_pick(rng, EYE_COLOURS),
        hair_colour=colour,
        hair_style=style,
        hair_texture="curly" if style == "afro" else _pick(rng, HAIR_TEXTURES),
        hair_length=round(float(rng.random()), 4),
        hair_thickness=round(float(rng.random()), 4),
        parting=_pick(rng, PARTINGS) if style in _PARTED and hat not in _COVERING else "none",
        fringe=fringe and hat == "none",
        receding=receding,
        brow_thickness=round(float(rng.random()), 4),
        lip_tint=round(float(max(rng.uniform(-1.5, 1.0), 0.0)), 4),
        facial_hair=_pick(rng, FACIAL_HAIR) if gender == "man" else "none",
        glasses=_pick(rng, GLASSES),
        hat=hat,
        hat_colour=_pick(rng, CLOTH_COLOURS),
        earrings=_pick(rng, EARRINGS),
        earring_metal=METALS[rng.integers(2)],
        clothes=_pick(rng, CLOTHES),
        cloth_colour=_pick(rng, CLOTH_COLOURS),
        expression=_pick(rng, EXPRESSIONS),
        expression_strength=round(float(rng.uniform(0.6, 1.0)), 4),
        shape=dict(zip(controls, map(float, shape), strict=True)),
        asymmetry=dict(zip(controls, map(float, asymmetry), strict=True)),
        light_azimuth=round(float(rng.uniform(-110, 110)), 2),
        light_elevation=round(float(rng.uniform(15, 65)), 2),
        light_warmth=round(float(rng.uniform(-1, 1)), 4),
        light_contrast=round(float(rng.uniform(0.2, 1.0)), 4),
    )


def phenotypes(a: Attributes) -> dict[str, float]:
    """Anny's phenotype values: age 1/3 is a child, 2/3 a young adult, 1 an old person; gender 0 is
    male, 1 female."""
    years, axis = (2, 12, 25, 85), (0.0, 1 / 3, 2 / 3, 1.0)
    return {
        "gender": 1.0 if a.gender == "woman" else 0.0,
        "age": float(np.interp(a.age, years, axis)),
        "weight": a.build,
        "muscle": 0.5,
        "african": a.ancestry["african"],
        "asian": a.ancestry["asian"],
        "caucasian": a.ancestry["european"],
    }


_ACTIONS = {  # facial actions (ARKit names) at full strength
    "neutral": {},
    "smiling": {
        "mouthSmileLeft": 1.0,
        "mouthSmileRight": 1.0,
        "cheekSquintLeft": 0.5,
        "cheekSquintRight": 0.5,
    },
    "frowning": {
        "browDownLeft": 1.0,
        "browDownRight": 1.0,
        "mouthFrownLeft": 1.0,
        "mouthFrownRight": 1.0,
    },
    "surprised": {
        "browInnerUp": 1.0,
        "browOuterUpLeft": 1.0,
        "browOuterUpRight": 1.0,
        "eyeWideLeft": 1.0,
        "eyeWideRight": 1.0,
        "jawOpen": 0.25,
    },
    "squinting": {
        "eyeSquintLeft": 1.0,
        "eyeSquintRight": 1.0,
        "eyeBlinkLeft": 0.5,
        "eyeBlinkRight": 0.5,
        "browDownLeft": 0.5,
        "browDownRight": 0.5,
    },
}


def actions(strengths: dict[str, float]) -> dict[str, float]:
    """Anny's facial actions, 0..1 each, of expressions that are so strong."""
    found: dict[str, float] = {}
    for expression, strength in strengths.items():
        for name, value in _ACTIONS[expression].items():
            found[name] = min(found.get(name, 0.0) + value * strength, 1.0)
    return found
