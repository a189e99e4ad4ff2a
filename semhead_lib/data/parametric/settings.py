"""Settings of parametric heads, beside those that all sources take."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.settings import setting


@dataclass(frozen=True)
class ParametricSettings:
    """How heads are cast, and what is stored of them."""

    samples_per_pixel: int = setting(4, "int >= 1", "samples per pixel, for smooth edges")
    channels: tuple[str, ...] = setting(
        ("depth", "normals", "segmentation"),
        "any of depth | normals | segmentation",
        "stored beside images and masks; segmentation: classes of surfaces",
    )
    inconsistency: float = setting(
        0.0,
        "float >= 0",
        "inconsistency of the views of a subject: a factor of the three drifts below; 0 = "
        "consistent",
    )
    expression_drift: float = setting(
        0.35,
        "float >= 0",
        "standard deviation from view to view of the strength of each expression; 1 = a full smile",
    )
    hair_drift: float = setting(
        12.0,
        "float >= 0",
        "standard deviation from view to view of the hair's R, G and B, levels of 0 to 255",
    )
    light_drift: float = setting(
        0.25,
        "float >= 0",
        "standard deviation from view to view of the brightness, stops; for each stop the light "
        "also turns by 60 degrees and gets warmer or colder",
    )
