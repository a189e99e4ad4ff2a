"""headclip-64 in plain torch: a CLIP with a convolutional image tower (Radford et al., 2021, section
2.4), for machines without open_clip, and for programs that should not wait for its import.

Tensors have the names that open_clip gives them and the features are the same to the bit, so an
encoder's identity does not depend on which of the two computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semhead_lib.files import read_json, read_tensors

CONFIG, WEIGHTS = "open_clip_config.json", "model.safetensors"  # of a model folder
_GROWN = 4  # channels of a residual block over those of its 3 x 3 convolution


def _conv(before: int, after: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)


class ResidualBlock(nn.Module):
    """A bottleneck whose strides are averages: [B, C, h, w] -> [B, 4 * planes, h / s, w / s]."""

    def __init__(self, before: int, planes: int, stride: int) -> None:
        super().__init__()
        after = _GROWN * planes
        self.conv1, self.bn1 = _conv(before, planes, 1), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = _conv(planes, planes, 3), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = _conv(planes, after, 1), nn.BatchNorm2d(after)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample = None
        if stride > 1 or before != after:
            self.downsample = nn.Sequential(_conv(before, after, 1), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(self.pool(out)))
        return F.relu(out + (x if self.downsample is None else self.downsample(self.pool(x))))


class AttentionPool(nn.Module):
    """[B, C, h, w] -> [B, D]: the mean of all places asks the places and itself."""

    def __init__(self, side: int, width: int, heads: int, features: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(side**2 + 1, width))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj, self.heads = nn.Linear(width, features), heads

    def forward(self, x: Tensor) -> Tensor:
        places = x.flatten(2).permute(2, 0, 1)  # [h * w, B, C]
        places = torch.cat([places.mean(0, keepdim=True), places])
        places = places + self.positional_embedding[:, None].to(x.dtype)
        projections = self.q_proj, self.k_proj, self.v_proj
        named = zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), projections, strict=True)
        found, _ = F.multi_head_attention_forward(
            *[places] * 3,
            embed_dim_to_check=places.shape[-1],
            num_heads=self.heads,
            in_proj_weight=None,
            in_proj_bias=torch.cat([p.bias for p in projections]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=self.c_proj.weight,
            out_proj_bias=self.c_proj.bias,
            use_separate_proj_weight=True,
            need_weights=False,
            **{name: p.weight for name, p in named},
        )
        return found[0]


class ImageTower(nn.Module):
    """Images [B, 3, S, S], prepared, to features [B, D]."""

    def __init__(
        self, side: int, width: int, blocks: Sequence[int], heads: int, features: int
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(3, width // 2, 3, 2), nn.BatchNorm2d(width // 2)
        self.conv2, self.bn2 = _conv(width // 2, width // 2, 3), nn.BatchNorm2d(width // 2)
        self.conv3, self.bn3 = _conv(width // 2, width, 3), nn.BatchNorm2d(width)
        before = width
        for k, count in enumerate(blocks):
            planes, layer = width * 2**k, []
            for i in range(count):
                layer.append(ResidualBlock(before, planes, 2 if k and not i else 1))
                before = _GROWN * planes
            setattr(self, f"layer{k + 1}", nn.Sequential(*layer))
        self.count = len(blocks)
        self.attnpool = AttentionPool(side // 32, before, heads, features)
        self.preprocess_cfg: dict[str, Any] = {}

    def _stem(self, x: Tensor) -> Tensor:
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(norm(conv(x)))
        return F.avg_pool2d(x, 2)

    def forward_intermediates(self, x: Tensor, indices: Any = None) -> dict[str, Any]:
        """`image_features` [B, D], and `image_intermediates`: the maps of the stem and of each
        layer, [B, C, h, w]."""
        maps = [self._stem(x)]
        for k in range(self.count):
            maps.append(getattr(self, f"layer{k + 1}")(maps[-1]))
        return {"image_features": self.attnpool(maps[-1]), "image_intermediates": maps}

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_intermediates(x)["image_features"]


class TextBlock(nn.Module):
    """A block of a transformer whose tokens see those before them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:  # [B, L, W], [L, L]
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=hidden)[0]
        return x + self.mlp(self.ln_2(x))


class HeadCLIP(nn.Module):
    """An image and a text tower with one space of features."""

    hidden: Tensor

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        image, text, features = config["vision_cfg"], config["text_cfg"], config["embed_dim"]
        heads = image["width"] * 32 // image["head_width"]
        sides = image["image_size"], image["width"], image["layers"]
        self.visual = ImageTower(*sides, heads, features)
        width, length = text["width"], text["context_length"]
        self.token_embedding = nn.Embedding(text["vocab_size"], width)
        self.positional_embedding = nn.Parameter(torch.zeros(length, width))
        self.transformer = nn.Module()
        blocks = [TextBlock(width, text["heads"]) for _ in range(text["layers"])]
        self.transformer.resblocks = nn.ModuleList(blocks)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, features))
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.vocab_size, self.context_length = text["vocab_size"], length
        hidden = torch.full((length, length), float("-inf")).triu(1)
        self.register_buffer("hidden", hidden, persistent=False)

    def encode_image(self, images: Tensor) -> Tensor:  # [B, 3, S, S] -> [B, D]
        return self.visual(images)

    def encode_text(self, tokens: Tensor) -> Tensor:  # [B, L] int64 -> [B, D]
        x = self.token_embedding(tokens) + self.positional_embedding
        for block in self.transformer.resblocks:  # type: ignore[union-attr]
            x = block(x, self.hidden.to(x.dtype))
        x = self.ln_final(x)
        ends = tokens.argmax(-1)  # the end of a text has the largest number
        return x[torch.arange(len(x), device=x.device), ends] @ self.text_projection

    @classmethod
    def load(cls, folder: Path) -> HeadCLIP:
        """Raises FileNotFoundError or ValueError naming the file that is missing or damaged."""
        content = read_json(folder / CONFIG)
        try:
            model = cls(content["model_cfg"])
            model.visual.preprocess_cfg = content["preprocess_cfg"]
            tensors = {
                k: v.float() if v.is_floating_point() else v
                for k, v in read_tensors(folder / WEIGHTS).items()
            }
            model.load_state_dict(tensors)
        except (KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{folder}: is no headclip: {reason}") from error
        return model.eval().requires_grad_(False)
