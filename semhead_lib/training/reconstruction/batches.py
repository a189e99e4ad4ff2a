"""Batches of subjects with what is known of their surfaces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from semhead_lib.cameras import orbit_angles, rays_through
from semhead_lib.data.dataset.batches import to_model_range, to_unit_range
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.subjects import Subject, all_present
from semhead_lib.devices import moved
from semhead_lib.training.crops import cut, draw_windows
from semhead_lib.training.reconstruction.mirror import mirrored
from semhead_lib.training.reconstruction.samples import NOTHING, UNKNOWN, Rays, Sample
from semhead_lib.training.reconstruction.settings import ReconstructionSettings

_FACING = 60.0  # degrees of azimuth within which an image is encoded
LARGEST = 12.0  # importance of a class, at most


class SubjectBatches:
    """From the number of a step to its sample: a function of data, settings and number alone. With a
    GPU as `device`, subjects of equally many views lie in its memory, where samples are made.

    What is rare counts more: pixels are drawn, and differences of images weighed, by the root of
    the rarity of the class of their surface, so that eyes, brows and lips are learnt beside skin
    and clothes. Without points (`pixels=0`), data need no depth, and without classes all pixels
    count alike.

    Raises ValueError for data without what is needed of masks, depth and classes, or with fewer
    views than a batch takes.
    """

    def __init__(
        self,
        data: SubjectsInMemory,
        settings: ReconstructionSettings,
        device: torch.device | str = "cpu",
    ) -> None:
        self.data, self.settings, self.device = data, settings, torch.device(device)
        self._fields = ("views", "masks", "cameras")
        if settings.pixels:
            self._fields += ("depth", "segmentation")
        elif all(subject.segmentation is not None for subject in data):
            self._fields += ("segmentation",)
        for subject in data:
            missing = [name for name in self._fields if getattr(subject, name) is None]
            if missing:
                raise ValueError(
                    f"subject {subject.id} has no {' and no '.join(missing)}, which "
                    "reconstruction needs"
                )
            if len(subject.views) < settings.views_per_subject:
                raise ValueError(
                    f"views_per_subject must be at most {len(subject.views)}, what subject "
                    f"{subject.id} has; "
                    f"got {settings.views_per_subject}"
                )
        self._every = known_every(data[0].depth) if settings.pixels else 1
        self.attributes = None  # [N, K] of all subjects, when these are encoded
        self._in_a_mirror = None  # the same of their mirror images
        if settings.encode == "attributes":
            self.attributes = attributes_of(data)
            if settings.mirror:
                self._in_a_mirror = attributes_of(data, mirror=True)
        self._facing = [facing(subject.cameras) for subject in data]
        self.importance = None
        if "segmentation" in self._fields:
            self.importance = class_importance(data).to(self.device)
        views = {len(subject.views) for subject in data}
        self._held = None  # [N, V, ...] of all subjects
        if self.device.type != "cpu" and len(views) == 1:
            of_subjects = ("semantic",) if data[0].semantic is not None else ()
            self._held = {name: self._all(name) for name in (*self._fields, *of_subjects)}

    def _all(self, name: str) -> Tensor:
        """A field of all subjects, on the device."""
        first = getattr(self.data[0], name)
        held = first.new_empty((len(self.data), *first.shape), device=self.device)
        for i, subject in enumerate(self.data):
            held[i] = getattr(subject, name)
        return held

    def __call__(self, step: int) -> Sample:
        s, n = self.settings, len(self.data)
        rng = np.random.default_rng((s.seed, 1, step))
        draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
        encoded, chosen, kept, indices = [], [], [], []
        flips = [s.mirror and rng.random() < 0.5 for _ in range(s.subjects_per_batch)]
        for place in range(step * s.subjects_per_batch, (step + 1) * s.subjects_per_batch):
            epoch, position = divmod(place, n)
            i = int(np.random.default_rng((s.seed, 0, epoch)).permutation(n)[position])
            subject, facing = self.data[i], self._facing[i]
            if self.attributes is not None:
                rows = self._in_a_mirror if flips[len(chosen)] else self.attributes
                assert rows is not None  # made where there is a mirror
                encoded.append(rows[i])
            else:
                seen = subject.views[int(rng.choice(facing))] if facing else subject.frontal
                encoded.append(to_model_range(seen))
            kept.append(rng.permutation(len(subject.views))[: s.views_per_subject].tolist())
            chosen.append(subject)
            indices.append(i)

        some = self._fields_of(chosen, indices, kept)
        views, masks, cameras = some["views"], some["masks"], some["cameras"]
        if self.importance is not None:
            importance = self.importance[some["segmentation"].long()]
        else:
            importance = torch.ones(masks.shape, device=masks.device)
        side, windows = views.shape[-1], None
        if s.crop:
            windows = draw_windows(
                torch.cat([subject.cameras[k] for subject, k in zip(chosen, kept, strict=True)]),
                s.views_per_subject,
                side,
                s.crop,
                s.crop_whole,
                s.crop_face,
                draws,
            )
        rays = None
        if s.pixels:
            depth, segmentation = some["depth"], some["segmentation"]
            rays = _rays(
                views,
                masks,
                depth,
                segmentation,
                cameras,
                importance,
                s.pixels,
                draws,
                self._every,
            )
        images, masks, importance, cameras = (
            x[:, : s.rendered].flatten(0, 1) for x in (views, masks, importance, cameras)
        )
        masks, importance = masks[:, None], importance[:, None]
        if windows is not None:
            windows = windows.unflatten(0, (len(chosen), -1))[:, : s.rendered].flatten(0, 1)
            images, masks, importance = (
                cut(x, windows, s.crop) for x in (images, masks, importance)
            )
        sample = Sample(
            torch.stack(encoded),
            some.get("semantic"),
            cameras,
            windows,
            to_model_range(images),
            to_unit_range(masks),
            importance,
            rays,
        )
        return mirrored(sample, torch.tensor(flips)) if s.mirror else sample

    def _fields_of(
        self, chosen: Sequence[Subject], indices: list[int], kept: list[list[int]]
    ) -> dict[str, Tensor]:  # [H, V, ...] each, "semantic" [H, D]
        if self._held is not None:
            index = moved(
                torch.tensor([[i, *k] for i, k in zip(indices, kept, strict=True)]), self.device
            )
            of, views = index[:, 0], index[:, 1:]
            return {
                name: held[of] if name == "semantic" else held[of[:, None], views]
                for name, held in self._held.items()
            }
        some = {
            name: torch.stack(
                [getattr(subject, name)[k] for subject, k in zip(chosen, kept, strict=True)]
            )
            for name in self._fields
        }
        if chosen[0].semantic is None:
            return some
        semantics = all_present((subject.semantic for subject in chosen), "semantic features")
        return some | {"semantic": torch.stack(semantics)}


def attributes_of(data: Sequence[Subject], mirror: bool = False) -> Tensor:  # [N, K]
    """Attributes of all subjects as numbers, or those of their mirror images. Raises ValueError for
    subjects that are not parametric."""
    from semhead_lib.data.parametric.numbers import attribute_numbers, mirror_image

    of = mirror_image if mirror else dict
    try:
        rows = [torch.from_numpy(attribute_numbers(of(subject.attributes))) for subject in data]
    except ValueError as error:
        raise ValueError(f"encode=attributes needs parametric subjects: {error}") from None
    return torch.stack(rows)


def facing(cameras: Tensor) -> list[int]:  # [V, 25]
    """Which of a subject's views show the face."""
    return torch.nonzero(orbit_angles(cameras)[:, 0].abs() <= _FACING)[:, 0].tolist()


