"""Where a condition comes from: the method's own source, and others to compare it with.

| source     | the generator and the discriminator are conditioned on                                                  |
|------------|---------------------------------------------------------------------------------------------------------|
| frontal    | the feature of the subject's frontal image, for all of its views: the method's                        |
| view       | the feature of each view itself: it tells the view with the subject                                     |
| mean       | the mean feature of all of the subject's views: no view is preferred, none is left out                  |
| attributes | what parametric subjects were made from: knows more than any image, so an upper bound                 |

Where heads are made for use (and judged), source "view" is conditioned on the frontal image's
feature, as "frontal" is.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.conditioning.semantic import SemanticEncoder, require_encoder
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.subjects import Subject

SOURCES = ("frontal", "view", "mean", "attributes")


def with_source(
    subjects: SubjectsInMemory, source: str, encoder: SemanticEncoder
) -> SubjectsInMemory:
    """The same subjects under conditions from another source; `subjects` have the frontal features
    of `encoder`.

    Raises ValueError for a source not in SOURCES, subjects with features of another encoder, and
    for "attributes" when they are not parametric.
    """
    if source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
    layout = subjects.manifest.layout
    require_encoder((layout.semantic or {}).get("encoder"), str(encoder.identity), "the dataset")
    if source == "frontal":
        return subjects
    if source == "attributes":
        from semhead_lib.data.parametric.numbers import attribute_numbers

        numbers = torch.stack(
            [torch.from_numpy(attribute_numbers(subject.attributes)) for subject in subjects]
        )
        identity = f"attributes [of parametric heads; {numbers.shape[1]} numbers, unit length]"
        return _under(subjects, F.normalize(numbers, dim=1), identity)
    of_views = encoder.images(torch.cat([subject.views for subject in subjects]))
    parts = of_views.split([len(subject.views) for subject in subjects])
    if source == "view":
        return SubjectsInMemory(list(subjects), subjects.indices, subjects.manifest, parts)
    name, _, rest = str(encoder.identity).partition(" [")
    return _under(
        subjects,
        F.normalize(torch.stack([part.mean(0) for part in parts]), dim=1),
        f"{name} [mean; {rest}",
    )


def _under(
    subjects: SubjectsInMemory, features: Tensor, identity: str
) -> SubjectsInMemory:  # features [N, D]
    def conditioned(subject: Subject, feature: Tensor) -> Subject:
        return replace(subject, semantic=feature, semantic_encoder=identity)

    semantic = {"encoder": identity, "dimension": features.shape[1]}
    manifest = replace(
        subjects.manifest, layout=replace(subjects.manifest.layout, semantic=semantic)
    )
    changed = [
        conditioned(subject, feature.clone())
        for subject, feature in zip(subjects, features, strict=True)
    ]
    return SubjectsInMemory(changed, subjects.indices, manifest)
