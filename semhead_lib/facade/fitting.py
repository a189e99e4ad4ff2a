"""Fitting a generator to a dataset, or a head to photographs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from semhead_lib.conditioning.semantic import EMBEDDED, SemanticEncoder
from semhead_lib.heads import HeadGenerator
from semhead_lib.inversion.settings import Files, InversionSettings, InverterSettings
from semhead_lib.models.generator import DEFAULT
from semhead_lib.training.common_settings import BeginningSettings
from semhead_lib.training.settings import TrainSettings

if TYPE_CHECKING:
    from semhead_lib.inversion.search import Inverted
    from semhead_lib.training.logs import Line
    from semhead_lib.training.run_folder import Subjects

T = TypeVar("T")


def invert(
    photo: Path | str | Sequence[Path | str],
    generator: HeadGenerator | str | Path = DEFAULT,
    *,
    quality: str = InversionSettings.quality,
    steps: int | None = None,
    tuning_steps: int | None = None,
    start: str = InverterSettings.start,
    encoder: str = EMBEDDED,
    finder: str = Files.finder,
    landmarks: int = Files.landmarks,
    device: str = "auto",
    progress: bool = True,
    **settings: Any,
) -> Inverted:
    """Fit a head to a photograph, or to several photographs of one person.

    Args:
        photo: JPEG, PNG or WebP; the head is found and aligned.
        quality: "fast", "default" or "best": sets the numbers of steps that are not given.
        steps: optimisation steps of w+.
        tuning_steps: steps of tuning the planes, or the generator's weights (tuned="weights"), to
            the photograph afterwards; 0: none.
        start: initial w: "best" of some samples, "mean" under the condition, or the w "encoder".
        encoder: encoder of the condition; the one the generator was trained with.
        finder: what finds the head: dlib's "landmarks", the head finder ("network"), or both
            ("auto").
        landmarks: dlib's model: 68 points (not for commercial use) or 5.
        device: device of a generator that is loaded here.
        settings: further fields of `InversionSettings`, such as space="w" or seed=1.

    Returns the tuned generator, w+, the refined cameras and the losses of the search:
    `Head(found.generator, found.w)` renders it. Ctrl-C ends the search with the best result so far.

    Raises FileNotFoundError or ValueError naming a photograph that cannot be used, ValueError for a
    setting out of range; ModuleNotFoundError if landmarks are requested without the extra `faces`.
    """
    from semhead_lib.data.portraits.alignment import read_portrait
    from semhead_lib.inversion.inverter import Inverter
    from semhead_lib.inversion.targets import prepare_portraits

    settings |= dict(quality=quality, steps=steps, tuning_steps=tuning_steps)
    chosen = _made(InversionSettings, "invert", **settings)
    several = photo if isinstance(photo, Iterable) else ()
    photos = [photo] if isinstance(photo, (str, Path)) else [*several]
    if not photos or not all(isinstance(path, (str, Path)) for path in photos):
        raise ValueError(
            f"photo must be the path of a photograph, or paths of several, got {photo!r:.60}"
        )
    if not isinstance(generator, (HeadGenerator, str, Path)):
        raise ValueError(
            "generator must be what `load` gives, a folder or a name, got "
            f"{type(generator).__name__}"
        )
    portraits = [read_portrait(path, finder=finder, landmarks=landmarks) for path in photos]
    if isinstance(generator, HeadGenerator):
        generator, device = generator.folder, str(generator.device)
    clip = SemanticEncoder.load(encoder, device=device)
    inverter = Inverter(generator, chosen, start_at=start, encoder=clip, device=device)
    return inverter(prepare_portraits(inverter.generator, portraits), progress=progress)[0]


def train(
    data: Path | str | Subjects,
    out: Path | str,
    *,
    limit: int | None = BeginningSettings.limit,
    views_limit: int | None = BeginningSettings.views_limit,
    stream: bool = BeginningSettings.stream,
    workers: int = BeginningSettings.workers,
    init: Path | str | None = BeginningSettings.init,
    device: str = "auto",
    progress: bool = True,
    listen: Callable[[Line], None] | None = None,
    **settings: Any,
) -> Path:
    """Train a generator; returns its folder, for `load`. The same call resumes.

    Args:
        data: dataset with semantic features: a folder, a packed file, or subjects that are loaded.
        out: folder to write: settings, log, image grids, snapshots, generator.
        limit: train on the first subjects of the dataset only; None: all.
        views_limit: views of each subject to train on, evenly spread; None: all.
        stream: read the dataset during training with `workers` processes, if it exceeds the memory.
        init: folder of a generator (and discriminator) to start from.
        listen: called with every line of the log, e.g. to plot the losses.
        settings: fields of `TrainSettings`, such as kimg=200, mode="semantic", preset="semhead-64";
            generator={...} changes fields of the preset.

    Raises ValueError for settings or data that do not go together; otherwise as
    `semhead_lib.training.trainer.train`.
    """
    from semhead_lib.training.data import training_data
    from semhead_lib.training.trainer import train as run

    chosen = _made(TrainSettings, "train", **settings)
    if isinstance(data, (str, Path)):
        data = training_data(
            data,
            chosen,
            limit=limit,
            views_limit=views_limit,
            stream=stream,
            workers=workers,
            device=device,
            progress=progress,
        )
    elif limit is not None or views_limit is not None or stream:
        raise ValueError(
            "views_limit, limit and stream are for a dataset's folder, got subjects in memory"
        )
    return run(chosen, data, out, device=device, init=init, progress=progress, listen=listen)


def _made(kind: type[T], function: str, /, **values: Any) -> T:
    """Settings of `kind`; raises TypeError for a name that is no field of it, with the nearest."""
    known = list(inspect.signature(kind).parameters)
    if unknown := [name for name in values if name not in known]:
        near = get_close_matches(unknown[0], known, n=1)
        hint = f": did you mean {near[0]!r}?" if near else f": there are {', '.join(known)}"
        raise TypeError(f"{function}() has no setting {unknown[0]!r}{hint}")
    return kind(**values)
