"""Measure on parametric heads where dlib's landmarks lie and what heads cover: the files of
assets/landmarks.

`python -m semhead_lib.data.portraits.calibration OUT` makes them again (extras `data` and `faces`;
about a quarter of an hour on one core). Heads are drawn with all they may wear, in their own light,
from random near-frontal cameras.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from semhead_lib.cameras import orbit_cameras, rays
from semhead_lib.data.portraits import silhouette
from semhead_lib.data.portraits.camera import fit_camera
from semhead_lib.data.portraits.face_finder import LANDMARK_MODELS, MIRRORED, face_finder
from semhead_lib.data.portraits.landmarks import HeadLandmarks, features, pairs

SEED, HEADS, VIEWS, HULLS = 4068, 300, 6, 48
AZIMUTH, ELEVATION = 50.0, (-27.0, 37.0)  # degrees: |azimuth| and elevation of the cameras, uniform
_RESOLUTION, _HULL_RESOLUTION = 256, 96  # pixels a side
_NEAR = (30.0, 20.0)  # degrees of azimuth and elevation within which 3-D landmarks are measured
_COMPONENTS, _MODES, _DAMPING = {68: 40, 5: 8}, 6, {68: 100.0, 5: 3.0}  # of the correction
_FAR = (
    40.0,
    40.0,
    0.5,
)  # degrees, degrees, log size: fits that are farther off have the wrong face; left out


@dataclass(frozen=True)
class Measured:
    """Landmarks found in N views."""

    points: dict[int, np.ndarray]  # 68 or 5 -> [N, K, 2] in [0, 1]
    world: dict[
        int, np.ndarray
    ]  # 68 or 5 -> [N, K, 3] where they meet the surface, nan where they miss it
    azimuth: np.ndarray  # [N] degrees
    elevation: np.ndarray  # [N] degrees
    bare: np.ndarray  # [N] bool: the face wears neither glasses nor beard nor fringe nor hat
    views: int  # that were drawn


def measure(seed: int, heads: int, progress: bool = True) -> tuple[Measured, Tensor]:
    """Draw heads and find their landmarks; also the mean occupancy of the first of them, [N, N,
    N]."""
    from semhead_lib.data.parametric import appearance
    from semhead_lib.data.parametric.cast import Caster
    from semhead_lib.data.parametric.source import ParametricSource

    source, rows, hulls = ParametricSource(seed=seed), [], []
    ring = [(a, e) for e in (-30.0, 5.0, 40.0) for a in range(-180, 180, 45)]
    azimuths, elevations = torch.tensor(ring).T
    around = orbit_cameras(azimuths, elevations)
    for index in tqdm(range(heads), unit="head", disable=not progress):
        rng, who = np.random.default_rng([seed, index, 9]), source.attributes(index)
        azimuth, elevation = rng.uniform(-AZIMUTH, AZIMUTH, VIEWS), rng.uniform(*ELEVATION, VIEWS)
        cameras = orbit_cameras(torch.from_numpy(azimuth), torch.from_numpy(elevation))
        caster = Caster(source.scene(index))
        seen = caster.cast(cameras, _RESOLUTION, appearance.light(who), 4)
        if index < HULLS:
            masks = caster.cast(around, _HULL_RESOLUTION, appearance.neutral_light(), 2).masks
            hulls.append(silhouette.carve(masks, around))
        bare = (who.glasses, who.hat, who.fringe) == (
            "none",
            "none",
            False,
        ) and who.facial_hair in ("none", "stubble")
        for view in range(VIEWS):
            found = {count: face_finder(count)(seen.images[view]) for count in LANDMARK_MODELS}
            if not all(found.values()):
                continue
            points = {count: faces[0].landmarks / _RESOLUTION for count, faces in found.items()}
            world = {
                count: _on_surface(p, seen.depth[view], cameras[view])
                for count, p in points.items()
            }
            rows.append((points, world, azimuth[view], elevation[view], bare))
    points, world, azimuth, elevation, bare = zip(*rows, strict=True)
    return Measured(
        {count: np.stack([p[count] for p in points]) for count in LANDMARK_MODELS},
        {count: np.stack([w[count] for w in world]) for count in LANDMARK_MODELS},
        *(np.array(x) for x in (azimuth, elevation, bare)),
        views=heads * VIEWS,
    ), torch.stack(hulls).mean(0)


def learn(found: Measured, count: int) -> HeadLandmarks:
    """The mean head's landmarks, and the correction of cameras fitted to them.

    Raises ValueError when no bare face was seen from near the front.
    """
    mirror, points = MIRRORED[count], found.points[count]
    near = found.bare & (abs(found.azimuth) < _NEAR[0]) & (abs(found.elevation) < _NEAR[1])
    if not near.any():
        raise ValueError(
            f"no bare face among {len(near)} views within {_NEAR} degrees of the front: draw more "
            "heads"
        )
    mean = np.nanmedian(found.world[count][near], axis=0)
    mean = (mean + mean[mirror] * (-1, 1, 1)) / 2
    angles = list(zip(found.azimuth, found.elevation, strict=True))
    plain = HeadLandmarks(mean, np.ones(count), *_no_correction(count))
    away = np.stack(
        [
            _aligned(p, plain.seen_from(*a)) - plain.seen_from(*a)
            for p, a in zip(points, angles, strict=True)
        ]
    )
    spread = 1.4826 * np.median(abs(np.concatenate([away, away[:, mirror]])), axis=0)
    plain = HeadLandmarks(mean, np.sqrt((spread**2).mean(axis=-1)), *_no_correction(count))

    x, y = [], []
    for p, (azimuth, elevation) in zip(points, angles, strict=True):
        fit = fit_camera(p, plain, corrected=False)
        crop = fit.to_crop(p)
        for sign, seen in ((1, crop), (-1, crop[mirror] * (-1, 1) + (1, 0))):
            x.append(features(seen, sign * fit.azimuth, fit.elevation))
            y.append(
                (sign * (azimuth - fit.azimuth), elevation - fit.elevation, np.log(fit.side))
            )  # true side: 1
    x, y = np.stack(x), np.array(y)
    kept = (abs(y) < _FAR).all(axis=1)
    x, y = x[kept], y[kept, :2]
    middle = x.mean(axis=0)
    _, size, axes = np.linalg.svd(x - middle, full_matrices=False)
    used = min(_COMPONENTS[count], int((size > 1e-6 * size[0]).sum()))
    scaled = axes[:used] / (size[:used, None] / np.sqrt(len(x)))  # unit variance
    z = (x - middle) @ scaled.T
    terms = np.concatenate([np.ones((len(z), 1)), z, pairs(z[:, :_MODES])], axis=1)
    weight = np.linalg.solve(
        terms.T @ terms + _DAMPING[count] * np.eye(terms.shape[1]), terms.T @ y
    ).T
    linear = weight[:, 1 : 1 + z.shape[1]] @ scaled
    return HeadLandmarks(
        mean,
        plain.deviation,
        middle,
        weight[:, 0],
        linear,
        scaled[:_MODES],
        weight[:, 1 + z.shape[1] :],
    )


def make(out: Path | str, *, seed: int = SEED, heads: int = HEADS, progress: bool = True) -> None:
    """Write landmarks-68.json, landmarks-5.json and occupancy.json into the folder `out`."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    found, occupied = measure(seed, heads, progress)
    made = {
        "made by": "python -m semhead_lib.data.portraits.calibration",
        "source": "parametric heads",
        "seed": seed,
        "heads": heads,
        "versions": {
            name: version(name)
            for name in ("anny", "warp-lang", "dlib-bin", "face-recognition-models")
        },
        "licence": "CC0-1.0",
    }
    for count, (model, terms) in LANDMARK_MODELS.items():
        about = {
            **made,
            "landmark model": f"{model} ({terms})",
            "views": found.views,
            "with a face": len(found.bare),
        }
        values = {key: _rounded(value) for key, value in vars(learn(found, count)).items()}
        (out / f"landmarks-{count}.json").write_text(_lines({**about, **values}))
    about = {**made, "heads": min(heads, HULLS)}
    (out / "occupancy.json").write_text(_lines({**about, **silhouette.pack(occupied)}))


