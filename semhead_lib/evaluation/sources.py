"""Sources of evaluated heads: a generator of ours, a render function, or images that were rendered
elsewhere (image_sets.py)."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.cameras import FRONT
from semhead_lib.conditioning.semantic import require_encoder
from semhead_lib.evaluation.generated_views import head_consistency
from semhead_lib.evaluation.matching import Viewing
from semhead_lib.evaluation.render_plan import (
    DEPTH_APART,
    DEPTH_HEADS,
    PARTS,
    PlanSummary,
    RenderPlan,
    head_seed,
)
from semhead_lib.evaluation.samples import (
    LEAST_SIDE,
    Samples,
    generated_samples,
    hashed,
    resized,
    styles,
)
from semhead_lib.metrics.azimuth import AzimuthBins
from semhead_lib.metrics.consistency import Differences
from semhead_lib.models.generator import Generator, folder_of
from semhead_lib.models.sampling import to_uint8

_FARTHEST = 4.0  # from 0: what generators return is in about [-1, 1]
CONDITIONED = ("view", "random")  # parts in which every image has a condition camera of its own


@dataclass(frozen=True)
class JudgedHeads:
    """Heads for all metrics, and heads whose images have condition cameras of their own, for
    distances."""

    samples: Samples
    conditioned: dict[str, Samples] = field(default_factory=dict)  # "view", "random"
    left_out: dict[str, str] = field(default_factory=dict)  # metrics, and why they are
    agreement: Differences | None = None  # of views of each bin of azimuth, in pairs


class Source(Protocol):
    """A source of images of heads."""

    name: str
    side: int  # pixels a side of its images


class Rendered(Source, Protocol):
    """A source that renders from any camera."""

    def render(
        self,
        viewing: Viewing,
        matched: Samples,  # real heads, with their semantic conditions
        resolution: int,  # pixels a side
        progress: bool = False,
    ) -> JudgedHeads:
        """The heads from these cameras."""
        ...


class GeneratorSource:
    """A generator of ours in its folder."""

    def __init__(
        self, model: Path | str, device: str = "cpu", psi: float = 1.0, name: str | None = None
    ) -> None:
        folder = folder_of(model)
        self.name, self.psi = name or folder.name, psi
        self.network = Generator.load(model, device).requires_grad_(False)
        self.bank, self.side = ConditionBank.load(folder), self.network.config.resolution

    def check_conditions(self, encoder: str | None) -> None:
        """Raise ValueError where real heads have no semantic conditions for this generator, but
        features of another `encoder`, or none."""
        if not self.bank.mode.uses_semantics:
            return
        if encoder is None:
            raise ValueError(
                f"{self.name} is conditioned on semantics, but the reference has no semantic "
                "features: 'semhead data encode REFERENCE' adds them"
            )
        require_encoder(encoder, self.bank.encoder or "none", f"the conditions of {self.name}")

    def render(
        self, viewing: Viewing, matched: Samples, resolution: int, progress: bool = False
    ) -> JudgedHeads:
        """A head for each matched real one, under its semantic condition where the generator has
        one. Raises ValueError for conditions of another encoder."""
        mode, place = self.bank.mode, replace(matched, cameras=viewing.cameras)
        self.check_conditions(matched.encoder)

        def heads(camera: str) -> Samples:
            drawn: dict[str, Any] = dict(psi=self.psi, seed=viewing.seed, condition_camera=camera)
            made = generated_samples(self.network, mode, place, **drawn, progress=progress)
            whose = f"images of {self.name}"
            images, fronts = (resized(x, resolution, whose) for x in (made.images, made.frontal))
            return replace(made, images=images, fronts=fronts)

        some = styles(self.network, mode, place, psi=self.psi, seed=viewing.seed)[:DEPTH_HEADS]
        sides = AzimuthBins().centres
        agreement = head_consistency(self.network, some, sides, DEPTH_APART, side=resolution)
        if not mode.shows_view:
            why = {"frechet_view, frechet_random": "the generator is conditioned on no camera"}
            return JudgedHeads(heads(FRONT), {}, why, agreement)
        conditioned = {part: heads(PARTS[part]) for part in CONDITIONED}
        return JudgedHeads(heads(FRONT), conditioned, {}, agreement)


class FunctionSource:
    """A function `render(seeds, cameras)`, named "module:function" or "file.py:function".

    It gets int64 [B] and float32 [B, 25] tensors on the CPU, and returns B images [B, 3, S, S],
    uint8 or numbers in [-1, 1], as a tensor or an array. The same seed must give the same head.
    With a third parameter `condition_cameras`, float32 [B, 25], it also renders the images for
    FID-view and FID-random.

    Raises ValueError if there is no such function.
    """

    def __init__(self, target: str, name: str | None = None) -> None:
        self.target, self.name = target, name or target.rpartition(":")[2]
        self.function = _function(target)
        try:
            known = inspect.signature(self.function).parameters
        except (TypeError, ValueError):
            known = {}
        self.takes_conditions = "condition_cameras" in known
        self._seen = (math.inf, -math.inf)  # least and highest number of all images
        plan = RenderPlan.of_bins(1, 1)
        self.side = self._images(torch.zeros(1, dtype=torch.int64), *[plan.cameras[0]] * 2).shape[
            -1
        ]

    def render(
        self, viewing: Viewing, matched: Samples, resolution: int, progress: bool = False
    ) -> JudgedHeads:
        """A head for each seed."""
        n, v = viewing.cameras.shape[:2]
        seeds = torch.tensor([head_seed(viewing.seed, head) for head in range(n)])
        summary = PlanSummary(viewing.kind, n, v, viewing.seed, "", tuple(PARTS))
        plan = RenderPlan(summary, viewing.cameras)
        front = RenderPlan.of_bins(1, 1).cameras[0]  # [1, 25]

        def heads(part: str) -> Samples:
            found, on = [], plan.conditions(part)
            with_front = part == "front"
            what = f"{self.name}, {part}"
            for i in tqdm(range(n), unit="head", desc=what, disable=not progress):
                cameras, conditions = viewing.cameras[i], on[i]
                if with_front:
                    cameras, conditions = (torch.cat([x, front]) for x in (cameras, conditions))
                images = self._images(seeds[i].expand(len(cameras)), cameras, conditions)
                found.append(resized(images, resolution, f"images of {self.target}"))
            images = torch.stack(found)
            made = f"{self.target} [images {hashed(images)}]"
            if self.takes_conditions:
                made += f", condition camera {PARTS[part]}"
            return Samples(
                images[:, :v], viewing.cameras, images[:, v] if with_front else None, made
            )

        left_out = {
            "condition_cosine, condition_recall": "no semantic condition of these heads is known",
            "consistency": "needs depth, which images alone do not have",
        }
        made = heads("front")
        self._check_range()
        if not self.takes_conditions:
            left_out["frechet_view, frechet_random"] = "the function takes no condition_cameras"
            return JudgedHeads(made, left_out=left_out)
        return JudgedHeads(made, {part: heads(part) for part in CONDITIONED}, left_out)

    def _images(self, seeds: Tensor, cameras: Tensor, conditions: Tensor) -> Tensor:
        more = {"condition_cameras": conditions.clone()} if self.takes_conditions else {}
        try:
            found = self.function(seeds.clone(), cameras.clone(), **more)
            images = torch.as_tensor(found).detach().cpu() if _is_array(found) else None
        except (Exception, SystemExit) as error:  # code of others fails in many ways
            words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise ValueError(f"{self.target} failed: {words}") from error
        expected = (len(seeds), 3)
        right = images is not None and images.ndim == 4 and images.shape[2] == images.shape[3]
        if not right or images is None or tuple(images.shape[:2]) != expected:
            came = type(found).__name__ if images is None else list(images.shape)
            raise ValueError(
                f"{self.target} must return images [{len(seeds)}, 3, S, S], got {came}"
            )
        if images.shape[-1] < LEAST_SIDE:
            raise ValueError(
                f"{self.target} must return images of {LEAST_SIDE} pixels a side or more, got "
                f"{list(images.shape)}"
            )
        if images.dtype == torch.uint8:
            return images
        if not images.is_floating_point() or not bool(images.isfinite().all()):
            came = "some that are not finite" if images.is_floating_point() else images.dtype
            raise ValueError(
                f"{self.target} must return uint8 or finite numbers in [-1, 1], got {came}"
            )
        least, most = float(images.min()), float(images.max())
        if max(-least, most) > _FARTHEST:
            raise ValueError(
                f"{self.target} must return numbers in [-1, 1], got {least:.3g} to {most:.3g}"
            )
        self._seen = (min(least, self._seen[0]), max(most, self._seen[1]))
        return to_uint8(images)

    def _check_range(self) -> None:
        """A warning where all numbers of all images are such as [0, 1] has."""
        least, most = self._seen
        if 0 <= least < most <= 1:
            warnings.warn(
                f"{self.target}: all numbers lie between {least:.3g} and {most:.3g}: are they of "
                "[0, 1]? [-1, 1] is expected",
                stacklevel=3,
            )


def _is_array(found: Any) -> bool:
    return isinstance(found, Tensor | np.ndarray)


def _function(target: str) -> Callable[..., Any]:
    module, _, name = target.rpartition(":")
    try:
        if module.endswith(".py"):
            path = Path(module).resolve()
            spec = importlib.util.spec_from_file_location(path.stem, path)
            if spec is None or spec.loader is None or not path.is_file():
                raise FileNotFoundError(f"{module} does not exist")
            loaded = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(path.stem, loaded)
            spec.loader.exec_module(loaded)
        else:
            sys.path.insert(0, str(Path.cwd()))
            try:
                loaded = importlib.import_module(module)
            finally:
                sys.path.pop(0)
    except (Exception, SystemExit) as error:  # code of others fails in many ways
        raise ValueError(
            f"{target}: cannot be imported: {type(error).__name__}: {error}"
        ) from error
    found = getattr(loaded, name, None)
    if not callable(found):
        raise ValueError(f"{target}: {module} has no function {name!r}")
    return found
