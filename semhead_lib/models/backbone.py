"""The StyleGAN2 synthesis network of the feature map, and the super-resolution of raw images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from semhead_lib.models.layers import cast, upsample
from semhead_lib.models.residual import Residual
from semhead_lib.models.style_layers import StyleBlock

WS_PER_BLOCK = 2  # of a block: one a layer


def ws_of_blocks(w: Tensor, blocks: int) -> list[Tensor]:  # [B, W] or [B, blocks * WS_PER_BLOCK, W]
    """Split w or w+ into the styles of each block."""
    return [w] * blocks if w.dim() == 2 else list(w.split(WS_PER_BLOCK, dim=1))


class BlockStack(nn.Module):
    """A sequence of blocks with summed skip outputs; `layers.compute` sets precision and
    checkpointing."""

    blocks: nn.ModuleList
    precision: torch.dtype | None = None
    checkpoint = False

    @property
    def num_ws(self) -> int:
        """Of all layers."""
        return WS_PER_BLOCK * len(self.blocks)

    def run(self, x: Tensor, total: Tensor | None, w: Tensor) -> Tensor:
        """Pass activations and the initial sum through all blocks; returns the final sum."""
        x = cast(x, self.precision).contiguous(memory_format=torch.channels_last)
        for block, style in zip(self.blocks, ws_of_blocks(w, len(self.blocks)), strict=True):
            if self.checkpoint and torch.is_grad_enabled():
                x, total = checkpoint(
                    block, x, total, style, use_reentrant=False, preserve_rng_state=False
                )
            else:
                x, total = block(x, total, style)
        assert total is not None  # there are blocks
        return total


def widths(side: int, base: int, most: int) -> int:
    """Channels at a size: base / side, at most `most` (Karras et al., 2020).

    >>> [widths(side, 4096, 128) for side in (4, 32, 64)]
    [128, 128, 64]
    """
    return max(min(base // side, most), 8)


def blend_maps_of(side: int, most: int) -> int:
    """Blend maps at a size: `most` from 8 to 32 pixels a side, half of them at 64, a quarter at
    128, none elsewhere.

    >>> [blend_maps_of(side, 128) for side in (4, 8, 32, 64, 128, 256)]
    [0, 128, 128, 64, 32, 0]
    """
    return min(most, most * 32 // side) if 8 <= side <= 128 else 0


class Backbone(BlockStack):
    """From w to a square map: a learnt 4 x 4 constant, upsampled by blocks with skip outputs.

    Raises ValueError for a side that is no power of two times 4.
    """

    def __init__(
        self,
        w_dim: int,
        side: int,
        features: int,
        base: int,
        most: int,
        place_gain: float = 0.0,
        blend_maps: int = 0,
        residual: bool = False,  # near one style a map is added
    ) -> None:
        super().__init__()
        if side < 4 or side & (side - 1):
            raise ValueError(
                f"the side of a feature map must be a power of two, at least 4, got {side}"
            )
        sides = [4 * 2**k for k in range((side // 4).bit_length())]
        channels = [widths(s, base, most) for s in sides]
        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.blocks = nn.ModuleList(
            StyleBlock(
                before,
                after,
                w_dim,
                s,
                features,
                up=s > 4,
                place_gain=place_gain,
                blend=blend_maps_of(s, blend_maps),
            )
            for s, before, after in zip(sides, [channels[0], *channels], channels, strict=False)
        )
        self.residual = Residual(w_dim, self.num_ws, features, side) if residual else None

    def forward(self, w: Tensor) -> Tensor:  # [B, W] or [B, styles, W] -> [B, features, side, side]
        features = self.run(self.constant.expand(len(w), -1, -1, -1), None, w)
        return features if self.residual is None else self.residual(features, w)


class SuperResolution(BlockStack):
    """From raw features to the final image: upsampling blocks, with the raw image as first skip.

    With `mask`, the rendered mask is an additional feature, and the blocks output an additional
    channel r. The upsampled mask m is moved by t = tanh(r) towards one where t > 0, towards zero
    where t < 0:

        m+ = (1 - |t|) m + max(t, 0)

    It stays within [0, 1], equals m at initialisation (r = 0), and always passes gradients on to m.
    """

    def __init__(
        self,
        w_dim: int,
        features: int,
        raw_side: int,
        side: int,
        channels: tuple[int, ...],
        mask: bool = False,
    ) -> None:
        super().__init__()
        if side != raw_side * 2 ** len(channels):
            raise ValueError(
                f"{len(channels)} blocks lead from {raw_side} to {raw_side * 2 ** len(channels)} "
                f"pixels, not {side}"
            )
        before = (features + mask, *channels)
        blocks = [
            StyleBlock(a, b, w_dim, raw_side * 2 ** (k + 1), 3 + mask)
            for k, (a, b) in enumerate(zip(before, channels, strict=False))
        ]
        self.blocks = nn.ModuleList(blocks)
        for last in (block.to_features for block in blocks if mask):
            if last is not None:
                nn.init.zeros_(last.conv.weight[3:])

    def forward(
        self,
        features: Tensor,  # [B, F, R, R]
        raw: Tensor,  # [B, 3, R, R]
        w: Tensor,  # [B, W] or [B, styles, W]
        mask: Tensor | None = None,  # [B, 1, R, R] in [0, 1], where it is super-resolved too
    ) -> Tensor:  # [B, 3, S, S], or [B, 4, S, S]
        """The image, and in a fourth channel the mask, where one is given."""
        if mask is None:
            return self.run(features, raw, w)
        skip = torch.cat([raw, torch.zeros_like(mask)], dim=1)
        made = self.run(torch.cat([features, mask], dim=1), skip, w)
        image, t = made[:, :3], made[:, 3:].tanh()
        enlarged = nn.functional.interpolate(
            mask, size=made.shape[-1], mode="bilinear", align_corners=False
        )
        return torch.cat([image, (1 - t.abs()) * enlarged + t.clamp_min(0)], dim=1)


class Background(nn.Module):
    """The background behind the head: one feature vector from w, with a soft pattern that does not
    depend on the camera.

    PanoHead (An et al., 2023) also generates its background in 2-D, so that it does not become part
    of the head.
    """

    def __init__(self, w_dim: int, features: int, side: int = 8, base: int = 64) -> None:
        super().__init__()
        self.pattern = Backbone(w_dim, side, features, base * side, base)

    @property
    def num_ws(self) -> int:
        """Of all layers."""
        return self.pattern.num_ws

    def forward(
        self,
        w: Tensor,  # [B, W] or [B, styles, W]
        side: int,  # pixels of the image
        windows: Tensor
        # [B, 3] left, top and side of the part that is seen, in image widths; None: all
        | None = None,
        seen: int = 0,  # pixels a side of that part
    ) -> Tensor:  # [B, features, side, side] in [0, 1], or [B, features, seen, seen]
        pattern = self.pattern(w).to(w.dtype)
        while pattern.shape[-1] < side:
            pattern = upsample(pattern)
        pattern = nn.functional.interpolate(pattern, size=side, mode="area")
        if windows is not None:
            pattern = _part(pattern, windows, seen)
        return pattern.sigmoid()


def _part(
    images: Tensor, windows: Tensor, side: int
) -> Tensor:  # [B, C, S, S], [B, 3] -> [B, C, side, side]
    """A square part of each image, bilinear."""
    left, top, width = windows.to(images).unbind(1)
    theta = images.new_zeros(len(images), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = width
    theta[:, 0, 2], theta[:, 1, 2] = 2 * left + width - 1, 2 * top + width - 1
    grid = nn.functional.affine_grid(theta, [len(images), 1, side, side], align_corners=False)
    return nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
