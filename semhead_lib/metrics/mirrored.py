"""Mirrored backs: do backs of heads look like fronts?

A generator whose planes do not tell front from back repeats the face there, mirrored (the artefact
that SphereHead describes; Li et al., ECCV 2024). A mirrored face is a face, so its features are
those of fronts. Real fronts f and real backs b span an axis of feature space, along which every
back is placed; with v_k the variance of feature k within both, and the bars for means,

    w_k      = (f̄_k - b̄_k) / (v_k + 0.01 mean(v))
    index(x) = <x - b̄, w> / <f̄ - b̄, w>

(Fisher's discriminant without covariances). Its mean is 0 for real backs and 1 for real fronts.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

_SHRINKAGE = 0.01  # of a feature's variance to the mean of all: some hardly vary


@dataclass(frozen=True)
class FrontBackAxis:
    """From the mean of real backs, at 0, to that of real fronts, at 1."""

    back: Tensor  # [D] mean of real backs
    direction: Tensor  # [D]

    @classmethod
    def of(cls, fronts: Tensor, backs: Tensor) -> FrontBackAxis:  # [N >= 2, D], [M >= 2, D]
        """Raises ValueError for other shapes, or means that are the same.

        >>> import torch
        >>> axis = FrontBackAxis.of(torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [7.0]]))
        >>> axis(torch.tensor([[6.0], [4.0], [2.0]])).tolist()
        [0.0, 0.5, 1.0]
        """
        if (
            fronts.ndim != 2
            or fronts.shape[1:] != backs.shape[1:]
            or min(map(len, (fronts, backs))) < 2
        ):
            raise ValueError(
                "expected fronts [N >= 2, D] and backs [M >= 2, D], got "
                f"{list(fronts.shape)} and {list(backs.shape)}"
            )
        fronts, backs = fronts.double(), backs.double()
        apart = fronts.mean(0) - backs.mean(0)
        within = (fronts.var(0) + backs.var(0)) / 2
        weights = apart / (within + _SHRINKAGE * within.mean()).clamp_min(1e-30)
        length = apart @ weights
        if not float(length) > 0:
            raise ValueError("fronts and backs have the same mean: nothing tells them apart")
        return cls(backs.mean(0), weights / length)

    def __call__(self, features: Tensor) -> Tensor:  # [..., D] -> [...] float64
        """Where features lie along the axis."""
        return (features.double() - self.back) @ self.direction
