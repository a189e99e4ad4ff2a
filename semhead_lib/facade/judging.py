"""Evaluation of one generator, or of several side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semhead_lib.conditioning.semantic import EMBEDDED
from semhead_lib.devices import pick_device
from semhead_lib.evaluation.headjudge.recipe import NAME as HEADJUDGE
from semhead_lib.evaluation.settings import (
    HEADS,
    ComparisonSettings,
    EvaluationSettings,
    ImageSetSettings,
)
from semhead_lib.facade.generators import load
from semhead_lib.heads import HeadGenerator

if TYPE_CHECKING:
    from PIL import Image

    from semhead_lib.data.subjects import Subject
    from semhead_lib.evaluation.page import Entry
    from semhead_lib.evaluation.result import Evaluation

_OF_OURS = ("psi", "condition_camera", "consistency_heads")  # settings that images do not have


def evaluate(
    generator: HeadGenerator | Path | str,
    data: Path | str | Sequence[Subject],
    *,
    heads: int | None = EvaluationSettings.heads,
    features: str = HEADJUDGE,
    encoder: str = EMBEDDED,
    device: str = "auto",
    progress: bool = True,
    listen: Callable[[Image.Image], None] | None = None,
    group: str = ImageSetSettings.group,
    camera: str = ImageSetSettings.camera,
    resolution: int | None = ImageSetSettings.resolution,
    plan: Path | str | None = ImageSetSettings.plan,
    **settings: Any,
) -> Evaluation:
    """Evaluate a generator against subjects that it was not trained on, with 95 % intervals.

    Args:
        generator: a loaded one, or what `load` takes; or images of any generator's heads, a folder
            or zip in EG3D's form; or a function, "module:function" (docs/compare.md).
        data: dataset (a folder, a packed file, or subjects) with semantic features and 2 * `heads`
            subjects.
        heads: number of generated heads, one for the condition of each of the first subjects; None:
            256, or those of the images or their plan.
        features: features for distances: "headjudge", "headclip-64", an open_clip "MODEL/WEIGHTS",
            "inception" or "dinov2".
        encoder: encoder of the conditions and of semantic metrics.
        device: device of a generator that is loaded here.
        listen: called with a contact sheet of heads.
        group, camera, resolution, plan: how images are read (`ImageSetSettings`).
        settings: of `semhead_lib.evaluation.report.evaluate`: views, psi, seed, condition_camera,
            consistency_heads, identity_heads, store.

    Conditions from another source than the frontal image (`conditioning.sources`) are computed from
    the subjects in the same way. The result has tables, `overall()` and `table()`, and plain
    values, `as_json()`. Raises ValueError for too few subjects, conditions of another encoder than
    the generator was trained with, or subjects without the source of its condition.
    """
    from semhead_lib.conditioning.semantic import SemanticEncoder
    from semhead_lib.conditioning.sources import source_of, with_source
    from semhead_lib.data.dataset.memory import SubjectsInMemory
    from semhead_lib.evaluation import judging
    from semhead_lib.evaluation.features import FeatureExtractor
    from semhead_lib.evaluation.report import evaluate as judge
    from semhead_lib.evaluation.targets import is_elsewhere

    sets = ImageSetSettings(group, camera, resolution, plan and str(plan))
    if not isinstance(generator, HeadGenerator) and is_elsewhere(generator):
        for name in _OF_OURS:
            if settings.get(name, default := getattr(EvaluationSettings, name)) != default:
                raise ValueError(f"{name} is for generators of ours; got {generator}")
        place = pick_device(device)
    elif sets != ImageSetSettings():
        raise ValueError(
            "group, camera, resolution and plan are for images that were rendered elsewhere, and "
            f"for functions; got a generator, {generator}"
        )
    else:
        if not isinstance(generator, HeadGenerator):
            generator = load(generator, device=device)
        place = str(generator.device)
    extractors = {name: FeatureExtractor.load(name, device=place) for name in {features, encoder}}
    if not isinstance(generator, HeadGenerator):
        if not isinstance(data, (str, Path)):
            raise ValueError("images are judged against a dataset's folder or packed file")
        own = {name: value for name, value in settings.items() if name not in _OF_OURS}
        both = extractors[features], extractors[encoder]
        options: dict[str, Any] = dict(heads=heads, device=place, progress=progress)
        found, sheet = judging.evaluate_images(generator, data, *both, sets, **options, **own)
        if listen is not None:
            listen(sheet)
        return found
    heads = HEADS if heads is None else heads
    if isinstance(data, (str, Path)):
        data = judging.reference_subjects(data, 2 * heads, progress)
    bank = generator.bank
    trained_with = bank.encoder if bank.mode.uses_semantics else None
    source = source_of(trained_with)
    if source and isinstance(data, SubjectsInMemory):
        data = with_source(data, source, SemanticEncoder.load(encoder, device=place))
    return judge(
        generator.network,
        data,
        bank.mode,
        extractors[features],
        extractors[encoder],
        heads=heads,
        condition_encoder=trained_with,
        progress=progress,
        **settings,
    )


def compare(
    generators: Sequence[HeadGenerator | Path | str],
    data: Path | str | None,
    out: Path | str,
    *,
    names: Sequence[str] | None = None,
    heads: int | None = ComparisonSettings.heads,
    features: str = HEADJUDGE,
    encoder: str = EMBEDDED,
    device: str = "auto",
    progress: bool = True,
    group: str = ImageSetSettings.group,
    camera: str = ImageSetSettings.camera,
    resolution: int | None = ImageSetSettings.resolution,
    plan: Path | str | None = ImageSetSettings.plan,
    **settings: Any,
) -> list[Entry]:
    """Evaluate several generators by one protocol, side by side. The same call resumes.

    Args:
        generators: each as `evaluate` takes it, or a metrics.json that `semhead evaluate` wrote.
        data: dataset with semantic features and 2 * `heads` subjects, a folder or a packed file;
            None where every generator is a metrics.json.
        out: folder to write: index.html, comparison.json, and a folder for each generator.
        names: names of the generators in tables; None: those of their folders, files and functions.
        heads: heads of each generator; None: those of the plan, else 256 or what image sets have.
        features, encoder: as of `evaluate`.
        group, camera, resolution, plan: how images are read (`ImageSetSettings`).
        settings: of `semhead_lib.evaluation.comparison.compare`: views, psi, seed, identity_heads,
            store.

    Returns an entry for each generator, in order: `name`, `found` (what `evaluate` returns) and
    `heads` (a contact sheet, or None). `semhead_lib.evaluation.page.side_by_side` makes a table of
    them.

    Raises UsageError (a ValueError) for names that clash or missing data, ValueError for metrics
    that were not measured by one protocol; otherwise as `evaluate`.
    """
    from semhead_lib.evaluation.comparison import compare as judge

    for what, given in (("generators", generators), ("names", names)):
        if isinstance(given, (str, Path, HeadGenerator)):
            raise ValueError(f"{what} must be a list, got one {type(given).__name__}")
    targets = [each.folder if isinstance(each, HeadGenerator) else each for each in generators]
    settings |= dict(names=names, heads=heads, features=features, encoder=encoder)
    sets = ImageSetSettings(group, camera, resolution, plan and str(plan))
    place = pick_device(device)
    return judge(targets, data, out, sets=sets, device=place, progress=progress, **settings)
