"""Pictures to judge: heads seen from cameras, real ones and generated ones, made alike.

Real subjects are drawn in two sets that share nobody. The *twins* give the generator its conditions and its cameras;
the *reference* is what its pictures are compared with. So a generator that only repeats the subjects it is told gains
nothing over one that draws new heads, and what real heads get in its place is what a perfect generator would get.
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

from semhead_lib.cameras import orbit_labels
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.conditioning.semantic import require_encoder
from semhead_lib.data.batches import choose_views
from semhead_lib.data.subjects import Subject, all_present
from semhead_lib.models.generator import Generator
from semhead_lib.training.grids import latents, to_uint8

_PICTURES_AT_ONCE = 36


@dataclass(frozen=True)
class Samples:
    """N heads, each seen from its own V cameras and from the front."""

    pictures: Tensor  # [N, V, 3, H, W] uint8
    cameras: Tensor  # [N, V, 25]
    fronts: Tensor  # [N, 3, H, W] uint8: azimuth 0, elevation 0
    made: str  # what made the pictures
    conditions: Tensor | None = None  # [N, D] semantic features: of the real heads, and told for the generated ones
    encoder: str | None = None  # identity of what made the conditions

    def __post_init__(self) -> None:
        n, v, _, h, w = self.pictures.shape if self.pictures.ndim == 5 else (0,) * 5
        shapes = [list(x.shape) for x in (self.pictures, self.cameras, self.fronts)]
        if not n or shapes != [[n, v, 3, h, w], [n, v, 25], [n, 3, h, w]]:
            raise ValueError(
                f"expected pictures [N, V, 3, H, W], cameras [N, V, 25], fronts [N, 3, H, W]; got {shapes}"
            )

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def resolution(self) -> int:
        """Pixels a side."""
        return self.pictures.shape[-1]

    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of pictures and cameras."""
        digest = hashlib.sha256()
        for tensor in (self.pictures, self.cameras, self.fronts):
            digest.update(f"{list(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()[:16]


def real_samples(
    subjects: Sequence[Subject],
    heads: int,
    views: int | None = None,  # of each subject, drawn at random; None: all
    *,
    resolution: int | None = None,  # pixels a side; larger pictures are brought to it
    seed: int = 0,
) -> tuple[Samples, Samples]:
    """Reference and twins: two sets of `heads` subjects that share none, drawn at random.

    Raises ValueError when there are fewer than 2 * `heads` subjects, one has fewer views, or pictures are too small.
    """
    if heads < 2 or len(subjects) < 2 * heads:
        raise ValueError(f"two sets of {heads} heads need {2 * heads} subjects (heads at least 2), got {len(subjects)}")
    chosen = np.random.default_rng((seed, 1)).permutation(len(subjects))[: 2 * heads].tolist()
    counts = {i: len(subjects[i].views) for i in chosen}
    views = min(counts.values()) if views is None else views
    if views < 1 or min(counts.values()) < views:
        raise ValueError(f"views must be 1 to {min(counts.values())}, what every subject has; got {views}")
    picked = {i: sorted(choose_views(seed, 0, i, counts[i], views)) for i in chosen}
    halves = (chosen[:heads], chosen[heads:])
    one, other = (_stacked([(subjects[i], picked[i]) for i in half], resolution) for half in halves)
    return one, other


@torch.no_grad()
def generated_samples(
    generator: Generator,
    mode: ConditionMode,
    twins: Samples,
    *,
    psi: float = 1.0,
    seed: int = 0,
    told_azimuth: float = 0.0,  # degrees
    progress: bool = False,
) -> Samples:
    """One head for each twin: its condition, a latent of its own, seen from the twin's cameras and from the front.

    Modes with a view are told one camera, whatever camera looks on: the frontal one, as at every use of a generator,
    unless `told_azimuth` says otherwise. Raises ValueError for a mode with semantics where the twins have none.
    """
    n, v = twins.cameras.shape[:2]
    device = generator.mapping.w_mean.device
    w = styles(generator, mode, twins, psi=psi, seed=seed, told_azimuth=told_azimuth)
    front = orbit_labels(torch.zeros(1), torch.zeros(1))
    labels = torch.cat([twins.cameras, front.expand(n, 1, 25)], dim=1).to(device)
    at_once, parts = max(_PICTURES_AT_ONCE // (v + 1), 1), []
    for start in tqdm(range(0, n, at_once), unit="batch", desc="generating", disable=not progress):
        some = slice(start, start + at_once)
        parts.append(to_uint8(generator.synthesize(w[some], labels[some].flatten(0, 1)).image))
    pictures = torch.cat(parts).unflatten(0, (n, v + 1))
    told = (twins.conditions, twins.encoder) if mode.uses_semantics else (None, None)
    aside = f", told azimuth {told_azimuth:g}" if mode.shows_view and told_azimuth else ""
    made = f"{generator.config.name} [weights {_hash_of(generator)}], mode {mode.name}{aside}, psi {psi:g}, seed {seed}"
    return Samples(pictures[:, :v], twins.cameras, pictures[:, v], made, *told)


@torch.no_grad()
def styles(
    generator: Generator,
    mode: ConditionMode,
    twins: Samples,
    *,
    psi: float = 1.0,
    seed: int = 0,
    told_azimuth: float = 0.0,
) -> Tensor:  # [N, W]
    """Styles of the heads that `generated_samples` shows."""
    device = generator.mapping.w_mean.device
    features = twins.conditions if mode.uses_semantics else None
    bank = ConditionBank(mode, twins.encoder, torch.zeros(0, mode.semantic_dimension))
    told = bank.told(features, len(twins), told_azimuth)
    z = latents(len(twins), generator.config.z_dim, seed).to(device)
    return generator.mapping(z, None if told is None else told.to(device), psi)


def _stacked(rows: list[tuple[Subject, list[int]]], resolution: int | None) -> Samples:
    encoder = rows[0][0].semantic_encoder
    if encoder:
        for subject, _ in rows:
            require_encoder(subject.semantic_encoder, encoder, f"subject {subject.id}")
    return Samples(
        pictures=_resized(torch.stack([subject.views[views] for subject, views in rows]), resolution),
        cameras=torch.stack([subject.cameras[views] for subject, views in rows]),
        fronts=_resized(torch.stack([subject.frontal for subject, _ in rows]), resolution),
        made="real",
        conditions=torch.stack(all_present((s.semantic for s, _ in rows), "features")) if encoder else None,
        encoder=encoder,
    )


def _resized(pictures: Tensor, resolution: int | None) -> Tensor:  # [..., 3, H, W] uint8
    side = pictures.shape[-1]
    if resolution in (None, side):
        return pictures
    if side < resolution:
        raise ValueError(f"real pictures must have {resolution} pixels a side or more, got {side}")
    size = (resolution, resolution)
    flat = F.interpolate(pictures.flatten(0, -4).float(), size=size, mode="bicubic", antialias=True)
    return flat.round().clamp(0, 255).to(torch.uint8).unflatten(0, pictures.shape[:-3])


def _hash_of(generator: Generator) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy())
    return digest.hexdigest()[:16]
