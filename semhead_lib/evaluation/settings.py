"""Settings of evaluations, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.conditioning.cameras import condition_camera_name
from semhead_lib.settings import check, setting


@dataclass(frozen=True)
class EvaluationSettings:
    """How a generator is judged. Raises ValueError for a value out of range."""

    heads: int = setting(
        256, "int >= 48", "heads judged; the dataset must have twice as many subjects"
    )
    views: int | None = setting(
        None, "int >= 1 or null", "of each head; null = all that the dataset has"
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
