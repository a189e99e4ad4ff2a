"""Settings are written once: fields say default, meaning and range, and everything else agrees."""

from __future__ import annotations

import inspect
import typing
from dataclasses import dataclass, fields

import pytest

from semhead_lib import api, cli
from semhead_lib.conditioning.kontext import kontext_source
from semhead_lib.conditioning.modes import MODES
from semhead_lib.conditioning.sampling import STRATEGIES
from semhead_lib.conf import data, models
from semhead_lib.conf.compose import compose_config
from semhead_lib.conf.keys import about, groups_of, keys_of
from semhead_lib.data.dataset.entries import IMAGE_FORMATS
from semhead_lib.data.kontext import editor
from semhead_lib.inversion.start import STARTS
from semhead_lib.models.config import BACKGROUNDS, PRESETS
from semhead_lib.models.planes import REPRESENTATIONS
from semhead_lib.ops.render_rays import LARGEST_GRID, MOST_SAMPLES
from semhead_lib.settings import REQUIRED, Allowed, check, part, setting

CONFIGS = {c.name: c.config for c in cli.COMMANDS}
OPTIONS = {
    f"{name} {group}={option}": kind
    for name, config in CONFIGS.items()
    for group, found in groups_of(config).items()
    for option, kind in found["options"].items()
}


@dataclass(frozen=True)
class Tiny:
    count: int = setting(2, "int >= 1", "how many there are")
    name: str | None = setting(None, "text or null", "what they are called")
    inner: float = setting(0.5, "0 <= float <= 1", "of the library alone", key=False)

    def __post_init__(self) -> None:
        check(self)


@pytest.mark.parametrize("config", (CONFIGS | OPTIONS).values(), ids=CONFIGS | OPTIONS)
def test_every_field_is_explained_and_its_default_allowed(config):
    assert about(config)
    types = typing.get_type_hints(config)
    for key in keys_of(config):
        assert len(key.help) > 5
        if key.default != REQUIRED:
            assert key.allowed.has(key.default), key.name
            several = isinstance(key.default, tuple)
            assert key.allowed.parse(key.written) == (list(key.default) if several else key.default)
        if len(key.path) == 1:
            assert type_of(key.allowed) == types[key.field.name], key.name
    known = {key.field.name for key in keys_of(config)}
    for f in fields(config):
        assert f.name in known or f.metadata, f"{f.name} is no key, and nothing says why"


def type_of(allowed: Allowed) -> object:
    """The annotation of a field with that rule."""
    if allowed.choices:
        kind = type(allowed.choices[0])
        kind = tuple[kind, ...] if allowed.plain.startswith("any of ") else kind
    else:
        named = {"bool": bool, "text": str, "path": str, "paths": list[str]}
        kind = named.get(allowed.plain) or (int if "int" in allowed.plain else float)
    return kind | None if allowed.nullable else kind


@pytest.mark.parametrize(
    "field, known",
    [
        (("preset", models.Train), PRESETS),
        (("preset", models.Reconstruct), PRESETS),
        (("mode", models.Train), MODES),
        (("representation", models.Train), REPRESENTATIONS),
        (("representation", models.Reconstruct), REPRESENTATIONS),
        (("background", models.Train), BACKGROUNDS),
        (("background", models.Reconstruct), BACKGROUNDS),
        (("strategy", models.Sample), STRATEGIES),
        (("strategy", models.InverterTrain), STRATEGIES),
        (("strategy", data.Generated), STRATEGIES),
        (("start", models.Invert), STARTS),
        (("image_format", data.Synthesize), IMAGE_FORMATS),
        (("image_format", data.Import), IMAGE_FORMATS),
        (("dtype", data.Kontext), editor.DTYPES),
    ],
)
def test_what_there_is_to_choose_from_is_what_the_library_knows(field, known):
    name, config = field
    (key,) = (key for key in keys_of(config) if key.name == name)
    assert sorted(key.allowed.choices) == sorted(known)


def test_numbers_of_samples_go_as_far_as_the_renderer_s():
    allowed = {key.name: key.allowed for key in keys_of(models.Sample)}
    for name, most in (("grid", LARGEST_GRID), ("coarse", MOST_SAMPLES), ("fine", MOST_SAMPLES)):
        assert allowed[name].has(most) and not allowed[name].has(most + 1)


@pytest.mark.parametrize(
    "config, function",
    [
        (models.Train, api.train),
        (models.Evaluate, api.evaluate),
        (models.Invert, api.invert),
        (data.Kontext, kontext_source),
    ],
)
def test_functions_choose_devices_as_their_commands(config, function):
    """All other defaults that they share are read from one field."""
    (here,) = (key.default for key in keys_of(config) if key.name == "device")
    assert here == inspect.signature(function).parameters["device"].default


def test_kontext_has_the_settings_of_its_model():
    names = set(inspect.signature(kontext_source).parameters) | {
        key.name for key in keys_of(data.Kontext)
    }
    assert {"pixels", "steps", "guidance", "judged_by"} <= names


def test_checks_read_the_fields():
    assert Tiny(count=3).count == 3
    for changes, message in (
        (dict(count=0), "count must be an integer >= 1, got 0"),
        (dict(count=1.5), "count must be an integer >= 1, got 1.5"),
        (dict(count=True), "count must be an integer >= 1, got True"),
        (dict(inner=False), "inner must be a number >= 0 and <= 1, got False"),
        (dict(inner=float("nan")), "inner must be a number >= 0 and <= 1, got nan"),
        (dict(name=3), "name must be a text, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            Tiny(**changes)


def test_a_part_of_a_configuration_is_the_librarys_settings():
    config = compose_config(
        models.Reconstruct, [("data", "d"), ("out", "o"), ("generator.plane_side", "64")]
    )
    base = models.ReconstructionSettings
    settings = part(base, config, seed=3)
    assert type(settings) is base and settings.generator == {"plane_side": 64}
    assert settings.as_json() == base(seed=3, generator={"plane_side": 64}).as_json()


@pytest.mark.parametrize(
    "text", ["${oc.env:HOME}", "a/${b}", "\\${c}", "???", "a b=c,d(e)", "null", "${x", "[1,2]"]
)
def test_texts_and_paths_are_taken_as_they_are(text):
    config = compose_config(data.Import, [("src", text), ("out", "o"), ("licence", text)])
    assert (config.src, config.licence) == (text, text)
    config = compose_config(
        data.Synthesize, [("out", "o"), ("source", "generated"), ("model", text)]
    )
    assert config.source.model == text
    config = compose_config(models.Invert, [("photos", f"{text}\nb"), ("out", "o")])
    assert config.photos == [text, "b"]
    config = compose_config(CONFIGS["reproduce"], [("profile", "p"), ("01_x.y", text)])
    assert config.overrides == {"01_x.y": text}


def test_only_keys_are_keys():
    names = [key.name for key in keys_of(models.Invert)]
    assert {"steps", "camera_lr", "seed"} < set(names) and "patience" not in names
