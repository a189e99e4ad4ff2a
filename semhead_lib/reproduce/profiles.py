"""Profiles: which notebooks, in which order, with which parameters; checked against the notebooks
themselves.

A profile is a YAML file with one section a notebook; their order is the order of execution:

    01_dataset_synthesis:
      subjects: 24
    02_conditioning_analysis:
      dataset: ${01_dataset_synthesis.out}

`${run}` is the run folder, `${profile}` the profile's name, `${NOTEBOOK.PARAMETER}` another
section's value. A notebook that declares a parameter `out` gets `${run}/NOTEBOOK` when the profile
says nothing else. Paths are relative to the repository's root, where notebooks are executed.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import math
import os
import re
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semhead_lib import old_names
from semhead_lib.errors import UsageError, did_you_mean
from semhead_lib.files import read_yaml

_TAKEN = re.compile(r"(?<=\$\{)(\w+)\.(\w+)")  # ${NOTEBOOK.PARAMETER}


@dataclass(frozen=True)
class Parameter:
    """One name of a notebook's `parameters` cell."""

    name: str
    default: Any
    kind: Any  # a type, taken from the annotation, else from the default; Any when neither says

    def accepts(self, value: Any) -> bool:
        """Whether `value` has this parameter's type; whole numbers pass for floats, booleans never
        for numbers."""
        return _fits(value, self.kind)

    def in_range(self, value: Any) -> bool:
        """Whether numbers are finite, and not negative unless the default is."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return True
        default = self.default if isinstance(self.default, (int, float)) else 0
        return math.isfinite(value) and (value >= 0 or default < 0)

    @property
    def kind_name(self) -> str:
        """The type as a person writes it."""
        return (
            getattr(self.kind, "__name__", str(self.kind))
            if not typing.get_args(self.kind)
            else str(self.kind)
        )


@dataclass(frozen=True)
class Notebook:
    """A notebook on disk, as far as a run needs to know it."""

    name: str  # file name without its ending
    path: Path
    title: str  # its first heading
    parameters: dict[str, Parameter]
    digest: str  # of its cells' sources: outputs and metadata do not count


@dataclass(frozen=True)
class Step:
    """A notebook of a profile with its resolved parameters, defaults included."""

    notebook: Notebook
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        return self.notebook.name


def read_notebook(path: Path) -> Notebook:
    """Read a notebook's title and the literals of its cell tagged `parameters`.

    Raises ValueError when it is no notebook or when that cell holds anything but assignments of
    literals.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a notebook ({type(error).__name__}: {error})") from None
    headings = [
        line
        for kind, text in sources
        if kind == "markdown"
        for line in text.splitlines()
        if line[:1] == "#"
    ]
    tagged = [
        i
        for i, cell in enumerate(cells)
        if "parameters" in cell.get("metadata", {}).get("tags", [])
    ]
    parameters = _parameters(sources[tagged[0]][1], path) if tagged else {}
    digest = hashlib.sha256(json.dumps([sources, tagged]).encode()).hexdigest()
    return Notebook(
        path.stem, path, headings[0].lstrip("# ") if headings else path.stem, parameters, digest
    )


def load_profile(
    path: Path,
    notebooks: Path,  # folder of the notebooks
    run: str,  # the run folder, relative to the root: what `${run}` becomes
    overrides: dict[str, str] | None = None,  # "NOTEBOOK.PARAMETER" -> text from the command line
) -> list[Step]:
    """The profile's notebooks in order, each with checked and resolved parameters. Raises
    UsageError on any mistake."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        sections: Any = _todays(OmegaConf.load(io.StringIO(read_yaml(path))))
        if not OmegaConf.is_dict(sections) or not sections:
            raise UsageError(f"{path}: expected one section a notebook")
        known = {}
        for name in sections:
            if sections[name] is None:
                sections[name] = {}
            known[name] = _find(str(name), notebooks, path)
            if not OmegaConf.is_dict(sections[name]):
                raise UsageError(f"{path}: section '{name}' must map parameters to values")
        for key, text in (overrides or {}).items():
            prefix, _, parameter = key.partition(".")
            name = by_prefix(prefix, list(known))
            parameter = old_names.PARAMETERS.get(name, {}).get(parameter, parameter)
            declared = known[name].parameters.get(parameter)
            as_is = declared is not None and declared.kind is str
            sections[name][parameter] = (
                text if as_is else OmegaConf.from_dotlist([f"value={text}"])["value"]
            )
        for name, notebook in known.items():
            if "out" in notebook.parameters and "out" not in sections[name]:
                sections[name]["out"] = f"${{run}}/{name}"
        sections["run"], sections["profile"] = run, path.stem
        resolved: Any = OmegaConf.to_container(sections, resolve=True)
    except (OmegaConfBaseException, YAMLError) as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from None
    steps = [
        Step(notebook, check_parameters(notebook, resolved[name], path))
        for name, notebook in known.items()
    ]
    _check_folders(steps, path)
    return steps


def _check_folders(steps: list[Step], profile: Path) -> None:
    """Raise UsageError where two notebooks would write into one folder, or one into the other's."""
    folders: list[tuple[Path, str]] = []
    for step in steps:
        if isinstance(out := step.parameters.get("out"), str):
            here = Path(os.path.normpath(out))
            for there, name in folders:
                if here.is_relative_to(there) or there.is_relative_to(here):
                    raise UsageError(
                        f"{profile}: {step.name}.out: {here} is in the way of {name}'s, {there}"
                    )
            folders.append((here, step.name))


