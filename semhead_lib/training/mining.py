"""Wrong conditions for real images: cameras not too near the true one, semantic features not too
like it."""

from __future__ import annotations

import torch
from torch import Tensor

from semhead_lib.cameras import orbit_angles, orbit_cameras

NEAREST_VIEW = 30.0  # degrees between the directions of a true and a wrong camera, at least
MAX_SIMILARITY = 0.8  # cosine between a true and a wrong semantic feature, at most


def view_angles(one: Tensor, other: Tensor) -> Tensor:  # [N, 25], [M, 25] -> [N, M] degrees
    """Angles between the directions in which cameras stand, seen from the origin.

    >>> from semhead_lib.cameras import orbit_cameras
    >>> cameras = orbit_cameras(torch.tensor([0.0, 90.0, 180.0]), torch.zeros(3))
    >>> view_angles(cameras[:1], cameras).round()
    tensor([[  0.,  90., 180.]])
    """
    a, b = (torch.nn.functional.normalize(x[:, [3, 7, 11]].double(), dim=1) for x in (one, other))
    return torch.rad2deg(torch.acos((a @ b.T).clamp(-1, 1))).float()


def wrong_cameras(
    cameras: Tensor,  # [B, 25] of the images
    rng: torch.Generator,
    nearest: float = NEAREST_VIEW,  # degrees
) -> Tensor:  # [B, 25]
    """For each image the camera of another, drawn evenly from those at least `nearest` degrees away
    from its own.

    Drawn from the data's own cameras, a wrong camera by itself looks like a true one: only together
    with the image is it wrong. Too near ones would tell the discriminator that a right image is
    wrong. Where none is far enough, the image's own camera is turned about the vertical by
    `nearest` to 360 - `nearest` degrees.
    """
    far = view_angles(cameras, cameras) >= nearest
    drawn = cameras[_draw(far, rng)]
    alone = ~far.any(1)
    if bool(alone.any()):
        angles = orbit_angles(cameras[alone].cpu())
        turn = nearest + (360 - 2 * nearest) * torch.rand(
            len(angles), generator=rng, dtype=torch.float64
        )
        turned = orbit_cameras(angles[:, 0] + turn, angles[:, 1]).to(cameras)
        turned[:, 16:] = cameras[alone, 16:]
        turned[:, [3, 7, 11]] *= (
            angles[:, 2:] / turned[:, [3, 7, 11]].norm(dim=1, keepdim=True).cpu()
        ).to(cameras)
        drawn = drawn.clone()
        drawn[alone] = turned
    return drawn


def wrong_semantics(
    semantics: Tensor,  # [B, D] unit features of the images' subjects
    subject: Tensor,  # [B] which subject each image shows
    rng: torch.Generator,
    max_similarity: float = MAX_SIMILARITY,
) -> Tensor:  # [B, D]
    """Another subject's feature for each image, drawn evenly from those of a cosine below
    `max_similarity` to its own.

    Twins would tell the discriminator that a right condition is wrong. Where all others are too
    alike, the least alike of them is taken. Raises ValueError for one subject alone.
    """
    other = subject[:, None] != subject[None]
    if not bool(other.any(1).all()):
        raise ValueError("wrong semantic conditions need two subjects or more in a batch")
    cosine = torch.where(
        other, semantics @ semantics.T, torch.full_like(other, 2.0, dtype=semantics.dtype)
    )
    allowed = cosine < max_similarity
    least = cosine == cosine.amin(1, keepdim=True)
    return semantics[_draw(torch.where(allowed.any(1, keepdim=True), allowed, least), rng)]


def wrong_jointly(
    cameras: Tensor,  # [B, 25] of the images
    semantics: Tensor | None,  # [B, D]; None: only cameras can be wrong
    subject: Tensor,  # [B] which subject each image shows
    rng: torch.Generator,
    nearest: float = NEAREST_VIEW,  # degrees
    max_similarity: float = MAX_SIMILARITY,
) -> Tensor:  # [B, 25 + D]
    """For each image a condition that is wrong in its camera, in its semantic feature, or in both,
    each for a third of the images on average: the one fake term in which the paper shuffles them.
    Raises ValueError for one subject alone."""
    others = wrong_cameras(cameras, rng, nearest)
    if semantics is None:
        return others
    strangers = wrong_semantics(semantics, subject, rng, max_similarity)
    which = torch.randint(3, (len(cameras), 1), generator=rng).to(cameras.device)
    return torch.cat(
        [torch.where(which == 0, cameras, others), torch.where(which == 1, semantics, strangers)],
        dim=1,
    )


def _draw(
    allowed: Tensor, rng: torch.Generator
) -> Tensor:  # [B, B] bool -> [B] index of one that is allowed
    scores = torch.rand(allowed.shape, generator=rng).to(allowed.device)
    return torch.where(allowed, scores, -torch.ones_like(scores)).argmax(1)
