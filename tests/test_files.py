"""Files of any content are read within bounds, and errors name them."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from semhead_lib import files
from semhead_lib.cli import main
from semhead_lib.conditioning.bank import FILE as CONDITIONS
from semhead_lib.data.dataset.archives import ImageArchive
from semhead_lib.data.dataset.check import check
from semhead_lib.errors import UsageError
from semhead_lib.files import (
    read_bytes,
    read_json,
    read_json_lines,
    read_rows,
    read_state,
    read_tensors,
    read_yaml,
)
from semhead_lib.inversion.comparison import read_table
from semhead_lib.models.config import preset
from semhead_lib.models.generator import CONFIG, WEIGHTS, Generator, folder_of


@pytest.fixture
def model(tmp_path):
    return shutil.copytree(folder_of("semhead-128"), tmp_path / "model")


def test_pipes_devices_and_large_files_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(9))
    for read in (read_bytes, read_json, read_tensors):
        with pytest.raises((ValueError, FileNotFoundError)):
            read(tmp_path / "pipe")
    with pytest.raises(ValueError, match="large: has 9 bytes, expected at most 8"):
        read_bytes(tmp_path / "large", 8)
    assert "pipe" in check(tmp_path / "pipe")[0]


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 12)
)
YAML = {
    "bomb": (BOMB, "expected at most 100000 values"),
    "circle": ("a: &a [*a]\n", "expected at most 100000 values"),
    "deep": ("[" * 3000, "nested too deeply"),
    "not UTF-8": (b"a: \xff\xfe", "is not UTF-8"),
    "broken": ("a: [1", "expected"),
}


@pytest.mark.parametrize("kind", YAML)
@pytest.mark.parametrize("command", ["reproduce", "ablate", "contest"])
def test_yaml_of_any_content_is_one_line_that_names_it(tmp_path, capsys, kind, command):
    content, message = YAML[kind]
    path = tmp_path / "bad.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    began = time.monotonic()
    assert main([command, str(path), "dry_run=true"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "bad.yaml" in line and message in line and time.monotonic() - began < 30


def test_aliases_within_bounds_are_read(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {x: 1}\nb: *a\n")
    assert read_yaml(tmp_path / "a.yaml").startswith("a:")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mapping_layers": 1000000}, r"mapping_layers must lie in 1\.\.\.64, got 1000000"),
        ({"w_dim": 1 << 40}, "w_dim must lie in"),
        ({"w_dim": 60000, "z_dim": 60000}, r"config\.json: asks for a larger network"),
        ({"backbone_base": 1 << 20, "backbone_most": 8192}, "asks for a larger"),
        ({"z_dim": "128"}, r"z_dim must be int, got '128'"),
        ({"ball_slope": float("nan")}, "ball_slope must be finite"),
        ({"box_half": 3}, "box_half must be tuple"),
        ({"hidden": True}, "hidden must be int, got True"),
        ({"hidden": 33}, r"model\.safetensors does not fit its config\.json"),
        ({"representation": ["x"]}, "representation must be str"),
        ({"representation": "cube"}, "representation|planes"),
    ],
)
def test_a_config_asks_for_no_more_than_its_weights_hold(model, change, message):
    content = json.loads((model / CONFIG).read_text()) | change
    (model / CONFIG).write_text(json.dumps(content))
    began = time.process_time()
    with pytest.raises(ValueError, match=message) as caught:
        Generator.load(model)
    assert str(model) in str(caught.value)
    assert time.process_time() - began < 5, "before anything large is made"


@pytest.mark.parametrize("field", ["ball_slope", "grid", "background"])
def test_a_field_that_was_lost_is_not_one_that_an_old_file_has_not(model, field):
    content = json.loads((model / CONFIG).read_text())
    kept = {name: value for name, value in content.items() if name not in ("fields", "grid")}
    (model / CONFIG).write_text(json.dumps(kept))
    generator = Generator.load(model)  # of a file that is older than grids
    generator.save(model)
    content = json.loads((model / CONFIG).read_text())
    del content[field]
    (model / CONFIG).write_text(json.dumps(content))
    count = len(content)
    with pytest.raises(ValueError, match=rf"config\.json: has {count - 1} .* with {count}$"):
        Generator.load(model)
    (model / CONFIG).write_text(json.dumps(generator.config.as_json()))
    assert Generator.load(model).config == generator.config, "and none says how many it has"


DAMAGE = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "text": lambda data: b"version https://git-lfs.github.com/spec/v1\n",
    "header": lambda data: b"\xff" * 8 + data[8:],
    "list": lambda data: b"[1, 2]",
    "bytes": lambda data: bytes(range(256)) * 4,
}


@pytest.mark.parametrize("file", [WEIGHTS, CONFIG, CONDITIONS])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_to_a_model_names_the_file(model, capsys, tmp_path, file, kind):
    (model / file).write_bytes(DAMAGE[kind]((model / file).read_bytes()))
    assert main(["sample", str(model), str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(model / file) in line


@pytest.mark.parametrize("file", [WEIGHTS, CONDITIONS])
def test_numbers_that_are_not_finite_are_refused(model, tmp_path, capsys, file):
    tensors = load_file(model / file)
    largest = max(tensors, key=lambda name: tensors[name].numel())
    tensors[largest].view(-1)[0] = float("nan")
    save_file(tensors, model / file)
    assert main(["sample", str(model), str(tmp_path / "out")]) == 1
    assert f"{model / file}" in (said := capsys.readouterr().err) and "not finite" in said


def test_a_generator_still_comes_back_as_it_was(tmp_path):
    torch.manual_seed(0)
    one = Generator(preset("semhead-32", condition_dim=8))
    one.save(tmp_path)
    other = Generator.load(tmp_path)
    assert one.config == other.config
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_links_in_circles_are_walked_once(tmp_path):
    (tmp_path / "c.png").write_bytes(b"no matter")
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(".")
    os.mkfifo(tmp_path / "pipe.png")
    began = time.monotonic()
    assert ImageArchive(tmp_path).images() == ["c.png"]
    assert time.monotonic() - began < 1


def test_damaged_logs_and_states_are_named(tmp_path):
    assert read_json_lines(tmp_path / "none.jsonl") == []
    log, state = tmp_path / "log.jsonl", tmp_path / "state.pt"
    log.write_bytes(b'{"step": 1}\n{"step": 2}\n{"st')
    assert read_json_lines(log) == [{"step": 1}, {"step": 2}]
    for bad in (b"[1, 2]", b"\xff", b"x", b"[" * 100_000):
        log.write_bytes(b'{"step": 1}\n' + bad + b"\n{}\n")
        with pytest.raises(ValueError, match=r"log\.jsonl, line 2: expected a JSON object"):
            read_json_lines(log)
    torch.save({"step": 3}, state)
    assert read_state(state) == {"step": 3}
    for bad in (b"", b"x", state.read_bytes()[:200], bytes(99)):
        state.write_bytes(bad)
        with pytest.raises(ValueError, match=r"state\.pt: is no readable state of a training"):
            read_state(state)


TABLES = {
    "no number": (b"name,value\na,x\n", "row 2: value must be a number, got 'x'"),
    "infinite": (b"name,value\na,inf\n", "row 2: value must be a number"),
    "not a number": (b"name,value\na,1\nb,nan\n", "row 3: value must be a number"),
    "short": (b"name,value\na,1\na\n", "row 3: expected 2 cells, got 1"),
    "twice": (b"value,value\n1,1\n", "two columns of one name"),
    "zero byte": (b"name,value\na\0,1\n", "is no CSV table"),
    "not UTF-8": (b"name,value\n\xff,1\n", "is no CSV table"),
    "empty": (b"", "it is empty"),
    "open": (b'name,value\n"a,1\n', "is no CSV table"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_damaged_table_is_named(tmp_path, kind):
    content, message = TABLES[kind]
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"table.csv.*{message}"):
        read_rows(path, ("value",))
    with pytest.raises(ValueError, match=r"judged\.csv"):
        read_table(path.rename(tmp_path / "judged.csv"))


def test_a_packed_table_is_read_within_bounds(tmp_path, monkeypatch):
    content, path = b"name,value\na,1\n", tmp_path / "judged.csv.gz"
    whole = gzip.compress(content, mtime=0)
    path.write_bytes(whole)
    assert read_rows(path, ("value",)) == [{"name": "a", "value": "1"}]
    with pytest.raises(ValueError, match=r"judged\.csv\.gz: expected the columns"):
        read_table(tmp_path / "judged.csv")
    for damaged in (whole[:-9], whole[:12] + b"\xff" + whole[13:], content, b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"judged\.csv\.gz: is no CSV table"):
            read_rows(path)
    monkeypatch.setattr(files, "_MOST_UNPACKED", 1000)
    path.write_bytes(gzip.compress(b"name,value\n" + b"a,1\n" * 1000))
    with pytest.raises(ValueError, match=r"judged\.csv\.gz: unpacks to more than 1000 bytes"):
        read_rows(path)


def test_a_small_file_of_many_rows_is_refused_within_bounds(tmp_path):
    """0.2 MB of gzip would be 5 GB of rows."""
    path = tmp_path / "judged.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 50_000_000, 1))
    code = "import resource as r, sys; from semhead_lib import files\n"
    code += "r.setrlimit(r.RLIMIT_AS, (5 << 30,) * 2); files.read_rows(sys.argv[1])"
    found = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "judged.csv.gz: has more than 4000000 rows" in found.stderr


def test_a_table_is_read_as_it_is(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('name,value\n"a, b\nc",1\nd,\nnan,2\n', newline="")
    names = [(row["name"], row["value"]) for row in read_rows(path, ("value",))]
    assert names == [("a, b\nc", "1"), ("d", ""), ("nan", "2")]


def test_deep_yaml_that_can_be_parsed_is_refused(tmp_path):
    (tmp_path / "deep.yaml").write_text("a: " + "[" * 100 + "]" * 100)
    with pytest.raises(UsageError, match=r"deep\.yaml: is nested too deeply"):
        read_yaml(tmp_path / "deep.yaml")
