"""All figures of a trained generator: `evaluate` for a generator of ours, `judge` for any heads with known cameras.

| figure                       | scope     | says                                                                    |
| ---------------------------- | --------- | ----------------------------------------------------------------------- |
| frechet, kernel              | all, bins | distance of the features' distribution from the real one (frechet.py)   |
| precision, recall            | bins      | share of pictures that look real; share of real ones that are reached   |
| density, coverage            | bins      | the same, robust to single pictures (coverage.py)                       |
| diversity                    | bins      | effective number of heads for each of the real data's (diversity.py)    |
| directional_bias, _of_...    | all       | how unevenly quality and diversity are spread over azimuth (bias.py)    |
| own_front_recall_1, _5       | bins      | share of views that find their own head's front (semantics.py)          |
| condition_cosine, _of_others | all       | likeness of the front to its condition; to the others' conditions       |
| condition_recall_1, _5       | all       | share of fronts that find their condition                               |
| consistency_psnr, _l1        | all, bins | agreement of two views 15 degrees apart where both see (consistency.py) |
| consistency_seen_twice       | all, bins | share of the surface on which that was compared                         |
| modes                        | all       | effective number of people whom the fronts resemble, of real heads'     |
| frechet_of_faces             | all       | the Frechet distance of faces cut out of the views (appearance.py)      |
| power_8-12, ...              | all       | power over that of real images, by cycles an image (appearance.py)      |
| faces_found, identity_auc    | all       | faces that dlib finds; one person from left to right? (when asked for)  |
| faces_found_ratio            | all       | how often it finds one, over how often on real heads (when asked for)   |

Scopes are "all" views and the azimuth bins "0", "45", ... Where real heads can take the generated ones' place, `real`
has what they get: that, not 0 or 1, is what a perfect generator would reach. Distances, coverage, diversity and bias
are in the extractor's features, headjudge's unless another is given; own fronts, conditions and modes are matters of
semantics, in the features of the encoder that made the conditions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semhead_lib.conditioning.judging import recall
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.conditioning.semantic import require_encoder
from semhead_lib.data.subjects import Subject
from semhead_lib.evaluation.appearance import face_distance, identities, power_ratios
from semhead_lib.evaluation.azimuth import AzimuthBins, BinnedFeatures
from semhead_lib.evaluation.comparison import ALL, Numbers
from semhead_lib.evaluation.consistency import Differences, head_consistency
from semhead_lib.evaluation.diversity import people_reached
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.evaluation.intervals import half_sample_interval
from semhead_lib.evaluation.protocol import Figure
from semhead_lib.evaluation.samples import Samples, generated_samples, real_samples, styles
from semhead_lib.evaluation.semantics import condition_adherence, own_front_ranks
from semhead_lib.evaluation.statistics import (
    Figures,
    interval_of_splits,
    measured,
    merge,
    of_splits,
    protocol_of,
)
from semhead_lib.evaluation.yardstick import Yardstick
from semhead_lib.models.generator import Generator


@dataclass(frozen=True)
class Evaluation:
    """Figures of generated heads, and what real heads get in their place."""

    generated: Figures
    real: Figures

    def as_json(self) -> dict[str, Any]:
        """Plain values for `json` or `reproduce.metrics.record`."""
        return {
            side: {scope: {name: f.as_json() for name, f in named.items()} for scope, named in figures.items()}
            for side, figures in vars(self).items()
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Evaluation:
        """Raises ValueError for what `as_json` does not write."""
        if sorted(content) != ["generated", "real"]:
            raise ValueError(f"an evaluation has the keys generated and real, got {sorted(content)}")
        return cls(**{
            side: {scope: {n: Figure.from_json(f) for n, f in named.items()} for scope, named in figures.items()}
            for side, figures in content.items()
        })  # fmt: skip

    def overall(self, names: Sequence[str] | None = None) -> str:
        """Figures over all views with their intervals as a Markdown table: a row a figure; None: all that there are."""
        mine, real = self.generated[ALL], self.real[ALL]
        rows = ["| over all views | generated [95 % interval] | real heads in its place |", "|---|---|---|"]
        for name in mine if names is None else [name for name in names if name in mine]:
            rows.append(f"| {name.replace('_', ' ')} | {mine[name]} | {real.get(name, '–')} |")
        return "\n".join(rows)

    def features(self, figure: str = "frechet") -> str:
        """Identity of what made the features that a figure over all views was measured in."""
        return self.generated[ALL][figure].protocol.features

    def table(self, names: Sequence[str] | None = None, scopes: Sequence[str] | None = None) -> str:
        """Figures as a Markdown table: a row a scope, generated over real; None: all that there are."""
        scopes = list(self.generated) if scopes is None else scopes
        names = list(dict.fromkeys(n for s in scopes for n in self.generated[s])) if names is None else names
        rows = [["scope", *names], ["---"] * (len(names) + 1)]
        for scope in scopes:
            pairs = [[side.get(scope, {}).get(name) for side in (self.generated, self.real)] for name in names]
            rows.append([scope, *(" / ".join(f"{f.value:.3g}" if f else "–" for f in pair) for pair in pairs)])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def evaluate(
    generator: Generator,
    real: Sequence[Subject] | Yardstick,
    mode: ConditionMode,
    extractor: FeatureExtractor | None = None,  # None: headjudge; a yardstick has its own
    encoder: FeatureExtractor | None = None,  # of semantics; None: the extractor if it is a CLIP, else headclip-64
    *,
    told_by: str | None = None,  # identity of what made the features it was trained with; None: the encoder's
    told_azimuth: float = 0.0,  # degrees; the camera that modes with a view are told, whatever camera looks on
    heads: int = 256,
    views: int | None = None,  # of each head; None: all that the subjects have
    bins: AzimuthBins = AzimuthBins(),  # noqa: B008 (frozen)
    seed: int = 0,
    psi: float = 1.0,
    consistency_heads: int = 16,  # 0: leave it out
    identity_heads: int = 0,  # 0: leave it out; about 0.4 s a head
    store: Path | str | None = None,  # folder that keeps features of real pictures between runs
    progress: bool = False,
) -> Evaluation:
    """Generate a head for each of `heads` real subjects, under its condition and from its cameras, and measure them
    against as many other subjects (see samples.py).

    With subjects as `real`, 2 * `heads` of them are taken; a yardstick has its own, and then `heads`, `views`, `bins`
    and `store` say nothing. Heads follow their condition when their front resembles that of the subject it came from:
    conditions need not be features of fronts. Raises ValueError for too few subjects, too few heads in a bin,
    conditions of another encoder; ModuleNotFoundError when identity is asked for without the extra `faces`.
    """
    if isinstance(real, Yardstick):
        yardstick = real
    else:
        extractor = extractor or FeatureExtractor.load()
        sets = real_samples(real, heads, views, resolution=generator.config.resolution, seed=seed)
        yardstick = Yardstick.of(*sets, extractor, encoder, bins=bins, seed=seed, store=store, progress=progress)
    twins = yardstick.twin_samples
    if mode.uses_semantics:
        require_encoder(twins.encoder, told_by or yardstick.encoder.identity, "the conditions")
    drawn: dict[str, Any] = dict(psi=psi, seed=seed, told_azimuth=told_azimuth)
    samples = generated_samples(generator, mode, twins, **drawn, progress=progress)
    found = judge(samples, yardstick, progress=progress)
    if consistency_heads:
        w = styles(generator, mode, twins, **drawn)[:consistency_heads]
        seen = head_consistency(generator, w, yardstick.bins.centres)
        merge(found.generated, _consistency(seen, len(w), yardstick, samples.made))
    if identity_heads:
        _merge_both(found, identities(samples, identity_heads, yardstick, progress))
    return found


def judge(samples: Samples, yardstick: Yardstick, *, progress: bool = False) -> Evaluation:
    """Figures of heads that have the cameras of the yardstick's twins, whatever made them.

    Raises ValueError for heads with other cameras or of another resolution.
    """
    twins = yardstick.twin_samples
    if samples.cameras.shape != twins.cameras.shape or not torch.equal(samples.cameras, twins.cameras):
        raise ValueError("the heads to be judged must have the cameras of the yardstick's twins, in their order")
    if samples.resolution != twins.resolution:
        raise ValueError(f"pictures must have {twins.resolution} pixels a side, got {samples.resolution}")
    extractor, encoder = yardstick.extractor, yardstick.encoder
    features = extractor.pictures(samples.pictures, progress)
    same = encoder.identity == extractor.identity
    semantic = features if same else encoder.pictures(samples.pictures, progress)
    fronts = encoder.pictures(samples.fronts)

    numbers, halves = yardstick.measure(BinnedFeatures.of(features, samples.cameras, yardstick.bins), progress)
    generated, real = _distances(numbers, halves, yardstick, samples.made), _yardstick_distances(yardstick)
    merge(generated, _agreement(semantic, fronts, yardstick, samples.made))
    merge(real, _agreement(*yardstick.semantic, yardstick, twins.made))
    for side, these, made in ((generated, fronts, samples.made), (real, yardstick.semantic[1], twins.made)):
        merge(side, _modes(these, yardstick, made))
    if samples.conditions is not None:
        asked = samples.conditions if samples.encoder == encoder.identity else yardstick.semantic[1]
        merge(generated, _adherence(fronts, asked, yardstick, samples.made))
    found = Evaluation(generated, real)
    _merge_both(found, face_distance(samples, yardstick))
    _merge_both(found, power_ratios(samples, yardstick))
    return found


def _merge_both(found: Evaluation, more: tuple[Figures, Figures]) -> None:
    merge(found.generated, more[0])
    merge(found.real, more[1])


def _distances(numbers: Numbers, halves: list[Numbers], yardstick: Yardstick, made: str) -> Figures:
    figures: Figures = {}
    for (scope, name), value in numbers.items():
        low, high = half_sample_interval(value, [half[scope, name] for half in halves])
        protocol = protocol_of(yardstick, made, yardstick.extractor.identity, *_counts(scope, yardstick))
        figures.setdefault(scope, {})[name] = Figure(value, low, high, protocol)
    return figures


def _yardstick_distances(yardstick: Yardstick) -> Figures:
    figures: Figures = {}
    for scope, name in yardstick.real[0]:
        values = [numbers[scope, name] for numbers in yardstick.real]
        made, identity = yardstick.twin_samples.made, yardstick.extractor.identity
        interval = interval_of_splits(yardstick)
        protocol = protocol_of(yardstick, made, identity, *_counts(scope, yardstick), interval=interval)
        figures.setdefault(scope, {})[name] = of_splits(values, protocol)
    return figures


def _agreement(views: Tensor, fronts: Tensor, yardstick: Yardstick, made: str) -> Figures:
    ranks, figures = own_front_ranks(views, fronts), {}
    for b, scope in enumerate(yardstick.bins.names):
        view = yardstick.twins.view[:, b]
        found = ranks[view >= 0, view[view >= 0]]
        protocol = protocol_of(yardstick, made, yardstick.encoder.identity, len(found), len(found), len(fronts))
        figures[scope] = {
            f"own_front_recall_{at}": measured(lambda heads, at=at, f=found: recall(f[heads], at), protocol, yardstick)
            for at in (1, 5)
        }
    return figures


def _adherence(fronts: Tensor, conditions: Tensor, yardstick: Yardstick, made: str) -> Figures:
    found = condition_adherence(fronts, conditions)
    n = len(fronts)
    protocol = protocol_of(yardstick, made, yardstick.encoder.identity, n, n, n)
    statistics: dict[str, Callable[[Tensor], float]] = {
        "condition_cosine": lambda heads: float(found.cosine[heads].mean()),
        "condition_cosine_of_others": lambda heads: float(found.others[heads].mean()),
        "condition_recall_1": lambda heads: recall(found.rank[heads], 1),
        "condition_recall_5": lambda heads: recall(found.rank[heads], 5),
    }
    return {ALL: {name: measured(statistic, protocol, yardstick) for name, statistic in statistics.items()}}


def _modes(fronts: Tensor, yardstick: Yardstick, made: str) -> Figures:
    people, real = yardstick.people, yardstick.semantic[1]
    protocol = protocol_of(yardstick, made, yardstick.encoder.identity, len(fronts), len(fronts), len(people))

    def ratio(heads: Tensor) -> float:
        return people_reached(fronts[heads], people) / people_reached(real[heads], people)

    return {ALL: {"modes": measured(ratio, protocol, yardstick)}}


def _consistency(found: Differences, heads: int, yardstick: Yardstick, made: str) -> Figures:
    bins, figures = yardstick.bins, {}
    pair = torch.arange(heads * bins.count).reshape(heads, bins.count)
    for scope, pairs in ((ALL, pair), *zip(bins.names, pair.T, strict=True)):
        protocol = protocol_of(yardstick, made, "pixels", heads, pairs.numel(), pairs.numel())
        statistics = {"psnr": found.psnr, "l1": found.l1, "seen_twice": found.seen_twice}
        figures[scope] = {
            f"consistency_{name}": measured(lambda h, s=s, p=pairs: s(p[h].flatten()), protocol, yardstick)
            for name, s in statistics.items()
            if math.isfinite(s(pairs.flatten()))
        }
    return figures


def _counts(scope: str, yardstick: Yardstick) -> tuple[int, int, int]:
    """Heads, pictures and reference pictures of a distance."""
    n, v, _ = yardstick.twins.features.shape
    if scope == ALL:
        return n, n * v, n * v
    count = int(yardstick.scale.counts[yardstick.bins.names.index(scope)])
    return count, count, count
