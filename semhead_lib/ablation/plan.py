"""Studies: which trainings, on which data. A study is a YAML file in
papermill_runs/profiles/ablations:

    datasets:                     # made once, shared by all runs
      balanced:    {subjects: 2000, seed: 1}
      front_heavy: {subjects: 2000, seed: 1, view_sampling: front_heavy}
      inconsistent: {subjects: 2000, seed: 1, inconsistency: 2.0}
      few_views:   {subjects: 2000, views_per_subject: 4, part_of: balanced}
      unseen:      {subjects: 512, seed: 1000}
    common:                       # what all runs share
      preset: semhead-32
      kimg: 20
    sweeps:                       # a factor a line, in Hydra's grammar: a run for each combination
      condition: mode=none,view,semantic,semantic+view seed=0,1,2
      vicico: vicico=off,view,condition seed=0,1

What a run may set: parameters of 04_training (mode, source, features, seed, ...), settings of
`semhead train`, `data` (the name of a dataset), and `vicico` (both, off, view, condition or joint;
both-0.1 gives each of its terms the weight 0.1). Runs differ from a baseline in one factor: the
levels of FACTORS, or those in `common`. A dataset that is `part_of` another has its first subjects,
and of each as many views, spread around the head. A `source` is one of conditioning/sources.py, or
an encoder's name. `condition_until_kimg=end` removes no condition. A run in two sweeps is executed
once. All are evaluated on the dataset `unseen`.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from semhead_lib import old_names
from semhead_lib.ablation.dataset_plan import UNSEEN, DatasetPlan, dataset_plans, is_made
from semhead_lib.conditioning.sources import check_source
from semhead_lib.errors import UsageError, did_you_mean, usage_errors
from semhead_lib.files import read_yaml
from semhead_lib.models.config import preset
from semhead_lib.reproduce.notebooks import read_notebook
from semhead_lib.reproduce.profiles import Step, check_parameters, find_profile
from semhead_lib.training.settings import TrainSettings

NOTEBOOK = "04_training"
# Columns of the table, in the order of names: their levels in the baseline, unless `common` sets it.
FACTORS: dict[str, Any] = {
    "mode": "semantic",
    "vicico": "both",
    "views_per_subject": 4,
    "data": "balanced",
    "representation": "hyplane",
    "source": "frontal",
    "condition_until_kimg": "end",
}
ADDED = ("condition_until_kimg",)  # of them, those that tables of earlier versions lack
_TERMS = {  # of each kind of ViCiCo, the settings that hold its weights
    "both": ("vicico_view", "vicico_condition"),
    "view": ("vicico_view",),
    "condition": ("vicico_condition",),
    "joint": ("vicico_joint",),
}
_VICICO: dict[str, dict[str, float]] = {  # what each sets; weights that are not named stay
    "both": {},
    "off": {"vicico_view": 0.0, "vicico_condition": 0.0},
    "view": {"vicico_condition": 0.0},
    "condition": {"vicico_view": 0.0},
    "joint": {"vicico_view": 0.0, "vicico_condition": 0.0, "vicico_joint": 0.5},
}
_OF_NOTEBOOK = ("preset", "mode", "source", "repeats", "kimg", "features", "heads", "checks")
_OF_NOTEBOOK += ("seed", "device")
_IMAGES = 32  # in a batch, unless the study says otherwise


@dataclass(frozen=True)
class PlannedRun:
    """One training: the level of every factor, and the parameters of its notebook."""

    name: str  # of its folder
    levels: dict[str, Any]  # of FACTORS, and the seed
    parameters: dict[str, Any] = field(repr=False)  # of 04_training, without its folders
    data: str  # name of the dataset it is trained on


@dataclass(frozen=True)
class Study:
    """All runs of a study, and where they go. Paths are relative to the repository's root."""

    name: str
    file: Path
    datasets: dict[str, DatasetPlan]
    runs: tuple[PlannedRun, ...]
    resolution: int  # pixels a side, of the datasets
    encoder: str
    baseline: dict[str, Any]  # the level of each of FACTORS from which runs differ

    @property
    def folder(self) -> Path:
        return Path("papermill_runs") / "ablations" / self.name

    def dataset(self, name: str) -> Path:
        return self.folder / "datasets" / name

    def has_datasets(self, root: Path) -> bool:
        """Whether all datasets are there and as planned; one that is otherwise is for their job to
        complain of."""
        return all(
            is_made(root / self.dataset(name), plan, self.datasets, self.resolution, self.encoder)
            for name, plan in self.datasets.items()
        )

    def run(self, name: str) -> PlannedRun:
        """The run of that name. Raises UsageError naming the nearest."""
        names = [run.name for run in self.runs]
        if name not in names:
            raise UsageError(
                f"{self.file}: no run "
                f"'{name}'{did_you_mean(name, names) or ': there are ' + ', '.join(names)}"
            )
        return self.runs[names.index(name)]

    def step(self, run: PlannedRun, notebooks: Path = Path("notebooks")) -> Step:
        """The notebook with its parameters, checked against it. Raises UsageError."""
        notebook = read_notebook(notebooks / f"{NOTEBOOK}.ipynb")
        begun = old_names.existing(notebooks.parent / self.folder / run.name / NOTEBOOK)
        folders = {
            "data": self.dataset(run.data),
            "unseen": self.dataset(UNSEEN),
            "out": self.folder / run.name / begun.name,
        }
        given = {**run.parameters, **{name: path.as_posix() for name, path in folders.items()}}
        return Step(notebook, check_parameters(notebook, given, self.file))


