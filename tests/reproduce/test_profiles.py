"""Profiles: every mistake is found before anything is executed, and names what is nearest."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from semhead_lib.errors import UsageError
from semhead_lib.reproduce.notebooks import read_notebook
from semhead_lib.reproduce.profiles import find_profile, load_profile


def load(checkout: Path, text: str | None = None, **overrides: str):
    profile = checkout / "papermill_runs" / "profiles" / "tiny.yaml"
    if text is not None:
        profile.write_text(text)
    named = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_profile(profile, checkout / "notebooks", "papermill_runs/tiny/main", named)


def test_parameters_are_resolved(checkout):
    first, second = load(checkout)
    folder = "papermill_runs/tiny/main"
    assert first.parameters == {
        "out": f"{folder}/01_make",
        "count": 4,
        "scale": 1.0,
        "wait_for": "",
    }
    assert second.parameters["dataset"] == first.parameters["out"]
    assert second.parameters["out"] == f"{folder}/02_read"
    assert (first.notebook.title, first.name) == ("Making", "01_make")


def test_overrides_have_the_parameters_types(checkout):
    overrides = {
        "01__count": "7",
        "01_make__scale": "1e-3",
        "01__wait_for": "12",
        "02__names": "[x, y]",
    }
    first, second = load(checkout, **overrides)
    assert (first.parameters["count"], first.parameters["scale"]) == (7, 1e-3)
    assert first.parameters["wait_for"] == "12"
    assert second.parameters["names"] == ["x", "y"]
    assert load(checkout, **{"02__factor": "null"})[1].parameters["factor"] is None
    assert load(checkout, **{"02__factor": "2"})[1].parameters["factor"] == 2


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("01_make: {cuont: 3}", "01_make has no parameter 'cuont': did you mean 'count'?"),
        ("01_make: {count: abc}", "01_make.count: expected int, got 'abc'"),
        ("01_make: {count: 3.5}", "01_make.count: expected int, got 3.5"),
        ("01_make: {count: true}", "01_make.count: expected int, got True"),
        ("01_make: {scale: '1'}", "01_make.scale: expected float, got '1'"),
        ("02_read: {factor: big}", "02_read.factor: expected float | None, got 'big'"),
        ("02_read: {names: [1, 2]}", r"02_read.names: expected list\[str\], got \[1, 2\]"),
        ("01_amke: {count: 3}", "no notebook '01_amke' in .*: did you mean '01_make'?"),
        ("01_make: {count: -4}", "01_make.count: expected a finite number that is not negative"),
        ("01_make: {scale: .nan}", "01_make.scale: expected a finite number .*, got nan"),
        ("01_make: {scale: .inf}", "01_make.scale: expected a finite number .*, got inf"),
        ("01_make: {out: x}\n02_read: {out: ./x}", "02_read.out: x is in the way of 01_make's, x"),
        ("01_make: {out: x/y}\n02_read: {out: x}", "02_read.out: x is in the way of 01_make's"),
        ("01_make: 3", "section '01_make' must map parameters to values"),
        ("01_make: {out: '${nowhere}'}", "nowhere"),
        ("01_make: {", "tiny.yaml: "),
        ("", "expected one section a notebook"),
    ],
)
def test_mistakes_in_a_profile(checkout, section, message):
    with pytest.raises(UsageError, match=message):
        load(checkout, section)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"01_make__cuont": "3"}, "did you mean 'count'?"),
        ({"01_make__count": "abc"}, "01_make.count: expected int, got 'abc'"),
        ({"01_make__count__x": "3"}, "no parameter 'count.x'"),
        ({"03__count": "3"}, "no notebook '03' in this profile: there are 01_make, 02_read"),
        ({"0__count": "3"}, "no notebook '0' in this profile: it may be 01_make or 02_read"),
    ],
)
def test_mistakes_on_the_command_line(checkout, override, message):
    with pytest.raises(UsageError, match=message):
        load(checkout, **override)


ROOT = Path(__file__).parents[2]
PROFILES = sorted((ROOT / "papermill_runs" / "profiles").glob("*.yaml"))


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_this_repositorys_profiles_fit_its_notebooks(path):
    steps = load_profile(path, ROOT / "notebooks", "papermill_runs/any/main")
    assert [step.name for step in steps] == sorted(
        file.stem for file in (ROOT / "notebooks").glob("*.ipynb")
    )
    for section in yaml.safe_load(path.read_text()).values():
        assert section  # every notebook's scale is stated
    header = path.read_text().partition("\n\n")[0]
    for word in ("command    semhead reproduce", "hardware", "time", "paper"):
        assert word in header


def test_profiles_are_found_by_name_or_path(checkout):
    folder = checkout / "papermill_runs" / "profiles"
    assert find_profile("tiny", folder) == folder / "tiny.yaml"
    assert find_profile(str(folder / "tiny.yaml"), Path("elsewhere")) == folder / "tiny.yaml"
    with pytest.raises(UsageError, match="no profile 'tini': did you mean 'tiny'"):
        find_profile("tini", folder)


@pytest.mark.parametrize("cell", ["n: int = 2 * 3", "import os", "n: Tensor = 1", "n ="])
def test_parameter_cells_hold_literals_only(tmp_path, write_notebook, cell):
    write_notebook(tmp_path / "a.ipynb", "A", cell)
    with pytest.raises(ValueError, match="its parameters cell must assign literals only"):
        read_notebook(tmp_path / "a.ipynb")


def test_a_file_that_is_no_notebook(tmp_path):
    (tmp_path / "a.ipynb").write_text("{}")
    with pytest.raises(ValueError, match=r"a\.ipynb: not a notebook"):
        read_notebook(tmp_path / "a.ipynb")


def test_outputs_do_not_change_a_notebooks_digest(checkout):
    import nbformat

    path = checkout / "notebooks" / "02_read.ipynb"
    before = read_notebook(path).digest
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="x")]
    notebook.cells[2].execution_count = 3
    nbformat.write(notebook, path)
    assert read_notebook(path).digest == before
    notebook.cells[2].source += "\n"
    nbformat.write(notebook, path)
    assert read_notebook(path).digest != before


def test_prose_does_not_change_the_digest_of_what_was_executed(checkout):
    import nbformat

    path = checkout / "notebooks" / "02_read.ipynb"
    before, notebook = read_notebook(path), nbformat.read(path, as_version=4)
    next(c for c in notebook.cells if c.cell_type == "markdown").source += " More."
    nbformat.write(notebook, path)
    now = read_notebook(path)
    assert now.digest != before.digest and now.code_digest == before.code_digest
    next(c for c in notebook.cells if c.cell_type == "code").source += "\n"
    nbformat.write(notebook, path)
    assert read_notebook(path).code_digest != before.code_digest
