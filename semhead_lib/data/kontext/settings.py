"""Settings of FLUX.1 Kontext, and of the portraits it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from semhead_lib.settings import check, setting, values_of

MODEL = "black-forest-labs/FLUX.1-Kontext-dev"
CHOSEN = "portraits.csv"  # in a folder of portraits: every photograph, and how it is turned


@dataclass(frozen=True)
class PortraitFilter:
    """Which images become portraits. Raises ValueError for a value out of range."""

    resolution: int = setting(1024, "32 <= int <= 8192", "pixels a side of the portraits")
    least: int = setting(
        256, "int >= 16", "minimum side of the head's crop in the photograph, pixels"
    )
    azimuth: float = setting(
        15.0, "0 <= float <= 60", "maximum azimuth of the head, degrees from the front"
    )
    elevation: float = setting(
        15.0, "0 <= float <= 60", "maximum elevation of the head, degrees up or down"
    )
    turned: float = setting(
        60.0,
        "0 <= float <= 90",
        "keep heads that are turned further, up to this many degrees in either direction, for "
        "'semhead synthesize ... frontalise=turned'; 0 = none",
    )
    sharpness: float = setting(
        0.02, "float >= 0", "minimum sharpness; 0 = keep blurred photographs"
    )
    quality: str = setting(
        "none",
        "text",
        "additional quality score of photographs: none, or package.module:function",
    )
    quality_least: float = setting(0.5, "0 <= float < 1", "minimum quality score")
    plain: bool = setting(
        True,
        "bool",
        "replace the background by plain grey, so that all views have the same background",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Choice:
    """Which portraits are first turned to the front, and which of the model's views are kept."""

    frontalise: str = setting(
        "turned",
        "turned | all | none",
        "portraits for which the model first makes a standard frontal view: those turned "
        "according to portraits.csv; all; or none",
    )
    frontal_within: float = setting(
        15.0, "0 <= float <= 60", "degrees of azimuth and elevation beyond which a head is turned"
    )
    quality: str = setting(
        "none",
        "text",
        "first filter of views, a quality score: none; clip = CLIP-IQA by judged_by; or "
        "package.module:function",
    )
    quality_least: float = setting(0.5, "0 <= float < 1", "minimum quality score")
    artefacts: str = setting(
        "none",
        "text",
        "second filter of views, for artefacts: none; clip = pairs of texts by judged_by; or "
        "package.module:function, such as a vision-language model",
    )
    artefacts_least: float = setting(0.5, "0 <= float < 1", "minimum score; 1 = no artefacts")
    tries: int = setting(
        2, "int >= 1", "seeds for each view at a time; the best image that passes is kept"
    )
    attempts: int = setting(
        3, "int >= 1", "attempts per view; a failed view is requested again with a different prompt"
    )
    balance: str = setting(
        "complete",
        "complete | any",
        "complete = keep all views of a subject or only the front; any = keep the views that pass",
    )
    input_terms: str = setting(
        "not stated", "text", "licence of the portraits, stored with every subject"
    )


@dataclass(frozen=True)
class KontextSettings:
    """How FLUX.1 Kontext is loaded and asked. Raises ValueError for a value out of range."""

    model: str = setting(MODEL, "path", "on the Hugging Face hub, or a folder in diffusers' form")
    revision: str | None = setting(None, "text or null", "revision of the hub's repository")
    pixels: int = setting(
        1024, "int >= 16", "working resolution of the model, pixels a side: a multiple of 16"
    )
    steps: int = setting(28, "int >= 1", "denoising steps")
    guidance: float = setting(2.5, "float >= 0", "guidance scale")
    dtype: str = setting("bfloat16", "bfloat16 | float16 | float32", "arithmetic of the model")
    quantise: str = setting(
        "none",
        "none | 8bit | 4bit",
        "quantise the weights; 8bit and 4bit need bitsandbytes and a GPU",
    )
    attention: str = setting(
        "sdpa", "sdpa | xformers", "attention kernels; xformers must be installed (extra gpu)"
    )
    compile: bool = setting(
        False, "bool", "compile the transformer: takes minutes, then runs faster"
    )
    offload: str = setting(
        "none",
        "none | model | sequential",
        "keep parts (model) or layers (sequential) in CPU memory",
    )
    batch: int = setting(
        0,
        "int >= 0",
        "images at a time; 0 = estimated from free memory; halved when memory runs out",
    )
    device: str = "auto"

    def __post_init__(self) -> None:
        check(self)
        if self.pixels % 16:
            raise ValueError(f"pixels must be a multiple of 16, got {self.pixels}")

    def changes_images(self) -> dict[str, Any]:
        """The settings that change what is made, by the names that datasets keep."""
        own = values_of(self, "pixels", "batch", "device", "offload", "compile")
        return own | {"resolution": self.pixels}