def load_study(name: str, root: Path) -> Study:
    """The study `name`, or the one in the YAML file of that path. Raises UsageError."""
    path = find_profile(name, root / "papermill_runs" / "profiles" / "ablations").resolve()
    path = path.relative_to(root) if path.is_relative_to(root) else path
    return read_study(read_yaml(root / path), path)


def read_study(text: str, path: Path) -> Study:
    """The study of a YAML text, called as its file. Raises UsageError."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        content: Any = OmegaConf.to_object(OmegaConf.load(io.StringIO(text)))
    except (OmegaConfBaseException, YAMLError) as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or set(content) != {"datasets", "common", "sweeps"}:
        raise UsageError(f"{path}: expected the sections datasets, common and sweeps")
    for name, section in content.items():
        if not isinstance(section, dict) or not section:
            raise UsageError(f"{path}: {name} must be a mapping, got {section!r:.60}")
    with usage_errors(str(path)):
        return _study(path, content)


def _study(path: Path, content: dict[str, Any]) -> Study:
    datasets = dataset_plans(str(path), content["datasets"])
    if UNSEEN not in datasets:
        raise UsageError(
            f"{path}: datasets needs one called {UNSEEN}, of subjects to judge against"
        )
    common = old_names.today(old_names.SETTINGS, content["common"])
    encoder = common.pop("encoder", "headclip-64")
    baseline = {name: common.pop(name, level) for name, level in FACTORS.items()}
    baseline["condition_until_kimg"] = baseline["condition_until_kimg"] or "end"  # null
    runs: dict[str, PlannedRun] = {}
    for factor, line in content["sweeps"].items():
        for levels in _expanded(f"{path}: {factor}", str(line)):
            given = {**baseline, "seed": 0, **common, **levels}
            run = _planned(given, baseline, encoder, datasets, f"{path}: {factor}")
            if runs.setdefault(run.name, run) != run:
                raise UsageError(
                    f"{path}: {factor}: two different runs are called {run.name}: sweep one "
                    "factor a line"
                )
    sizes = {preset(run.parameters["preset"]).resolution for run in runs.values()}
    if len(sizes) != 1:
        raise UsageError(f"{path}: all runs must make images of one size, got {sorted(sizes)}")
    return Study(path.stem, path, datasets, tuple(runs.values()), sizes.pop(), encoder, baseline)


def _expanded(where: str, line: str) -> list[dict[str, Any]]:
    """A line of Hydra's sweep grammar: one mapping a combination of values."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    try:
        (combinations,) = BasicSweeper.split_arguments(
            parser.parse_overrides(line.split()), max_batch_size=None
        )
        each = [
            {o.key_or_group: o.value() for o in parser.parse_overrides(words)}
            for words in combinations
        ]
        return [old_names.today(old_names.SETTINGS, levels) for levels in each]
    except HydraException as error:
        raise UsageError(f"{where}: {str(error).splitlines()[0]}") from None


