from dataclasses import fields

from semhead_lib.conf.keys import read_config
from semhead_lib.training.settings import FREE, TrainSettings


def test_the_command_has_every_setting_with_the_same_default():
    keys = {key.name: key for key in read_config("train").keys}
    others = {"data", "out", "limit", "stream", "workers", "init", "device"}
    settings = {f.name: f.default for f in fields(TrainSettings)}
    assert keys.keys() - others == settings.keys()
    for name, default in settings.items():
        assert keys[name].allowed.parse(keys[name].default) == default, name


def test_what_may_change_is_a_setting():
    assert set(FREE) < {f.name for f in fields(TrainSettings)}
