"""Dataclasses of settings, whose fields define their default, meaning and allowed values.

Settings of the library and configurations of commands are such dataclasses. Defaults, ranges and
help texts are written only there: the command line, its help and the checks of the library read the
fields. No import here is heavy, so that help is fast.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Search:
...     steps: int = setting(200, "int >= 0", "of the search for the style")
...     space: str = setting("w+", "w | w+", "one style for all layers, or each its own")
...
...     def __post_init__(self) -> None:
...         check(self)
>>> Search(steps=20)
Search(steps=20, space='w+')
>>> Search(steps=-1)
Traceback (most recent call last):
ValueError: steps must be an integer >= 0, got -1
"""

from __future__ import annotations

import inspect
import math
import operator
import re
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from semhead_lib.errors import did_you_mean

REQUIRED = "???"  # Hydra's mark for a value that must be given
Kind = TypeVar("Kind")

_NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
_RANGE = re.compile(rf"^(?:({_NUMBER})\s*(<=?)\s*)?(int|float)(?:\s*(<=?|>=?)\s*({_NUMBER}))?$")
_WORDS = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "text": "a text",
    "path": "a path",
    "paths": "a path or several",
}
_COMPARE = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


def setting(default: Any, allowed: str, help: str, *, key: bool = True) -> Any:
    """A field with its default, the rule for its values (`Allowed`), its meaning and unit, and
    whether it is a key of commands."""
    metadata = {"allowed": Allowed(allowed), "help": help, "key": key}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def inherited(parent: type, name: str, default: Any) -> Any:
    """The field `name` of a parent class, with another default."""
    metadata = next(f.metadata for f in fields(parent) if f.name == name)
    return field(default=default, metadata=metadata)


def needed(allowed: str, help: str) -> Any:
    """A field of a command's configuration that must be given."""
    return setting(REQUIRED, allowed, help)


def named_values(form: str, help: str) -> Any:
    """A field of named values whose names the library defines, not the configuration; on the
    command line they have the form `form`, such as `generator.NAME=VALUE`."""
    return field(default_factory=dict, metadata={"form": form, "help": help})


def alternatives(default: str, flat: bool = False, **options: type) -> Any:
    """A field that is one of several dataclasses, chosen by its name (a group of Hydra's). Their
    keys are written FIELD.KEY on the command line, and KEY when they are `flat`."""
    return field(default=None, metadata={"chosen": default, "flat": flat, "options": options})


def check(settings: Any) -> None:
    """Check every field of a dataclass that has a rule. Raises ValueError naming the first invalid
    field, what was expected and what was found."""
    for f in fields(settings):
        value = getattr(settings, f.name)
        if "allowed" in f.metadata and not f.metadata["allowed"].has(value):
            allowed = f.metadata["allowed"]
            raise ValueError(f"{f.name} must be {allowed.expected}, got {value!r}")


def part(kind: type[Kind], settings: Any, **changes: Any) -> Kind:
    """The dataclass `kind` with the equally named fields of another one, and changes."""
    here = {f.name for f in fields(settings)}
    names = [name for name in inspect.signature(kind).parameters if name in here]
    return kind(**{name: getattr(settings, name) for name in names} | changes)


def values_of(settings: Any, *without: str) -> dict[str, Any]:
    """Fields of a dataclass by name, except some."""
    return {f.name: getattr(settings, f.name) for f in fields(settings) if f.name not in without}


