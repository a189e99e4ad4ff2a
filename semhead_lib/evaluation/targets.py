"""From a user's name or path to a source: a function, a set of images, or a generator of ours."""

from __future__ import annotations

from pathlib import Path

from semhead_lib.data.dataset.archives import SUFFIXES
from semhead_lib.data.dataset.manifest import MANIFEST
from semhead_lib.evaluation.image_sets import ImageSet, is_image_set
from semhead_lib.evaluation.page import METRICS
from semhead_lib.evaluation.settings import ImageSetSettings
from semhead_lib.evaluation.sources import FunctionSource, GeneratorSource
from semhead_lib.models.generator import CONFIG, DEFAULT, folder_of

AnySource = ImageSet | FunctionSource | GeneratorSource


def is_function(target: Path | str) -> bool:
    """Whether `target` names a function, "module:function", and no file."""
    return ":" in str(target) and not Path(target).exists()


def is_elsewhere(target: Path | str) -> bool:
    """Whether heads come from a function or images, and not from a generator of ours. Raises
    FileNotFoundError, with a message for the user, if `target` is none of these."""
    if is_function(target) or is_image_set(target):
        return True
    if not (folder_of(target) / CONFIG).exists():
        raise FileNotFoundError(f"{target}: {_what_is_wrong(Path(target))}")
    return False


def _what_is_wrong(path: Path) -> str:
    """Why nothing can be judged at a path."""
    within = sorted(path.glob(f"*/{CONFIG}"))
    if within:
        return f"is no generator's folder; {within[0].parent} is"
    if (path / METRICS).exists():
        return f"holds an evaluation, {path / METRICS}, which 'semhead compare' takes"
    if any(image for kind in SUFFIXES for image in path.glob(f"*{kind}")):
        return f"has images, but no {MANIFEST} with their cameras (docs/compare.md)"
    if path.suffix == ".py" and path.exists():
        return f"which of its functions? {path}:FUNCTION"
    if path.suffix == ".pkl":
        return (
            "pickles are not read: render the heads by 'semhead render-plan', and judge the images"
        )
    return (
        f"{'is none' if path.exists() else 'does not exist; expected one'} of: a generator that ships "
        f"({DEFAULT}) or its folder, images with a {MANIFEST} (folder or zip), module:function"
    )


def source_of(
    target: Path | str,
    sets: ImageSetSettings,
    *,
    views: int | None = None,
    psi: float = 1.0,
    device: str = "cpu",
    name: str | None = None,
) -> AnySource:
    """The source that `target` names: a function, a set of images, or else a generator of ours.
    Raises as these do, and FileNotFoundError if there is none."""
    if not is_elsewhere(target):
        return GeneratorSource(target, device, psi, name)
    if is_function(target):
        return FunctionSource(str(target), name)
    return ImageSet(target, sets.group, sets.camera, name, views)


def check_out(out: Path | str, *read: Path | str | None) -> None:
    """Raise ValueError where results would be written into a dataset, among images, or over an
    evaluation that are read."""
    place = Path(out).resolve()
    for path in read:
        if path is None or is_function(path):
            continue
        folder = Path(path).resolve()
        if folder.name == METRICS:
            folder = folder.parent
        if not folder.is_dir():
            continue
        within = folder in place.parents and (folder / MANIFEST).exists()
        if place == folder or within:
            raise ValueError(f"out={out} lies in {path}, which is read: name another place")
