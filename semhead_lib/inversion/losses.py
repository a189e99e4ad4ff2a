"""Losses between a generator's images and photographs: each term is a function with its equation
and gives one value per head.

x is an image in [-1, 1], y the photograph, m its mask, v in {0, 1} says where the photograph has
pixels, o is the opacity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.inversion.targets import Target
from semhead_lib.metrics.reconstruction import map_distance
from semhead_lib.models.generator import Render

PERCEPTUAL = ("encoder", "lpips")
_LPIPS_BACKBONE = "alexnet-owt-7be5be79.pth"  # in torch hub's cache


@dataclass(frozen=True)
class Weights:
    """Of the terms."""

    image: float = 1.0
    image_raw: float = 0.5
    perceptual: float = 0.5
    semantic: float = 0.1
    mask: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(
                    f"the weight {field.name} must not be negative, got {getattr(self, field.name)}"
                )


def image_distance(
    x: Tensor, y: Tensor, v: Tensor
) -> Tensor:  # [B, 3, S, S] twice, [B, 1, S, S] -> [B]
    """sum v (x - y)^2 / (3 sum v): the mean squared difference where the photograph has pixels.

    >>> image_distance(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), torch.tensor([[[[1.0, 0], [0, 0]]]]))
    tensor([1.])
    """
    return (v * (x - y).square()).sum((1, 2, 3)) / (x.shape[1] * v.sum((1, 2, 3))).clamp_min(1e-6)


def mask_distance(o: Tensor, m: Tensor, v: Tensor) -> Tensor:  # [B, 1, R, R] thrice -> [B]
    """sum v (o - m)^2 / sum v."""
    return image_distance(o, m, v)


def semantic_distance(one: Tensor, other: Tensor) -> Tensor:  # [B, D] unit features twice -> [B]
    """1 - cos: 0 for equal features.

    >>> semantic_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([1.])
    """
    return 1 - (one * other).sum(-1)


def lpips_weights() -> Path:
    """Path of LPIPS's backbone after torchvision has fetched it."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _LPIPS_BACKBONE


def lpips(device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS (Zhang et al., 2018) with AlexNet: two [B, 3, S, S] in [-1, 1] to [B].

    Its linear layers come with torchmetrics, its backbone does not. Raises FileNotFoundError where
    that is missing.
    """
    from torchmetrics.functional.image.lpips import _LPIPS

    path = lpips_weights()
    if not path.is_file():
        raise FileNotFoundError(
            f"LPIPS needs {path}: python -c \"import torchvision; torchvision.models.alexnet(weights='DEFAULT')\". "
            "Without it compare by the encoder's maps: perceptual=encoder"
        )
    network = _LPIPS(net="alex", pnet_rand=True)
    weights = torch.load(
        path, map_location="cpu", weights_only=True
    )  # torchvision itself would unpickle it
    own = {name: weights["features." + name.partition(".")[2]] for name in network.net.state_dict()}
    network.net.load_state_dict(own)
    network.requires_grad_(False).to(device)

    def distance(x: Tensor, y: Tensor) -> Tensor:
        x, y = (_at_least(p.clamp(-1, 1), 64) for p in (x, y))  # AlexNet's last map needs as much
        return network(x, y).flatten(1).mean(1)

    return distance


def _at_least(x: Tensor, size: int) -> Tensor:
    if x.shape[-1] >= size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Objective:
    """The weighted sum of all terms against the photographs of one person.

    Raises ValueError for another kind of perceptual distance, FileNotFoundError for LPIPS without
    its weights.
    """

    def __init__(
        self,
        target: Target,
        encoder: SemanticEncoder,
        weights: Weights | None = None,
        perceptual: str = "encoder",
    ) -> None:
        if perceptual not in PERCEPTUAL:
            raise ValueError(
                f"perceptual must be one of {', '.join(PERCEPTUAL)}, got {perceptual!r}"
            )
        self.target, self.encoder, self.perceptual = target, encoder, perceptual
        self.weights = weights or Weights()
        self._lpips = (
            lpips(target.images.device)
            if perceptual == "lpips" and self.weights.perceptual
            else None
        )
        with torch.no_grad():
            self.semantics, self._maps = encoder.encode_with_maps(
                target.images
            )  # [K, D]: what each photograph means

    def at(self, side: int) -> Objective:
        """The same objective for images of another size."""
        if side == self.target.images.shape[-1]:
            return self
        return Objective(self.target.at(side), self.encoder, self.weights, self.perceptual)

    def __call__(
        self, render: Render
    ) -> dict[str, Tensor]:  # H heads from the K cameras, those of a head adjacent
        """Each term and "all", their weighted sum: [H], the mean over the photographs."""
        t, w, k = self.target, self.weights, len(self.target)
        heads = len(render.image) // k

        def all_heads(x: Tensor) -> Tensor:
            return x.repeat(heads, *[1] * (x.dim() - 1))

        inside, side = all_heads(t.inside), render.image_raw.shape[-1]
        terms = {"image": image_distance(render.image, all_heads(t.images), inside)}
        smaller = [F.interpolate(x, size=side, mode="area") for x in (t.images, t.masks, t.inside)]
        images, masks, reached = map(all_heads, smaller)
        terms["image_raw"] = image_distance(render.image_raw, images, reached)
        terms["mask"] = mask_distance(render.opacity, masks, reached)
        seen = torch.where(
            inside > 0.5, render.image, all_heads(t.images)
        )  # beyond the photograph there is no error
        if w.semantic or (w.perceptual and self._lpips is None):
            feature, maps = self.encoder.encode_with_maps(seen)
            terms["semantic"] = semantic_distance(feature, all_heads(self.semantics))
            terms["perceptual"] = map_distance(maps, [all_heads(m) for m in self._maps])
        if self._lpips is not None:
            terms["perceptual"] = self._lpips(seen, all_heads(t.images))
        terms = {name: value.view(heads, k).mean(1) for name, value in terms.items()}
        weighted = (getattr(w, name) * value for name, value in terms.items() if getattr(w, name))
        return {**terms, "all": sum(weighted, start=seen.new_zeros(heads))}
