"""Semantics of generated heads: do all sides show one head, and is it the head that was asked for?

By retrieval in the features of a `SemanticEncoder`. How well the encoder sees a head from behind
bounds the first, so real heads are the reference: the same metric of their own views.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def cross_view_ranks(
    views: Tensor,  # [N, V, D] unit features of N heads
    fronts: Tensor,  # [N, D] unit features of their frontal views
) -> Tensor:  # [N, V] int64
    """Rank of a head's own frontal view among all N, by likeness to each of its views; 1 is first,
    ties count against.

    >>> cross_view_ranks(torch.eye(3)[:, None], torch.eye(3)[[0, 2, 1]])[:, 0].tolist()
    [1, 3, 3]

    Raises ValueError unless the shapes are [N, V, D] and [N, D].
    """
    if views.ndim != 3 or fronts.shape != (len(views), views.shape[2]):
        raise ValueError(
            f"expected views [N, V, D] and fronts [N, D], got {list(views.shape)}, "
            f"{list(fronts.shape)}"
        )
    return torch.stack([ranks(views[:, v], fronts) for v in range(views.shape[1])], dim=1)


@dataclass(frozen=True)
class Adherence:
    """How N heads follow their conditions, head by head."""

    cosine: Tensor  # [N] of the frontal view's feature and its condition
    others: Tensor  # [N] mean cosine with the other heads' conditions: what following nothing gets
    rank: Tensor  # [N] int64, of its condition among all N; 1 is first, ties count against


def condition_adherence(
    fronts: Tensor,  # [N, D] unit features of generated frontal views
    conditions: Tensor,  # [N, D] unit features that they were made from
) -> Adherence:
    """Does a generated frontal view have the feature that it was made from?

    >>> adherence = condition_adherence(torch.eye(4), torch.eye(4))
    >>> adherence.cosine.tolist(), adherence.others.tolist(), adherence.rank.tolist()
    ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1, 1, 1, 1])

    Raises ValueError unless both are [N >= 2, D].
    """
    if fronts.ndim != 2 or fronts.shape != conditions.shape or len(fronts) < 2:
        raise ValueError(
            f"expected two times [N >= 2, D], got {list(fronts.shape)} and {list(conditions.shape)}"
        )
    cosines = fronts.double() @ conditions.double().T
    own = cosines.diagonal()
    return Adherence(own, (cosines.sum(1) - own) / (len(cosines) - 1), ranks(fronts, conditions))


def ranks(queries: Tensor, gallery: Tensor) -> Tensor:  # [N, D], [N, D] -> [N] int64
    """Rank of row i of `gallery` among all its rows, for query i: 1 is first; ties count against.

    >>> ranks(torch.eye(3), torch.eye(3)[[0, 2, 1]]).tolist()
    [1, 3, 3]
    """
    similarity = queries @ gallery.T
    return (similarity >= similarity.diagonal()[:, None]).sum(dim=1)


def recall(rank: Tensor, at: int) -> float:
    """Share of queries whose rank is at most `at`."""
    return (rank <= at).float().mean().item()
