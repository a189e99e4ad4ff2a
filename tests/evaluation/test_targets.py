"""What names something that can be judged, and what is said of the rest."""

from pathlib import Path

import pytest
from toy_heads import subjects

import semhead_lib as sh
from semhead_lib.evaluation import judging
from semhead_lib.evaluation.comparison import compare
from semhead_lib.evaluation.judging import common_viewing
from semhead_lib.evaluation.sources import GeneratorSource
from semhead_lib.evaluation.targets import is_elsewhere


@pytest.mark.parametrize(
    ("files", "target", "message"),
    [
        ([], "nothing", "does not exist; expected one of: a generator that ships"),
        ([], "semhead-65", r"does not exist; .* \(semhead-128\)"),
        (["empty/"], "empty", "is none of: a generator that ships"),
        (["note.txt"], "note.txt", "is none of: "),
        (["flat/0.png"], "flat", r"has images, but no dataset\.json with their cameras"),
        (["mine.py"], "mine.py", r"which of its functions\? .*mine\.py:FUNCTION"),
        (["network.pkl"], "network.pkl", "pickles are not read: render the heads"),
        (["run/generator/config.json"], "run", "is no generator's folder; .*run/generator is"),
    ],
)
def test_what_cannot_be_judged(tmp_path, files, target, message):
    for file in files:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if file.endswith("/") else path.write_bytes(b"")
    place = str(tmp_path / target)
    for judge in (
        is_elsewhere,
        lambda place: compare([place], "reference", tmp_path / "out"),
        lambda place: sh.evaluate(place, "reference"),
    ):
        with pytest.raises(FileNotFoundError, match=f"{target}: {message}"):
            judge(place)
    assert not (tmp_path / "out").exists()


def test_what_can(tmp_path):
    assert is_elsewhere("module:function") and not is_elsewhere("semhead-128")
    (tmp_path / "set" / "000").mkdir(parents=True)
    (tmp_path / "set" / "000" / "0.png").touch()
    assert is_elsewhere(tmp_path / "set")
    assert not is_elsewhere(Path(sh.__file__).parent / "assets/semhead-128")


def test_a_missing_extra_is_said_before_anything_is_judged(tmp_path, monkeypatch):
    def missing():
        raise ModuleNotFoundError("needs the extra faces")

    monkeypatch.setattr(judging, "face_judge", missing)
    with pytest.raises(ModuleNotFoundError, match="the extra faces"):
        compare(["module:function"], "reference", tmp_path / "out", identity_heads=4)
    with pytest.raises(ModuleNotFoundError, match="the extra faces"):
        sh.evaluate("module:function", "reference", identity_heads=4)


def test_a_generator_without_its_conditions_is_refused_before_anything_is_judged():
    source = GeneratorSource("semhead-128")
    asked = dict(heads=2, views=None, seed=0)
    with pytest.raises(ValueError, match="no semantic features: 'semhead data encode"):
        common_viewing([source], subjects(4, semantic=False), None, **asked)
    with pytest.raises(ValueError, match="the conditions of semhead-128"):
        common_viewing([source], subjects(4), None, **asked)
