"""A head anywhere in a photograph: its camera and its crop, from any side.

Windows of several sizes are looked at; those whose head is surest are followed: each is cut again as
the network says the crop lies, some times, together with its mirror image, until the crop is the
one of our convention. What fits best is taken, and looked at again in crops that are turned, scaled
and shifted a little: the mean of what they say errs less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.data.portraits.camera import CameraFit
from semhead_lib.data.portraits.crop import cut_square, resized
from semhead_lib.data.portraits.head_finder.network import HeadFinder, Prediction, prepared, shipped
from semhead_lib.data.portraits.head_finder.pose import Poses, by_points

SURE = 0.55  # certainty below which there is no head
_LARGEST = 640  # pixels of the longer side that a photograph is searched at
_SHARE = 0.2  # of the photograph's longer side: the smallest windows
_SIZES, _STRIDE = 1.6, 0.35  # of windows: from one to the next, and steps in shares of the side
_OVER = 0.2  # of its side: how far a window may reach beyond the photograph
_FOLLOWED, _ROUNDS = 4, 4
_USUAL_ERROR, _FALLS = 0.03, 0.06  # shares of the crop: nine of ten heads' points are nearer
_BATCH = 64
_AROUND = (  # of the last looks: turn (degrees), scale, shift to the right and down (shares)
    (0.0, 1.0, 0.0, 0.0),
    (6.0, 1.1, 0.04, -0.04),
    (-6.0, 1.1, -0.04, 0.04),
    (6.0, 0.9, -0.04, -0.04),
    (-6.0, 0.9, 0.04, 0.04),
)


@dataclass(frozen=True)
class FoundHead:
    """A head in a photograph."""

    fit: CameraFit  # its camera and crop
    certainty: float  # 0...1: of the head and its direction, less where its points do not agree


def find_head(
    image: Tensor,  # [3, H, W] uint8
    start: np.ndarray | None = None,  # [2, 3] a crop that shows it about, as `CameraFit.similarity`
    network: HeadFinder | None = None,
) -> FoundHead | None:
    """The surest head of a photograph; None where there is none.

    Raises ValueError for an image of another kind.
    """
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
        raise ValueError(
            f"image must be uint8 of shape [3, H, W], got {image.dtype} of {list(image.shape)}"
        )
    network = network or shipped()
    shrunk = min(_LARGEST / max(image.shape[1:]), 1.0)
    if shrunk < 1:
        height, width = (max(round(length * shrunk), 1) for length in image.shape[1:])
        image, start = resized(image, (height, width)), None if start is None else start * shrunk
    starts = _candidates(image, network) if start is None else [np.asarray(start, dtype=np.float64)]
    found = [_followed(image, s, network) for s in starts]
    best = max(found, key=lambda head: head.certainty, default=None)
    if best is None or best.certainty < SURE:
        return None
    fit = _looked_around(image, best.fit, network)
    return replace(best, fit=replace(fit, similarity=fit.similarity / shrunk))


def mask_of_crop(
    crop: Tensor,  # [3, S, S] uint8, in our convention
    network: HeadFinder | None = None,
) -> Tensor | None:  # [S, S] uint8 coverage
    """The mask of the head in a crop; None where the network sees none."""
    network = network or shipped()
    side, size = network.config.side, crop.shape[-1]
    _, mask, sure = look(network, resized(crop, (side, side))[None])
    if float(sure[0]) < SURE:
        return None
    cover = F.interpolate(mask[None], size=(size, size), mode="bilinear", align_corners=False)
    return (cover[0, 0] * 255).round().byte()


@torch.no_grad()
def look(network: HeadFinder, crops: Tensor) -> tuple[Poses, Tensor, Tensor]:
    """Poses of heads in crops [B, 3, S, S] uint8, their masks [B, S/2, S/2] in [0, 1], and
    certainties [B], from the crops and their mirror images together."""
    b = len(crops)
    both = prepared(torch.cat([crops, crops.flip(3)])).contiguous(memory_format=torch.channels_last)
    seen = Prediction(*(x.double() for x in network(both)))
    one, other = Prediction(*(x[:b] for x in seen)), Prediction(*(x[b:] for x in seen))
    back = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    mask = (one.mask + other.mask.flip(3)) / 2
    joined = Prediction(
        mask,
        (one.points + other.points.flip(3) * back[:, None, None]) / 2,
        torch.logaddexp(one.log_scale, other.log_scale.flip(3)) - math.log(2),
        (one.head + other.head) / 2,
        (one.direction + other.direction * back) / 2,
        (one.size + other.size) / 2,
        (one.turn + other.turn * torch.tensor([1.0, -1.0])) / 2,
        (one.place + other.place * torch.tensor([-1.0, 1.0])) / 2,
    )
    sure = joined.head.sigmoid() * joined.direction.norm(dim=1).clamp(max=1)
    return by_points(joined), mask[:, 0].sigmoid(), sure


@torch.no_grad()
def _candidates(image: Tensor, network: HeadFinder) -> list[np.ndarray]:
    """Crops to follow: of the windows that are surest of a head, no two at one place."""
    pixels, squares = _windows(image, network.config.side)
    scored = []
    for part, places in zip(pixels.split(_BATCH), _chunks(squares, _BATCH), strict=True):
        seen = network(prepared(part).contiguous(memory_format=torch.channels_last))
        size = seen.size.exp()
        fits = (-((seen.size.abs() - 0.4).clamp_min(0))).exp()  # sizes that it has learnt
        score = seen.head.sigmoid() * seen.direction.norm(dim=1).clamp(max=1) * fits
        turn = F.normalize(seen.turn, dim=1)
        for row, square in enumerate(places):
            similarity = _composed(square, size[row], turn[row], seen.place[row])
            scored.append((float(score[row]), similarity))
    scored.sort(key=lambda pair: -pair[0])
    chosen: list[np.ndarray] = []
    for _, similarity in scored:
        if len(chosen) == _FOLLOWED:
            break
        if all(_apart(similarity, other) for other in chosen):
            chosen.append(similarity)
    return chosen


def _followed(image: Tensor, similarity: np.ndarray, network: HeadFinder) -> FoundHead:
    side = network.config.side
    for _ in range(_ROUNDS):
        crop = _cut(image, similarity, side)
        poses, _, sure = look(network, crop[None])
        inner = poses.similarity[0]
        similarity = _refined(similarity, inner[:, :2].numpy(), inner[:, 2].numpy())
    fit = CameraFit(
        float(poses.azimuth[0]), float(poses.elevation[0]), similarity, float(poses.error[0])
    )
    # points that no camera brings together are of no head
    agree = math.exp(-max(fit.error - _USUAL_ERROR, 0) / _FALLS)
    return FoundHead(fit, float(sure[0]) * agree)


def _looked_around(image: Tensor, fit: CameraFit, network: HeadFinder) -> CameraFit:
    """The mean of the cameras and the crops that are found from crops around one."""
    crops = []
    for turn, scale, right, down in _AROUND:
        cosine, sine = scale * math.cos(math.radians(turn)), scale * math.sin(math.radians(turn))
        matrix = np.array([[cosine, -sine], [sine, cosine]])
        crops.append(_refined(fit.similarity, matrix, np.array([2 * right, 2 * down])))
    side = network.config.side
    poses = look(network, torch.stack([_cut(image, crop, side) for crop in crops]))[0]
    inner = poses.similarity.numpy()
    found = [_refined(crop, one[:, :2], one[:, 2]) for crop, one in zip(crops, inner, strict=True)]
    azimuth, elevation = (torch.deg2rad(angle) for angle in (poses.azimuth, poses.elevation))
    level = elevation.cos()
    x, y, z = (
        float(axis.mean())
        for axis in (azimuth.sin() * level, elevation.sin(), azimuth.cos() * level)
    )
    return replace(
        fit,
        azimuth=math.degrees(math.atan2(x, z)),
        elevation=math.degrees(math.atan2(y, math.hypot(x, z))),
        similarity=np.mean(found, axis=0),
    )


def _windows(image: Tensor, size: int) -> tuple[Tensor, list[np.ndarray]]:
    """Squares of several sizes all over a photograph, the largest around all of it: [N, 3, size,
    size], and their similarities."""
    pixels, squares = [], []
    longer, side = float(max(image.shape[1:])), float(max(image.shape[1:]))
    while side >= _SHARE * longer * 0.99:
        scale = size / side
        height, width = (max(round(length * scale), 1) for length in image.shape[1:])
        over = math.ceil(_OVER * size)
        down, right = (max(size - length, 0) + over for length in (height, width))
        whole = F.pad(
            resized(image, (height, width))[None].float(), [right, right, down, down], "replicate"
        )[0].to(torch.uint8)
        for top in _starts(height, size):
            for left in _starts(width, size):
                y, x = top + down, left + right
                pixels.append(whole[:, y : y + size, x : x + size])
                corner = left / scale, top / scale
                squares.append(np.array([[side, 0, corner[0]], [0, side, corner[1]]]))
        side /= _SIZES
    return torch.stack(pixels), squares


def _starts(length: int, size: int) -> list[int]:
    """Where windows begin along one side: evenly, from a little before to a little beyond."""
    if length <= size:
        return [round((length - size) / 2)]
    first, last = -_OVER * size, length - size + _OVER * size
    count = math.ceil((last - first) / (_STRIDE * size)) + 1
    return [round(at) for at in np.linspace(first, last, count)]


def _cut(image: Tensor, similarity: np.ndarray, side: int) -> Tensor:
    return cut_square(image, similarity, side, beyond="drawn on")[0]


def _composed(square: np.ndarray, size: Tensor, turn: Tensor, place: Tensor) -> np.ndarray:
    cosine, sine = (float(size) * turn).tolist()
    return _refined(square, np.array([[cosine, -sine], [sine, cosine]]), place.numpy())


def _refined(square: np.ndarray, matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """A crop within a crop; `matrix` and `shift` are between coordinates -1...1 of both."""
    # u = (x + 1) / 2: the inner crop's u to the outer's is matrix u + (shift + 1 - matrix 1) / 2
    offset = (shift + 1 - matrix @ np.ones(2)) / 2
    outer = square[:, :2]
    return np.concatenate([outer @ matrix, (outer @ offset + square[:, 2])[:, None]], axis=1)


def _apart(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two crops are of different places or sizes."""
    middle = np.array([0.5, 0.5, 1.0])
    sides = [float(np.hypot(*s[:, 0])) for s in (one, other)]
    far = float(np.linalg.norm(one @ middle - other @ middle)) > 0.3 * min(sides)
    return far or abs(math.log(sides[0] / sides[1])) > 0.4


def _chunks(items: list, size: int) -> list[list]:
    return [items[k : k + size] for k in range(0, len(items), size)]
