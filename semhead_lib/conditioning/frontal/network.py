"""`FrontalPredictor`: from an encoder's view of any side of a head to the feature of its front.

Generators are conditioned on the feature of the *frontal* view. A photograph from the side has
another feature, off the distribution that the generator knows. The predictor corrects it. It sees
the feature and the encoder's maps, averaged over the image, and says how sure it is: the cosine
that it expects between its answer and the truth. The camera as a further input made no difference.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from semhead_lib.atomic import write_atomically
from semhead_lib.conditioning.encoder_identity import require_encoder
from semhead_lib.conditioning.open_clip_models import ASSETS, EMBEDDED
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.files import check_fields, read_json
from semhead_lib.weights import fitted, packed

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FOLDER = ASSETS / "frontal"  # the one that ships, for the embedded encoder
UNSURE = 0.5  # expected cosine below which a front is a guess


@dataclass(frozen=True)
class PredictorConfig:
    """What shapes a predictor, and the encoder whose features it reads and predicts."""

    encoder: str  # its identity
    features: int  # D, numbers of a feature
    maps: int  # M, channels of all of the encoder's maps together
    width: int = 320
    layers: int = 3

    def __post_init__(self) -> None:
        check_fields(
            self,
            {"features": (1, 65536), "maps": (0, 65536), "width": (1, 8192), "layers": (1, 64)},
        )


class Predicted(NamedTuple):
    """Features of fronts, and how sure they are."""

    features: Tensor  # [B, D] float32, unit length
    certainty: Tensor  # [B] in [0, 1]: the cosine that is expected between them and the truth


class FrontalPredictor(nn.Module):
    """A residual network of linear layers."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        self.config = c = config
        self.register_buffer("mean", torch.zeros(c.maps))  # of the averaged maps
        self.register_buffer("scale", torch.ones(c.maps))
        self.first = nn.Linear(c.features + c.maps, c.width)
        self.layers = nn.ModuleList(nn.Linear(c.width, c.width) for _ in range(c.layers))
        self.change = nn.Linear(c.width, c.features)
        self.sure = nn.Linear(c.width, 1)

    def forward(
        self,
        features: Tensor,  # [B, D] unit, of the images
        maps: Tensor,  # [B, M] the encoder's maps of them, averaged over their places
    ) -> Predicted:
        spread = features * features.shape[1] ** 0.5  # of variance 1
        x = torch.cat([spread, (maps - self.mean) / self.scale], dim=1)
        x = F.gelu(self.first(x))
        for layer in self.layers:
            x = x + F.gelu(layer(F.dropout(x, 0.1, self.training)))
        made = F.normalize(features + self.change(x) / features.shape[1] ** 0.5, dim=1)
        return Predicted(made, self.sure(x)[:, 0].sigmoid())

    def save(self, folder: Path) -> None:
        """Write weights, in half precision, and config into a folder."""
        write_atomically(folder / WEIGHTS, save(packed(self, half=True)))
        write_atomically(
            folder / CONFIG, json.dumps(asdict(self.config), indent=1).encode() + b"\n"
        )

    @classmethod
    def load(cls, folder: Path | str = FOLDER) -> FrontalPredictor:
        """Raises FileNotFoundError, or ValueError naming the file for one that is damaged."""
        folder = Path(folder)
        try:
            config = PredictorConfig(**read_json(folder / CONFIG))
        except TypeError as error:
            raise ValueError(f"{folder / CONFIG} is no predictor's: {error}") from None
        return fitted(lambda: cls(config), folder / WEIGHTS, CONFIG).eval().requires_grad_(False)


def predictor_for(encoder: SemanticEncoder, folder: Path | str | None = None) -> FrontalPredictor:
    """The predictor of an encoder's features: of `folder`, or the one that ships.

    Raises ValueError for an encoder that it was not trained for.
    """
    if folder is None and encoder.identity.name != EMBEDDED:
        raise ValueError(
            f"there is no predictor of frontal features for {encoder.identity.name}, only for "
            f"{EMBEDDED}: train one with 'semhead frontal train'"
        )
    predictor = FrontalPredictor.load(FOLDER if folder is None else folder)
    require_encoder(predictor.config.encoder, str(encoder.identity), str(folder or FOLDER))
    return predictor.to(encoder.device)


@torch.no_grad()
def seen(encoder: SemanticEncoder, images: Tensor) -> tuple[Tensor, Tensor]:  # [B, D], [B, M]
    """What a predictor sees of uint8 images [B, 3, H, W]: features, and maps averaged over their
    places."""
    features, maps = [], []
    for part in images.split(encoder.batch):
        of_part, found = encoder.encode_with_maps(part.float() / 127.5 - 1)
        features.append(of_part)
        maps.append(torch.cat([m.mean((2, 3)) for m in found], dim=1))
    return torch.cat(features), torch.cat(maps)


@torch.no_grad()
def predict_fronts(
    encoder: SemanticEncoder,
    predictor: FrontalPredictor,
    images: Tensor,  # [B, 3, H, W] uint8
) -> Predicted:
    """Frontal features of the heads in images from any side, on the CPU."""
    found = predictor(*seen(encoder, images))
    return Predicted(found.features.cpu(), found.certainty.cpu())


def front_features(
    encoder: SemanticEncoder,
    images: Tensor | Sequence[Tensor],  # [N, 3, H, W] uint8, or N images [3, H, W] of any sizes
) -> Predicted:
    """Frontal features of heads in photographs from any side, on the CPU: what a generator is
    conditioned on for them. Where there is no predictor for the encoder, they are the features of
    the photographs themselves, and the certainty is not a number."""
    if encoder.identity.name != EMBEDDED:
        features = encoder.images(images)
        return Predicted(features, torch.full((len(features),), float("nan")))
    predictor = predictor_for(encoder)
    if not isinstance(images, Tensor) and len({image.shape for image in images}) > 1:
        each = [predict_fronts(encoder, predictor, image[None]) for image in images]
        return Predicted(*(torch.cat(parts) for parts in zip(*each, strict=True)))
    stacked = images if isinstance(images, Tensor) else torch.stack(list(images))
    return predict_fronts(encoder, predictor, stacked)


def sureness(certainty: float) -> str:
    """What to tell a user of a certainty; nothing where there was no prediction.

    >>> sureness(0.83), sureness(0.41), sureness(float("nan"))
    ('front predicted, certainty 0.83', 'front guessed, certainty 0.41: little of it shows', '')
    """
    if certainty != certainty:
        return ""
    if certainty < UNSURE:
        return f"front guessed, certainty {certainty:.2f}: little of it shows"
    return f"front predicted, certainty {certainty:.2f}"


def joined(predicted: Predicted) -> Predicted:
    """One front of several photographs of a head: their mean, weighed by 1 / (1 - certainty), the
    inverse of a squared distance."""
    weights = 1 / (1 - predicted.certainty).clamp_min(1e-3)
    mean = (predicted.features * weights[:, None]).sum(0, keepdim=True)
    return Predicted(F.normalize(mean, dim=1), predicted.certainty.max()[None])
