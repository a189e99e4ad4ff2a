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
        512, "int >= 20", "generated heads; at the highest share, a quarter of them is left"
    )
    psi: float = setting(
        SampleSettings.psi,
        "0 <= float <= 1",
        "truncation psi towards the mean w of the condition: 1 = none, 0 = the mean head",
    )
    strategy: str = setting(
        SampleSettings.strategy,
        "data | perturb | interpolate | gaussian | uniform",
        "how conditions are sampled: stored features, perturbed features, interpolations, ...",
    )
    seed: int = setting(0, "int >= 0", "random seed of latents, conditions and draws")
    draws: int = setting(
        20, "int >= 1", "random draws, of equally many heads at each share, to average over"
    )
    features: str = setting(
        HEADCLIP,
        "text",
        "features for a second distance, besides headjudge's, which the filter itself uses",
    )
    grid: int | None = setting(
        None,
        "0 <= int <= 256 or null",
        "nodes a side of a density grid of each head; null = as trained, 0 = none",
    )

    def __post_init__(self) -> None:
        check(self)
