"""From `key=value` words to a checked configuration, by Hydra's compose API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from semhead_lib import old_names
from semhead_lib.conf.keys import REQUIRED, Key, options, read_config
from semhead_lib.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from omegaconf import DictConfig


def config_keys(name: str, choices: dict[str, str] | None = None) -> list[Key]:
    """All keys of command `name`, its own and those of the chosen group options."""
    file = read_config(name)
    keys = list(file.keys)
    for group, default in file.groups.items():
        keys += read_config((choices or {}).get(group, default), group).keys
    return keys


def compose_config(name: str, words: list[tuple[str, str]], free: str | None = None) -> DictConfig:
    """The configuration of command `name` after the words (key, text) of the command line; the last
    of equal keys wins.

    Dotted keys that the configuration does not know go into its mapping `free` as text, when a name
    for it is given; the command checks them itself. Raises UsageError naming the key, what was
    expected and what came.
    """
    groups = read_config(name).groups
    choices = {}
    words = [_today(name, key, text) for key, text in words]
    for key, text in words:
        if key in groups:
            if text not in options(key):
                hint = did_you_mean(text, options(key)) or f": there are {', '.join(options(key))}"
                raise UsageError(f"{key}={text}: no such option{hint}")
            choices[key] = text
    known = {key.name: key for key in config_keys(name, choices)}
    values, others = {}, {}
    for key, text in words:
        if key in known:
            try:
                values[key] = known[key].allowed.parse(text)
            except ValueError as error:
                raise UsageError(f"{key}={text}: {error}") from None
        elif free and "." in key:
            others[key] = text
        elif key not in groups:
            hint = (
                did_you_mean(key, [*known, *groups])
                or f": there are {', '.join([*known, *groups])}"
            )
            raise UsageError(f"unknown key '{key}'{hint}")
    for key in known.values():
        if key.default == REQUIRED and key.name not in values:
            raise UsageError(f"{key.name}=... is needed: {key.comment}")
    return _compose(name, choices, values, {free: others} if free else {})


def _today(name: str, key: str, text: str) -> tuple[str, str]:
    """A word of the command line by today's names."""
    here = {k.name for k in config_keys(name)}
    if key not in here and old_names.SETTINGS.get(key) in here:
        key = old_names.SETTINGS[key]
    values = old_names.VALUES.get(key)
    return key, re.sub(r"\w+", lambda word: values.get(word[0], word[0]), text) if values else text


def _compose(name: str, choices: dict, values: dict, free: dict) -> DictConfig:
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf, open_dict

    with initialize_config_module("semhead_lib.conf", version_base="1.3"):
        config = compose(name, overrides=[f"{group}={option}" for group, option in choices.items()])
    for key, value in values.items():
        OmegaConf.update(config, key, value)
    with open_dict(config):
        config.update(free)
    return config
