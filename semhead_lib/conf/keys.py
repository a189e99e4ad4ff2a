"""What a configuration file's keys are: their defaults, comments and allowed values, read from the
YAML itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semhead_lib.errors import did_you_mean

FOLDER = Path(__file__).parent
REQUIRED = "???"  # Hydra's mark for a value that must be given

_LINE = re.compile(
    r"^(?P<name>\w+):\s*(?P<default>.*?)\s+#\s*(?P<comment>.*?)\s*\[(?P<allowed>[^\[\]]+)\]\s*$"
)
_NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
_RANGE = re.compile(rf"^(?:({_NUMBER})\s*(<=?)\s*)?(int|float)(?:\s*(<=?|>=?)\s*({_NUMBER}))?$")
_NAMES = {"int": "an integer", "float": "a number", "bool": "true or false"}


@dataclass(frozen=True)
class Allowed:
    """What values a key takes, as its comment's brackets say.

    >>> Allowed("int >= 1").parse("24")
    24
    >>> Allowed("int >= 1").parse("abc")
    Traceback (most recent call last):
    ValueError: expected an integer >= 1, got 'abc'
    >>> Allowed("png | webp").parse("png"), Allowed("0 <= float <= 1 or null").parse("null")
    ('png', None)
    >>> Allowed("any of depth | normals").parse("normals,depth"), Allowed("any of depth | normals").parse("[]")
    (['normals', 'depth'], [])
    >>> Allowed("paths").parse("one.png\\ntwo, with a comma.png")
    ['one.png', 'two, with a comma.png']
    """

    text: str

    def __post_init__(self) -> None:
        plain = self.text.removesuffix(" or null").strip()
        if (
            plain not in ("bool", "text", "path", "paths")
            and "|" not in plain
            and not _RANGE.match(plain)
        ):
            raise ValueError(
                f"[{self.text}] is no rule for a value: see semhead_lib/conf/__init__.py"
            )

    @property
    def choices(self) -> list[str]:
        """The words to choose from, empty when the value is not such a choice."""
        plain = self.text.removesuffix(" or null").removeprefix("any of ")
        return [word.strip() for word in plain.split("|")] if "|" in plain else []

    def parse(self, text: str) -> object:
        """The value that `text` stands for. Raises ValueError saying what was expected and what
        came."""
        plain = self.text.removesuffix(" or null").strip()
        if text.lower() in ("null", "none") and plain != self.text:
            return None
        if plain in ("text", "path"):
            if plain == "path" and not text:
                raise ValueError("expected a path, got nothing")
            return text
        if plain == "paths":
            paths = [line for line in text.split("\n") if line]
            if not paths:
                raise ValueError("expected a path or several, got nothing")
            return paths
        if plain == "bool":
            if text.lower() not in ("true", "false"):
                raise ValueError(f"expected true or false, got {text!r}")
            return text.lower() == "true"
        if plain.startswith("any of "):
            words = text.removeprefix("[").removesuffix("]").split(",")
            return [self._choice(word.strip()) for word in words if word.strip()]
        if self.choices:
            return self._choice(text)
        return self._number(plain, text)

    def _choice(self, text: str) -> str:
        if text not in self.choices:
            hint = did_you_mean(text, self.choices)
            raise ValueError(f"expected one of {', '.join(self.choices)}, got {text!r}{hint}")
        return text

    def _number(self, rule: str, text: str) -> int | float:
        low, low_op, kind, op, bound = _RANGE.findall(rule)[0]
        limits = ([(">" + low_op[1:], low)] if low else []) + ([(op, bound)] if op else [])
        expected = " and ".join(
            [f"{_NAMES[kind]} {limits[0][0]} {limits[0][1]}" if limits else _NAMES[kind]]
            + [f"{o} {b}" for o, b in limits[1:]]
        )
        try:
            value = int(text) if kind == "int" else float(text)
        except ValueError:
            raise ValueError(f"expected {expected}, got {text!r}") from None
        compare: dict[str, Any] = {
            ">": value.__gt__,
            ">=": value.__ge__,
            "<": value.__lt__,
            "<=": value.__le__,
        }
        if value != value or not all(compare[o](type(value)(float(b))) for o, b in limits):
            raise ValueError(f"expected {expected}, got {text}")
        return value


@dataclass(frozen=True)
class Key:
    """One key of a configuration file."""

    name: str  # `group.key` for a group's file, unless that says `@package _global_`
    default: str  # as written in the YAML; `???` when it must be given
    comment: str  # meaning and unit
    allowed: Allowed


@dataclass(frozen=True)
class ConfigFile:
    """One YAML file of the configuration, as its readers see it."""

    about: str  # the comment lines at its top
    groups: dict[str, str]  # group name -> the option chosen by default
    keys: list[Key]


def read_config(name: str, group: str = "") -> ConfigFile:
    """Read `semhead_lib/conf/[group/]name.yaml`.

    Raises ValueError for a key without a comment or without its allowed values.
    """
    path = FOLDER / group / f"{name}.yaml"
    about, groups, keys = [], {}, []
    lines = path.read_text(encoding="utf-8").splitlines()
    while lines and (lines[0].startswith("#") or not lines[0].strip()):
        about.append(lines.pop(0).lstrip("#").strip())
    first = len(about) + 1
    prefix = f"{group}." if group and "@package _global_" not in about else ""
    for number, line in enumerate(lines, start=first):
        if entry := re.match(r"^\s+-\s+(\w+):\s*(\w+)", line):
            groups[entry[1]] = entry[2]
        elif match := _LINE.match(line):
            keys.append(
                Key(
                    name=prefix + match["name"],
                    default=match["default"],
                    comment=match["comment"],
                    allowed=Allowed(match["allowed"]),
                )
            )
        elif (
            line.strip()
            and not line.startswith(("defaults:", "_target_:"))
            and line.strip() != "- _self_"
        ):
            raise ValueError(
                f"{path}, line {number}: expected 'key: value  # meaning [allowed]', got {line!r}"
            )
    return ConfigFile(
        "\n".join(line for line in about if not line.startswith("@")).strip(), groups, keys
    )


def options(group: str) -> list[str]:
    """Names of a group's alternatives."""
    return sorted(path.stem for path in (FOLDER / group).glob("*.yaml"))
