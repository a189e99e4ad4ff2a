"""FLUX.1 Kontext's views judged by a semantic encoder: the source `kontext` as commands and
notebooks make it."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache, partial

from semhead_lib.conditioning.semantic import EMBEDDED, SemanticEncoder
from semhead_lib.conditioning.zero_shot import PAIRS, pair_scores
from semhead_lib.data.jobs.settings import SourceSettings
from semhead_lib.data.kontext.filters import CLIP, Score
from semhead_lib.data.kontext.quality import SCORED, Encode
from semhead_lib.data.kontext.settings import KontextSettings
from semhead_lib.data.kontext.source import KontextSource


def kontext_source(
    portraits: str,
    *,
    judged_by: str = EMBEDDED,  # as `SemanticEncoder.load` takes it
    device: str = "auto",
    view_sampling: str = SourceSettings.view_sampling,
    **settings,
) -> KontextSource:
    """The source of a folder of portraits; `settings` are of KontextSource and KontextSettings.

    Filters that are "clip" score views by `judged_by` and the texts of `zero_shot.PAIRS`. Raises
    ValueError for a setting out of range, FileNotFoundError for a folder that is not there.
    """
    if view_sampling != "balanced":
        raise ValueError(
            f"views of Kontext are balanced, view_sampling={view_sampling} is for other sources"
        )
    if judged_by == EMBEDDED and (by_clip := [n for n in SCORED if settings.get(n) == CLIP]):
        raise ValueError(
            f"{by_clip[0]}=clip needs an encoder that has seen photographs, such as "
            f"judged_by=ViT-L-14/openai; {EMBEDDED} knows parametric heads alone"
        )
    of_model = [field.name for field in fields(KontextSettings) if field.name in settings]
    kontext = KontextSettings(device=device, **{name: settings.pop(name) for name in of_model})
    return KontextSource(
        portraits,
        kontext=kontext,
        encode=partial(_encode, judged_by, device),
        encoder=judged_by,
        clip=partial(_clip_score, judged_by, device),
        **settings,
    )


def _encode(name: str, device: str) -> Encode:
    return _encoder(name, device).images


def _clip_score(name: str, device: str, what: str) -> Score:
    """The score of the filter `what`."""
    encoder = _encoder(name, device)
    return lambda images, prompts: pair_scores(encoder, images, PAIRS[what])


@lru_cache(1)
def _encoder(name: str, device: str) -> SemanticEncoder:
    return SemanticEncoder.load(name, device=device)
