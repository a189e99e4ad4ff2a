"""Quality and diversity of a generator's heads against the share of them that is rejected.

At each share the best heads are kept, and as many of them are drawn at random as at the highest
share, so that all metrics are of equally many heads: Frechet distances, recall and the Vendi score
depend on the count. The draws are repeated; a point is their mean.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from semhead_lib.atomic import holds_out, write_atomically
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.devices import keep_freed_memory, pick_device
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.files import read_tensors
from semhead_lib.metrics.coverage import precision_recall
from semhead_lib.metrics.diversity import diversity_ratio, total_variance
from semhead_lib.metrics.frechet import frechet_distance
from semhead_lib.models.generator import Generator, folder_of
from semhead_lib.rejection.head_filter import HeadFilter, Judged
from semhead_lib.rejection.line_chart import line_chart
from semhead_lib.rejection.real_heads import AZIMUTHS, images_from_sides
from semhead_lib.rejection.settings import SHARES, CurveSettings
from semhead_lib.viz.samples import Drawn

CURVE, PICTURE = "curve.json", "curve.svg"
PARTS = "heads.safetensors"  # what an interrupted run has made; deleted in the end
_AT_ONCE = 16  # heads
METRICS = {  # name in curve.json -> title of the chart
    "frechet": "Fréchet distance ↓",
    "frechet_other": "the same, other features ↓",
    "recall": "recall ↑",
    "diversity": "diversity (Vendi) ↑",
}


@dataclass(frozen=True)
class Point:
    """What is left at one share of rejected heads: means over draws."""

    share: float  # of the heads that is rejected
    kept: int  # heads that are left
    max_distance: float  # from real heads, of those left
    frechet: float  # over all views, in headjudge's features
    frechet_other: float  # in another network's
    precision: float  # mean over azimuths
    recall: float  # mean over azimuths
    diversity: float  # Vendi score over that of as many real heads, mean over azimuths
    faces_on_backs: float  # share of the heads that are left


def curve_of(
    judged: Judged,  # of M heads
    samples: tuple[Tensor, Tensor],  # [M, A, D] in headjudge's features, and in others
    real: tuple[Tensor, Tensor],  # [R, A, D] of heads that the filter does not know
    shares: Sequence[float] = SHARES,
    draws: int = 20,
    seed: int = 0,
) -> list[Point]:
    """A point for each share. Raises ValueError where too few heads are left to be compared."""
    total, rng = len(judged.distances), torch.Generator().manual_seed(seed)
    count = min(round((1 - max(shares)) * total), len(real[0]))
    if count < 5:
        raise ValueError(
            f"{count} heads are left to compare, 5 are needed: {total} were generated, "
            f"{len(real[0])} are real"
        )
    points = []
    for share in shares:
        kept = torch.tensor(judged.best(round((1 - share) * total)))
        found = [
            _measured(
                [x[kept[torch.randperm(len(kept), generator=rng)[:count]]] for x in samples],
                [x[torch.randperm(len(x), generator=rng)[:count]] for x in real],
            )
            for _ in range(draws)
        ]
        means = {name: sum(one[name] for one in found) / draws for name in found[0]}
        farthest, faces = judged.distances[kept].max(), judged.faces[kept].double().mean()
        points.append(
            Point(share, len(kept), float(farthest), faces_on_backs=float(faces), **means)
        )
    return points


def real_point(
    real: tuple[Tensor, Tensor], count: int, draws: int = 20, seed: int = 0
) -> dict[str, float]:
    """What `count` real heads get in the place of generated ones, against as many others."""
    rng, found = torch.Generator().manual_seed(seed), []
    count = min(count, len(real[0]) // 2)
    for _ in range(draws):
        rows = torch.randperm(len(real[0]), generator=rng)
        one, other = ([x[r] for x in real] for r in (rows[:count], rows[count : 2 * count]))
        found.append(_measured(one, other))
    return {name: sum(one[name] for one in found) / draws for name in found[0]} | {"heads": count}


def _measured(samples: list[Tensor], real: list[Tensor]) -> dict[str, float]:
    """Metrics of [n, A, D] heads against as many real ones."""
    fits = [precision_recall(r, s) for r, s in zip(*_sides(real[0], samples[0]), strict=True)]
    ratios = [
        diversity_ratio(r, s, total_variance(r))
        for r, s in zip(*_sides(real[0], samples[0]), strict=True)
    ]
    return {
        "frechet": frechet_distance(real[0].flatten(0, 1), samples[0].flatten(0, 1)),
        "frechet_other": frechet_distance(real[1].flatten(0, 1), samples[1].flatten(0, 1)),
        "precision": sum(fit.precision for fit in fits) / len(fits),
        "recall": sum(fit.recall for fit in fits) / len(fits),
        "diversity": sum(ratios) / len(ratios),
    }


def _sides(*features: Tensor) -> list[tuple[Tensor, ...]]:  # [n, A, D] each
    return [f.unbind(1) for f in features]


@holds_out
def measure(
    model: Path | str, data: Path | str, out: Path | str, *, device: str = "auto", **settings: Any
) -> Path:
    """What `semhead rejection` does: `curve.json` and its picture `curve.svg` in `out`; returns the
    picture's path. The same call goes on where it was interrupted.

    `data` is a dataset of real heads that the filter does not hold, seen from the four sides. Raises
    ValueError for other data, and otherwise as what loads the generator.
    """
    s, place = CurveSettings(**settings), pick_device(device)
    judge, other = HeadFilter.load(place), FeatureExtractor.load(s.features, device=place)
    real_images = images_from_sides(data)
    generator, bank = Generator.load(model, place), ConditionBank.load(folder_of(model))
    if place == "cpu":
        keep_freed_memory()
    if s.grid is not None:
        rays = generator.renderer.settings
        generator.renderer.settings = replace(rays, grid=s.grid)
    out, conditions = Path(out), bank.sample(s.heads, s.strategy, s.seed)
    drawn = Drawn(generator, lambda _: conditions, s.seed, s.psi)
    judged, features = _generated(out, drawn, judge, other, s)
    real = (judge.extractor.images(real_images), other.images(real_images))
    points = curve_of(judged, features, real, SHARES, s.draws, s.seed)
    count = min(points[-1].kept, len(real_images))
    content = {
        "model": generator.config.name,
        "psi": s.psi,
        "seed": s.seed,
        "strategy": s.strategy,
        "heads": s.heads,
        "compared": count,
        "draws": s.draws,
        "azimuths": AZIMUTHS,
        "filter": judge.real.source,
        "features": judge.extractor.identity,
        "other_features": other.identity,
        "real": real_point(real, count, s.draws, s.seed),
        "curve": [asdict(point) for point in points],
    }
    write_atomically(out / CURVE, json.dumps(content, indent=1).encode() + b"\n")
    write_atomically(out / PICTURE, picture(content).encode())
    (out / PARTS).unlink(missing_ok=True)
    return out / PICTURE


def _generated(
    out: Path, drawn: Drawn, judge: HeadFilter, other: FeatureExtractor, s: CurveSettings
) -> tuple[Judged, tuple[Tensor, Tensor]]:
    """Heads judged, and their features [M, A, D]. What a run before this one has made of the same
    heads is read from `out`, where it was kept for this."""
    digest = hashlib.sha256(f"{s} {drawn.generator.renderer.settings}".encode())
    for name, tensor in drawn.generator.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    key, parts, kept = digest.hexdigest(), {}, out / PARTS
    if kept.is_file():
        with safe_open(kept, "pt") as file:
            same = (file.metadata() or {}).get("made") == key
        parts = read_tensors(kept) if same else {}
    start = len(parts.get("distances", ()))
    bar = tqdm(total=s.heads, initial=start, unit="head", desc="generating")
    while start < s.heads:
        stop = min(start + _AT_ONCE, s.heads)
        images = drawn.images(start, stop, AZIMUTHS)
        found = judge(images)
        made = {
            "distances": found.distances,
            "faces": found.faces,
            "features": judge.extractor.images(images),
            "other": other.images(images),
        }
        parts = {name: torch.cat([parts[name], t]) if parts else t for name, t in made.items()}
        write_atomically(kept, save(parts, metadata={"made": key}))
        bar.update(stop - start)
        start = stop
    bar.close()
    judged = Judged(parts["distances"], parts["faces"])
    return judged, (parts["features"], parts["other"])


def picture(content: dict[str, Any]) -> str:
    """The curve as an SVG, from what `curve.json` holds."""
    shares = [100 * point["share"] for point in content["curve"]]
    panels = {title: [point[name] for point in content["curve"]] for name, title in METRICS.items()}
    lines = {title: content["real"][name] for name, title in METRICS.items()}
    return line_chart(shares, panels, lines, "rejected, %", "real heads")
