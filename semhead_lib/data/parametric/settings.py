"""Settings of parametric heads, beside those that all sources take."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.settings import setting


@dataclass(frozen=True)
class ParametricSettings:
    """How heads are cast, and what is stored of them."""

    samples_per_pixel: int = setting(4, "int >= 1", "samples a pixel, for smooth edges")
    channels: tuple[str, ...] = setting(
        ("depth", "normals", "segmentation"),
        "any of depth | normals | segmentation",
        "stored beside images and masks; segmentation: classes of surfaces",
    )
