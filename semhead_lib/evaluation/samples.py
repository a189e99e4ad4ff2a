"""Images for an evaluation: real and generated heads with the same cameras.

Real subjects are drawn in two disjoint sets. The *matched* heads give the generator its conditions
and cameras; its images are compared with the *reference*. So a generator that only reproduces the
subjects it is conditioned on gains nothing over one that generates new heads, and real heads in its
place have the metrics of a perfect generator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from semhead_lib.cameras import orbit_cameras
from semhead_lib.conditioning.cameras import FRONT, condition_camera_name, condition_cameras
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.conditioning.semantic import require_encoder
from semhead_lib.data.dataset.batches import choose_views
from semhead_lib.data.subjects import Subject, all_present
from semhead_lib.models.generator import Generator
from semhead_lib.models.sampling import latents, to_uint8

LEAST_SIDE = 8  # pixels of an image that can be judged
_IMAGES_AT_ONCE = 36


@dataclass(frozen=True)
class Samples:
    """N heads, each seen from its own V cameras and from the front."""

    images: Tensor  # [N, V, 3, H, W] uint8
    cameras: Tensor  # [N, V, 25]
    fronts: Tensor | None  # [N, 3, H, W] uint8: azimuth 0, elevation 0; None: there are none
    made: str  # what made the images
    conditions: Tensor | None = (
        # [N, D] semantic features: of the real heads, and what the generated ones are conditioned
        # on
        None
    )
    encoder: str | None = None  # identity of what made the conditions
    # [N] int64: which of a head's views is also its front, -1: none; None: no head's
    front_views: Tensor | None = None

    def __post_init__(self) -> None:
        n, v, _, h, w = self.images.shape if self.images.ndim == 5 else (0,) * 5
        there = [x for x in (self.images, self.cameras, self.fronts) if x is not None]
        shapes = [list(x.shape) for x in there]
        if not n or shapes != [[n, v, 3, h, w], [n, v, 25], [n, 3, h, w]][: len(there)]:
            raise ValueError(
                "expected images [N, V, 3, H, W], cameras [N, V, 25], fronts [N, 3, H, W]; got "
                f"{shapes}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def resolution(self) -> int:
        """Pixels a side."""
        return self.images.shape[-1]

    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of images and cameras."""
        fronts = [] if self.fronts is None else [self.fronts]
        return hashed(self.images, self.cameras, *fronts)

    @property
    def frontal(self) -> Tensor:
        """The frontal images. Raises ValueError if there are none."""
        if self.fronts is None:
            raise ValueError(f"{self.made}: these heads have no frontal images")
        return self.fronts


