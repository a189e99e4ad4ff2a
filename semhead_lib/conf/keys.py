"""The keys of a command: the fields of its configuration, and of the alternatives that are chosen
in it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

from semhead_lib.settings import REQUIRED, Allowed


@dataclass(frozen=True)
class Key:
    """One key of the command line."""

    name: str  # as typed
    path: tuple[str, ...]  # of fields, from the configuration to the value
    field: Field

    @property
    def allowed(self) -> Allowed:
        return self.field.metadata["allowed"]

    @property
    def help(self) -> str:
        """Meaning and unit."""
        return self.field.metadata["help"]

    @property
    def default(self) -> Any:
        """What it is unless given; REQUIRED when it must be given."""
        f = self.field
        return f.default if f.default_factory is MISSING else f.default_factory()

    @property
    def written(self) -> str:
        """The default as one would type it."""
        if self.default is None or isinstance(self.default, bool):
            return {None: "null", True: "true", False: "false"}[self.default]
        if isinstance(self.default, (list, tuple)):
            return f"[{', '.join(map(str, self.default))}]"
        return str(self.default)


def keys_of(config: type, choices: Mapping[str, str] | None = None) -> list[Key]:
    """All keys of a command: those that are needed first, else in the order of the fields, with the
    chosen alternatives in their fields' places."""
    keys = []
    for f in fields(config):
        if "options" in f.metadata:
            chosen = f.metadata["options"][(choices or {}).get(f.name, f.metadata["chosen"])]
            prefix = "" if f.metadata["flat"] else f"{f.name}."
            keys += [Key(prefix + k.name, (f.name, *k.path), k.field) for k in keys_of(chosen)]
        elif f.metadata.get("key"):
            keys.append(Key(f.name, (f.name,), f))
    return sorted(keys, key=lambda key: key.default != REQUIRED)


def groups_of(config: type) -> dict[str, Mapping[str, Any]]:
    """Fields that are one of several dataclasses: the `options` by name, and which is `chosen`."""
    return {f.name: f.metadata for f in fields(config) if "options" in f.metadata}


def named_values_of(config: type) -> Field | None:
    """The field whose values have names that the library knows, if there is one."""
    return next((f for f in fields(config) if "form" in f.metadata), None)


def about(config: type) -> str:
    """What a configuration's docstring says."""
    return inspect.cleandoc(config.__doc__ or "")
