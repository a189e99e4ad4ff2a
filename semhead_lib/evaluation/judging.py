"""Evaluation of the heads of any generator by one protocol against one reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.packed import is_packed, load_packed, open_packed
from semhead_lib.data.portraits.faces import face_judge
from semhead_lib.devices import available_cores
from semhead_lib.evaluation.appearance import identities
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.evaluation.image_sets import ImageSet
from semhead_lib.evaluation.matching import Viewing
from semhead_lib.evaluation.measures import consistency
from semhead_lib.evaluation.page import heads_sheet
from semhead_lib.evaluation.protocol import Metric
from semhead_lib.evaluation.reference_statistics import ReferenceStatistics, one_thread
from semhead_lib.evaluation.render_plan import RenderPlan
from semhead_lib.evaluation.report import judge, merge_both
from semhead_lib.evaluation.result import Evaluation
from semhead_lib.evaluation.samples import Samples
from semhead_lib.evaluation.settings import HEADS, ImageSetSettings
from semhead_lib.evaluation.sources import (
    CONDITIONED,
    GeneratorSource,
    JudgedHeads,
)
from semhead_lib.evaluation.statistics import Metrics, merge, protocol_of
from semhead_lib.evaluation.targets import AnySource, source_of
from semhead_lib.metrics.azimuth import AzimuthBins, BinnedFeatures
from semhead_lib.metrics.comparison import ALL
from semhead_lib.metrics.frechet import frechet_distance
from semhead_lib.metrics.intervals import half_sample_interval, orders


def check_extras(identity_heads: int) -> None:
    """Raise ModuleNotFoundError for missing extras before the evaluation starts."""
    if identity_heads:
        face_judge()


def fixed_plan(sources: Sequence[AnySource], path: Path | str | None) -> RenderPlan | None:
    """The plan in a file, which sets that carry none are taken to follow; None without a file."""
    plan = RenderPlan.load(path) if path is not None else None
    for source in sources:
        if plan is not None and isinstance(source, ImageSet) and source.plan is None:
            source.plan = plan.summary
    return plan


def heads_wanted(
    sources: Sequence[AnySource], plan: RenderPlan | None, heads: int | None, views: int | None
) -> int:
    """Number of heads to evaluate. Raises ValueError if other heads or views are requested than a
    plan fixes, or more heads than a set of images has."""
    sets = [source for source in sources if isinstance(source, ImageSet)]
    planned = [(f"the plan of {s.path}", s.plan) for s in sets if s.plan is not None]
    if plan is not None:
        planned.insert(0, ("the render plan", plan.summary))
    for what, fixed in planned:
        for name, asked, has in (("heads", heads, fixed.heads), ("views", views, fixed.views)):
            if asked is not None and asked != has:
                raise ValueError(
                    f"{name}={asked} is asked for, but {what} fixes {name}={has}: leave {name} out, "
                    "or render by another plan"
                )
    if planned:
        return planned[0][1].heads
    for source in sets:
        if heads is not None and heads > len(source):
            raise ValueError(f"heads={heads} is asked for, but {source.path} has {len(source)}")
    return min([HEADS if heads is None else heads, *map(len, sets)])


def common_viewing(
    sources: Sequence[AnySource],
    subjects: Sequence[Any],
    plan: RenderPlan | None,
    *,
    heads: int,
    views: int | None,
    seed: int,
) -> Viewing:
    """The cameras for all sources: those of the plan, else those of the sets of images, else those
    of the reference. Raises ValueError for sets that were rendered from other cameras, and for
    generators whose conditions the subjects do not have.
    """
    for source in sources:
        if isinstance(source, GeneratorSource):
            source.check_conditions(subjects[0].semantic_encoder)
    least = min(len(subject.views) for subject in subjects)
    if views is not None and views > least:
        raise ValueError(f"views={views} is asked for, but a subject of the reference has {least}")
    found = None
    if plan is not None:
        found = Viewing(plan.summary.cameras, plan.cameras, plan.summary.seed), "the plan"
    for source in sources:
        if not isinstance(source, ImageSet):
            continue
        own = source.viewing(heads, least, seed)
        if found is None:
            found = own, source.name
        elif not own.same_as(found[0]):
            raise ValueError(
                f"{source.name} has {own}; {found[1]} has {found[0]}, but not the same ones: "
                "metrics can be compared only of heads that are seen alike ('semhead render-plan' "
                "says how to render them)"
            )
    if found is None:
        own_plan = RenderPlan.of_reference(subjects, heads, views, seed)
        return Viewing("reference", own_plan.cameras, seed)
    return found[0]


def reference_subjects(
    path: Path | str, limit: int | None = None, progress: bool = False
) -> SubjectsInMemory:
    """Subjects of a dataset's folder or packed file. Raises as their readers do."""
    threads = available_cores()
    if is_packed(path):
        return load_packed(path, geometry=(), limit=limit, threads=threads)
    return SubjectsInMemory.load(path, limit=limit, threads=threads, progress=progress)


def reference_resolution(path: Path | str) -> int:
    """Pixels a side of a dataset's images."""
    manifest = open_packed(path, geometry=())[0] if is_packed(path) else Manifest.load(path)
    return manifest.layout.resolution


def made_heads(
    source: AnySource, viewing: Viewing, stats: ReferenceStatistics, progress: bool = False
) -> JudgedHeads:
    """The images of a source's heads, at the reference's resolution."""
    matched = stats.matched_samples
    if isinstance(source, ImageSet):
        return source.heads(viewing, matched.resolution, progress)
    return source.render(viewing, matched, matched.resolution, progress)


