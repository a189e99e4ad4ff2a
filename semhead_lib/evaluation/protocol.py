"""A metric is a number with its protocol and interval; no number is reported without them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from semhead_lib import old_names


@dataclass(frozen=True)
class Protocol:
    """How a metric was measured. Two metrics can be compared if their protocols differ only in what
    was evaluated."""

    # what made the images: a generator with its weights; "real" for real heads in a generator's
    # place
    judged: str
    features: str  # identity of what made the features, or "pixels"
    heads: int  # that are judged
    images: int  # of them
    reference: int  # images or conditions that they are compared with; 0: only with each other
    resolution: int  # pixels a side
    seed: int  # of splits and intervals
    # 16 hex digits each of the SHA-256 of the reference's and the matched heads' images and cameras
    data: str
    interval: str  # what low and high are

    def __post_init__(self) -> None:
        if not (self.judged and self.features and self.data and self.interval):
            raise ValueError(
                "a protocol must say what was judged, by which features, on which data, with what "
                "interval"
            )
        texts = (self.judged, self.features, self.data, self.interval)
        counts = (self.heads, self.images, self.resolution, self.reference)
        if not all(isinstance(text, str) for text in texts) or not all(
            isinstance(count, int) for count in (*counts, self.seed)
        ):
            raise ValueError(f"expected texts and whole numbers, got {texts} and {counts}")
        if min(counts[:3]) < 1 or self.reference < 0:
            raise ValueError(
                f"expected heads, images, resolution >= 1 and reference >= 0, got {counts}"
            )


@dataclass(frozen=True)
class Metric:
    """A number, its interval and its protocol. Raises ValueError for numbers that are not finite."""

    value: float
    low: float
    high: float
    protocol: Protocol

    def __post_init__(self) -> None:
        if not all(math.isfinite(x) for x in (self.value, self.low, self.high)):
            raise ValueError(f"a metric must be finite, got {self.value}, {self.low}, {self.high}")
        if self.low > self.high:
            raise ValueError(
                f"the interval of a metric must not be empty, got [{self.low}, {self.high}]"
            )

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.3g}, {self.high:.3g}]"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Metric:
        """Raises ValueError naming the keys that are expected, where others came."""
        metric = _exactly(cls, content, "a metric")
        protocol = metric["protocol"]
        if isinstance(protocol, Mapping):
            protocol = old_names.today(old_names.PROTOCOL, protocol)
        return cls(**{**metric, "protocol": Protocol(**_exactly(Protocol, protocol, "a protocol"))})


def dumps(content: Any) -> str:
    """JSON of metrics, mappings and plain values, all numbers finite."""
    return (
        json.dumps(content, default=lambda metric: metric.as_json(), indent=1, allow_nan=False)
        + "\n"
    )


def _exactly(kind: type, content: Any, what: str) -> dict[str, Any]:
    names = [f.name for f in fields(kind)]
    if not isinstance(content, Mapping) or sorted(content) != sorted(names):
        came = sorted(content) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"{what} has the keys {', '.join(names)}; got {came}")
    return dict(content)