def known_every(depth: Tensor | None) -> int:  # [V, S, S]
    """2 for depth that is known at every second pixel of every second row alone, as packed datasets
    have it, else 1."""
    if depth is None or not bool(depth.any()):
        return 1
    return 1 if bool(depth[:, 1::2].any()) or bool(depth[:, :, 1::2].any()) else 2


def class_importance(data: Sequence[Subject]) -> Tensor:  # [256]
    """Of each class of surface: the root of its rarity, at most LARGEST times the mean, 1 on
    average over pixels."""
    segmentation = all_present(
        (subject.segmentation for subject in data[: min(len(data), 500)]), "classes of surfaces"
    )
    some = torch.stack([classes[0] for classes in segmentation])
    share = torch.bincount(some.flatten().int(), minlength=256).float() / some.numel()
    importance = share.clamp_min(1e-6).rsqrt()
    importance = (importance / (share * importance).sum()).clamp_max(LARGEST)
    return importance / (share * importance).sum()


def _rays(
    views: Tensor,  # [H, V, 3, S, S] uint8
    masks: Tensor,  # [H, V, S, S] uint8
    depth: Tensor,  # [H, V, S, S] camera z
    segmentation: Tensor,  # [H, V, S, S] uint8
    cameras: Tensor,  # [H, V, 25]
    importance: Tensor,  # [H, V, S, S]
    pixels: int,
    rng: torch.Generator,
    every: int = 1,  # of pixels and rows, those that are drawn from
) -> Rays:
    """Rays through pixels of the images: three quarters drawn by their importance, the others
    evenly. What is at an edge, where a pixel is covered in part, is not known."""
    heads, side = len(views), views.shape[-1]
    views, masks, depth, segmentation, cameras, importance = (
        x.flatten(0, 1) for x in (views, masks, depth, segmentation, cameras, importance)
    )
    importance = importance[:, ::every, ::every]
    columns, choices = importance.shape[-1], importance[0].numel()
    chance = importance.flatten(1).cumsum(1)
    device = views.device
    drawn = moved(torch.rand(len(views), pixels - pixels // 4, generator=rng), device)
    drawn = drawn * chance[:, -1:]
    weighed = torch.searchsorted(chance, drawn).clamp_max(choices - 1)
    evenly = moved(torch.randint(choices, (len(views), pixels // 4), generator=rng), device)
    chosen = torch.cat([weighed, evenly], dim=1)
    pixel = torch.stack([chosen % columns, chosen // columns], dim=-1) * every
    flat = pixel[..., 1] * side + pixel[..., 0]
    covered, z, classes = (x.flatten(1).gather(1, flat) for x in (masks, depth, segmentation))
    colours = views.flatten(2).gather(2, flat[:, None].expand(-1, 3, -1)).permute(0, 2, 1)
    origins, directions = rays_through(cameras, *((pixel.float() + 0.5) / side).unbind(-1))
    length = directions.norm(dim=-1)  # of a step of 1 in depth
    distance = torch.where((covered == 255) & (z > 0), z * length, UNKNOWN)
    distance = torch.where((covered == 0) & (z == 0), NOTHING, distance)

    def by_head(x: Tensor) -> Tensor:
        return x.unflatten(0, (heads, -1)).flatten(1, 2)

    return Rays(
        by_head(origins),
        by_head(directions / length[..., None]),
        by_head(distance),
        by_head(to_unit_range(colours)),
        by_head(classes.long()),
    )
