"""FLUX.1 Kontext's views judged by a semantic encoder: the source `kontext` as commands and
notebooks make it."""

from __future__ import annotations

from functools import partial

from semhead_lib.conditioning.semantic import EMBEDDED, SemanticEncoder
from semhead_lib.data.kontext.editor import KontextSettings
from semhead_lib.data.kontext.quality import Encode
from semhead_lib.data.kontext.source import KontextSource

_OF_THE_MODEL = (
    "model",
    "revision",
    "steps",
    "guidance",
    "dtype",
    "quantise",
    "attention",
    "compile",
    "offload",
    "batch",
)


def kontext_source(
    portraits: str,
    *,
    judged_by: str = EMBEDDED,  # as `SemanticEncoder.load` takes it
    pixels: int = 1024,  # a side, that the model works at
    device: str = "auto",
    view_sampling: str = "balanced",
    **settings,
) -> KontextSource:
    """The source of a folder of portraits; `settings` are of KontextSource and KontextSettings.

    Raises ValueError for a setting out of range, FileNotFoundError for a folder that is not there.
    """
    if view_sampling != "balanced":
        raise ValueError(
            f"views of Kontext are balanced, view_sampling={view_sampling} is for other sources"
        )
    of_model = {name: settings.pop(name) for name in _OF_THE_MODEL if name in settings}
    kontext = KontextSettings(resolution=pixels, device=device, **of_model)
    encode = partial(_encoder, judged_by, device)
    return KontextSource(portraits, kontext=kontext, encode=encode, encoder=judged_by, **settings)


def _encoder(name: str, device: str) -> Encode:
    return SemanticEncoder.load(name, device=device).images