def judge_heads(
    judged: JudgedHeads,
    stats: ReferenceStatistics,
    about: dict[str, Any],
    *,
    identity_heads: int = 0,
    progress: bool = False,
) -> Evaluation:
    """All metrics of heads that need no condition; `about` is kept with them, with what was left
    out and why.

    `frechet_view` and `frechet_random` are distances of images that are conditioned on the camera
    they are rendered from, and on another image's.
    """
    found, left_out = judge(judged.samples, stats, progress=progress), dict(judged.left_out)
    for part in CONDITIONED:
        if (samples := judged.conditioned.get(part)) is not None:
            merge(found.generated, conditioned_distances(samples, part, stats, progress))
            for named in found.real.values():
                if "frechet" in named:
                    named[f"frechet_{part}"] = named["frechet"]
    if judged.agreement is not None and stats.bins != AzimuthBins():
        left_out["consistency"] = f"is measured in {AzimuthBins().count} bins of azimuth alone"
    elif judged.agreement is not None:
        count = len(judged.agreement.pixels) // stats.bins.count
        merge(found.generated, consistency(judged.agreement, count, stats, judged.samples.made))
    if identity_heads:
        merge_both(found, identities(judged.samples, identity_heads, stats, progress))
    else:
        left_out["faces_found, identity_auc"] = "asked for by identity_heads=N (extra faces)"
    missing = [name for name, n in zip(stats.bins.names, stats.counts, strict=True) if not n]
    if missing:
        left_out["directional_bias"] = (
            f"too few heads are seen from azimuth {', '.join(missing)}, where nothing is measured"
        )
    whole = found.generated[ALL]
    if "frechet_of_faces" not in whole:
        left_out["frechet_of_faces"] = "needs images of 64 pixels a side, and views of the front"
    if "face_on_back" not in whole:
        left_out["face_on_back"] = "needs views more than 120 degrees from the front"
    return replace(found, about=about | {"left_out": left_out})


def conditioned_distances(
    samples: Samples, part: str, stats: ReferenceStatistics, progress: bool = False
) -> Metrics:
    """frechet_PART over all views and in each bin: the Frechet distance of heads whose images have
    a condition camera each."""
    features = stats.extractor.images(samples.images, progress)
    judged = BinnedFeatures.of(features, samples.cameras, stats.bins)
    n, v = features.shape[:2]
    identity, name = stats.extractor.identity, f"frechet_{part}"
    pairs = list(zip(*(orders(n, stats.halves, stats.seed + s) for s in (1, 2)), strict=True))
    metrics: Metrics = {}

    def add(scope: str, value: float, halves: list[float], heads: int, images: int) -> None:
        interval = half_sample_interval(value, halves)
        protocol = protocol_of(stats, samples.made, identity, heads, images, images)
        metrics.setdefault(scope, {})[name] = Metric(value, *interval, protocol)

    def over_all(mine: torch.Tensor, its: torch.Tensor) -> float:
        x, y = judged.features[mine], stats.reference.features[its]
        return frechet_distance(y.flatten(0, 1), x.flatten(0, 1))

    whole = torch.arange(n)
    with one_thread():
        halves = [over_all(mine[: n // 2], its[: n // 2]) for mine, its in pairs]
        add(ALL, over_all(whole, whole), halves, n, n * v)
        for b, count in enumerate(stats.counts.tolist()):

            def in_bin(mine: torch.Tensor, its: torch.Tensor, count: int, b: int = b) -> float:
                x, y = judged.in_bin(b, mine, count), stats.reference.in_bin(b, its, count)
                return frechet_distance(y, x)

            if count:
                halves = [in_bin(mine, its, count // 2) for mine, its in pairs]
                assert all(map(math.isfinite, halves))
                add(stats.bins.names[b], in_bin(whole, whole, count), halves, count, count)
    return metrics


def evaluate_images(
    target: Path | str,
    data: Path | str,
    extractor: FeatureExtractor,
    encoder: FeatureExtractor,
    sets: ImageSetSettings | None = None,
    *,
    heads: int | None = None,  # None: those of the plan, else 256 or what the images have
    views: int | None = None,
    bins: AzimuthBins = AzimuthBins(),  # noqa: B008 (frozen)
    seed: int = 0,
    psi: float = 1.0,
    identity_heads: int = 0,
    store: Path | str | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> tuple[Evaluation, Image.Image]:
    """Evaluate images that were rendered elsewhere, or by a function (`source_of`), against a
    dataset of ours; also returns a contact sheet.

    Raises ValueError for images, cameras or data that do not match.
    """
    check_extras(identity_heads)
    sets = sets or ImageSetSettings()
    source = source_of(target, sets, views=views, psi=psi, device=device)
    plan = fixed_plan([source], sets.plan)
    heads = heads_wanted([source], plan, heads, views)
    subjects = reference_subjects(data, 2 * heads, progress)
    viewing = common_viewing([source], subjects, plan, heads=heads, views=views, seed=seed)
    side = sets.resolution or min(source.side, subjects.manifest.layout.resolution)
    settings: dict[str, Any] = dict(bins=bins, seed=seed, store=store, progress=progress)
    stats, words = viewing.statistics(subjects, side, extractor, encoder, **settings)
    judged = made_heads(source, viewing, stats, progress)
    about = description(source, target, viewing, words)
    options: dict[str, Any] = dict(identity_heads=identity_heads, progress=progress)
    return judge_heads(judged, stats, about, **options), heads_sheet(judged.samples, stats.bins)


def description(
    source: AnySource, target: Path | str, viewing: Viewing, words: str
) -> dict[str, Any]:
    """Description of an evaluation beside its metrics, as JSON."""
    return {"name": source.name, "source": str(target), "seen": f"{viewing}; {words}"}
