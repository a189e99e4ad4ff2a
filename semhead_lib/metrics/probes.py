"""What features know: how their variance splits over subjects and views, and what linear probes
read from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_FOLDS = 5
_PENALTIES = np.logspace(
    -3, 4, 15
)  # of ridge regression, chosen by leave-one-out within the training folds


@dataclass(frozen=True)
class VarianceSplit:
    """Two-way analysis of variance of features over subjects and views, as shares of the whole that
    sum to 1."""

    subject: float  # between the subjects' means over their views
    view: float  # between the views' means over subjects: what the camera alone changes
    rest: float  # what a view changes in one subject and not in another
    view_at: (
        Tensor  # [V] share of the whole by which the mean of each view lies off the common mean
    )
    rest_at: Tensor  # [V] the rest, view by view


def variance_split(features: Tensor) -> VarianceSplit:  # [N, V, D], the same views of every subject
    """Split x_ij = mean + subject_i + view_j + rest_ij; the squared lengths of the parts add up.

    >>> split = variance_split(torch.eye(4)[:, None].repeat(1, 3, 1))  # features that do not see the view
    >>> round(split.subject, 6), round(split.view, 6), round(split.rest, 6)
    (1.0, 0.0, 0.0)

    Raises ValueError when there are fewer than 2 subjects or views, or the features are all equal.
    """
    if features.ndim != 3 or features.shape[0] < 2 or features.shape[1] < 2:
        raise ValueError(f"features must be [N >= 2, V >= 2, D], got shape {list(features.shape)}")
    x = features.double() - features.double().mean(dim=(0, 1))
    subject, view = x.mean(dim=1, keepdim=True), x.mean(dim=0, keepdim=True)
    rest_at = (x - subject - view).square().sum(-1).mean(0)
    view_at = view[0].square().sum(-1)
    whole = x.square().sum(-1).mean()
    if whole <= 0:
        raise ValueError("features are all equal: there is no variance to split")
    return VarianceSplit(
        subject=float(subject.square().sum(-1).mean() / whole),
        view=float(view_at.mean() / whole),
        rest=float(rest_at.mean() / whole),
        view_at=(view_at / whole).float(),
        rest_at=(rest_at / whole).float(),
    )


@dataclass(frozen=True)
class AzimuthProbe:
    """How well azimuth is read from a condition, on subjects that the probe was not fitted to."""

    median_error: float  # degrees; 90 is chance
    explained: (
        float  # share of the variance of (sin, cos) that is predicted; 0 or less: nothing is known
    )


def azimuth_probe(
    conditions: Tensor,  # [N, V, C] what is known of each view of each subject
    azimuth: Tensor,  # [N, V] degrees
) -> AzimuthProbe:
    """Ridge regression of (sin, cos) of azimuth, cross-validated over subjects."""
    n, v, c = conditions.shape
    angle = np.deg2rad(azimuth.reshape(-1).numpy())
    target = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    read = _predict_by_ridge(
        conditions.reshape(n * v, c).numpy(), target, np.repeat(np.arange(n), v)
    )
    off = np.arctan2(read[:, 0], read[:, 1]) - angle
    error = np.abs((np.rad2deg(off) + 180) % 360 - 180)
    explained = 1 - ((read - target) ** 2).sum() / ((target - target.mean(0)) ** 2).sum()
    return AzimuthProbe(float(np.median(error)), float(explained))


def attribute_skill(features: Tensor, truth: Sequence[str]) -> float:  # [N, C], N answers
    """Balanced accuracy of a linear classifier of `truth`, cross-validated and rescaled: 0 is
    guessing, 1 all right.

    Answers given by fewer than 10 subjects are left out; NaN when fewer than two answers are left
    to tell apart.
    """
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = np.asarray(truth)
    names, counts = np.unique(labels, return_counts=True)
    names = names[counts >= 2 * _FOLDS]
    if len(names) < 2:
        return float("nan")
    kept = np.isin(labels, names)
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(_PENALTIES, class_weight="balanced"))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    said = cross_val_predict(model, features.numpy()[kept], labels[kept], cv=folds)
    return float(balanced_accuracy_score(labels[kept], said, adjusted=True))


def value_probe(features: Tensor, truth: Sequence[float]) -> float:  # [N, C], N numbers
    """Share of the variance of a number that ridge regression predicts, cross-validated; 0 or less:
    nothing known."""
    target = np.asarray(truth, dtype=np.float64)[:, None]
    read = _predict_by_ridge(features.numpy(), target, np.arange(len(target)))
    return float(1 - ((read - target) ** 2).sum() / ((target - target.mean()) ** 2).sum())


@dataclass(frozen=True)
class Spread:
    """How features fill their space."""

    # participation ratio of the spectrum: (sum of variances)^2 / sum of squared variances
    effective_dimensions: float
    variances: Tensor  # [min(N, D)] along the principal axes, as shares, falling
    common: float  # length of the mean feature: 0 spread around the sphere, 1 all in one point
    nearest: Tensor  # [N] angle to the nearest other feature, degrees


def spread(features: Tensor) -> Spread:  # [N, D] unit length
    """Spectrum, cone and nearest neighbours of unit features.

    >>> round(spread(torch.eye(8)).effective_dimensions, 3), spread(torch.eye(8)).nearest[0].item()
    (7.0, 90.0)
    """
    x = features.double()
    variances = torch.linalg.svdvals(x - x.mean(0)).square()
    variances = variances / variances.sum()
    return Spread(
        effective_dimensions=float(1 / variances.square().sum()),
        variances=variances.float(),
        common=float(x.mean(0).norm()),
        nearest=angles_to_nearest(features),
    )


def angles_to_nearest(
    features: Tensor, others: Tensor | None = None
) -> Tensor:  # [N, D], [M, D] -> [N] degrees
    """Angle from each unit feature to the nearest of `others`; without them to the nearest other of
    its own."""
    similarity = features.double() @ (features if others is None else others).double().T
    if others is None:
        similarity.fill_diagonal_(-1.0)
    return torch.rad2deg(torch.acos(similarity.amax(1).clamp(-1, 1))).float()


def flat_map(features: Tensor, seed: int = 0) -> Tensor:  # [N, D] -> [N, 2]
    """t-SNE (van der Maaten and Hinton, 2008) of unit features: near ones stay near, far distances
    mean little."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    embed = TSNE(2, perplexity=perplexity, metric="cosine", init="pca", random_state=seed)
    return torch.from_numpy(embed.fit_transform(features.numpy()))


def _predict_by_ridge(inputs: np.ndarray, target: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """Prediction for every row by a ridge regression that never saw its subject."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES))
    predicted = cross_val_predict(model, inputs, target, groups=subject, cv=GroupKFold(_FOLDS))
    return np.asarray(predicted).reshape(target.shape)