def hashed(*tensors: Tensor) -> str:
    """First 16 hex digits of the SHA-256 of tensors and their shapes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()[:16]


def real_samples(
    subjects: Sequence[Subject],
    heads: int,
    views: int | None = None,  # of each subject, drawn at random; None: all
    *,
    resolution: int | None = None,  # pixels a side; larger images are brought to it
    seed: int = 0,
) -> tuple[Samples, Samples]:
    """Reference and matched heads: two disjoint random sets of `heads` subjects.

    Raises ValueError when there are fewer than 2 * `heads` subjects, one has fewer views, or images
    are too small.
    """
    if heads < 2 or len(subjects) < 2 * heads:
        raise ValueError(
            f"two sets of {heads} heads need {2 * heads} subjects (heads at least 2), got "
            f"{len(subjects)}: at most heads={len(subjects) // 2}"
        )
    chosen = np.random.default_rng((seed, 1)).permutation(len(subjects))[: 2 * heads].tolist()
    counts = {i: len(subjects[i].views) for i in chosen}
    views = min(counts.values()) if views is None else views
    if views < 1 or min(counts.values()) < views:
        raise ValueError(
            f"views must be 1 to {min(counts.values())}, what every subject has; got {views}"
        )
    picked = {i: sorted(choose_views(seed, 0, i, counts[i], views)) for i in chosen}
    halves = (chosen[:heads], chosen[heads:])
    one, other = (stacked([(subjects[i], picked[i]) for i in half], resolution) for half in halves)
    return one, other


@torch.no_grad()
def generated_samples(
    generator: Generator,
    mode: ConditionMode,
    matched: Samples,
    *,
    psi: float = 1.0,
    seed: int = 0,
    condition_camera: str | float = FRONT,
    progress: bool = False,
) -> Samples:
    """One head for each matched real one: its condition, a latent of its own, seen from its cameras
    and from the front.

    Modes with a view are conditioned on the frontal camera, as in normal use, unless
    `condition_camera` says otherwise (conditioning/cameras.py); the front of a head counts as one
    of its views. Raises ValueError for a mode with semantics if the matched heads have none, and
    for an invalid camera.
    """
    n, v = matched.cameras.shape[:2]
    device = generator.mapping.w_mean.device
    name = condition_camera_name(condition_camera)
    w = styles(generator, mode, matched, psi=psi, seed=seed, condition_camera=name)
    cameras = _with_front(matched.cameras).to(device)
    at_once, parts = max(_IMAGES_AT_ONCE // (v + 1), 1), []
    for start in tqdm(range(0, n, at_once), unit="batch", desc="generating", disable=not progress):
        some = slice(start, start + at_once)
        of_images = w[some] if w.ndim == 2 else w[some].flatten(0, 1)
        parts.append(to_uint8(generator.synthesize(of_images, cameras[some].flatten(0, 1)).image))
    images = torch.cat(parts).unflatten(0, (n, v + 1))
    conditions = (matched.conditions, matched.encoder) if mode.uses_semantics else (None, None)
    aside = f", condition camera {name}" if mode.shows_view and name != FRONT else ""
    made = (
        f"{generator.config.name} [weights {_hash_of(generator)}], mode {mode.name}{aside}, "
        f"psi {psi:g}, seed {seed}"
    )
    return Samples(images[:, :v], matched.cameras, images[:, v], made, *conditions)


@torch.no_grad()
def styles(
    generator: Generator,
    mode: ConditionMode,
    matched: Samples,
    *,
    psi: float = 1.0,
    seed: int = 0,
    condition_camera: str | float = FRONT,
) -> Tensor:  # [N, W], or [N, V + 1, W] where every view of a head, its front last, has its own
    """Styles of the heads that `generated_samples` shows."""
    n, device = len(matched), generator.mapping.w_mean.device
    cameras = _with_front(matched.cameras)
    asked = condition_cameras(condition_camera if mode.shows_view else FRONT, cameras, seed)
    each = asked.shape[1]
    features = matched.conditions if mode.uses_semantics else None
    if features is not None:
        features = features.repeat_interleave(each, 0)
    condition = mode.generated(asked.flatten(0, 1), features).generator.to(device)
    z = latents(n, generator.config.z_dim, seed).to(device).repeat_interleave(each, 0)
    w = generator.mapping(z, condition if mode.generator_width else None, psi)
    return w if each == 1 else w.unflatten(0, (n, each))


def _with_front(cameras: Tensor) -> Tensor:  # [N, V, 25] -> [N, V + 1, 25]
    front = orbit_cameras(torch.zeros(1), torch.zeros(1))
    return torch.cat([cameras, front.expand(len(cameras), 1, -1)], dim=1)


def stacked(rows: list[tuple[Subject, list[int]]], resolution: int | None) -> Samples:
    """Real heads: subjects with the views that are taken of each."""
    encoder = rows[0][0].semantic_encoder
    if encoder:
        for subject, _ in rows:
            require_encoder(subject.semantic_encoder, encoder, f"subject {subject.id}")
    return Samples(
        images=resized(torch.stack([subject.views[views] for subject, views in rows]), resolution),
        cameras=torch.stack([subject.cameras[views] for subject, views in rows]),
        fronts=resized(torch.stack([subject.frontal for subject, _ in rows]), resolution),
        made="real",
        conditions=torch.stack(all_present((s.semantic for s, _ in rows), "features"))
        if encoder
        else None,
        encoder=encoder,
    )


def resized(
    images: Tensor,  # [..., 3, H, W] uint8
    resolution: int | None,
    whose: str = "real images",
) -> Tensor:
    """Images brought to `resolution` pixels a side (bicubic, antialiased). Raises ValueError for
    smaller ones, which it calls `whose`."""
    side = images.shape[-1]
    if resolution in (None, side):
        return images
    if side < resolution:
        raise ValueError(f"{whose} must have {resolution} pixels a side or more, got {side}")
    size = (resolution, resolution)
    flat = F.interpolate(images.flatten(0, -4).float(), size=size, mode="bicubic", antialias=True)
    return flat.round().clamp(0, 255).to(torch.uint8).unflatten(0, images.shape[:-3])


def _hash_of(generator: Generator) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy())
    return digest.hexdigest()[:16]
