"""Which of a generator's heads are kept: those near real heads, without a face on their back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from semhead_lib.evaluation.faces_on_backs import AREA, face_shares
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.rejection.real_heads import AZIMUTHS, RealHeads
from semhead_lib.viz.samples import Chosen, Drawn
from semhead_lib.viz.samples import sample as draw_files
from semhead_lib.viz.settings import SampleSettings

_AT_ONCE = 8  # heads
_TRIES = 20  # candidates for each head that is asked for, at most, with a limit of the distance


@dataclass(frozen=True)
class Judged:
    """M heads: how far each is from real ones, and whether a face shows on its back."""

    distances: Tensor  # [M] float64, 1 as usual among real heads
    faces: Tensor  # [M] bool

    def order(self) -> Tensor:  # [M] int64
        """From the best head to the worst: those with a face on their back are last."""
        return (self.distances + self.faces * 1e6).argsort(stable=True)

    def best(self, count: int) -> list[int]:
        """The `count` best heads, in the order in which they were drawn."""
        return sorted(self.order()[:count].tolist())


class HeadFilter:
    """Judges heads by headjudge's features and its classes, from AZIMUTHS."""

    def __init__(self, real: RealHeads, extractor: FeatureExtractor) -> None:
        """Raises ValueError for features of another extractor."""
        if real.extractor != extractor.identity:
            raise ValueError(
                f"features of real heads are of {real.extractor}, heads are judged by "
                f"{extractor.identity}"
            )
        self.real, self.extractor = real, extractor

    @classmethod
    def load(cls, device: str = "auto") -> HeadFilter:
        """The one that ships."""
        return cls(RealHeads.load(), FeatureExtractor.load("headjudge", device=device))

    def __call__(self, images: Tensor) -> Judged:  # [M, A, 3, S, S] uint8
        """Judge heads seen from AZIMUTHS. Raises ValueError for other shapes."""
        if images.ndim != 5 or images.shape[1] != len(AZIMUTHS):
            raise ValueError(
                f"images must be [M, {len(AZIMUTHS)}, 3, S, S], got {list(images.shape)}"
            )
        distances = self.real.distances(self.extractor.images(images))
        return Judged(distances, face_shares(images[:, 0], self.extractor.device) > AREA)


def choose(
    judge: Callable[[Tensor], Judged], drawn: Drawn, settings: SampleSettings
) -> list[Chosen]:
    """The heads that `settings.reject` or `settings.max_distance` keeps of those drawn.

    `reject` draws heads / (1 - reject) candidates and leaves out the worst. `max_distance` takes
    heads within it, as they come; more of them begin with the same. Raises ValueError for both, and
    where too few candidates are within it.
    """
    s, found = settings, Judged(torch.zeros(0).double(), torch.zeros(0, dtype=torch.bool))
    if s.reject and s.max_distance is not None:
        raise ValueError("give reject or max_distance, not both")
    most = -(-s.heads * _TRIES) if s.max_distance else max(round(s.heads / (1 - s.reject)), s.heads)
    bar = tqdm(total=most, unit="head", desc="judging", disable=None)
    kept: list[int] = []
    while len(found.distances) < most and (s.max_distance is None or len(kept) < s.heads):
        start = len(found.distances)
        part = judge(drawn.images(start, min(start + _AT_ONCE, most), AZIMUTHS))
        found = Judged(
            torch.cat([found.distances, part.distances]), torch.cat([found.faces, part.faces])
        )
        if s.max_distance is not None:
            good = (found.distances <= s.max_distance) & ~found.faces
            kept = good.nonzero()[:, 0].tolist()[: s.heads]
        bar.update(len(part.distances))
    bar.close()
    if s.max_distance is None:
        kept = found.best(s.heads)
    elif len(kept) < s.heads:
        raise ValueError(
            f"{len(kept)} of {most} heads lie within max_distance={s.max_distance:g} of real ones, "
            f"{s.heads} were asked for: half of them lie within {found.distances.median():.2f}"
        )
    return [Chosen(i, float(found.distances[i]), bool(found.faces[i])) for i in kept]


def sample(model: Path | str, out: Path | str, *, device: str = "auto", **settings: Any) -> Path:
    """`semhead sample` with `reject` or `max_distance`; raises as `viz.samples.sample`, and
    `choose`."""
    judge = HeadFilter.load(device)
    return draw_files(model, out, device=device, choose=partial(choose, judge), **settings)