@dataclass(frozen=True)
class Allowed:
    """What values a setting takes, by a rule as help shows it: `int >= 1`, `0 <= float <= 1`,
    `bool`, `text`, `path`, `paths`, `png | webp`, `any of depth | normals` (a list), each also as
    `... or null`. Raises ValueError for what is no such rule.

    >>> Allowed("int >= 1").parse("24")
    24
    >>> Allowed("int >= 1").parse("abc")
    Traceback (most recent call last):
    ValueError: expected an integer >= 1, got 'abc'
    >>> Allowed("png | webp").parse("png"), Allowed("0 <= float <= 1 or null").parse("null")
    ('png', None)
    >>> Allowed("any of depth | normals").parse("normals,depth"), Allowed("68 | 5").parse("5")
    (['normals', 'depth'], 5)
    >>> Allowed("paths").parse("one.png\\ntwo, with a comma.png")
    ['one.png', 'two, with a comma.png']
    >>> Allowed("0 <= float <= 1").has(1), Allowed("0 <= float <= 1").has(1.5)
    (True, False)
    """

    text: str

    def __post_init__(self) -> None:
        named = self.plain in ("bool", "text", "path", "paths")
        if not named and "|" not in self.plain and not _RANGE.match(self.plain):
            raise ValueError(f"[{self.text}] is no rule for a value")

    @property
    def plain(self) -> str:
        """The rule for values other than null."""
        return self.text.removesuffix(" or null").strip()

    @property
    def nullable(self) -> bool:
        """Whether the value may be left open."""
        return self.plain != self.text

    @property
    def choices(self) -> list[Any]:
        """What there is to choose from, words or integers; empty when the value is no choice."""
        plain = self.plain.removeprefix("any of ")
        words = [word.strip() for word in plain.split("|")] if "|" in plain else []
        return [int(word) if word.isdigit() else word for word in words]

    @property
    def expected(self) -> str:
        """The rule in words."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        if self.plain in _WORDS:
            return _WORDS[self.plain]
        kind, limits = self._limits()
        return _WORDS[kind] + " and".join(f" {sign} {bound}" for sign, bound in limits)

    def parse(self, text: str) -> Any:
        """The value that `text` stands for. Raises ValueError saying what was expected and what
        came."""
        if self.nullable and text.lower() in ("null", "none"):
            return None
        value = self._read(text)
        if self.has(value):
            return value
        came, hint = repr(text) if text else "nothing", ""
        if self.choices:
            wrong = next(w for w in self._several(value) if w not in self.choices)
            came, hint = repr(wrong), did_you_mean(str(wrong), [str(c) for c in self.choices])
        elif isinstance(value, (int, float)):
            came = text
        raise ValueError(f"expected {self.expected}, got {came}{hint}")

    def has(self, value: Any) -> bool:
        """Whether a value keeps the rule."""
        if value is None:
            return self.nullable
        if self.choices:
            return all(word in self.choices for word in self._several(value))
        if self.plain in ("text", "path"):
            return isinstance(value, (str, Path)) and (self.plain == "text" or str(value) != "")
        if self.plain == "paths":
            return len(value) > 0
        if self.plain == "bool":
            return isinstance(value, bool)
        kind, limits = self._limits()
        if isinstance(value, bool) or not isinstance(value, Integral if kind == "int" else Real):
            return False
        number = float(value)
        return math.isfinite(number) and all(_COMPARE[s](number, float(b)) for s, b in limits)

    def _read(self, text: str) -> Any:
        """What the text says; the text itself where it says nothing of that kind."""
        if self.plain == "paths":
            return [line for line in text.split("\n") if line]
        if self.plain.startswith("any of "):
            words = text.removeprefix("[").removesuffix("]").split(",")
            return [word.strip() for word in words if word.strip()]
        if self.choices:
            return {str(choice): choice for choice in self.choices}.get(text, text)
        if self.plain == "bool":
            return {"true": True, "false": False}.get(text.lower(), text)
        if self.plain in ("text", "path"):
            return text
        try:
            return int(text) if self._limits()[0] == "int" else float(text)
        except ValueError:
            return text

    def _several(self, value: Any) -> list[Any]:
        return list(value) if self.plain.startswith("any of ") else [value]

    def _limits(self) -> tuple[str, list[tuple[str, str]]]:
        """int or float, and its bounds."""
        low, sign, kind, other, bound = _RANGE.findall(self.plain)[0]
        limits = [(">" + sign[1:], low)] if low else []
        return kind, limits + ([(other, bound)] if other else [])
