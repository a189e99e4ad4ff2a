"""The InceptionV3 of the Frechet Inception distance, on torchvision's blocks.

The network of Heusel et al. (2017) is TensorFlow's of 2015-12-05. It differs from torchvision's in
three ways: average pooling leaves padding out of its means, the last block pools by maximum, and
images are resized as TensorFlow 1 did.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import inception as blocks

DIMENSION = 2048
CLASSES = 1008
_MAPS = ("Mixed_5d", "Mixed_6e", "Mixed_7c")  # the last block of each size
_SIZE = 299  # pixels a side of what the network sees


class _Pooled:
    """Gives a block of torchvision's another pooling before its last branch."""

    branch_pool: nn.Module

    def _forward(self, x: Tensor) -> list[Tensor]:
        block: Any = super()
        *branches, _ = block._forward(x)
        return [*branches, self.branch_pool(self.pool(x))]

    @staticmethod
    def pool(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class _A(_Pooled, blocks.InceptionA):
    pass


class _C(_Pooled, blocks.InceptionC):
    pass


class _E(_Pooled, blocks.InceptionE):
    pass


class _LastE(_Pooled, blocks.InceptionE):
    @staticmethod
    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, stride=1, padding=1)


class FidInception(nn.Module):
    """Images [B, 3, H, W] in [-1, 1] to the 2048 features before the classifier, [B, 2048].

    `state` is the content of a weights file of torch-fidelity or pytorch-fid; raises RuntimeError
    when it does not fit.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        kinds = [
            blocks.BasicConv2d,
            _A,
            blocks.InceptionB,
            _C,
            blocks.InceptionD,
            _E,
            blocks.InceptionAux,
        ]
        self.network: Any = blocks.Inception3(
            CLASSES, aux_logits=False, inception_blocks=kinds, init_weights=False
        )
        self.network.Mixed_7c = _LastE(DIMENSION)
        self.network.load_state_dict(state)
        self.network.fc = nn.Identity()
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        levels = images * 127.5 + 127.5  # 0..255
        return self.network((resize_like_tensorflow_1(levels, _SIZE) - 128) / 128)

    def maps(self, images: Tensor) -> list[Tensor]:  # [B, 3, H, W] in [-1, 1] -> [B, C, h, w] each
        """Activations of the last block of each size: 35, 17 and 8 pixels a side."""
        found: list[Tensor] = []
        blocks_of = [self.network.get_submodule(name) for name in _MAPS]
        hooks = [
            block.register_forward_hook(lambda *seen: found.append(seen[-1])) for block in blocks_of
        ]
        try:
            self(images)
        finally:
            for hook in hooks:
                hook.remove()
        return found


def resize_like_tensorflow_1(
    images: Tensor, size: int
) -> Tensor:  # [B, C, H, W] -> [B, C, size, size]
    """Bilinear, with pixel i of the result at i * H / size of the source: no half pixels, no
    smoothing.

    >>> resize_like_tensorflow_1(torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]]), 4)[0, 0]
    tensor([[0., 1., 2., 2.],
            [2., 3., 4., 4.],
            [4., 5., 6., 6.],
            [4., 5., 6., 6.]])
    """
    for axis in (2, 3):
        length = images.shape[axis]
        place = torch.arange(size, dtype=images.dtype, device=images.device) * (length / size)
        low = place.long()
        high = (low + 1).clamp_max(length - 1)
        share = (place - low).reshape(-1, *[1] * (3 - axis))
        images = images.index_select(axis, low).lerp(images.index_select(axis, high), share)
    return images
