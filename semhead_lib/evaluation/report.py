"""All metrics: `evaluate` for our generators, `judge` for any heads with known cameras.

| metric                       | scope     | says                                                                    |
| ---------------------------- | --------- | ----------------------------------------------------------------------- |
| frechet, kernel              | all, bins | distance of the features' distribution from the real one (frechet.py)   |
| precision, recall            | bins      | share of images that look real; share of real ones that are reached   |
| density, coverage            | bins      | the same, robust to single images (coverage.py)                       |
| diversity                    | bins      | effective number of heads for each of the real data's (diversity.py)    |
| directional_bias, _of_...    | all       | how unevenly quality and diversity are spread over azimuth (bias.py)    |
| cross_view_recall_1, _5      | bins      | share of views that find their own head's front (retrieval.py)          |
| condition_cosine, _of_others | all       | likeness of the front to its condition; to the others' conditions       |
| condition_recall_1, _5       | all       | share of fronts that find their condition                               |
| consistency_psnr, _l1        | all, bins | agreement of two views 15 degrees apart where both see (consistency.py) |
| consistency_seen_twice       | all, bins | share of the surface on which that was compared                         |
| mode_coverage                | all       | effective number of subjects that the fronts resemble, over real heads' |
| frechet_front, kernel_front  | all       | the distances of frontal images alone (appearance.py)                   |
| frechet_of_faces             | all       | the Frechet distance of faces cut out of the views (appearance.py)      |
| face_on_back, heads_with_... | all       | parts of a face seen from behind: pixels, heads (backs.py)              |
| mirrored_back                | all       | are backs fronts? 0 as real backs, 1 as real fronts (backs.py)          |
| power_8-12, ...              | all       | power over that of real images, by cycles an image (appearance.py)      |
| faces_found, identity_auc    | all       | faces that dlib finds; one person from left to right? (when asked for)  |
| faces_found_ratio            | all       | how often it finds one, over how often on real heads (when asked for)   |

Scopes are "all" views and the azimuth bins "0", "45", ... Where real heads can stand in for
generated ones, `real` has their metrics: a perfect generator would reach these, not 0 or 1.
Distances, coverage, diversity and bias are in the extractor's features, headjudge's unless another
is given; cross-view recall, condition metrics and mode coverage are in the features of the encoder
of the conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semhead_lib.conditioning.cameras import EACH_VIEW, condition_camera_name
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.conditioning.semantic import require_encoder
from semhead_lib.data.subjects import Subject
from semhead_lib.evaluation.appearance import (
    face_distance,
    front_distances,
    identities,
    power_ratios,
)
from semhead_lib.evaluation.backs import faces_on_backs, mirrored_backs
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.evaluation.generated_views import head_consistency
from semhead_lib.evaluation.measures import (
    adherence,
    agreement,
    consistency,
    covered_modes,
    distances,
    reference_distances,
)
from semhead_lib.evaluation.reference_statistics import ReferenceStatistics
from semhead_lib.evaluation.result import Evaluation
from semhead_lib.evaluation.samples import Samples, generated_samples, real_samples, styles
from semhead_lib.evaluation.settings import HEADS, EvaluationSettings
from semhead_lib.evaluation.statistics import (
    Metrics,
    merge,
)
from semhead_lib.metrics.azimuth import AzimuthBins, BinnedFeatures
from semhead_lib.models.generator import Generator


def evaluate(
    generator: Generator,
    real: Sequence[Subject] | ReferenceStatistics,
    mode: ConditionMode,
    extractor: FeatureExtractor
    | None = None,  # None: headjudge; reference statistics have their own
    encoder: FeatureExtractor
    | None = None,  # of semantics; None: the extractor if it is a CLIP, else headclip-64
    *,
    condition_encoder: str
    | None = None,  # identity of what made the features it was trained with; None: the encoder's
    condition_camera: str | float = EvaluationSettings.condition_camera,  # of modes with a view
    heads: int = HEADS,
    views: int | None = EvaluationSettings.views,  # of each head; None: all that the subjects have
    bins: AzimuthBins = AzimuthBins(),  # noqa: B008 (frozen)
    seed: int = EvaluationSettings.seed,
    psi: float = EvaluationSettings.psi,
    consistency_heads: int = EvaluationSettings.consistency_heads,  # 0: leave it out
    identity_heads: int = EvaluationSettings.identity_heads,  # 0: leave it out; about 0.4 s a head
    store: Path | str | None = EvaluationSettings.store,  # folder that keeps real images' features
    progress: bool = False,
) -> Evaluation:
    """Generate a head for each of `heads` real subjects, under its condition and from its cameras,
    and measure them against as many other subjects (see samples.py).

    If `real` are subjects, 2 * `heads` of them are used; reference statistics have their own, and
    `heads`, `views`, `bins` and `store` are ignored. A head follows its condition if its front
    resembles that of the condition's subject; conditions need not be features of fronts. If every
    view has its own condition camera, the views do not show one head, and consistency is left out.

    Raises ValueError for too few subjects, too few heads in a bin, conditions of another encoder,
    an unknown condition camera; ModuleNotFoundError if identity is requested without the extra
    `faces`.
    """
    camera = condition_camera_name(condition_camera)
    if isinstance(real, ReferenceStatistics):
        reference_stats = real
    else:
        extractor = extractor or FeatureExtractor.load()
        sets = real_samples(real, heads, views, resolution=generator.config.resolution, seed=seed)
        reference_stats = ReferenceStatistics.of(
            *sets, extractor, encoder, bins=bins, seed=seed, store=store, progress=progress
        )
    matched = reference_stats.matched_samples
    if mode.uses_semantics:
        require_encoder(
            matched.encoder, condition_encoder or reference_stats.encoder.identity, "the conditions"
        )
    drawn: dict[str, Any] = dict(psi=psi, seed=seed, condition_camera=camera)
    samples = generated_samples(generator, mode, matched, **drawn, progress=progress)
    found = judge(samples, reference_stats, progress=progress)
    of_heads = not mode.shows_view or camera not in EACH_VIEW
    if consistency_heads and of_heads:
        w = styles(generator, mode, matched, **drawn)[:consistency_heads]
        seen = head_consistency(generator, w, reference_stats.bins.centres)
        merge(found.generated, consistency(seen, len(w), reference_stats, samples.made))
    if identity_heads:
        merge_both(found, identities(samples, identity_heads, reference_stats, progress))
    return found


def judge(
    samples: Samples, reference_stats: ReferenceStatistics, *, progress: bool = False
) -> Evaluation:
    """Metrics of heads that have the cameras of the matched real heads (or those that the
    statistics were made for), whatever made them. Heads without frontal images have no metrics of
    fronts and no cross-view recall.

    Raises ValueError for heads with other cameras or of another resolution.
    """
    matched, cameras = reference_stats.matched_samples, reference_stats.judged_cameras
    if samples.cameras.shape != cameras.shape or not torch.equal(samples.cameras, cameras):
        whose = "of the matched real heads" if reference_stats.cameras is None else "asked for"
        raise ValueError(f"the heads to be judged must have the cameras {whose}, in their order")
    if samples.resolution != matched.resolution:
        raise ValueError(
            f"images must have {matched.resolution} pixels a side, got {samples.resolution}"
        )
    features = reference_stats.extractor.images(samples.images, progress)
    binned = BinnedFeatures.of(features, samples.cameras, reference_stats.bins)
    numbers, halves = reference_stats.measure(binned, progress)
    generated, real = (
        distances(numbers, halves, reference_stats, samples.made),
        reference_distances(reference_stats),
    )
    found = Evaluation(generated, real)
    if samples.fronts is not None:
        _merge_fronts(found, samples, features, reference_stats, progress)
    merge_both(found, face_distance(samples, reference_stats))
    merge_both(found, faces_on_backs(samples, reference_stats))
    merge_both(found, mirrored_backs(binned, samples.made, reference_stats))
    merge_both(found, power_ratios(samples, reference_stats))
    return found


def _merge_fronts(
    found: Evaluation,
    samples: Samples,
    features: Tensor,  # [N, V, D] by the extractor
    reference_stats: ReferenceStatistics,
    progress: bool,
) -> None:
    """All metrics that need an image of each head's front."""
    matched, frontal = reference_stats.matched_samples, samples.frontal
    extractor, encoder = reference_stats.extractor, reference_stats.encoder
    same = encoder.identity == extractor.identity
    semantic = features if same else encoder.images(samples.images, progress)
    fronts = encoder.images(frontal)
    own_fronts = fronts if same else extractor.images(frontal)
    view = reference_stats.judged_view
    if samples.front_views is not None:  # that an image finds itself says nothing
        view = torch.where(view == samples.front_views[:, None], -1, view)
    merge(found.generated, agreement(semantic, fronts, view, reference_stats, samples.made))
    views, real_fronts = reference_stats.semantic
    view = reference_stats.matched.view
    merge(found.real, agreement(views, real_fronts, view, reference_stats, matched.made))
    for side, these, made in (
        (found.generated, fronts, samples.made),
        (found.real, real_fronts, matched.made),
    ):
        merge(side, covered_modes(these, reference_stats, made))
    if samples.conditions is not None:
        asked = samples.conditions if samples.encoder == encoder.identity else real_fronts
        merge(found.generated, adherence(fronts, asked, reference_stats, samples.made))
    merge_both(found, front_distances(own_fronts, samples.made, reference_stats))


def merge_both(found: Evaluation, more: tuple[Metrics, Metrics]) -> None:
    """Put metrics of generated and of real heads among those that were found."""
    merge(found.generated, more[0])
    merge(found.real, more[1])
