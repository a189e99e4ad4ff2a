"""Settings of evaluations, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.conditioning.cameras import condition_camera_name
from semhead_lib.settings import check, inherited, setting

HEADS = 256  # that are judged where nothing says how many


@dataclass(frozen=True)
class EvaluationSettings:
    """Settings of an evaluation. Raises ValueError for a value out of range."""

    heads: int | None = setting(
        None,
        "int >= 48 or null",
        f"heads judged; null = those of the plan, which fixes them, else {HEADS} or as many as the "
        "images show; the dataset must have twice as many subjects",
    )
    views: int | None = setting(
        None,
        "int >= 1 or null",
        "views of each head; null = all views in the dataset, or those fixed by the plan",
    )
    psi: float = setting(1.0, "0 <= float <= 1", "truncation: 1 = none")
    seed: int = setting(0, "int >= 0", "random seed of latents, splits and intervals")
    condition_camera: str = setting(
        "front",
        "text",
        "camera that the mapping network is conditioned on in modes with a view: front, an "
        "azimuth in degrees, rendered (the camera of the image) or random (the camera of another "
        "image)",
    )
    consistency_heads: int = setting(16, "int >= 0", "heads for multi-view consistency; 0 = none")
    identity_heads: int = setting(
        0,
        "int >= 0",
        "heads for the metrics of dlib's face network (extra faces), 0.4 s each; 0 = none",
    )
    store: str | None = setting(
        None, "path or null", "folder in which features of real images are cached"
    )

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "condition_camera", condition_camera_name(self.condition_camera))


@dataclass(frozen=True)
class ImageSetSettings:
    """How images of heads that were rendered elsewhere are read and brought to one size."""

    group: str = setting(
        "folder",
        "text",
        "which images show the same head: folder = those in one folder; none = each image is a "
        "head; or a regular expression for file names whose first group names the head: "
        "'seed([0-9]+)_'",
    )
    camera: str = setting(
        "auto",
        "text",
        "convention of the labels, as of 'semhead data import': auto = EG3D's; or opencv, w2c, "
        "opengl, zup, pixels, joined by +",
    )
    resolution: int | None = setting(
        None,
        "int >= 8 or null",
        "pixels a side to which all images are resized; null = the smallest resolution among them",
    )
    plan: str | None = setting(
        None,
        "path or null",
        "file of 'semhead render-plan' that the images were, or a function will be, rendered "
        "from; null = the plan stored with the images, else the reference's cameras",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ComparisonSettings(ImageSetSettings):
    """Settings of a comparison of several generators."""

    heads: int | None = inherited(EvaluationSettings, "heads", None)
    views: int | None = inherited(EvaluationSettings, "views", None)
    psi: float = setting(1.0, "0 <= float <= 1", "truncation of generators of ours: 1 = none")
    seed: int = inherited(EvaluationSettings, "seed", 0)
    identity_heads: int = inherited(EvaluationSettings, "identity_heads", 0)
    names: str | None = setting(
        None,
        "text or null",
        "names of the generators in tables, separated by commas; null = their file names",
    )
    store: str | None = inherited(EvaluationSettings, "store", None)


@dataclass(frozen=True)
class PlanSettings:
    """Settings of a render plan."""

    cameras: str = setting(
        "reference",
        "reference | bins",
        "reference = those of the real heads that the generated ones stand in for; bins = the "
        "centres of the azimuth bins at elevation 0",
    )
    heads: int = setting(256, "int >= 48", "heads; the dataset must have twice as many subjects")
    views: int | None = setting(
        None,
        "int >= 1 or null",
        "views of each head, besides the frontal one; null = all views in the reference, or 8 "
        "with bins",
    )
    seed: int = setting(0, "int >= 0", "random seed of latents and of the choice of subjects")
    conditions: tuple[str, ...] = setting(
        ("front", "view", "random", "depth"),
        "any of front | view | random | depth",
        "cameras that the mapping network is conditioned on: front is always there; view = the one "
        "an image is rendered from (FID-view); random = another image's (FID-random); depth = the "
        "front, for 8 heads in pairs of views with depth (multi-view consistency)",
    )

    def __post_init__(self) -> None:
        check(self)
