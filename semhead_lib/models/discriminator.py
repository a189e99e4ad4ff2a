"""The discriminator of (image, raw image, mask), conditioned on camera and semantic feature.

It is conditioned by projection (Miyato and Koyama, 2018): a trunk computes features of the image,
and each part of the condition has an embedding whose inner product with these features is taken.
The same features serve any number of conditions, so showing real images with wrong ones
(`semhead_lib.training.losses`) costs only the products.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from semhead_lib.atomic import write_atomically
from semhead_lib.cameras import FOCAL, LABEL_LENGTH, RADIUS
from semhead_lib.files import in_file
from semhead_lib.models.backbone import widths
from semhead_lib.models.discriminator_config import LOCAL, DiscriminatorConfig
from semhead_lib.models.discriminator_layers import (
    BANDS,
    Block,
    ConditionVector,
    EqualConv,
    detail_bands,
    minibatch_stddev,
)
from semhead_lib.models.layers import (
    GAIN,
    SLOPE,
    EqualLinear,
    cast,
    channels_last,
    leaky_relu,
)
from semhead_lib.weights import fitted, packed, read_config, write_config

WEIGHTS, CONFIG = "discriminator.safetensors", "discriminator.json"


@dataclass(frozen=True)
class DiscriminatorInput:
    """Input of the discriminator; the same form for real and generated images."""

    image: Tensor  # [B, 3, S, S] in [-1, 1]
    image_raw: Tensor | None = (
        None  # [B, 3, R, R] in [-1, 1]; None where the image is the raw image
    )
    mask: Tensor | None = None  # [B, 1, R, R] in [0, 1], or [B, 1, S, S] where super-resolved

    @property
    def tensors(self) -> list[Tensor]:
        return [t for t in (self.image, self.image_raw, self.mask) if t is not None]

    def detach(self) -> DiscriminatorInput:
        image_raw, mask = (None if t is None else t.detach() for t in (self.image_raw, self.mask))
        return DiscriminatorInput(self.image.detach(), image_raw, mask)

    def requires_grad_(self) -> DiscriminatorInput:
        """The same, with gradients with respect to the input."""
        for tensor in self.tensors:
            tensor.requires_grad_()
        return self

    def and_then(self, other: DiscriminatorInput) -> DiscriminatorInput:
        """Concatenate both along the batch."""
        pairs = ((self.image_raw, other.image_raw), (self.mask, other.mask))
        image_raw, mask = (None if a is None or b is None else torch.cat([a, b]) for a, b in pairs)
        return DiscriminatorInput(torch.cat([self.image, other.image]), image_raw, mask)


def _label_scale() -> Tensor:
    """Of the 25 numbers of a label: brings each to about one, so that the constant focal length
    does not drown them."""
    scale = torch.ones(LABEL_LENGTH)
    scale[[3, 7, 11]] = 1 / RADIUS
    scale[[16, 20]] = 1 / FOCAL
    return scale


class Discriminator(nn.Module):
    """A residual discriminator on the dual image (EG3D, section 4.3), conditioned by projection.

    As StyleGAN2's, but with another input layer and other blocks: 2 x 2 pixels are unshuffled into
    channels, so that no layer works at full size and no information is lost, and one convolution
    leads from each size to the next.

    With features phi(x) in R^d of the input and a condition with parts c_1 (camera) and c_2
    (semantic):

        logit(x, c) = psi(x) + sum over parts of phi_i(x) . e_i(c_i) / sqrt(d)

    psi and phi_i are linear in the trunk's last activations. The parts add because camera and
    semantic feature are taken to be independent given the image: their log-likelihood ratios add.
    """

    precision: torch.dtype | None = (
        None  # of the blocks' activations; set by `layers.compute`, as is:
    )
    checkpoint = False

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        c = self.config = config
        sides = [
            c.resolution >> k for k in range(1, (c.resolution // 4).bit_length())
        ]  # resolution / 2, ..., 8, 4
        channels = [widths(side, c.base, c.most) for side in sides]
        bands = 3 * (4 + len(BANDS) - 1) if c.sees_bands else 0
        self.from_picture = EqualConv(4 * c.channels + bands, channels[0], 3, gain=GAIN)
        self.blocks = nn.ModuleList(Block(a, b) for a, b in itertools.pairwise(channels))
        last = channels[-1]
        self.local = EqualConv(channels[-2], 1, 1) if c.has_local else None
        self.conv = EqualConv(last + 1, last, 3, gain=GAIN)
        self.flat = EqualLinear(last * 16, last)
        parts = 2 if c.semantic_dim else 1
        self.out = EqualLinear(last, 1 + parts * last)
        self.camera = ConditionVector(LABEL_LENGTH, last, _label_scale())
        self.semantic = ConditionVector(c.semantic_dim, last) if c.semantic_dim else None
        channels_last(self)

    def features(
        self,
        seen: DiscriminatorInput,
        sets: int = 1,
        activations: list[Tensor] | None = None,  # those of all sizes are appended, finest first
    ) -> Tensor:
        """Features of the input, [B, 1 + parts * d]: psi and phi, followed by the 64 local logits,
        if any.

        Raises ValueError for shapes that do not fit the config.

        With several concatenated `sets` of equal size (real images, then generated ones), the
        result equals that of separate calls: the minibatch statistic does not mix them.
        """
        x = F.pixel_unshuffle(self._stack(seen), 2)
        if self.config.sees_bands:
            x = torch.cat([x, detail_bands(cast(seen.image, self.precision))], dim=1)
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.leaky_relu_(self.from_picture(x), SLOPE)
        local = None
        for block in self.blocks:
            if activations is not None:
                activations.append(x)
            if self.local is not None and x.shape[-1] == LOCAL:
                local = self.local(x.to(self.local.weight.dtype)).flatten(1)
            if self.checkpoint and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x)
        x = x.to(self.conv.weight.dtype)
        x = F.leaky_relu_(
            self.conv(minibatch_stddev(x, self.config.group, self.config.views, sets)), SLOPE
        )
        found = self.out(leaky_relu(self.flat(x.flatten(1))))
        return found if local is None else torch.cat([found, local], dim=1)

    def local_logits(self, features: Tensor) -> Tensor:  # [B, ...] -> [B, 64]
        """The local logits, which do not depend on the condition. Raises ValueError if there are
        none."""
        if self.local is None:
            raise ValueError("this discriminator has no local logits (has_local)")
        return features[:, -(LOCAL**2) :]

    def logits(self, features: Tensor, condition: Tensor) -> Tensor:
        """Logits [B] of images with these features [B, ...] under conditions [B, 25 + semantic_dim]."""
        width = LABEL_LENGTH + self.config.semantic_dim
        if condition.shape != (len(features), width):
            raise ValueError(
                f"condition must be {[len(features), width]}, got {list(condition.shape)}"
            )
        vectors = [self.camera(condition[:, :LABEL_LENGTH])]
        if self.semantic is not None:
            unit = condition[:, LABEL_LENGTH:]
            vectors.append(self.semantic(unit * math.sqrt(unit.shape[1])))
        vector = torch.cat(vectors, dim=1)
        d = vector.shape[1] // len(vectors)
        return features[:, 0] + (features[:, 1 : 1 + vector.shape[1]] * vector).sum(1) / math.sqrt(
            d
        )

    def forward(self, seen: DiscriminatorInput, condition: Tensor) -> Tensor:  # -> [B]
        """The logit of each image under its condition: positive means real."""
        return self.logits(self.features(seen), condition)

    def _stack(self, seen: DiscriminatorInput) -> Tensor:  # -> [B, channels, S, S]
        c = self.config
        b = len(seen.image)
        expected = {"image": (b, 3, c.resolution, c.resolution)}
        if c.is_dual:
            expected["image_raw"] = (b, 3, c.raw_resolution, c.raw_resolution)
        if c.sees_mask:
            expected["mask"] = (b, 1, c.mask_resolution, c.mask_resolution)
        for name, shape in expected.items():
            came = getattr(seen, name)
            if came is None or tuple(came.shape) != shape:
                raise ValueError(
                    f"{name} must be {list(shape)}, got "
                    f"{None if came is None else list(came.shape)}"
                )
        image_raw = seen.image_raw if c.is_dual else None
        mask = seen.mask * 2 - 1 if c.sees_mask and seen.mask is not None else None
        small = [cast(t, self.precision) for t in (image_raw, mask) if t is not None]
        full = [small.pop()] if c.super_mask and mask is not None else []
        if c.is_dual:
            small = [
                F.interpolate(
                    torch.cat(small, 1), size=c.resolution, mode="bilinear", align_corners=False
                )
            ]
        return torch.cat([cast(seen.image, self.precision), *small, *full], dim=1)

    def save(self, folder: Path | str, half: bool = False) -> None:
        """Write `discriminator.safetensors` and `discriminator.json` into a folder, beside the
        generator's."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = save(packed(self, half), metadata={"format": "pt"})
        write_atomically(folder / WEIGHTS, content)
        write_config(folder / CONFIG, asdict(self.config))

    @classmethod
    def load(cls, folder: Path | str) -> Discriminator:
        """The one saved in a folder. Raises FileNotFoundError, or ValueError when config and
        weights do not fit."""
        folder = Path(folder)
        try:
            config = DiscriminatorConfig(**read_config(folder / CONFIG))
        except (ValueError, TypeError) as error:
            raise ValueError(in_file(folder / CONFIG, error)) from None
        return fitted(lambda: cls(config), folder / WEIGHTS, CONFIG)
