"""FLUX.1 Kontext's views judged by a semantic encoder: the source `kontext` as commands and
notebooks make it."""

from __future__ import annotations

from dataclasses import fields
from functools import partial

from semhead_lib.conditioning.semantic import EMBEDDED, SemanticEncoder
from semhead_lib.data.jobs.settings import SourceSettings
from semhead_lib.data.kontext.quality import Encode
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

    Raises ValueError for a setting out of range, FileNotFoundError for a folder that is not there.
    """
    if view_sampling != "balanced":
        raise ValueError(
            f"views of Kontext are balanced, view_sampling={view_sampling} is for other sources"
        )
    of_model = [field.name for field in fields(KontextSettings) if field.name in settings]
    kontext = KontextSettings(device=device, **{name: settings.pop(name) for name in of_model})
    encode = partial(_encoder, judged_by, device)
    return KontextSource(portraits, kontext=kontext, encode=encode, encoder=judged_by, **settings)


def _encoder(name: str, device: str) -> Encode:
    return SemanticEncoder.load(name, device=device).images
