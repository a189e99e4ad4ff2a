"""How the curve of quality and diversity is measured."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.conditioning.headclip.recipe import NAME as HEADCLIP
from semhead_lib.settings import check, setting
from semhead_lib.viz.settings import SampleSettings

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75)  # of the heads that are rejected


@dataclass(frozen=True)
class CurveSettings:
    """Raises ValueError for a value out of range."""

    heads: int = setting(
        512, "int >= 20", "that are generated; at the highest share a quarter is left"
    )
    psi: float = setting(
        SampleSettings.psi,
        "0 <= float <= 1",
        "truncation of the style towards the condition's mean: 1 = none, 0 = the mean head",
    )
    strategy: str = setting(
        SampleSettings.strategy,
        "data | perturb | interpolate | gaussian | uniform",
        "how conditions are drawn: from the kept features, turned, between them, ...",
    )
    seed: int = setting(0, "int >= 0", "of latents, conditions and draws")
    draws: int = setting(20, "int >= 1", "of equally many heads at each share, which are averaged")
    features: str = setting(
        HEADCLIP,
        "text",
        "of the second distance, beside headjudge's, in which the filter itself judges",
    )
    grid: int | None = setting(
        None,
        "0 <= int <= 256 or null",
        "nodes a side of a density grid of each head; null = as trained, 0 = none",
    )

    def __post_init__(self) -> None:
        check(self)
