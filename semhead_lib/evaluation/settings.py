"""Settings of evaluations, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.conditioning.cameras import condition_camera_name
from semhead_lib.settings import check, inherited, setting

HEADS = 256  # that are judged where nothing says how many


@dataclass(frozen=True)
class EvaluationSettings:
    """How a generator is judged. Raises ValueError for a value out of range."""

    heads: int | None = setting(
        None,
        "int >= 48 or null",
        f"heads judged; null = those of the plan, which fixes them, else {HEADS} or as many as the "
        "images show; the dataset must have twice as many subjects",
    )
    views: int | None = setting(
        None,
        "int >= 1 or null",
        "of each head; null = all that the dataset has, or those of the plan, which fixes them",
    )
    psi: float = setting(1.0, "0 <= float <= 1", "truncation: 1 = none")
    seed: int = setting(0, "int >= 0", "of latents, splits and intervals")
    condition_camera: str = setting(
        "front",
        "text",
        "that the mapping network of a mode with a view is conditioned on: front, an azimuth in "
        "degrees, rendered (the camera an image is rendered from) or random (another image's)",
    )
    consistency_heads: int = setting(
        16, "int >= 0", "heads whose views are compared with each other; 0 = none"
    )
    identity_heads: int = setting(
        0,
        "int >= 0",
        "heads shown to dlib's face network (extra faces), 0.4 s each: are faces found as "
        "often as on real heads? 0 = none",
    )
    store: str | None = setting(
        None, "path or null", "folder that keeps features of real images for the next time"
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
        "which images show one head: folder = those of a folder; none = each is a head; or a "
        "regular expression for their names, whose first group names the head: 'seed([0-9]+)_'",
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
        "pixels a side that all images are brought to; null = the smallest that there are",
    )
    plan: str | None = setting(
        None,
        "path or null",
        "file of 'semhead render-plan' that the images were rendered by, or a function is to "
        "render by; null = what the images say, else the reference's cameras",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ComparisonSettings(ImageSetSettings):
    """How several generators are judged side by side."""

    heads: int | None = inherited(EvaluationSettings, "heads", None)
    views: int | None = inherited(EvaluationSettings, "views", None)
    psi: float = setting(1.0, "0 <= float <= 1", "truncation of generators of ours: 1 = none")
    seed: int = inherited(EvaluationSettings, "seed", 0)
    identity_heads: int = inherited(EvaluationSettings, "identity_heads", 0)
    names: str | None = setting(
        None,
        "text or null",
        "of the generators in tables, separated by commas; null = those of their files",
    )
    store: str | None = inherited(EvaluationSettings, "store", None)


@dataclass(frozen=True)
class PlanSettings:
    """What a render plan asks for."""

    cameras: str = setting(
        "reference",
        "reference | bins",
        "reference = those of the real heads in whose place the generated ones are judged; bins = "
        "the centres of bins of azimuth at elevation 0",
    )
    heads: int = setting(256, "int >= 48", "heads; the dataset must have twice as many subjects")
    views: int | None = setting(
        None,
        "int >= 1 or null",
        "of each head, beside its frontal view; null = all that the reference has; with bins, 8",
    )
    seed: int = setting(0, "int >= 0", "of latents, and of the choice of subjects")
    conditions: tuple[str, ...] = setting(
        ("front", "view", "random", "depth"),
        "any of front | view | random | depth",
        "cameras that the mapping network is conditioned on: front is always there; view = the one "
        "an image is rendered from (FID-view); random = another image's (FID-random); depth = the "
        "front, for 8 heads in pairs of views with depth (multi-view consistency)",
    )

    def __post_init__(self) -> None:
        check(self)