def _on_surface(points: np.ndarray, depth: Tensor, label: Tensor) -> np.ndarray:  # [K, 2] -> [K, 3]
    """World points that a view shows at image coordinates, by the depth of the pixels they fall
    into."""
    side = depth.shape[-1]
    column, row = np.clip((points * side).astype(int), 0, side - 1).T
    origin, direction = rays(label[None].double(), side)
    direction = direction[0, row * side + column].numpy()
    z = depth[row, column].double().numpy()
    forward = label[:16].reshape(4, 4)[:3, 2].double().numpy()
    world = origin[0, 0].numpy() + direction * (z / (direction @ forward))[:, None]
    return np.where((z > 0)[:, None], world, np.nan)


def _aligned(points: np.ndarray, target: np.ndarray) -> np.ndarray:  # [K, 2], [K, 2] -> [K, 2]
    """Points moved onto the target by the best similarity (least squares)."""
    a, b = (
        p.view(np.complex128)[:, 0]
        for p in (np.ascontiguousarray(points), np.ascontiguousarray(target))
    )
    turn = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean())
    moved = (a - a.mean()) * turn + b.mean()
    return np.stack([moved.real, moved.imag], axis=-1)


def _no_correction(count: int) -> tuple[np.ndarray, ...]:
    width = 2 * count + 2
    return (
        np.zeros(width),
        np.zeros(2),
        np.zeros((2, width)),
        np.zeros((0, width)),
        np.zeros((2, 0)),
    )


def _rounded(values: np.ndarray) -> Any:
    return np.vectorize(lambda v: float(f"{v:.5g}"))(values).tolist()


def _lines(content: dict[str, Any]) -> str:
    rows = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m semhead_lib.data.portraits.calibration OUT")
    torch.set_num_threads(1)
    make(sys.argv[1])
