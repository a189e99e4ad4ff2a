"""Feature extractors for distances between distributions of images.

| name            | features                                                    | weights                                  |
|-----------------|-------------------------------------------------------------|------------------------------------------|
| headjudge       | 256: a network that predicts surface and attributes         | ship with the package, or headjudge/PATH: a folder of `semhead judge train` |
| headclip-64     | 128, unit length: the embedded encoder of heads             | ship with the package                    |
| MODEL/WEIGHTS.. | any open_clip model, as `SemanticEncoder.load` names it     | fetched by open_clip, or a file          |
| timm/NAME       | any image model of timm, unit length                        | fetched by timm, or timm/NAME/FILE       |
| inception       | 2048 of FID's InceptionV3 (Heusel et al., 2017)             | torch hub's cache, or inception/PATH     |
| dinov2          | 384 to 1536, DINOv2's class token (Stein et al., 2023)      | torch hub's or Hugging Face's cache, or dinov2/PATH |

headjudge is the default: a generator conditioned on features of headclip-64 was trained to match
those. It was trained on parametric heads only, so use inception or dinov2 for photographs. Metrics
in different features cannot be compared, so each stores the identity of its extractor.
"""  # noqa: E501

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from semhead_lib.atomic import write_atomically
from semhead_lib.conditioning.semantic import ASSETS, SemanticEncoder
from semhead_lib.data.dataset.batches import to_model_range
from semhead_lib.devices import keep_freed_memory, pick_device
from semhead_lib.evaluation.headjudge.recipe import NAME
from semhead_lib.files import file_digest, read_tensors, read_weights

DEFAULT = NAME  # of every metric that is not of semantics

_INCEPTION_FILES = (
    "weights-inception-2015-12-05-6726825d.pth",
    "pt_inception-2015-12-05-6726825d.pth",
)
_INCEPTION_URL = (
    f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{_INCEPTION_FILES[0]}"
)
_DINOV2_FILE = "dinov2_vitl14_pretrain.pth"  # the size that Stein et al. take
_DINOV2_URL = f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/{_DINOV2_FILE}"
_DINOV2_SIZES = {
    384: "small",
    768: "base",
    1024: "large",
    1536: "giant",
}  # by the width of the class token
_DINOV2_SIDE = 224  # pixels
_DINOV2_MAPS = 4  # blocks, evenly spread, whose tokens are its maps


@dataclass(frozen=True)
class FeatureExtractor:
    """Images to features."""

    identity: str  # what made the features: name, weights, preprocessing
    dimension: int  # D
    unit_length: bool  # whether features have length 1, as CLIP's
    encode: Callable[[Tensor], Tensor]  # [B, 3, H, W] in [-1, 1] -> [B, D], on any device
    batch: int = 64  # images at a time
    maps: Callable[[Tensor], list[Tensor]] | None = (
        None  # [B, 3, H, W] -> [B, C, h, w] each, from early to late
    )
    device: str = "cpu"  # where it runs

    @property
    def gamma(self) -> float:
        """Of the kernel distance: 1 / D as published for Inception, 1 for features of unit length."""
        return 1.0 if self.unit_length else 1 / self.dimension

    @torch.no_grad()
    def __call__(
        self, images: Tensor
    ) -> Tensor:  # [B, 3, H, W] float in [-1, 1] -> [B, D] float32, on the CPU
        """Features of one batch. Raises ValueError for other shapes or integers."""
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"images must be float [B, 3, H, W] in [-1, 1], got {images.dtype} "
                f"{list(images.shape)}"
            )
        return self.encode(images).float().cpu()

    def images(
        self, images: Tensor, progress: bool = False
    ) -> Tensor:  # [..., 3, H, W] uint8 -> [..., D]
        """Features of all images. Raises ValueError for anything but uint8 RGB."""
        if images.dtype != torch.uint8 or images.ndim < 4 or images.shape[-3] != 3:
            raise ValueError(
                f"images must be uint8 [..., 3, H, W], got {images.dtype} {list(images.shape)}"
            )
        parts = images.flatten(0, -4).split(self.batch)
        bar = tqdm(parts, unit="batch", desc="features", disable=not progress)
        features = torch.cat([self(to_model_range(part)) for part in bar])
        return features.reshape(*images.shape[:-3], -1)

    @classmethod
    def of(cls, encoder: SemanticEncoder) -> FeatureExtractor:
        """The image features of a CLIP."""
        identity, encode = str(encoder.identity), encoder.encode
        return cls(
            identity,
            encoder.dimension,
            True,
            encode,
            encoder.batch,
            lambda x: encoder.encode_with_maps(x)[1],
            str(encoder.device),
        )

    @classmethod
    def load(
        cls, name: str = DEFAULT, *, device: str = "auto", batch: int = 64
    ) -> FeatureExtractor:
        """Load an extractor by its name in the table of this module.

        Raises FileNotFoundError for missing weights of headjudge, inception or dinov2, naming the
        file and its source; ValueError for weights that do not fit; otherwise as
        `SemanticEncoder.load`.
        """
        kind, _, path = name.partition("/")
        place = pick_device(device)
        if place == "cpu":
            keep_freed_memory()  # a fifth of the time was spent on getting it back
        if kind == "headjudge":
            return _headjudge(path, place, batch)
        if kind not in ("inception", "dinov2"):
            return cls.of(SemanticEncoder.load(name, device=device, batch=batch))
        try:
            return (
                _inception(path, place, batch)
                if kind == "inception"
                else _dinov2(path, place, batch)
            )
        except RuntimeError as error:
            raise ValueError(
                f"the weights of {name!r} do not fit: {str(error).splitlines()[0][:200]}"
            ) from error


