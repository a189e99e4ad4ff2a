"""`HeadFinder`: predicts what each pixel of an image shows of a head, and the camera.

A convolutional encoder and decoder. The decoder predicts for each cell of a grid whether the head
covers it, and which point of the head it shows, in the head's own coordinates (dense correspondence,
as Güler et al., 2018, or Wang et al., 2019), with the scale of its error. From the encoder's last
maps come predictions for the whole image: whether there is a head, its direction and its place.
They initialise the camera, which `pose` then fits to the points.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from semhead_lib.atomic import write_atomically
from semhead_lib.files import check_fields, read_json
from semhead_lib.weights import fitted, packed

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FOLDER = Path(__file__).parents[3] / "assets" / "head-finder"
UNIT = 0.5  # scene units: points are predicted in shares of it
_WHOLE = 9  # numbers for the whole image: head, direction 3, log size, cosine, sine, place 2


@dataclass(frozen=True)
class FinderConfig:
    """What shapes a network."""

    side: int = 128  # pixels a side that it looks at
    widths: tuple[int, ...] = (16, 32, 64, 96)  # channels at 1/2, 1/4, 1/8 ... of them

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        check_fields(self, {"side": (16, 4096)})
        good = all(type(w) is int and 1 <= w <= 4096 for w in self.widths)
        if not good or not 2 <= len(self.widths) <= 8 or self.side % 2 ** len(self.widths):
            raise ValueError(
                "widths must be 2 to 8 whole numbers of 1 to 4096, and side a multiple of 2 to the "
                f"power of how many they are, got {list(self.widths)} and {self.side}"
            )


class Prediction(NamedTuple):
    """Of B images of S pixels a side; its maps have S / 2."""

    mask: Tensor  # [B, 1, S/2, S/2] logits: the head covers it
    points: Tensor  # [B, 3, S/2, S/2] what shows there, world, in shares of UNIT
    log_scale: Tensor  # [B, 1, S/2, S/2] log of the points' mean absolute error, in shares of UNIT
    head: Tensor  # [B] logits: there is a head
    direction: (
        Tensor  # [B, 3] towards the camera, in the world's axes; about 1 long when it is sure
    )
    size: Tensor  # [B] log of the crop's side, in shares of the image's
    turn: Tensor  # [B, 2] cosine and sine of the roll, clockwise as the viewer sees it
    place: Tensor  # [B, 2] the crop's middle, -1...1 from left to right and from top to bottom


class _Block(nn.Sequential):
    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        )


class HeadFinder(nn.Module):
    """[B, 3, S, S] in [-1, 1] -> `Prediction`."""

    def __init__(self, config: FinderConfig = FinderConfig()) -> None:
        super().__init__()
        self.config, widths = config, config.widths
        self.down, before = nn.ModuleList(), 3
        for k, width in enumerate(widths):
            again = [_Block(width, width) for _ in range(1 if k < 2 else 2)]
            self.down.append(nn.Sequential(_Block(before, width, 2), *again))
            before = width
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # from coarse to fine
        self.up = nn.ModuleList(nn.Conv2d(wide, narrow, 1) for wide, narrow in pairs)
        self.join = nn.ModuleList(_Block(narrow, narrow) for _, narrow in pairs)
        self.maps = nn.Conv2d(widths[0], 5, 1)
        self.whole = nn.Sequential(
            nn.Linear(5 * widths[-1], 128), nn.ReLU(), nn.Linear(128, _WHOLE)
        )

    def forward(self, images: Tensor) -> Prediction:
        x, skips = images, []
        for level in self.down:
            x = level(x)
            skips.append(x)
        quarters = F.adaptive_avg_pool2d(x, 2).flatten(1)
        whole = self.whole(torch.cat([quarters, x.amax((2, 3))], dim=1))
        x = skips.pop()
        for up, join in zip(self.up, self.join, strict=True):
            skip = skips.pop()
            x = join(skip + F.interpolate(up(x), scale_factor=2, mode="bilinear"))
        mask, points, log_scale = self.maps(x).split((1, 3, 1), dim=1)
        head, direction, size, turn, place = whole.split((1, 3, 1, 2, 2), dim=1)
        return Prediction(mask, points, log_scale, head[:, 0], direction, size[:, 0], turn, place)

    def save(self, folder: Path) -> None:
        """Write weights, in half precision, and config into a folder."""
        write_atomically(folder / WEIGHTS, save(packed(self, half=True)))
        write_atomically(
            folder / CONFIG, json.dumps(asdict(self.config), indent=1).encode() + b"\n"
        )

    @classmethod
    def load(cls, folder: Path | str = FOLDER) -> HeadFinder:
        """Raises FileNotFoundError, or ValueError naming the file for one that is damaged."""
        folder = Path(folder)
        try:
            config = FinderConfig(**read_json(folder / CONFIG))
        except TypeError as error:
            raise ValueError(f"{folder / CONFIG} is no head finder's: {error}") from None
        return fitted(lambda: cls(config), folder / WEIGHTS, CONFIG).eval().requires_grad_(False)


@cache
def shipped() -> HeadFinder:
    """The network that ships with the package."""
    return HeadFinder.load()


def prepared(images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> the same in [-1, 1]
    """Images as the network takes them."""
    return images.float() / 127.5 - 1
