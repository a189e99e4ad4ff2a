"""Whether a synthesised view may stay: each check has a figure, a limit, and a sentence for those
that fail.

What is compared is the view that was asked for, and the portrait it was made from. Silhouettes come
from GrabCut, faces from dlib where it is installed, directions from faces and, where none shows,
from the head finder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import Camera
from semhead_lib.data.kontext.filters import Filter
from semhead_lib.data.kontext.framing import frame_of_face, frame_of_silhouette, frame_of_view
from semhead_lib.data.kontext.prompts import View
from semhead_lib.data.kontext.verdicts import CHECKS, SCORED, Check, Limits, Origin, Verdict
from semhead_lib.data.kontext.viewpoint import Viewpoint, viewpoints
from semhead_lib.data.portraits import silhouette
from semhead_lib.data.portraits.camera import fit_camera
from semhead_lib.data.portraits.face_finder import FaceFinder, face_finder
from semhead_lib.data.portraits.faces import face_judge
from semhead_lib.data.portraits.landmarks import head_landmarks

__all__ = ["CHECKS", "SCORED", "Check", "Inspector", "Limits", "Origin", "Verdict"]
_FACE_SEEN = 50.0  # degrees of azimuth up to which a found face says from where it is seen
_GUESSED, _APART = (
    0.5,
    40.0,
)  # the network's certainty and its distance in degrees that outweigh a face
_SURE = 0.95  # certainty of a direction from a face
# part of the image, from its top, where a head must not touch the sides: shoulders do below
_UPPER = 0.7
_SMALL = 32  # pixels a side at which an image is compared with its origin
Encode = Callable[[Sequence[Tensor]], Tensor]  # images [3, H, W] uint8 -> [N, D] unit features


class Inspector:
    """Judges views. `encode` makes features of images; `others` are features of other people's
    portraits [N, D]."""

    def __init__(
        self,
        encode: Encode,
        limits: Limits | None = None,
        others: Tensor | None = None,
        filters: Sequence[Filter] = (),
    ) -> None:
        self.encode, self.limits, self.filters = encode, limits or Limits(), filters
        self.others = others if others is not None and len(others) >= 20 else None

    def origin(
        self,
        image: Tensor,  # [3, S, S] uint8
        camera: Tensor | None = None,  # [25]; None: the front's
    ) -> Origin:
        """The portrait that views are made from."""
        camera = Camera.orbit(0.0, 0.0).label if camera is None else camera
        mask = silhouette.foreground(image, camera)
        identity = face_judge().identity(image) if self._faces else None
        feature, background = self.encode([image])[0], _background(image, mask)[0]
        return Origin(image, feature, identity, background, mask, frame_of_silhouette(mask, camera))

    def __call__(
        self,
        images: Tensor,  # [N, 3, S, S] uint8
        views: Sequence[View],
        origin: Origin,
        prompts: Sequence[str] | None = None,  # that they were made by
    ) -> list[Verdict]:
        """A verdict an image."""
        features, guesses = self.encode(list(images)), viewpoints(images)
        scored = self._scored(list(images), prompts or [""] * len(images))
        return [
            self._verdict(image, view, origin, feature, guess, first)
            for image, view, feature, guess, first in zip(
                images, views, features, guesses, scored, strict=True
            )
        ]

    def _scored(self, images: Sequence[Tensor], prompts: Sequence[str]) -> list[tuple[Check, ...]]:
        """Checks of each image by the filters that score; the next ones see what passed the first."""
        checks: list[tuple[Check, ...]] = [()] * len(images)
        for f in self.filters:
            left = [i for i, found in enumerate(checks) if all(check.passed for check in found)]
            scores = f([images[i] for i in left], [prompts[i] for i in left]) if left else []
            for i, score in zip(left, scores, strict=True):
                reason = f"its score of {f.name} is {score:.2f}, {f.least:g} is wanted"
                checks[i] += (_check(f.name, 1 - score, 1 - f.least, reason),)
        return checks

    def _verdict(
        self,
        image: Tensor,
        view: View,
        origin: Origin,
        feature: Tensor,
        guess: Viewpoint,
        first: tuple[Check, ...],
    ) -> Verdict:
        faces = self._faces(image, finest=1) if self._faces else []
        seen, by_face, frame = guess, False, None
        if faces:
            fit = fit_camera(faces[0].landmarks, head_landmarks(68))
            agreed = (
                guess.certainty < _GUESSED or guess.away_from(fit.azimuth, fit.elevation) < _APART
            )
            if abs(fit.azimuth) <= _FACE_SEEN and agreed:  # a face that is found in an ear is none
                seen, by_face = Viewpoint(fit.azimuth, fit.elevation, _SURE), True
                frame = frame_of_face(fit, image.shape[-1])
        camera = Camera.orbit(view.azimuth, view.elevation).label
        mask = silhouette.foreground(image, camera)
        frame = frame or frame_of_view(frame_of_silhouette(mask, camera), origin.frame)
        checks = (
            *first,
            self._view(seen, view),
            self._person(image, feature, origin, bool(faces)),
            _check("one head", len(faces), 1.0, f"{len(faces)} faces"),
            self._inside(image, origin),
            self._size(mask, view),
            self._new(image, view, origin),
            self._background(image, mask, origin),
        )
        return Verdict(checks, seen, by_face, mask, frame)

    def _view(self, seen: Viewpoint, asked: View) -> Check:
        away = seen.away_from(asked.azimuth, asked.elevation)
        reason = (
            f"seen from {seen.azimuth:.0f}, {seen.elevation:.0f} degrees, not "
            f"{asked.azimuth:g}, {asked.elevation:g}"
        )
        return _check("view", away, self.limits.turned, reason)

    def _person(self, image: Tensor, feature: Tensor, origin: Origin, face: bool) -> Check:
        """By the face's identity where it shows twice, else by the share of strangers who look more
        like it."""
        if face and origin.identity is not None:
            identity = face_judge().identity(image)
            if identity is not None:
                distance = float(((identity - origin.identity) ** 2).sum() ** 0.5)
                return _check(
                    "person",
                    distance,
                    self.limits.face,
                    f"the face is {distance:.2f} away from the portrait's",
                )
        own = float(feature @ origin.feature)
        if self.others is None:
            return _check(
                "person",
                1 - own,
                1 - self.limits.likeness,
                f"its likeness to the portrait is only {own:.2f}",
            )
        nearer = float((self.others @ feature > own).float().mean())
        return _check(
            "person",
            nearer,
            self.limits.strangers,
            f"{100 * nearer:.0f} % of other people look more like it",
        )

    def _inside(self, image: Tensor, origin: Origin) -> Check:
        """By the border's colours: a silhouette from GrabCut begins where heads usually are, and
        ends there."""
        upper = round(_UPPER * image.shape[1])
        border = (
            torch.cat([image[:, 0], image[:, :upper, 0], image[:, :upper, -1]], dim=1).float() / 255
        )
        off = (border - origin.background[:, None]).abs().mean(0) > self.limits.background
        share = float(off.float().mean())
        return _check(
            "inside",
            share,
            self.limits.cut,
            f"something covers {100 * share:.0f} % of the upper border",
        )

    def _size(self, mask: Tensor, view: View) -> Check:
        usual = silhouette.prior(Camera.orbit(view.azimuth, view.elevation).label, len(mask)) > 0.5
        ratio = float((mask > 127).sum() / usual.sum().clamp_min(1)) ** 0.5
        ratio = max(ratio, 1 / max(ratio, 1e-3))
        return _check(
            "size",
            ratio,
            self.limits.size,
            f"the head is {ratio:.1f} times larger or smaller than heads are",
        )

    def _new(self, image: Tensor, view: View, origin: Origin) -> Check:
        """Whether it is more than the portrait once more; from (nearly) the front it may be."""
        same = 0.0
        if abs(view.azimuth) > 20:
            one, other = (_grey(p) for p in (image, origin.image))
            same = max(_correlation(one, other), _correlation(one, other.flip(1)))
        return _check("new", same, self.limits.copied, "it is the portrait once more")

    def _background(self, image: Tensor, mask: Tensor, origin: Origin) -> Check:
        colour, spread = _background(image, mask)
        off = max(spread, float((colour - origin.background).abs().mean()))
        return _check(
            "background", off, self.limits.background, "the background is not plain, or another one"
        )

    @cached_property
    def _faces(self) -> FaceFinder | None:
        try:
            return face_finder(68)
        except ModuleNotFoundError:  # the extra `faces` is not here: views are judged without
            return None


def _check(name: str, figure: float, limit: float, reason: str) -> Check:
    passed = bool(figure <= limit)
    return Check(name, float(figure), float(limit), passed, "" if passed else reason)


def _grey(image: Tensor) -> Tensor:  # [3, H, W] uint8 -> [32, 32]
    return F.interpolate(image[None].float(), size=(_SMALL, _SMALL), mode="area")[0].mean(0)


def _correlation(one: Tensor, other: Tensor) -> float:
    one, other = (x - x.mean() for x in (one.flatten(), other.flatten()))
    return float((one * other).sum() / (one.norm() * other.norm()).clamp_min(1e-6))


def _background(image: Tensor, mask: Tensor) -> tuple[Tensor, float]:
    """Mean colour and spread, 0..1, of what is neither head nor near it; of the corners where that
    is nothing."""
    side = len(mask)
    near = F.max_pool2d((mask > 127).float()[None, None], side // 8 * 2 + 1, 1, side // 8)[0, 0] > 0
    if float((~near).float().mean()) < 0.02:
        near = torch.ones_like(near)
        near[: side // 10, : side // 10] = near[: side // 10, -(side // 10) :] = False
    colours = image[:, ~near].float() / 255
    return colours.mean(1), float(colours.std(1).mean())