def _planned(
    given: dict[str, Any],
    baseline: dict[str, Any],
    encoder: str,
    datasets: dict[str, DatasetPlan],
    where: str,
) -> PlannedRun:
    """A run from what it sets: its name, its levels, and the parameters of its notebook."""
    if given["condition_until_kimg"] is None:
        given["condition_until_kimg"] = "end"
    levels = {name: given[name] for name in (*FACTORS, "seed")}
    data, vicico = given.pop("data"), given.pop("vicico")
    known_data = [d for d in datasets if d != UNSEEN]
    if data not in known_data:
        raise UsageError(f"{where}: data must be one of {', '.join(known_data)}, got {data!r}")
    given |= _weights(str(vicico), where)
    if given["condition_until_kimg"] == "end":
        del given["condition_until_kimg"]
    views = given["views_per_subject"]
    if not isinstance(views, int) or views < 1:
        raise UsageError(f"{where}: views_per_subject must be an integer >= 1, got {views!r:.60}")
    given.setdefault("subjects_per_batch", max(_IMAGES // views, 1))
    parameters = {name: given.pop(name) for name in _OF_NOTEBOOK if name in given}
    known = [f.name for f in fields(TrainSettings)]
    if unknown := sorted(set(given) - set(known)):
        hint = did_you_mean(unknown[0], [*known, *_OF_NOTEBOOK, *FACTORS])
        raise UsageError(
            f"{where}: no parameter of {NOTEBOOK} and no setting of training is called "
            f"'{unknown[0]}'{hint}"
        )
    settings = {
        name: parameters[name] for name in ("preset", "mode", "kimg", "seed") if name in parameters
    }
    try:
        checked = TrainSettings(**settings, **given)
        check_source(parameters["source"])
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from None
    until = checked.condition_until_kimg
    if until is not None and until >= checked.kimg:
        raise UsageError(
            f"{where}: condition_until_kimg must be below kimg ({checked.kimg:g}), got {until:g}: "
            "nothing would be removed"
        )
    options = " ".join(
        word for name, value in sorted(given.items()) for word in _words(name, value)
    )
    parameters |= {"options": options, "judged": "", "encoder": encoder}
    return PlannedRun(_name(levels, baseline), levels, parameters, data)


def _weights(vicico: str, where: str) -> dict[str, float]:
    """The settings of a kind of ViCiCo, or of KIND-WEIGHT.

    >>> _weights("view-1", "")
    {'vicico_condition': 0.0, 'vicico_view': 1.0}
    """
    kind, dash, weight = vicico.partition("-")
    if kind not in _VICICO or (dash and kind not in _TERMS):
        raise UsageError(
            f"{where}: vicico must be one of {', '.join(_VICICO)}, or one with a weight such as "
            f"both-0.1, got {vicico!r}"
        )
    if not dash:
        return dict(_VICICO[kind])
    try:
        number = float(weight)
    except ValueError:
        raise UsageError(f"{where}: {weight!r} is no weight of vicico, got {vicico!r}") from None
    return _VICICO[kind] | dict.fromkeys(_TERMS[kind], number)


def _words(name: str, value: Any) -> list[str]:
    """A setting as the notebook's `options` has it, without a space; a group's parts are words.

    >>> _words("mirror", True), _words("generator", {"coarse": 8, "box_half": [0.4, 0.3, 0.3]})
    (['mirror=true'], ['generator.coarse=8', 'generator.box_half=[0.4,0.3,0.3]'])
    """
    if isinstance(value, dict):
        return [word for part, its in value.items() for word in _words(f"{name}.{part}", its)]
    text = json.dumps(value, separators=(",", ":")) if isinstance(value, bool | list) else value
    return [f"{name}={text}"]


def _name(levels: dict[str, Any], baseline: dict[str, Any]) -> str:
    """The mode, what else differs from the baseline, and the seed, in letters that every file
    system takes."""
    words = [str(levels["mode"])]
    words += [
        f"{name}-{levels[name]}"
        for name in FACTORS
        if name != "mode" and levels[name] != baseline[name]
    ]
    return "_".join(re.sub(r"[^\w.-]+", "-", word) for word in [*words, f"seed-{levels['seed']}"])