def stored_features(
    extractor: FeatureExtractor, images: Tensor, folder: Path | str, progress: bool = False
) -> Tensor:
    """`extractor.images(images)`, kept in `folder` under a name that is a hash of extractor and
    images."""
    digest = hashlib.sha256(f"{extractor.identity} {list(images.shape)}".encode())
    digest.update(images.contiguous().numpy().data)
    path = Path(folder) / f"features-{digest.hexdigest()[:32]}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save({"features": extractor.images(images, progress).contiguous()}))
    return read_tensors(path)["features"]


def _headjudge(path: str, device: str, batch: int) -> FeatureExtractor:
    from semhead_lib.evaluation.headjudge.network import HeadJudge

    folder = Path(path).expanduser() if path else ASSETS / NAME
    network = HeadJudge.load(folder, device)
    identity = headjudge_identity(folder)

    def encode(images: Tensor) -> Tensor:
        return network.features(images.to(device).float())

    def maps(images: Tensor) -> list[Tensor]:
        return network.trunk(images.to(device).float())

    return FeatureExtractor(identity, network.config.dimension, False, encode, batch, maps, device)


def headjudge_identity(folder: Path) -> str:
    """Of the judge in a folder, by its weights."""
    from semhead_lib.evaluation.headjudge.network import SIDE, WEIGHTS

    return f"{NAME} [weights {file_digest(folder / WEIGHTS)}; input {SIDE} px, bilinear]"


def _inception(path: str, device: str, batch: int) -> FeatureExtractor:
    from semhead_lib.evaluation.inception import DIMENSION, FidInception

    file = _weights_file(
        path, [_hub(name) for name in _INCEPTION_FILES], "inception", _INCEPTION_URL
    )
    network = FidInception(read_weights(file)).to(device)
    identity = f"inception-2015-12-05 [weights {file_digest(file)}; input 299 px, bilinear as TensorFlow 1]"

    def encode(images: Tensor) -> Tensor:
        return network(images.to(device).float())

    def maps(images: Tensor) -> list[Tensor]:
        return network.maps(images.to(device).float())

    return FeatureExtractor(identity, DIMENSION, False, encode, batch, maps, device)


def _dinov2(path: str, device: str, batch: int) -> FeatureExtractor:
    import timm
    from timm.models.vision_transformer import checkpoint_filter_fn

    cached = [_hub(_DINOV2_FILE), *_hugging_face("timm/vit_large_patch14_dinov2.lvd142m")]
    file = _weights_file(path, cached, "dinov2", _DINOV2_URL)
    state = read_weights(file)
    token = state.get("cls_token")
    if (
        token is None
        or token.shape[-1] not in _DINOV2_SIZES
        or "register_tokens" in state
        or "reg_token" in state
    ):
        raise ValueError(
            f"{file} holds no DINOv2 without registers, of width "
            f"{', '.join(map(str, _DINOV2_SIZES))}"
        )
    size = _DINOV2_SIZES[token.shape[-1]]
    name = f"vit_{size}_patch14_dinov2.lvd142m"
    network: Any = timm.create_model(name, pretrained=False, num_classes=0, img_size=_DINOV2_SIDE)
    network.load_state_dict(checkpoint_filter_fn(state, network))
    network.eval().requires_grad_(False).to(device)
    mean, std = (
        torch.tensor(network.pretrained_cfg[key], device=device).view(3, 1, 1)
        for key in ("mean", "std")
    )  # of images in [0, 1]

    def prepared(images: Tensor) -> Tensor:
        resized = F.interpolate(
            images.to(device).float() / 2 + 0.5,
            size=(_DINOV2_SIDE,) * 2,
            mode="bicubic",
            antialias=True,
        ).clamp(0, 1)
        return (resized - mean) / std

    def maps(images: Tensor) -> list[Tensor]:
        depth = len(network.blocks)
        chosen = [depth * (i + 1) // _DINOV2_MAPS - 1 for i in range(_DINOV2_MAPS)]
        return network.forward_intermediates(
            prepared(images), indices=chosen, intermediates_only=True
        )

    identity = f"dinov2-{size} [weights {file_digest(file)}; input {_DINOV2_SIDE} px, bicubic]"
    return FeatureExtractor(
        identity, network.num_features, False, lambda x: network(prepared(x)), batch, maps, device
    )


def _weights_file(path: str, cached: list[Path], name: str, url: str) -> Path:
    looked = [Path(path).expanduser()] if path else cached
    for file in looked:
        if file.is_file():
            return file
    raise FileNotFoundError(
        f"the weights of {name!r} are not on this machine; looked for "
        f"{', '.join(map(str, looked))}. Get them from "
        f"{url} and name the file: {name}/PATH. Without them use the embedded default: {DEFAULT}"
    )


def _hub(name: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def _hugging_face(repository: str) -> list[Path]:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "model.safetensors")
    return [Path(found)] if isinstance(found, str) else []