def _todays(sections: Any) -> Any:
    """A profile with notebooks and parameters by today's names: sections, and what is taken from
    them."""
    from omegaconf import OmegaConf

    if not OmegaConf.is_dict(sections):
        return sections

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: renamed(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [renamed(inner) for inner in value]
        return _TAKEN.sub(_name_of, value) if isinstance(value, str) else value

    content: Any = OmegaConf.to_container(sections, resolve=False)
    content = old_names.today(old_names.NOTEBOOKS, content)
    for name, parameters in old_names.PARAMETERS.items():
        if isinstance(content.get(name), dict):
            content[name] = old_names.today(parameters, content[name])
    return OmegaConf.create(renamed(content))


def _name_of(taken: re.Match[str]) -> str:
    name = old_names.NOTEBOOKS.get(taken[1], taken[1])
    return f"{name}.{old_names.PARAMETERS.get(name, {}).get(taken[2], taken[2])}"


def by_prefix(word: str, names: list[str]) -> str:
    """The one of `names` that is `word` or begins with it. Raises UsageError naming the nearest."""
    word = word if word in names else old_names.NOTEBOOKS.get(word, word)
    matches = [word] if word in names else [name for name in names if name.startswith(word)]
    if len(matches) != 1:
        hint = f": it may be {' or '.join(matches)}" if matches else did_you_mean(word, names)
        raise UsageError(
            f"no notebook '{word}' in this profile{hint or ': there are ' + ', '.join(names)}"
        )
    return matches[0]


def find_profile(name: str, folder: Path) -> Path:
    """The file of profile `name` in `folder`, or the file that `name` is the path of. Raises
    UsageError."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        hint = did_you_mean(name, known) or f": there are {', '.join(known) or 'none'} in {folder}"
        raise UsageError(f"no profile '{name}'{hint}")
    return path


def _find(name: str, notebooks: Path, profile: Path) -> Notebook:
    path = notebooks / f"{name}.ipynb"
    if not path.is_file():
        known = sorted(file.stem for file in notebooks.glob("*.ipynb"))
        raise UsageError(
            f"{profile}: no notebook '{name}' in {notebooks}{did_you_mean(name, known)}"
        )
    return read_notebook(path)


def check_parameters(notebook: Notebook, given: dict[str, Any], profile: Path) -> dict[str, Any]:
    """All parameters of a notebook, the given ones and its defaults. Raises UsageError naming what
    does not fit."""
    for name, value in given.items():
        where = f"{profile}: {notebook.name}"
        if name not in notebook.parameters:
            known = list(notebook.parameters)
            hint = did_you_mean(name, known) or f": there are {', '.join(known) or 'none'}"
            raise UsageError(f"{where} has no parameter '{name}'{hint}")
        parameter = notebook.parameters[name]
        if not parameter.accepts(value):
            raise UsageError(f"{where}.{name}: expected {parameter.kind_name}, got {value!r}")
        if not parameter.in_range(value):
            raise UsageError(
                f"{where}.{name}: expected a finite number that is not negative, got {value!r}"
            )
    return {
        name: given.get(name, parameter.default) for name, parameter in notebook.parameters.items()
    }


def _parameters(source: str, path: Path) -> dict[str, Parameter]:
    found = {}
    try:
        for node in ast.parse(source).body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                name, kind = node.target.id, _kind(ast.unparse(node.annotation))
                default = ast.literal_eval(node.value)
            elif (
                isinstance(node, ast.Assign)
                and len(node.targets) == 1
                and isinstance(node.targets[0], ast.Name)
            ):
                name, default = node.targets[0].id, ast.literal_eval(node.value)
                kind = Any if default is None else type(default)
            else:
                raise ValueError(f"'{ast.unparse(node)}' is no assignment")
            found[name] = Parameter(name, default, kind)
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"{path}: its parameters cell must assign literals only: {error}"
        ) from None
    return found


def _kind(annotation: str) -> Any:
    names: dict[str, Any] = {
        kind.__name__: kind for kind in (int, float, str, bool, list, dict, tuple)
    }

    def build(node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name) if name in names:
                return names[name]
            case ast.Constant(value=None):
                return None
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return build(left) | build(right)
            case ast.Subscript(
                value=ast.Name(id="list" | "dict" | "tuple" as name), slice=ast.Tuple(elts=inner)
            ):
                return names[name][tuple(map(build, inner))]
            case ast.Subscript(value=ast.Name(id="list" | "tuple" as name), slice=inner):
                return names[name][build(inner)]
        raise ValueError(f"'{annotation}' is no type of literals")

    return build(ast.parse(annotation, mode="eval").body)


def _fits(value: Any, kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if kind is None or kind is type(None):
        return value is None
    if origin is types.UnionType:
        return any(_fits(value, inner) for inner in arguments)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if (origin or kind) in (list, tuple):
        inner = arguments[0] if arguments else Any
        return isinstance(value, (list, tuple)) and all(_fits(item, inner) for item in value)
    if (origin or kind) is dict:
        return isinstance(value, dict)
    return isinstance(value, kind)
