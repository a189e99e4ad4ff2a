"""headjudge: a convolutional network that predicts segmentation, geometry and attributes of a head.

Metrics are measured in its features: `features=headjudge` is the one that ships,
`features=headjudge/FOLDER` another. It is trained on parametric heads that nothing else uses,
without CLIP or captions, so it shares neither subjects nor objective with the condition of
generator and discriminator. To predict classes such as lips, normals and depth at every pixel, it
has to represent the parts of a face; its pooled activations are the features.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import inf, isfinite
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from semhead_lib.atomic import write_atomically
from semhead_lib.evaluation.headjudge.recipe import NAME
from semhead_lib.files import in_file, read_json
from semhead_lib.models.layers import channels_last
from semhead_lib.weights import fitted

WEIGHTS, CONFIG = "model.safetensors", "config.json"
SIDE = 128  # pixels of the input; other sizes are resampled
MAP_SIDE = SIDE // 2  # of the maps it draws
DEPTH_SCALE = 0.25  # scene units: depth is predicted as (z - 2.7) / DEPTH_SCALE


_WIDEST = 4096  # channels that a config may ask for


@dataclass(frozen=True)
class JudgeConfig:
    """Configuration of a headjudge, saved as JSON beside its weights."""

    classes: tuple[str, ...]  # of the surface, the background first
    categories: dict[str, tuple[str, ...]]  # attribute -> its values
    scalars: dict[str, tuple[float, float]]  # attribute -> mean and deviation over subjects
    widths: tuple[int, int, int, int] = (
        24,
        48,
        96,
        160,
    )  # channels at 1/2, 1/4, 1/8 and 1/16 of the input
    decoder: int = 40  # channels of the maps' decoder

    @property
    def dimension(self) -> int:
        """Of the features."""
        return self.widths[2] + self.widths[3]

    @classmethod
    def from_json(cls, content: dict) -> JudgeConfig:
        """Raises ValueError for anything but such a configuration."""
        try:
            config = cls(
                classes=tuple(content["classes"]),
                categories={name: tuple(values) for name, values in content["categories"].items()},
                scalars={name: tuple(values) for name, values in content["scalars"].items()},
                widths=tuple(content["widths"]),
                decoder=content["decoder"],
            )
            numbers = [(float(mean), float(spread)) for mean, spread in config.scalars.values()]
            if not all(isfinite(mean) and 0 < spread < inf for mean, spread in numbers):
                raise ValueError("means and deviations of scalars must be finite")
            if max(config.widths) > _WIDEST or not 1 <= config.decoder <= _WIDEST:
                raise ValueError(f"widths and decoder must be at most {_WIDEST}")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"is no config of a judge: {error!r:.200}") from None
        return config


@dataclass(frozen=True)
class Judgement:
    """Predictions for B images."""

    classes: Tensor  # [B, classes, 64, 64] logits of the class of the surface
    normals: Tensor  # [B, 3, 64, 64] unit, in the camera's axes (x right, y down, z into the scene)
    depth: Tensor  # [B, 64, 64] (camera z - 2.7) / DEPTH_SCALE
    categories: dict[str, Tensor]  # attribute -> [B, values] logits
    scalars: Tensor  # [B, scalars] in standard deviations from the mean
    direction: Tensor  # [B, 3] from the head to the camera, world axes


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation beside the identity (He et al., 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first_norm(self.first(x)), inplace=True)
        return F.relu(x + self.second_norm(self.second(y)), inplace=True)


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """A convolution to the next size and residual blocks there."""
    down = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    layers = [down, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, *(ResidualBlock(outputs) for _ in range(blocks)))


class HeadJudge(nn.Module):
    """A residual trunk to 1/16 of the size, a feature pyramid for the maps, linear heads for the
    attributes."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        c = self.config = config
        a, b, d, e = c.widths
        self.stages = nn.ModuleList(
            [_stage(12, a, 1, 1), _stage(a, b, 1, 2), _stage(b, d, 2, 2), _stage(d, e, 2, 2)]
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, c.decoder, 1) for width in c.widths)
        self.smooth = nn.Conv2d(c.decoder, c.decoder, 3, padding=1)
        self.maps = nn.Conv2d(c.decoder, len(c.classes) + 4, 1)
        outputs = sum(map(len, c.categories.values())) + len(c.scalars) + 3
        self.attributes = nn.Linear(c.dimension, outputs)
        channels_last(self)

    def trunk(
        self, images: Tensor
    ) -> list[Tensor]:  # [B, 3, H, W] in [-1, 1] -> maps at 1/2 to 1/16 of 128 pixels
        """Activations of the four stages."""
        if images.shape[-1] != SIDE or images.shape[-2] != SIDE:
            small = min(images.shape[-2:]) > SIDE
            images = F.interpolate(
                images, size=(SIDE, SIDE), mode="bilinear", antialias=small, align_corners=False
            )
        x = F.pixel_unshuffle(images, 2).contiguous(memory_format=torch.channels_last)
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    @staticmethod
    def pooled(stages: list[Tensor]) -> Tensor:  # -> [B, D]
        """Activations of the last two stages, averaged over the image."""
        return torch.cat([x.mean((2, 3)) for x in stages[2:]], dim=1)

    def features(self, images: Tensor) -> Tensor:  # [B, 3, H, W] in [-1, 1] -> [B, D]
        """Features for metrics."""
        return self.pooled(self.trunk(images))

    def forward(self, images: Tensor) -> Judgement:  # [B, 3, H, W] in [-1, 1]
        c, stages = self.config, self.trunk(images)
        total = None
        for lateral, x in zip(reversed(self.lateral), reversed(stages), strict=True):
            own = lateral(x)
            total = (
                own
                if total is None
                else own + F.interpolate(total, scale_factor=2.0, mode="nearest")
            )
        assert total is not None  # there are stages
        maps = self.maps(F.relu(self.smooth(F.relu(total))))
        classes, normals, depth = maps.split([len(c.classes), 3, 1], dim=1)
        widths = [*map(len, c.categories.values()), len(c.scalars), 3]
        *categories, scalars, direction = self.attributes(self.pooled(stages)).split(widths, dim=1)
        named = dict(zip(c.categories, categories, strict=True))
        return Judgement(
            classes, F.normalize(normals, dim=1), depth[:, 0], named, scalars, direction
        )

    def save(self, folder: Path | str) -> None:
        """Write `model.safetensors` (half precision) and `config.json`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()
        }
        half = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
        content = json.dumps(asdict(self.config), indent=1).encode() + b"\n"
        write_atomically(folder / CONFIG, content)
        write_atomically(folder / WEIGHTS, save(half, metadata={"format": "pt"}))

    @classmethod
    def load(cls, folder: Path | str, device: torch.device | str = "cpu") -> HeadJudge:
        """The one in a folder, in evaluation mode.

        Raises FileNotFoundError when a file is missing, ValueError when they do not fit together.
        """
        folder = Path(folder)
        for file in (folder / CONFIG, folder / WEIGHTS):
            if not file.is_file():
                raise FileNotFoundError(f"no {NAME} in {folder}: {file} is missing")
        try:
            config = JudgeConfig.from_json(read_json(folder / CONFIG))
        except ValueError as error:
            raise ValueError(in_file(folder / CONFIG, error)) from None
        try:
            judge = fitted(lambda: cls(config), folder / WEIGHTS, CONFIG)
        except Exception as error:  # a config of another kind fails in many ways
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            words = f"{kind}{str(error).splitlines()[0][:300]}"
            raise ValueError(f"{folder} holds no {NAME}: {words}") from error
        return judge.to(device).eval().requires_grad_(False)
