"""`SemanticEncoder`: features of images and texts, by any open_clip model, the embedded headclip-64,
or an image model of timm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from semhead_lib.conditioning.encoder_identity import (
    EncoderIdentity,
    require_encoder,
    same_encoder,
    stacked_semantics,
    weights_digest,
)
from semhead_lib.conditioning.open_clip_models import (
    ASSETS,
    EMBEDDED,
    create_model,
    parse_name,
    tokeniser,
)
from semhead_lib.conditioning.preprocessing import Preprocessing
from semhead_lib.conditioning.timm_models import PREFIX, load_timm

__all__ = [
    "ASSETS",
    "EMBEDDED",
    "EncoderIdentity",
    "SemanticEncoder",
    "parse_name",
    "require_encoder",
    "same_encoder",
    "stacked_semantics",
]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MAPS = 4  # of a transformer, that images are compared by


class SemanticEncoder:
    """A CLIP: images and texts to unit features in one space (Radford et al., 2021); or another
    model of images, which reads no texts.

    >>> encoder = SemanticEncoder.load("headclip-64", device="cpu")
    >>> encoder.images(torch.zeros(2, 3, 128, 128, dtype=torch.uint8)).shape
    torch.Size([2, 128])
    >>> encoder.texts(["a man with a beard"]).norm(dim=-1).round(decimals=4)
    tensor([1.])
    """

    def __init__(
        self, model: torch.nn.Module, source: str, name: str, device: str, dtype: str, batch: int
    ) -> None:
        self._model: Any = model.eval().requires_grad_(
            False
        )  # one of open_clip's, which have no common type, or a TimmModel
        self._source = source
        self.device, self.dtype, self.batch = torch.device(device), DTYPES[dtype], batch
        try:
            self.preprocessing = Preprocessing(self._model.visual.preprocess_cfg, self.device)
        except ValueError as error:
            kind, _, folder = source.partition(":")
            here = f"{folder}/open_clip_config.json" if kind == "local-dir" else f"encoder {source}"
            raise ValueError(f"{here}: {error}") from None
        self.resolution = self.preprocessing.resolution  # pixels a side of what the model sees
        self.identity = EncoderIdentity(name, weights_digest(model), str(self.preprocessing))
        self._model.to(self.device, memory_format=torch.channels_last)
        with torch.no_grad():
            self.dimension = self.encode(torch.zeros(1, 3, 8, 8)).shape[
                1
            ]  # D, numbers of a feature
        self._tokens = None

    @classmethod
    def load(
        cls, name: str = EMBEDDED, *, device: str = "auto", dtype: str = "float32", batch: int = 64
    ) -> SemanticEncoder:
        """Load an encoder.

        Args:
            name: one of
                "headclip-64", the embedded one;
                "MODEL/WEIGHTS", an open_clip model and its pretrained tag ("ViT-L-14/openai") or a
                file of weights ("ViT-B-32/weights/clip.safetensors",
                "ViT-B-32//home/me/clip.safetensors"); "hf-hub:ORGANISATION/REPOSITORY"; a folder
                with open_clip_config.json and weights, as `semhead headclip train` writes it;
                "timm/NAME" or "timm/NAME/FILE", an image model of timm with its own weights or
                those of a file ("timm/vit_small_patch14_dinov2.lvd142m").
            device: "auto", "cpu", "cuda", ...
            dtype: arithmetic of the model: "float32", "bfloat16" or "float16". Features are float32
                always.
            batch: images or texts at a time.

        Raises:
            ValueError: the name, dtype or batch means nothing; the file does not fit the model.
            RuntimeError: the weights are neither here nor to be had; says how to fetch them.
        """
        from semhead_lib.devices import pick_device

        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        place = pick_device(device)
        if name.startswith(PREFIX):
            model, shown = load_timm(name)
            return cls(model, name, shown, place, dtype, batch)
        source, weights, shown = parse_name(name)
        return cls(create_model(source, weights, name), source, shown, place, dtype, batch)

    @property
    def reads_texts(self) -> bool:
        """Whether texts have features, too."""
        return hasattr(self._model, "encode_text")

    def encode(
        self, images: Tensor
    ) -> Tensor:  # [B, 3, H, W] float in [-1, 1] -> [B, D] float32, unit length
        """Features of one batch, with gradients to the images."""
        return self._encoded(self.preprocessing(images.to(self.device).float() * 0.5 + 0.5))

    def _encoded(self, prepared: Tensor) -> Tensor:
        with self._autocast():
            features = self._model.encode_image(
                prepared.contiguous(memory_format=torch.channels_last)
            )
        return F.normalize(features.float(), dim=-1)

    def encode_with_maps(
        self, images: Tensor
    ) -> tuple[Tensor, list[Tensor]]:  # [B, 3, H, W] float in [-1, 1]
        """Features [B, D] as `encode` gives them, and what the image tower makes of the images on
        the way.

        Maps go from early to late, [B, C, h, w] float32 each: the stages of a convolutional
        network, evenly spread blocks of a transformer. With gradients to the images. Raises
        ValueError for a model whose stages open_clip or timm cannot give.
        """
        if not hasattr(self._model.visual, "forward_intermediates"):
            raise ValueError(f"encoder {self.identity.name} does not give its intermediate maps")
        prepared = self.preprocessing(images.to(self.device).float() * 0.5 + 0.5)
        blocks = getattr(getattr(self._model.visual, "transformer", None), "layers", None)
        chosen = (
            None
            if blocks is None
            else [max(blocks * (i + 1) // _MAPS - 1, 0) for i in range(_MAPS)]
        )
        with self._autocast():
            found = self._model.visual.forward_intermediates(
                prepared.contiguous(memory_format=torch.channels_last), indices=chosen
            )
        return F.normalize(found["image_features"].float(), dim=-1), [
            m.float() for m in found["image_intermediates"]
        ]

    @torch.no_grad()
    def images(
        self,
        images: Tensor | Sequence[Tensor],  # [N, 3, H, W] uint8, or N images [3, H, W] of any sizes
        progress: bool = False,
    ) -> Tensor:  # [N, D] float32, unit length, on the CPU
        """Features of images. Raises ValueError for anything but uint8 RGB."""
        features = []
        for part in tqdm(
            list(self._parts(images)), unit="batch", desc="encoding", disable=not progress
        ):
            if isinstance(part, Tensor):
                features.append(self.encode(part.float() / 127.5 - 1).cpu())
            else:  # of unequal sizes: brought to one size first
                each = [p[None].to(self.device).float() / 255 for p in part]
                features.append(self._encoded(torch.cat([*map(self.preprocessing, each)])).cpu())
        return torch.cat(features) if features else torch.zeros(0, self.dimension)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:  # -> [N, D] float32, unit length, on the CPU
        """Features of texts. What is longer than the model's context is cut off at its end. Raises
        ValueError naming a vocabulary that is damaged, missing, or of another model, and for an
        encoder of images alone."""
        if isinstance(texts, str):
            raise ValueError(f"texts must be a list of texts, got the one text {texts!r:.80}")
        if not self.reads_texts:
            raise ValueError(f"encoder {self.identity.name} reads images alone, got texts")
        if self._tokens is None:
            self._tokens = tokeniser(self._source, self._model)
        features = [torch.zeros(0, self.dimension)]
        for start in range(0, len(texts), self.batch):
            tokens = self._tokens(list(texts[start : start + self.batch])).to(self.device)
            with self._autocast():
                part = self._model.encode_text(tokens)
            features.append(F.normalize(part.float(), dim=-1).cpu())
        return torch.cat(features)

    def _parts(self, images: Tensor | Sequence[Tensor]) -> Iterator[Tensor | Sequence[Tensor]]:
        parts: list[Tensor | Sequence[Tensor]]
        if isinstance(images, Tensor):
            parts = [*images.split(self.batch)]
        else:
            one_size = len({p.shape for p in images}) == 1
            each = [images[i : i + self.batch] for i in range(0, len(images), self.batch)]
            parts = [torch.stack(list(part)) if one_size else part for part in each]
        for part in parts:
            shapes = [part.shape[1:]] if isinstance(part, Tensor) else [p.shape for p in part]
            kind = part.dtype if isinstance(part, Tensor) else part[0].dtype
            if kind != torch.uint8 or any(len(shape) != 3 or shape[0] != 3 for shape in shapes):
                raise ValueError(
                    f"images must be uint8 of shape [3, H, W], got {kind} of shape {list(shapes[0])}"
                )
            yield part

    def _autocast(self):
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)
