"""A feed-forward initialisation: predicts w from a photograph, its camera and its condition.

A small vision transformer (Dosovitskiy et al., 2021), trained on pairs that the generator itself
makes.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from semhead_lib import old_names
from semhead_lib.atomic import write_atomically
from semhead_lib.cameras import LABEL_LENGTH
from semhead_lib.files import check_fields, read_tensors
from semhead_lib.models.generator import Generator
from semhead_lib.weights import packed

ATTENTION = ("sdpa", "xformers")
FILE = "style_encoder.safetensors"  # in a generator's folder


@dataclass(frozen=True)
class EncoderConfig:
    """Configuration of a style encoder."""

    side: int  # pixels of the generator's images
    condition_dim: int
    w_dim: int
    patch: int = 8  # pixels
    width: int = 192
    depth: int = 4
    heads: int = 6


def xformers_works(device: str | torch.device) -> bool:
    """Whether xformers' attention can be used: it must be installed, and has no CPU kernels."""
    return torch.device(device).type == "cuda" and importlib.util.find_spec("xformers") is not None


class Attention(nn.Module):
    """Self-attention with torch's fused kernel, or with xformers' on a GPU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.inwards, self.outwards, self.heads = (
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
            heads,
        )
        self.kernel = "sdpa"

    def forward(self, x: Tensor) -> Tensor:  # [B, N, width]
        q, k, v = (
            self.inwards(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        )  # [B, N, heads, width / heads]
        if self.kernel == "xformers":
            from xformers.ops import memory_efficient_attention

            out = memory_efficient_attention(q, k, v)
        else:
            out = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v))).transpose(
                1, 2
            )
        return self.outwards(out.flatten(2))


class Block(nn.Module):
    """A pre-norm transformer block: attention and a two-layer MLP, each with a skip connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.between = nn.LayerNorm(width)
        self.network = nn.Sequential(
            nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        return x + self.network(self.between(x))


class StyleEncoder(nn.Module):
    """Maps images [B, 3, S, S] in [-1, 1], cameras [B, 25] and conditions [B, K] to styles, as
    offsets from the `anchor` of the condition in units of the styles' spread. Raises ValueError for
    another kind of attention."""

    spread: Tensor  # [W]

    def __init__(self, config: EncoderConfig, attention: str = "sdpa") -> None:
        super().__init__()
        if attention not in ATTENTION:
            raise ValueError(f"attention must be one of {', '.join(ATTENTION)}, got {attention!r}")
        c = self.config = config
        self.patches = nn.Conv2d(3, c.width, c.patch, c.patch)
        self.places = nn.Parameter(torch.randn(1, (c.side // c.patch) ** 2, c.width) * 0.02)
        self.condition_embedding = nn.Linear(LABEL_LENGTH + c.condition_dim, c.width)
        blocks = [Block(c.width, c.heads) for _ in range(c.depth)]
        self.blocks = nn.ModuleList(blocks)
        self.out = nn.Sequential(nn.LayerNorm(c.width), nn.Linear(c.width, c.w_dim))
        self.register_buffer("spread", torch.ones(c.w_dim))
        for block in blocks:
            block.attention.kernel = attention

    def forward(
        self, images: Tensor, cameras: Tensor, conditions: Tensor | None
    ) -> Tensor:  # [B, W]
        conditioned = cameras if conditions is None else torch.cat([cameras, conditions], dim=1)
        x = self.patches(images).flatten(2).transpose(1, 2) + self.places
        x = torch.cat([self.condition_embedding(conditioned)[:, None], x], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.out(x[:, 0])

    def style(
        self, generator: Generator, images: Tensor, cameras: Tensor, conditions: Tensor | None
    ) -> Tensor:
        """Styles [B, W] of the generator that it was trained with."""
        return (
            anchor(generator, conditions, len(images))
            + self(images, cameras, conditions) * self.spread
        )

    def save(self, folder: Path | str) -> None:
        """Write it into a generator's folder, in half precision."""
        metadata = {"semhead": json.dumps(asdict(self.config))}
        write_atomically(Path(folder) / FILE, save(packed(self, half=True), metadata=metadata))

    @classmethod
    def load(
        cls, folder: Path | str, attention: str = "sdpa", device: str | torch.device = "cpu"
    ) -> StyleEncoder:
        """The encoder in a generator's folder.

        Raises FileNotFoundError if there is none, ValueError for an invalid file or unavailable
        attention.
        """
        if attention == "xformers" and not xformers_works(device):
            raise ValueError(
                f"attention=xformers needs the extra 'gpu' and a CUDA device, got {device}: use "
                "sdpa"
            )
        path = Path(folder) / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: no style encoder was trained for this generator"
            )
        try:
            tensors = old_names.today(old_names.TENSORS, read_tensors(path))
            with safe_open(path, "pt") as file:
                content = json.loads(file.metadata()["semhead"])
            if missing := sorted(EncoderConfig.__dataclass_fields__.keys() - content.keys()):
                raise ValueError(f"its config has no {', '.join(missing)}")
            config = EncoderConfig(**content)
            check_fields(config, dict.fromkeys(config.__dataclass_fields__, (0, 8192)))
            encoder = cls(config, attention)
            encoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        except Exception as error:
            raise ValueError(f"{path} holds no style encoder: {error}") from error
        return encoder.requires_grad_(False).to(device).eval()


def anchor(generator: Generator, conditions: Tensor | None, count: int) -> Tensor:  # [count, W]
    """The styles that the mapping network outputs for conditions with a zero latent."""
    nothing = generator.mapping.w_mean.new_zeros(count, generator.config.z_dim)
    return generator.mapping(nothing, conditions)
