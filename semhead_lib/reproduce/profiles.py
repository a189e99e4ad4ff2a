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

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semhead_lib import old_names
from semhead_lib.errors import UsageError, did_you_mean
from semhead_lib.files import read_yaml
from semhead_lib.reproduce.notebooks import Notebook, read_notebook

_TAKEN = re.compile(r"(?<=\$\{)(\w+)\.(\w+)")  # ${NOTEBOOK.PARAMETER}


@dataclass(frozen=True)
class Step:
    """A notebook of a profile with its resolved parameters, defaults included."""

    notebook: Notebook
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        return self.notebook.name


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
