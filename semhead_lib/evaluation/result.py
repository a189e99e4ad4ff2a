"""Result of an evaluation: all metrics of generated heads, and of real heads in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from semhead_lib import old_names
from semhead_lib.evaluation.protocol import Metric
from semhead_lib.evaluation.statistics import Metrics
from semhead_lib.metrics.comparison import ALL
from semhead_lib.metrics.names import display_name, display_names


@dataclass(frozen=True)
class Evaluation:
    """Metrics of generated heads, and of real heads in their place."""

    generated: Metrics
    real: Metrics
    # JSON: what was judged and with which cameras, and what was left out and why
    about: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain values for `json` or `reproduce.metrics.record`."""
        sides = {
            side: {
                scope: {name: f.as_json() for name, f in named.items()}
                for scope, named in metrics.items()
            }
            for side, metrics in (("generated", self.generated), ("real", self.real))
        }
        return ({"about": self.about} if self.about else {}) | sides

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Evaluation:
        """Raises ValueError for anything that `as_json` did not write."""
        about = content.get("about", {})
        if {*content} - {"about"} != {"generated", "real"} or not isinstance(about, dict):
            raise ValueError(
                f"an evaluation has the keys generated and real, got {sorted(content)}"
            )
        return cls(
            about=about,
            **{
                side: {
                    scope: {
                        name: Metric.from_json(m)
                        for name, m in old_names.today(old_names.METRICS, named).items()
                    }
                    for scope, named in metrics.items()
                }
                for side, metrics in content.items()
                if side != "about"
            },
        )

    def overall(self, names: Sequence[str] | None = None) -> str:
        """Metrics over all views with their intervals as a Markdown table: a row a metric; None:
        all that there are."""
        mine, real = self.generated[ALL], self.real[ALL]
        rows = [
            "| over all views | generated [95 % interval] | real heads in its place |",
            "|---|---|---|",
        ]
        for name in mine if names is None else [name for name in names if name in mine]:
            rows.append(f"| {display_name(name)} | {mine[name]} | {real.get(name, '–')} |")
        return "\n".join(rows)

    def left_out(self) -> list[str]:
        """The metrics that were left out, with one line per reason."""
        found = self.about.get("left_out", {})
        return [f"left out: {display_names(what)}: {why}" for what, why in found.items()]

    def features(self, metric: str = "frechet") -> str:
        """Identity of the extractor of a metric over all views."""
        return self.generated[ALL][metric].protocol.features

    def table(self, names: Sequence[str] | None = None, scopes: Sequence[str] | None = None) -> str:
        """Metrics as a Markdown table: a row a scope, generated over real; None: all that there
        are."""
        scopes = list(self.generated) if scopes is None else scopes
        names = (
            list(dict.fromkeys(n for s in scopes for n in self.generated[s]))
            if names is None
            else names
        )
        rows = [["azimuth", *map(display_name, names)], ["---"] * (len(names) + 1)]
        for scope in scopes:
            pairs = [
                [side.get(scope, {}).get(name) for side in (self.generated, self.real)]
                for name in names
            ]
            rows.append(
                [
                    scope,
                    *(" / ".join(f"{f.value:.3g}" if f else "–" for f in pair) for pair in pairs),
                ]
            )
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)
