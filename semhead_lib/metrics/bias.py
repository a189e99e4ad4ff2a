"""Directional bias: one metric for how unevenly quality and diversity are spread over azimuth.

For the bins b of azimuth, with FD_b the Frechet distance of generated from real images, F_b that of
real from real images at equal counts (the noise floor), T_b the total variance of the real
features, and r_b the diversity ratio:

    e_b  = max(FD_b - F_b, 0) / T_b       distance beyond the floor, in units of what varies there
    q_b  = 1/2 log(e_b + phi),  phi = mean of F_b / T_b
    bias = sqrt(Var_b q_b + Var_b log r_b)     variances over bins, divided by their number

Why so. Views differ even where a model is even: faces vary more than backs of heads. A model that
distorts each view in proportion to its own variation (shifts it by d standard deviations, shrinks
it by a factor) has the same FD_b / T_b everywhere, so it counts as even. The logarithm makes the
metric blind to a common factor: it says how quality is *spread*, not how good it is. 1/2 turns
squared distances into distances, so the bias is a natural logarithm: 0.1 means that directions
typically differ from their (geometric) mean by 10 %. phi, the least distance that the counts can
tell, keeps the logarithm of a perfect model at rest; differences well below the floor do not count
as bias. It falls as 1 / count, so metrics are compared at equal counts.

A perfectly even model has bias 0 but for noise. How much noise: the same metric for real against
real.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DirectionalBias:
    """The metric and its parts; natural logarithms."""

    value: float
    quality: float  # spread of q_b over bins: standard deviation
    diversity: float  # spread of log r_b over bins
    excess: Tensor  # [bins] e_b

    @property
    def worst(self) -> int:
        """The bin farthest from the real data beyond its floor."""
        return int(self.excess.argmax())


def directional_bias(
    frechet: Tensor,  # [bins] generated against real
    floor: Tensor,  # [bins] real against real, at the same counts
    variance: Tensor,  # [bins] total variance of the real features
    diversity: Tensor,  # [bins] diversity ratios
    phi: float | None = None,  # None: of these floors and variances
) -> DirectionalBias:
    """Directional bias from metrics of the bins (equations: this module).

    >>> even, half = torch.ones(4), torch.tensor([1.0, 1.0, 0.5, 0.5])
    >>> round(directional_bias(3 * even, 0.1 * even, even, 0.7 * even).value, 6)
    0.0
    >>> round(directional_bias(3 * even, 0.1 * even, even, half).diversity, 4)  # half of log 2
    0.3466

    Raises ValueError for other shapes, fewer than two bins, or metrics out of their range.
    """
    parts = [torch.as_tensor(x, dtype=torch.float64) for x in (frechet, floor, variance, diversity)]
    shapes = [list(x.shape) for x in parts]
    if any(shape != shapes[0] for shape in shapes) or len(shapes[0]) != 1 or shapes[0][0] < 2:
        raise ValueError(
            f"expected four rows of metrics of the same bins, two or more, got shapes {shapes}"
        )
    frechet, floor, variance, diversity = parts
    if (
        not all(bool(x.isfinite().all()) for x in parts)
        or min(float(x.min()) for x in parts[1:]) <= 0
    ):
        raise ValueError(
            "floor, variance and diversity must be positive in every bin, and all metrics finite"
        )
    excess = (frechet - floor).clamp_min(0) / variance
    quality = 0.5 * torch.log(excess + (float((floor / variance).mean()) if phi is None else phi))
    of_quality, of_diversity = (float(x.std(correction=0)) for x in (quality, diversity.log()))
    both = float(torch.tensor([of_quality, of_diversity]).norm())
    return DirectionalBias(both, of_quality, of_diversity, excess)
