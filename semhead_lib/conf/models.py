"""Configurations of the commands that train, judge, draw and invert generators."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.conditioning.frontal.recipe import Recipe as FrontalRecipe
from semhead_lib.conditioning.headclip.recipe import NAME as HEADCLIP
from semhead_lib.conditioning.headclip.recipe import Recipe as HeadclipRecipe
from semhead_lib.data.portraits.head_finder.recipe import Recipe as FinderRecipe
from semhead_lib.evaluation.headjudge.recipe import NAME as HEADJUDGE
from semhead_lib.evaluation.headjudge.recipe import Recipe as JudgeRecipe
from semhead_lib.evaluation.settings import (
    ComparisonSettings,
    EvaluationSettings,
    ImageSetSettings,
    PlanSettings,
)
from semhead_lib.inversion.settings import (
    EncoderRecipe,
    Files,
    InversionSettings,
    InverterSettings,
)
from semhead_lib.rejection.settings import CurveSettings
from semhead_lib.settings import needed, setting
from semhead_lib.training.common_settings import BeginningSettings
from semhead_lib.training.reconstruction.settings import ReconstructionSettings
from semhead_lib.training.settings import TrainSettings
from semhead_lib.viz.settings import SampleSettings


@dataclass(frozen=True)
class HeadclipTrain(HeadclipRecipe):
    """Makes parametric subjects, trains a small open_clip model on them and their captions,
    evaluates it on subjects of other seeds, and writes a model folder: weights, vocabulary,
    configuration, log, metrics and card. The same command resumes.

    time       about 20 minutes for the subjects and 80 minutes of training on 2 cores with the
               values below
    use        encoder=OUT wherever an encoder is asked for
    """

    out: str = needed("path", "model folder to write; new, empty, or begun by the same command")
    data: str = setting(
        "datasets/headclip", "path", "folder of the subjects' datasets, made if missing"
    )
    workers: int = setting(0, "int >= 0", "processes that make subjects; 0 = one per core")
    device: str = setting("auto", "auto | cpu | cuda", "auto = GPU if available")


@dataclass(frozen=True)
class JudgeTrain(JudgeRecipe):
    """Makes parametric subjects of a seed that nothing else uses, trains headjudge to predict
    segmentation, normals, depth and attributes from an image, evaluates it on unseen subjects, and
    writes a folder with weights, log, metrics and card. The same command resumes.

    time       about ten minutes for the subjects and an hour of training on 2 cores with the
               values below
    use        features=headjudge/OUT in 'semhead evaluate'; features=headjudge is the one that
               ships
    """

    out: str = needed("path", "folder to write; new, empty, or begun by the same command")
    data: str = setting("datasets/headjudge", "path", "folder of the subjects, made if missing")
    workers: int = setting(0, "int >= 0", "processes that make subjects; 0 = one per core")
    device: str = setting("auto", "auto | cpu | cuda", "auto = GPU if available")


@dataclass(frozen=True)
class FrontalTrain(FrontalRecipe):
    """Trains a small network that predicts the feature of a subject's frontal view from any view,
    as rendered or made to look like a photograph; evaluates it on other subjects, and writes a
    folder with weights, log, metrics and card. The same command resumes.

    time       on 2400 subjects of 4 views, 5 minutes on a core, nearly all of them for encoding
    use        the one that ships is used wherever an image becomes a condition; another one in
               Python, by conditioning.frontal.network.predictor_for(encoder, OUT)
    """

    data: str = needed(
        "path", "dataset with features of fronts, masks and, for other light, depth: a folder"
    )
    out: str = needed("path", "folder to write; new, empty, or begun by the same command")
    unseen: str = needed("path", "dataset of other subjects, of which the first 256 judge")
    encoder: str = setting(
        HEADCLIP, "text", "whose features: headclip-64, an open_clip MODEL/WEIGHTS, or a folder"
    )
    device: str = setting("auto", "auto | cpu | cuda", "auto = GPU if available")


@dataclass(frozen=True)
class FinderTrain(FinderRecipe):
    """Trains a small network that finds a head in a photograph, from any side: its camera, its crop
    and its mask; evaluates it on photographs of other subjects, and writes a folder with weights,
    log, metrics and card. The same command resumes.

    time       8200 batches in 90 minutes on a core
    use        the one that ships is used wherever a photograph is read; another one in Python, by
               data.portraits.head_finder.search.find_head(image, network=...)
    """

    data: str = needed("path", "dataset with masks and depth: a folder")
    out: str = needed("path", "folder to write; new, empty, or begun by the same command")
    unseen: str = needed("path", "dataset of other subjects, of which 200 views judge")
    init: str | None = setting(
        None, "path or null", "folder of a head finder to start from; null = random weights"
    )
    device: str = setting("auto", "auto | cpu | cuda", "auto = GPU if available")


@dataclass(frozen=True)
class Train(BeginningSettings, TrainSettings):
    """Trains a generator on a dataset with semantic features. The same command resumes, with the
    same result as an uninterrupted training (on the same device and number of threads).

    time       semhead-64: 61 images/s on 2 cores (fp32 product of 2048^3 in 80 ms), 200 kimg
               in an hour
    many GPUs  torchrun --nproc-per-node 8 -m semhead_lib train DATA OUT ...   (or accelerate
               launch)
    see        OUT/grids/*.png, tensorboard --logdir OUT/tensorboard, semhead sample
               OUT/generator IMAGES
    """

    data: str = needed(
        "path",
        "dataset with features of 'semhead data encode': a folder, or a file of 'semhead data"
        " pack'",
    )
    out: str = needed("path", "folder to write; new, empty, or begun by the same command")
    device: str = setting("auto", "auto | cpu | cuda", "auto = GPU if available")


@dataclass(frozen=True)
class Reconstruct(ReconstructionSettings):
    """Trains a generator to reconstruct the subjects of a dataset with depth maps, without a
    discriminator by default: a warm start for 'semhead train ... init=OUT/generator'. The same
    command resumes.

    time       semhead-128: 50 images/s on a core; heads after 30 kimg, faces after some hundred
    see        OUT/grids/*.png: subjects above their reconstructions, below them heads of drawn
               latents
    """

    data: str = needed(
        "path",
        "dataset with features, masks, depth and classes (channels=depth,segmentation of "
        "'semhead synthesize'): a folder, or a file of 'semhead data pack' with geometry=true",
    )
    out: str = needed("path", "folder to write; new, empty, or begun by the same command")
    limit: int | None = setting(
        None, "int >= 2 or null", "train on the first N subjects only; null = all"
    )
    views_limit: int | None = setting(
        None,
        "int >= 1 or null",
        "views of each subject to train on, evenly spread; null = all",
    )
    init: str | None = setting(
        None, "path or null", "folder of a generator to begin with, and of its encoder, if there"
    )
    device: str = setting("auto", "auto | cpu | cuda", "auto = GPU if available")


@dataclass(frozen=True)
class Evaluate(ImageSetSettings, EvaluationSettings):
    """Evaluates a generator on subjects it was not trained on: distances, recall and diversity at
    each azimuth, directional bias, faces, power spectrum, adherence to the condition, and
    multi-view consistency. Writes OUT (JSON: every metric with its protocol and interval) and
    prints the tables, generated / real heads. If OUT does not end in .json, it is a folder with
    metrics.json, a page (index.html), quality.svg and heads.webp.

    MODEL may also be images of heads that any generator has rendered, a folder or zip in EG3D's
    form; or a function, module:function or file.py:function, called with seeds [B] and cameras
    [B, 25]. All metrics that need no semantic condition are measured (docs/compare.md).
    """

    model: str = needed(
        "path",
        "generator: the name of one that ships with the package, or a folder of 'semhead train'; "
        "or a folder or zip of images with cameras; or module:function",
    )
    data: str = needed(
        "path",
        "dataset of other subjects (folder or packed); for a generator that is conditioned on "
        "semantics, with features by the encoder it was trained with",
    )
    out: str = needed("path", "JSON file or folder to write")
    features: str = setting(
        HEADJUDGE,
        "text",
        "features for distances: headjudge, headjudge/FOLDER, headclip-64, an open_clip "
        "MODEL/WEIGHTS, inception or dinov2",
    )
    encoder: str = setting(HEADCLIP, "text", "encoder of the conditions and of semantic metrics")
    device: str = setting("auto", "auto | cpu | cuda", "auto = GPU if available")

    def __post_init__(self) -> None:
        EvaluationSettings.__post_init__(self)


@dataclass(frozen=True)
class Compare(ComparisonSettings):
    """Evaluates generators by one protocol and shows them side by side: one table, one plot of
    quality by azimuth, heads of each, and a page (OUT/index.html). A generator is what 'semhead
    evaluate' takes as MODEL, or a metrics.json that it wrote; metrics with different protocols are
    refused. If images were rendered from a plan of 'semhead render-plan', the plan fixes the heads
    and cameras for all. The same command resumes.
    """

    generators: list[str] = needed(
        "paths",
        "names of generators that ship, model folders, folders or zips of images with cameras, "
        "module:function, metrics.json",
    )
    out: str = needed("path", "folder to write")
    reference: str | None = setting(
        None,
        "path or null",
        "dataset to judge against, as DATA of evaluate; needed unless all are metrics.json",
    )
    features: str = setting(HEADJUDGE, "text", "features for distances, as for evaluate")
    encoder: str = setting(HEADCLIP, "text", "encoder of the conditions and of semantic metrics")
    device: str = setting("auto", "auto | cpu | cuda", "auto = GPU if available")


@dataclass(frozen=True)
class RenderPlan(PlanSettings):
    """Writes the cameras, seeds and condition cameras that a fair comparison needs, for a generator
    that runs elsewhere, and beside it plan_renderer.py: a script that renders the plan within a
    checkout of EG3D or a descendant, in its own environment.
    """

    out: str = needed("path", "JSON file to write")
    reference: str | None = setting(
        None, "path or null", "dataset of the comparison; needed for cameras=reference"
    )


@dataclass(frozen=True)
class Sample(SampleSettings):
    """Renders heads from all around: OUT/heads.png (one row per head), OUT/heads.mp4 (a turntable
    video), OUT/heads.json. Conditions come from texts or photographs, or else are sampled from the
    features stored with the generator.
    """

    model: str = needed(
        "path",
        "name of a shipped generator, or folder of 'semhead train'",
    )
    out: str = needed("path", "folder to write")
    device: str = setting("auto", "auto | cpu | cuda", "auto = GPU if available")


@dataclass(frozen=True)
class Rejection(CurveSettings):
    """Measures 'semhead sample reject=...': Fréchet distance, recall and diversity against the
    share of rejected heads, as OUT/curve.json and OUT/curve.svg.
    """

    model: str = needed(
        "path",
        "name of a shipped generator, or folder of 'semhead train'",
    )
    data: str = needed(
        "path",
        "real heads from four sides: 'semhead synthesize view_sampling=orbit views_per_subject=4', "
        "with a seed of its own",
    )
    out: str = needed("path", "folder to write")
    device: str = setting("auto", "auto | cpu | cuda", "auto = GPU if available")


@dataclass(frozen=True)
class Photographs:
    """What is inverted, and by which generator."""

    photos: list[str] = needed(
        "paths",
        "photographs (JPEG, PNG, WebP) or folders of them; cameras are read from a dataset.json "
        "beside them",
    )
    out: str = needed("path", "folder to write; finished photographs are skipped")
    model: str = setting(
        "semhead-128",
        "path",
        "name of a shipped generator, or folder of 'semhead train'",
    )


@dataclass(frozen=True)
class Invert(Files, InversionSettings, InverterSettings, Photographs):
    """Fits heads to photographs. Writes to OUT/NAME/: report.png and report.html, w+ and the tuned
    generator, a turntable video, meshes (GLB), splats and metrics.json. Photographs in one
    subfolder are taken to show one person.
    """

    encoder: str = setting(
        HEADCLIP, "text", "encoder of the condition; must be the one the generator was trained with"
    )
    features: str = setting(
        HEADJUDGE,
        "text",
        "feature maps for perceptual distances in the report: headjudge, headclip-64, an "
        "open_clip MODEL/WEIGHTS, inception or dinov2",
    )
    device: str = setting("auto", "auto | cpu | cuda", "auto = GPU if available")


@dataclass(frozen=True)
class InverterTrain(EncoderRecipe):
    """Trains an encoder from images to w on heads of the generator, and writes
    OUT/style_encoder.safetensors. Put it into the generator's folder for 'semhead invert
    start=encoder'. The same command resumes.
    """

    model: str = needed(
        "path",
        "name of a shipped generator, or folder of 'semhead train'",
    )
    out: str = needed("path", "folder to write; new, empty, or begun by the same command")
    encoder: str = setting(
        HEADCLIP,
        "text",
        "encoder of the condition; must be the one the generator was trained with",
    )
    device: str = setting("auto", "auto | cpu | cuda", "auto = GPU if available")
