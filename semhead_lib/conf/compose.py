"""From `key=value` words to a checked configuration.

Hydra composes the defaults with the alternatives that are chosen; the values of the command line
are put into the dataclass after that, so that a `${...}` in a text or a path is that text.
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

from semhead_lib import old_names
from semhead_lib.conf.keys import groups_of, keys_of, named_values_of
from semhead_lib.errors import UsageError, did_you_mean
from semhead_lib.settings import REQUIRED

Words = list[tuple[str, str]]


def compose_config(config: type, words: Words) -> Any:
    """A command's configuration after the words (key, text) of the command line; the last of equal
    keys wins.

    Raises UsageError naming the key, what was expected and what came; ValueError for values that do
    not go together.
    """
    words = [_today(config, key, text) for key, text in words]
    choices = _choices(config, words)
    known = {key.name: key for key in keys_of(config, choices)}
    values, named = {}, {}
    for name, text in words:
        if name in known:
            try:
                values[name] = known[name].allowed.parse(text)
            except ValueError as error:
                raise UsageError(f"{name}={text}: {error}") from None
        elif found := _named_value(config, name, text):
            named.update([found])
        elif name not in choices:
            there = [*known, *choices]
            hint = did_you_mean(name, there) or f": there are {', '.join(there)}"
            raise UsageError(f"unknown key '{name}'{hint}")
    for key in known.values():
        if key.default == REQUIRED and key.name not in values:
            raise UsageError(f"{key.name}=... is needed: {key.help}")
    by_path = {known[name].path: value for name, value in values.items()}
    return _made(config, choices, by_path, named)


def _today(config: type, key: str, text: str) -> tuple[str, str]:
    """A word of the command line by today's names."""
    here = {k.name for k in keys_of(config)}
    if key not in here and old_names.SETTINGS.get(key) in here:
        key = old_names.SETTINGS[key]
    values = old_names.VALUES.get(key)
    return key, re.sub(r"\w+", lambda word: values.get(word[0], word[0]), text) if values else text


def _choices(config: type, words: Words) -> dict[str, str]:
    """The alternative of every group, by its name."""
    groups, given = groups_of(config), dict(words)
    for name, group in groups.items():
        options = sorted(group["options"])
        chosen = given.setdefault(name, group["chosen"])
        if chosen not in options:
            hint = did_you_mean(chosen, options) or f": there are {', '.join(options)}"
            raise UsageError(f"{name}={chosen}: no such option{hint}")
    return {name: given[name] for name in groups}


def _named_value(config: type, name: str, text: str) -> tuple[str, Any] | None:
    """Name and value of a word such as `generator.grid=0`, whose value is JSON or a text. Where the
    form does not begin with the field, as in `NOTEBOOK.PARAMETER=VALUE`, the name is the whole one
    and the value a text. None for a word of another form."""
    field = named_values_of(config)
    if field is None or "." not in name:
        return None
    prefix = f"{field.name}."
    if not field.metadata["form"].startswith(prefix):
        return name, text
    if not name.startswith(prefix):
        return None
    try:
        return name.removeprefix(prefix), json.loads(text)
    except ValueError:
        return name.removeprefix(prefix), text


def _made(
    config: type,
    choices: dict[str, str],
    values: dict[tuple[str, ...], Any],
    named: dict[str, Any],
) -> Any:
    """The dataclass, with those of the chosen alternatives in it."""
    content = _composed(config, choices)
    for path, value in values.items():
        inner = content
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value
    for name, group in groups_of(config).items():
        content[name] = group["options"][choices[name]](**content[name])
    if field := named_values_of(config):
        content[field.name] = named
    return config(**content)


def _composed(config: type, choices: dict[str, str]) -> dict[str, Any]:
    """All defaults, by Hydra's compose API from its ConfigStore."""
    from hydra import compose, initialize
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    def node(kind: type, **more: Any) -> Any:
        made = OmegaConf.structured(kind)
        OmegaConf.set_readonly(made, False)  # as a frozen dataclass is, but others are merged in
        return OmegaConf.merge(more, made)

    store, groups = ConfigStore.instance(), groups_of(config)
    for name, group in groups.items():
        for option, kind in group["options"].items():
            store.store(option, node(kind), group=name)
    defaults = ["_self_", *({name: group["chosen"]} for name, group in groups.items())]
    store.store(config.__name__, node(config, defaults=defaults))
    with initialize(config_path=None, version_base="1.3"):
        overrides = [f"{name}={option}" for name, option in choices.items()]
        made = OmegaConf.to_container(compose(config.__name__, overrides=overrides))
    return cast(dict[str, Any], made)
