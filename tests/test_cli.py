"""The command line: help read from the settings, mistakes named in one line, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from semhead_lib import cli
from semhead_lib.conf import data, runs
from semhead_lib.conf.compose import compose_config
from semhead_lib.conf.keys import groups_of, keys_of
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.settings import Allowed


def run(capsys, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    code = cli.main(list(words))
    return code, *capsys.readouterr()


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys; from semhead_lib.cli import main; main(['--help']); "
        "heavy = {'torch', 'numpy', 'hydra', 'omegaconf', 'papermill'} & set(sys.modules); "
        "sys.exit(bool(heavy))"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 1.0
    for command in cli.COMMANDS:
        assert command.summary in done.stdout


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_help_of_a_command_shows_every_key(capsys, command):
    code, out, _ = run(capsys, *command.name.split(), "--help")
    flat = " ".join(out.split())
    assert code == 0
    for key in keys_of(command.config):
        assert f" {key.name} " in flat
        assert f"{key.help} [{key.allowed.text}]" in flat
    for group in groups_of(command.config).values():
        for option in group["options"]:
            assert f" {option} " in flat


def test_help_of_all_commands_loads_nothing_heavy():
    code = (
        "import sys; from semhead_lib import cli; "
        "helps = [cli.command_help(command, []) for command in cli.COMMANDS]; "
        "heavy = {'torch', 'numpy', 'hydra', 'omegaconf', 'PIL'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["synthsize"], "unknown command 'synthsize': did you mean 'synthesize'?"),
        (["data", "chekc"], "unknown command 'data chekc': did you mean 'data check'?"),
        (
            ["data"],
            "'data' needs one more word: data check, data portraits, data import, data export, "
            "data pack, ",
        ),
        (["frobnicate"], "unknown command 'frobnicate': there are synthesize, "),
        (["synthesize", "resolutoin=64"], "unknown key 'resolutoin': did you mean 'resolution'?"),
        (["synthesize", "x=64"], "unknown key 'x': there are out, subjects, "),
        (
            ["synthesize", "--subjects", "4"],
            "'--subjects': keys are written without dashes, as subjects=VALUE",
        ),
        (
            ["synthesize", "somewhere"],
            "'somewhere': 'synthesize' takes nothing and key=value words",
        ),
        (
            ["synthesize", "out=x", "subjects=abc"],
            "subjects=abc: expected an integer >= 1, got 'abc'",
        ),
        (["synthesize", "out=x", "subjects=0"], "subjects=0: expected an integer >= 1, got 0"),
        (["synthesize", "out=x", "subjects=-3"], "subjects=-3: expected an integer >= 1, got -3"),
        (
            ["synthesize", "out=x", "subjects=1.5"],
            "subjects=1.5: expected an integer >= 1, got '1.5'",
        ),
        (["synthesize", "out=x", "image_format=pgn"], "did you mean 'png'?"),
        (
            ["synthesize", "out=x", "view_sampling=front"],
            "expected one of balanced, front_heavy, orbit, got 'front'",
        ),
        (["synthesize", "out=x", "channels=depht"], "got 'depht': did you mean 'depth'?"),
        (
            ["synthesize", "out=x", "source=parametrik"],
            "no such option: did you mean 'parametric'?",
        ),
        (
            ["synthesize", "out=x", "source=zzz"],
            "source=zzz: no such option: there are generated, kontext, parametric",
        ),
        (["synthesize", "out="], "out=: expected a path, got nothing"),
        (["synthesize"], "out=... is needed: "),
        (["data", "check", "a", "b"], "'b': 'data check' takes PATH and key=value words"),
        (["data", "import", "a"], "out=... is needed: "),
        (["reproduce", "smoke", "force=yes"], "force=yes: expected true or false, got 'yes'"),
        (["reproduce", "smoek"], "no profile 'smoek': did you mean 'smoke'?"),
        (["reproduce", "smoke", "01_dataset_synthesis.subjets=4"], "did you mean 'subjects'?"),
        (["headclip", "trian"], "unknown command 'headclip trian': did you mean 'headclip train'?"),
        (["headclip", "train", "out", "batch=1"], "batch=1: expected an integer >= 2, got 1"),
        (
            ["data", "encode", "d", "dtype=half"],
            "expected one of float32, bfloat16, float16, got 'half'",
        ),
        (["doctor", "a=1"], "unknown key 'a': there are json"),
        (["train", "d", "o", "generater.grid=0"], "unknown key 'generater.grid': "),
    ],
)
def test_mistakes_are_one_line_and_exit_2(capsys, words, message):
    code, out, error = run(capsys, *words)
    assert (code, out) == (2, "")
    assert error.startswith("semhead: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_failed_job_exits_1_without_a_traceback(capsys, monkeypatch):
    monkeypatch.delenv("SEMHEAD_DEBUG", raising=False)
    assert run(capsys, "data", "check", "/nowhere/a=b c")[0] == 1
    code, _, error = run(capsys, "data", "export", "/nowhere", "out")
    assert code == 1
    assert "/nowhere" in error and "Traceback" not in error
    monkeypatch.setenv("SEMHEAD_DEBUG", "1")
    with pytest.raises(OSError):
        cli.main(["data", "export", "/nowhere", "out"])


@pytest.mark.slow
def test_a_dataset_from_synthesis_to_import(capsys, tmp_path):
    pytest.importorskip("anny")
    made, archive, back = (str(tmp_path / name) for name in ("made", "archive.zip", "back"))
    small = (
        "subjects=2",
        "views_per_subject=2",
        "resolution=16",
        "samples_per_pixel=1",
        "workers=1",
        "device=cpu",
    )
    assert run(capsys, "synthesize", f"out={made}", *small, "channels=depth")[0] == 0
    manifest = json.loads((tmp_path / "made" / "dataset.json").read_text())
    assert (manifest["subjects"], manifest["views"], manifest["resolution"]) == (2, 4, 16)
    assert "depth" in manifest["fields"] and "normals" not in manifest["fields"]
    assert manifest["plan"]["seed"] == 20261122
    assert run(capsys, "synthesize", f"out={made}", *small, "channels=depth")[1].endswith(
        "(was finished already)\n"
    )
    code, _, error = run(capsys, "synthesize", f"out={made}", *small, "channels=segmentation")
    assert (code, error.count("\n")) == (1, 1)
    assert run(capsys, "data", "check", made)[:2] == (0, f"{made}: no damage found\n")
    assert run(capsys, "data", "export", made, archive)[:2] == (0, f"{archive}: 4 images\n")
    assert run(capsys, "data", "import", archive, back, "group=folder", "workers=1")[0] == 0
    assert json.loads((tmp_path / "back" / "dataset.json").read_text())["views"] == 4


@pytest.mark.slow
def test_features_are_stored_by_synthesize_and_by_data_encode(capsys, tmp_path):
    common = [
        "subjects=3",
        "views_per_subject=1",
        "resolution=32",
        "workers=1",
        "channels=[]",
        "shard_size=2",
    ]
    with_features, later = str(tmp_path / "one"), str(tmp_path / "two")
    code, out, _ = run(capsys, "synthesize", f"out={with_features}", "encoder=headclip-64", *common)
    assert code == 0 and "3 features of 128 numbers, headclip-64 [weights " in out
    assert run(capsys, "synthesize", f"out={later}", *common)[0] == 0
    assert Manifest.load(tmp_path / "two").layout.semantic is None
    assert run(capsys, "data", "encode", later, "device=cpu", "batch=2")[0] == 0
    assert Manifest.load(tmp_path / "one").layout == Manifest.load(tmp_path / "two").layout
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    assert run(capsys, "data", "check", later)[0] == 0
    code, out, _ = run(capsys, "synthesize", f"out={with_features}", "encoder=headclip-64", *common)
    assert code == 0 and "was finished already" in out


def test_a_missing_encoder_is_said_before_anything_is_made(capsys, tmp_path):
    code, _, error = run(
        capsys, "synthesize", f"out={tmp_path / 'heads'}", "encoder=ViT-B-32/nothing"
    )
    assert (
        code == 1
        and "'nothing' is no file and no tag of ViT-B-32" in error
        and error.count("\n") == 1
    )
    assert not (tmp_path / "heads").exists()


def test_an_interrupted_job_exits_130(capsys, monkeypatch):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr("semhead_lib.commands.data.data_check", interrupted)
    code, _, error = run(capsys, "data", "check", "x")
    assert (code, error) == (130, "semhead: interrupted; the same command resumes\n")


def test_composition():
    config = compose_config(
        data.Synthesize, [("out", "a b=c,d(e)"), ("channels", "segmentation"), ("subjects", "7")]
    )
    assert (config.out, config.subjects) == ("a b=c,d(e)", 7)
    source = config.source
    assert type(source) is data.Parametric
    assert (source.channels, source.samples_per_pixel) == (["segmentation"], 4)
    assert (source.seed, source.resolution) == (20261122, 128)
    extra = compose_config(runs.Reproduce, [("profile", "smoke"), ("01_x.count", "3")])
    assert extra.overrides == {"01_x.count": "3"}


@pytest.mark.parametrize(
    ("rule", "text", "value"),
    [
        ("int >= 1", "1_000", 1000),
        ("float > 0", "1e-3", 1e-3),
        ("0 <= float <= 1", "1", 1.0),
        ("-30 <= float < 45.5", "-30", -30.0),
        ("bool", "True", True),
        ("text or null", "null", None),
        ("text", "null", "null"),
        ("a | b or null", "none", None),
    ],
)
def test_allowed_values(rule, text, value):
    assert Allowed(rule).parse(text) == value


@pytest.mark.parametrize(
    ("rule", "text", "message"),
    [
        ("float > 0", "0", "expected a number > 0, got 0"),
        ("0 <= float <= 1", "1.1", "expected a number >= 0 and <= 1, got 1.1"),
        ("float", "nan", "expected a number, got nan"),
        ("float >= 0", "inf", "expected a number >= 0, got inf"),
        ("bool", "1", "expected true or false, got '1'"),
        ("68 | 5", "6", "expected one of 68, 5, got '6'"),
        ("any of a | b", "a,c", "expected one of a, b, got 'c'"),
        ("paths", "", "expected a path or several, got nothing"),
        ("int >= 1 or null", "none!", "expected an integer >= 1, got 'none!'"),
    ],
)
def test_values_that_are_not_allowed(rule, text, message):
    with pytest.raises(ValueError, match=message):
        Allowed(rule).parse(text)


def test_a_rule_that_is_none():
    with pytest.raises(ValueError, match="is no rule for a value"):
        Allowed("integer")


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_only_commands_that_share_their_work_run_in_every_process(capsys, monkeypatch, command):
    """Of those that torchrun started."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(cli, "configure", lambda *_: None)
    called = []
    monkeypatch.setattr(cli.importlib, "import_module", lambda _: called.append(1))
    code, _, said = run(capsys, *command.name.split())
    assert bool(called) == command.shared == (command.name in ("synthesize", "train"))
    assert command.shared or (code == 0 and "done by the first process alone" in said)


def test_warnings_are_sentences():
    """Ours without a place in the code; and only while a command runs."""
    code = (
        "import warnings; from semhead_lib import cli; "
        "cli._dispatch = lambda words: compile_and_warn() or 0; "
        "compile_and_warn = lambda: warnings.warn_explicit('this is odd', UserWarning, "
        "cli.__file__, 7) or warnings.warn_explicit('theirs', UserWarning, '/else/where.py', 9); "
        "cli.main(['data']); warnings.warn_explicit('after', UserWarning, cli.__file__, 8)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second, third, *_ = done.stderr.splitlines()
    assert (first, second) == ("warning: this is odd", "/else/where.py:9: theirs")
    assert third.endswith("UserWarning: after")
