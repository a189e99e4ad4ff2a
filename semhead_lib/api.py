"""The façade, which `import semhead_lib as sh` offers: each a few lines over the library's parts.

>>> import semhead_lib as sh
>>> generator = sh.load("semhead-128", device="cpu")
>>> head = generator.sample(seed=3)
>>> head.render(sh.orbit(2)).shape
torch.Size([2, 3, 128, 128])

Images are uint8 tensors [N, 3, H, W], cameras float32 tensors [N, 25] (`semhead_lib.cameras`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from semhead_lib.cameras import FOCAL, RADIUS, orbit_cameras
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.frontal.network import predict_fronts, predictor_for
from semhead_lib.conditioning.semantic import EMBEDDED, SemanticEncoder
from semhead_lib.data.portraits.photos import as_photo
from semhead_lib.devices import available_cores, keep_freed_memory, pick_device
from semhead_lib.evaluation.headjudge.recipe import NAME as HEADJUDGE
from semhead_lib.evaluation.settings import EvaluationSettings, ImageSetSettings
from semhead_lib.heads import AnyImage, Head, HeadGenerator
from semhead_lib.inversion.settings import Files, InversionSettings, InverterSettings
from semhead_lib.models.generator import DEFAULT, Generator, folder_of
from semhead_lib.models.sampling import save_grid
from semhead_lib.training.settings import BeginningSettings, TrainSettings

if TYPE_CHECKING:
    from PIL import Image

    from semhead_lib.data.subjects import Subject
    from semhead_lib.evaluation.result import Evaluation
    from semhead_lib.inversion.search import Inverted
    from semhead_lib.training.logs import Line
    from semhead_lib.training.run_folder import Subjects

__all__ = [
    "Head",
    "HeadGenerator",
    "encode",
    "evaluate",
    "invert",
    "load",
    "orbit",
    "save_images",
    "synthesize",
    "train",
]
T = TypeVar("T")
_SUFFIXES = (".png", ".webp")


def load(
    name_or_folder: str | Path = DEFAULT,
    *,
    encoder: str = EMBEDDED,
    device: str = "auto",
) -> HeadGenerator:
    """A trained generator, ready to sample heads.

    Args:
        name_or_folder: the name of a generator that ships with the package ("semhead-128"), or the
            folder of one (`train` returns it) with model.safetensors, config.json and
            conditions.safetensors.
        encoder: what makes features of images for `sample(like=...)`; the one it was trained with.
        device: "auto" (the GPU where there is one), "cpu", "cuda" or "cuda:N".

    Raises FileNotFoundError naming the file that was looked for and the generators that ship;
    ValueError for weights that do not fit their configuration, or a device that is not there.
    """
    place = pick_device(device)
    if place == "cpu":
        keep_freed_memory()
    network = Generator.load(name_or_folder, place).requires_grad_(False)
    folder = folder_of(name_or_folder)
    return HeadGenerator(network, ConditionBank.load(folder), folder, encoder)


def orbit(
    azimuths: int | Sequence[float] | Tensor = 8,
    elevation: float = 0.0,
    *,
    radius: float = RADIUS,
    focal: float = FOCAL,
) -> Tensor:  # [N, 25] float32
    """Cameras around a head that look at its centre.

    Args:
        azimuths: how many, evenly around from the front on; or degrees: 0 is the front, 90 the
            subject's left, 180 the back.
        elevation: degrees, positive upwards, between -89.9 and 89.9.
        radius: distance to the centre, scene units.
        focal: focal length, image widths.

    Raises ValueError for no camera, or a number out of range.

    >>> orbit(4).shape
    torch.Size([4, 25])
    >>> from semhead_lib.cameras import orbit_angles
    >>> orbit_angles(orbit([-30, 30], elevation=10))[:, :2].round().tolist()
    [[-30.0, 10.0], [30.0, 10.0]]
    """
    if isinstance(azimuths, int):
        azimuths = [360.0 * i / azimuths for i in range(azimuths)]
    degrees = torch.as_tensor(azimuths, dtype=torch.float64)
    if degrees.ndim != 1 or not len(degrees):
        raise ValueError(f"azimuths must be a number >= 1 or a list of degrees, got {azimuths}")
    return orbit_cameras(degrees, torch.full_like(degrees, elevation), radius, focal)


def synthesize(
    out: Path | str,
    subjects: int,
    *,
    encoder: str | SemanticEncoder = EMBEDDED,
    workers: int = 0,
    device: str = "auto",
    progress: bool = True,
    **settings: Any,
) -> Path:
    """Make a dataset of parametric heads with their semantic features; returns its folder.

    The same call goes on where it was interrupted, and returns at once for a finished dataset.

    Args:
        out: folder to write.
        subjects: heads, each from several views and once from the front.
        encoder: of the semantic features, by name or loaded.
        workers: processes; 0: one a core.
        settings: of `semhead_lib.data.parametric.source.ParametricSource`, such as seed=0,
            resolution=128, views_per_subject=8, channels=("depth",).

    Raises ValueError for settings out of range, or a dataset of others in the folder;
    ModuleNotFoundError without the extra `data`.
    """
    from semhead_lib.data.dataset.semantics import fill_semantics
    from semhead_lib.data.jobs.synthesis import synthesize as make
    from semhead_lib.data.parametric.source import ParametricSource

    if isinstance(encoder, str):
        encoder = SemanticEncoder.load(encoder, device=device)
    source = partial(ParametricSource, device=pick_device(device), **settings)
    make(source, out, subjects, workers=workers or available_cores(), progress=progress)
    identity, batch = str(encoder.identity), encoder.batch
    fill_semantics(out, encoder.images, identity, batch=batch, progress=progress)
    return Path(out)


def encode(
    image: AnyImage,
    encoder: str = EMBEDDED,
    *,
    front: bool = False,
    device: str = "auto",
) -> Tensor:  # [D] float32, unit length
    """The semantic feature of an image, which generators are conditioned on.

    Args:
        image: a head, cropped as in the data: a file, a PIL image, a uint8 array [H, W, 3] or a
            uint8 tensor [3, H, W].
        front: the image is a photograph, or not from the front: predict the feature of the frontal
            view (`conditioning.frontal`).
        encoder: "headclip-64", an open_clip "MODEL/WEIGHTS", "timm/NAME", or a folder
            (`SemanticEncoder.load`).

    Raises ValueError for no image, no encoder, or, for fronts, one without a predictor;
    RuntimeError where its weights cannot be had.

    >>> encode(torch.zeros(3, 64, 64, dtype=torch.uint8)).shape
    torch.Size([128])
    """
    clip, photo = SemanticEncoder.load(encoder, device=device), as_photo(image)
    if not front:
        return clip.images([photo])[0]
    return predict_fronts(clip, predictor_for(clip), photo[None]).features[0]


def invert(
    photo: Path | str | Sequence[Path | str],
    generator: HeadGenerator | str | Path = DEFAULT,
    *,
    steps: int = InversionSettings.steps,
    pivotal_steps: int = InversionSettings.pivotal_steps,
    start: str = InverterSettings.start,
    encoder: str = EMBEDDED,
    landmarks: int = Files.landmarks,
    device: str = "auto",
    progress: bool = True,
    **settings: Any,
) -> Inverted:
    """The head in a photograph, or in several of one person.

    Args:
        photo: JPEG, PNG or WebP; the face is found and aligned.
        steps: of the search for the style w+.
        pivotal_steps: of tuning a copy of the generator to the photograph after that; 0: none.
        start: "best" of some candidates, the condition's "mean", or the style "encoder".
        encoder: that makes the condition; the one the generator was trained with.
        landmarks: dlib's model: 68 points (not for commercial use) or 5.
        device: where a generator that is not loaded yet is loaded.
        settings: further fields of `InversionSettings`, such as space="w" or seed=1.

    Returns the tuned generator, the style, the refined cameras and how the search went:
    `Head(found.generator, found.w)` renders it. Ctrl-C ends the search with the best so far.

    Raises FileNotFoundError or ValueError naming a photograph that cannot be used, ValueError for a
    setting out of range; ModuleNotFoundError without the extra `faces`.
    """
    from semhead_lib.data.portraits.alignment import read_portrait
    from semhead_lib.inversion.inverter import Inverter
    from semhead_lib.inversion.targets import prepare_portraits

    settings |= dict(steps=steps, pivotal_steps=pivotal_steps)
    chosen = _made(InversionSettings, "invert", **settings)
    photos = [photo] if isinstance(photo, (str, Path)) else photo
    portraits = [read_portrait(path, landmarks=landmarks) for path in photos]
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
        limit: first subjects of the dataset to train on; None: all.
        views_limit: views of each subject to train on, spread over all; None: all.
        stream: read while training, with `workers` processes, a dataset that exceeds the memory.
        init: folder of a generator (and discriminator) to start from.
        listen: called with every line of the log, e.g. to draw the losses.
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


def evaluate(
    generator: HeadGenerator | Path | str,
    data: Path | str | Sequence[Subject],
    *,
    heads: int = EvaluationSettings.heads,
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
    """Metrics of a generator against subjects that it was not trained on, with 95 % intervals.

    Args:
        generator: a loaded one, or what `load` takes; or images of any generator's heads, a folder
            or zip in EG3D's form; or a function, "module:function" (docs/compare.md).
        data: dataset (a folder, a packed file, or subjects) with semantic features and 2 * `heads`
            subjects.
        heads: that are generated, one for the condition of each of the first subjects.
        features: that distances are measured in: "headjudge", "headclip-64", an open_clip
            "MODEL/WEIGHTS", "inception" or "dinov2".
        encoder: of the conditions and of semantic agreement.
        device: where a generator that is not loaded yet is loaded.
        listen: called with a sheet of some of the heads.
        group, camera, resolution, plan: how images are read (`ImageSetSettings`).
        settings: of `semhead_lib.evaluation.report.evaluate`: views, psi, seed, condition_camera,
            consistency_heads, identity_heads, store.

    Conditions of another source than the frontal image (`conditioning.sources`) are made from the
    subjects in the same way. The report prints itself by `overall()` and `table()`, and `as_json()`
    gives plain values. Raises ValueError for too few subjects, conditions of another encoder than
    the generator was trained with, or subjects without its source.
    """
    from semhead_lib.conditioning.semantic import SemanticEncoder
    from semhead_lib.conditioning.sources import source_of, with_source
    from semhead_lib.data.dataset.memory import SubjectsInMemory
    from semhead_lib.evaluation import judging
    from semhead_lib.evaluation.features import FeatureExtractor
    from semhead_lib.evaluation.report import evaluate as judge

    sets = ImageSetSettings(group, camera, resolution, plan and str(plan))
    elsewhere = not isinstance(generator, HeadGenerator) and (
        judging.is_function(generator) or judging.is_image_set(generator)
    )
    if elsewhere:
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
        unused = {"psi", "condition_camera", "consistency_heads"}
        own = {name: value for name, value in settings.items() if name not in unused}
        both = extractors[features], extractors[encoder]
        options: dict[str, Any] = dict(heads=heads, device=place, progress=progress)
        found, sheet = judging.evaluate_images(generator, data, *both, sets, **options, **own)
        if listen is not None:
            listen(sheet)
        return found
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


def save_images(images: Tensor, path: Path | str, *, columns: int | None = None) -> Path:
    """Write images side by side as one PNG or WebP, whole or not at all; returns the path.

    Args:
        images: uint8: one [3, H, W], a row [N, 3, H, W], or rows [R, N, 3, H, W].
        path: ends in .png or .webp; missing folders are made.
        columns: cuts a row into rows of that many, which N must be a multiple of.

    Raises ValueError for another shape, type or suffix.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"{path}: expected a suffix of {', '.join(_SUFFIXES)}")
    if images.dtype != torch.uint8 or images.ndim not in (3, 4, 5) or images.shape[-3] != 3:
        came = f"{images.dtype} {list(images.shape)}"
        raise ValueError(f"images must be uint8 [N, 3, H, W] or [R, N, 3, H, W], got {came}")
    row = images.reshape(-1, *images.shape[-3:])
    columns = columns or (1 if images.ndim == 3 else images.shape[-4])
    if not len(row) or columns < 1 or len(row) % columns:
        raise ValueError(f"{len(row)} images cannot be cut into rows of {columns}")
    save_grid(path, row.unflatten(0, (-1, columns)).cpu())
    return path


def _made(kind: type[T], function: str, /, **values: Any) -> T:
    """Settings of `kind`; raises TypeError for a name that is no field of it, with the nearest."""
    known = list(inspect.signature(kind).parameters)
    if unknown := [name for name in values if name not in known]:
        near = get_close_matches(unknown[0], known, n=1)
        hint = f": did you mean {near[0]!r}?" if near else f": there are {', '.join(known)}"
        raise TypeError(f"{function}() has no setting {unknown[0]!r}{hint}")
    return kind(**values)
