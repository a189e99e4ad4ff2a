"""Names of earlier versions, in files and commands that are still read. Nothing writes them.

A table for each kind of name, from what it was to what it is; `today` applies one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar("Value")

SETTINGS = {  # keys of settings.json, studies, profiles and command lines
    "generator_rate": "generator_lr",
    "discriminator_rate": "discriminator_lr",
    "reconstruct_rate": "reconstruct_lr",
    "encoder_rate": "encoder_lr",
    "rate": "lr",
    "camera_rate": "camera_lr",
    "pivotal_rate": "pivotal_lr",
    "pivotal_steps": "tuning_steps",
    "people": "data",  # of `headclip train` and `judge train`
    "told": "condition",  # of a training's data: what each view is conditioned on
}
FIELDS = {
    "labels": "segmentation"
}  # of Subject, in manifests and samples of version 1, and channels
STEMS = {"segmentation": "label"}  # of the images of a field, in samples of version 1
VALUES = {
    "engine": {"alone": "local", "together": "distributed"},
    "channels": FIELDS,
}  # words of a key's value
METRICS = {  # in evaluations and tables
    "modes": "mode_coverage",
    "own_front_recall_1": "cross_view_recall_1",
    "own_front_recall_5": "cross_view_recall_5",
}
COLUMNS = {  # of tables, and keys of measurements
    "told_azimuth": "condition_camera",
    "condition_azimuth": "condition_camera",
    "figure": "metric",
    "way": "method",
    "picture": "image",
    "person": "subject",
}
PROTOCOL = {"pictures": "images"}  # keys of a metric's protocol
TENSORS = {
    "told.weight": "condition_embedding.weight",
    "told.bias": "condition_embedding.bias",
}  # of a style encoder
FILES = {
    "metrics.json": "figures.json",
    "metrics.csv": "figures.csv",
    "metrics": "figures",
}  # today's to earlier
NOTEBOOKS = {  # in profiles, command lines and folders of runs
    "03_training": "04_training",
    "04_ablations": "05_ablations",
    "05_inversion": "06_inversion",
}
PARAMETERS = {  # of notebooks, in profiles and Papermill's
    "06_inversion": {"people": "subjects", "pivotal_steps": "tuning_steps"}
}
DATASETS = {"people": "training"}  # of contests: in their plans, and folders
LEASES = "claims"  # the folder `leases` of a dataset in the making
HEADS = ("-told-", "-azimuth-")  # in names of images of heads: earlier and today's


def today(names: Mapping[str, str], content: Mapping[str, Value]) -> dict[str, Value]:
    """A mapping with its keys by today's names; a key that is there by both names is taken by
    today's. Raises TypeError for what is no mapping.

    >>> today(SETTINGS, {"generator_rate": 0.002, "kimg": 1.0})
    {'generator_lr': 0.002, 'kimg': 1.0}
    """
    if not isinstance(content, Mapping):
        raise TypeError(f"expected a mapping, got {content!r:.60}")
    renamed = {names.get(key, key): value for key, value in content.items()}
    return renamed | {key: value for key, value in content.items() if key not in names}


def fields(names: Iterable[Any]) -> tuple[Any, ...]:
    """Names of fields of Subject; what is no name stays as it is.

    >>> fields(["depth", "labels"])
    ('depth', 'segmentation')
    """
    return tuple(FIELDS.get(name, name) if isinstance(name, str) else name for name in names)


def existing(path: Path) -> Path:
    """A file or folder by its name, or by its earlier one where only that is there; a file also as
    one of gzip, `NAME.gz`."""
    stem = {new: old for old, new in (NOTEBOOKS | DATASETS).items()}.get(path.stem, path.stem)
    earlier = path.with_name(FILES.get(path.name, f"{stem}{path.suffix}"))
    places = (path, packed(path), earlier, packed(earlier))
    return next((place for place in places if place.exists()), path)


def packed(path: Path) -> Path:
    """The name of a file of gzip."""
    return path.with_name(f"{path.name}.gz")
