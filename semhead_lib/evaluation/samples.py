"""Images to judge: heads seen from cameras, real ones and generated ones, made alike.

Real subjects are drawn in two sets that share nobody. The *matched* give the generator its
conditions and its cameras; the *reference* is what its images are compared with. So a generator
that only repeats the subjects it is conditioned on gains nothing over one that draws new heads, and
what real heads get in its place is what a perfect generator would get.
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
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.conditioning.semantic import require_encoder
from semhead_lib.data.dataset.batches import choose_views
from semhead_lib.data.subjects import Subject, all_present
from semhead_lib.models.generator import Generator
from semhead_lib.models.sampling import latents, to_uint8

_IMAGES_AT_ONCE = 36


@dataclass(frozen=True)
class Samples:
    """N heads, each seen from its own V cameras and from the front."""

    images: Tensor  # [N, V, 3, H, W] uint8
    cameras: Tensor  # [N, V, 25]
    fronts: Tensor  # [N, 3, H, W] uint8: azimuth 0, elevation 0
    made: str  # what made the images
    conditions: Tensor | None = (
        # [N, D] semantic features: of the real heads, and what the generated ones are conditioned
        # on
        None
    )
    encoder: str | None = None  # identity of what made the conditions

    def __post_init__(self) -> None:
        n, v, _, h, w = self.images.shape if self.images.ndim == 5 else (0,) * 5
        shapes = [list(x.shape) for x in (self.images, self.cameras, self.fronts)]
        if not n or shapes != [[n, v, 3, h, w], [n, v, 25], [n, 3, h, w]]:
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
        digest = hashlib.sha256()
        for tensor in (self.images, self.cameras, self.fronts):
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
    """Reference and matched heads: two sets of `heads` subjects that share none, drawn at random.

    Raises ValueError when there are fewer than 2 * `heads` subjects, one has fewer views, or images
    are too small.
    """
    if heads < 2 or len(subjects) < 2 * heads:
        raise ValueError(
            f"two sets of {heads} heads need {2 * heads} subjects (heads at least 2), got "
            f"{len(subjects)}"
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
    one, other = (_stacked([(subjects[i], picked[i]) for i in half], resolution) for half in halves)
    return one, other


@torch.no_grad()
def generated_samples(
    generator: Generator,
    mode: ConditionMode,
    matched: Samples,
    *,
    psi: float = 1.0,
    seed: int = 0,
    condition_azimuth: float = 0.0,  # degrees
    progress: bool = False,
) -> Samples:
    """One head for each matched real one: its condition, a latent of its own, seen from its cameras
    and from the front.

    Modes with a view are conditioned on one camera, whatever camera looks on: the frontal one, as
    at every use of a generator, unless `condition_azimuth` says otherwise. Raises ValueError for a
    mode with semantics where the matched heads have none.
    """
    n, v = matched.cameras.shape[:2]
    device = generator.mapping.w_mean.device
    w = styles(generator, mode, matched, psi=psi, seed=seed, condition_azimuth=condition_azimuth)
    front = orbit_cameras(torch.zeros(1), torch.zeros(1))
    cameras = torch.cat([matched.cameras, front.expand(n, 1, 25)], dim=1).to(device)
    at_once, parts = max(_IMAGES_AT_ONCE // (v + 1), 1), []
    for start in tqdm(range(0, n, at_once), unit="batch", desc="generating", disable=not progress):
        some = slice(start, start + at_once)
        parts.append(to_uint8(generator.synthesize(w[some], cameras[some].flatten(0, 1)).image))
    images = torch.cat(parts).unflatten(0, (n, v + 1))
    conditions = (matched.conditions, matched.encoder) if mode.uses_semantics else (None, None)
    aside = (
        f", condition azimuth {condition_azimuth:g}"
        if mode.shows_view and condition_azimuth
        else ""
    )
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
    condition_azimuth: float = 0.0,
) -> Tensor:  # [N, W]
    """Styles of the heads that `generated_samples` shows."""
    device = generator.mapping.w_mean.device
    features = matched.conditions if mode.uses_semantics else None
    bank = ConditionBank(mode, matched.encoder, torch.zeros(0, mode.semantic_dimension))
    condition = bank.mapping_condition(features, len(matched), condition_azimuth)
    z = latents(len(matched), generator.config.z_dim, seed).to(device)
    return generator.mapping(z, None if condition is None else condition.to(device), psi)


def _stacked(rows: list[tuple[Subject, list[int]]], resolution: int | None) -> Samples:
    encoder = rows[0][0].semantic_encoder
    if encoder:
        for subject, _ in rows:
            require_encoder(subject.semantic_encoder, encoder, f"subject {subject.id}")
    return Samples(
        images=_resized(torch.stack([subject.views[views] for subject, views in rows]), resolution),
        cameras=torch.stack([subject.cameras[views] for subject, views in rows]),
        fronts=_resized(torch.stack([subject.frontal for subject, _ in rows]), resolution),
        made="real",
        conditions=torch.stack(all_present((s.semantic for s, _ in rows), "features"))
        if encoder
        else None,
        encoder=encoder,
    )


def _resized(images: Tensor, resolution: int | None) -> Tensor:  # [..., 3, H, W] uint8
    side = images.shape[-1]
    if resolution in (None, side):
        return images
    if side < resolution:
        raise ValueError(f"real images must have {resolution} pixels a side or more, got {side}")
    size = (resolution, resolution)
    flat = F.interpolate(images.flatten(0, -4).float(), size=size, mode="bicubic", antialias=True)
    return flat.round().clamp(0, 255).to(torch.uint8).unflatten(0, images.shape[:-3])


def _hash_of(generator: Generator) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy())
    return digest.hexdigest()[:16]
