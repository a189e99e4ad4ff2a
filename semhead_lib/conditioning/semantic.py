"""`SemanticEncoder`: CLIP features of images and texts, by any open_clip model or the embedded
headclip-64."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from semhead_lib.conditioning.headclip.recipe import NAME
from semhead_lib.data.subjects import Subject
from semhead_lib.files import read_json, read_tensors

EMBEDDED = NAME
ASSETS = Path(__file__).parents[1] / "assets"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MAPS = 4  # of a transformer, that images are compared by
CONFIG, WEIGHTS = "open_clip_config.json", "model.safetensors"  # of a model folder
_VOCABULARY = "bpe.txt.gz"  # in a model folder: its own vocabulary for open_clip's tokeniser


@dataclass(frozen=True)
class EncoderIdentity:
    """What made a feature. Features of encoders whose weights or preprocessing differ must not be
    mixed.

    >>> str(EncoderIdentity("ViT-B-32/openai", "0123456789abcdef", "224 px, shortest, bicubic"))
    'ViT-B-32/openai [weights 0123456789abcdef; input 224 px, shortest, bicubic]'
    """

    name: str  # as open_clip names it, without paths of this machine
    # first 16 hex digits of the SHA-256 of all tensors in float32, in the order of their names
    weights: str
    preprocessing: str  # size, resizing, normalisation

    def __str__(self) -> str:
        return f"{self.name} [weights {self.weights}; input {self.preprocessing}]"


def same_encoder(one: str, other: str) -> bool:
    """Whether two stored identities mean the same weights and preprocessing, whatever name they
    were loaded by."""
    return one.partition(" [")[2] == other.partition(" [")[2] and " [" in one


def require_encoder(found: str | None, expected: str, where: str) -> None:
    """Raise ValueError unless the features of `where`, made by `found`, are those of the encoder
    `expected`."""
    if not found:
        raise ValueError(f"{where} has no semantic features: run 'semhead data encode {where}'")
    if not same_encoder(found, expected):
        raise ValueError(
            f"{where}: features of two encoders cannot be mixed: there {found}, expected {expected}"
        )


def stacked_semantics(subjects: Iterable[Subject]) -> tuple[Tensor, str]:
    """The features of all subjects, [N, D], and the encoder that made them all.

    Raises ValueError naming the subject that has none, or one of another encoder.
    """
    features, encoder = [], None
    for subject in subjects:
        encoder = encoder or subject.semantic_encoder
        require_encoder(subject.semantic_encoder, encoder or "", f"subject {subject.id}")
        features.append(subject.semantic)
    if encoder is None:
        raise ValueError("there are no subjects to take features of")
    return torch.stack(features), encoder


class SemanticEncoder:
    """A CLIP: images and texts to unit features in one space (Radford et al., 2021).

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
        )  # one of open_clip's, which have no common type
        self._source = source
        self.device, self.dtype, self.batch = torch.device(device), DTYPES[dtype], batch
        self.preprocessing: dict[str, Any] = self._model.visual.preprocess_cfg
        size = self.preprocessing["size"]
        self.resolution = (
            size if isinstance(size, int) else size[0]
        )  # pixels a side of what the model sees
        self.identity = EncoderIdentity(name, _hash(model), _describe(self.preprocessing))
        self._model.to(self.device, memory_format=torch.channels_last)
        self._mean, self._std = (
            torch.tensor(self.preprocessing[key], device=self.device).view(3, 1, 1)
            for key in ("mean", "std")
        )
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
                with open_clip_config.json and weights, as `semhead headclip train` writes it.
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
        source, weights, shown = parse_name(name)
        return cls(_create(source, weights, name), source, shown, pick_device(device), dtype, batch)

    def encode(
        self, images: Tensor
    ) -> Tensor:  # [B, 3, H, W] float in [-1, 1] -> [B, D] float32, unit length
        """Features of one batch, with gradients to the images."""
        prepared = self._prepare(images.to(self.device).float() * 0.5 + 0.5)
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
        ValueError for a model whose stages open_clip cannot give.
        """
        if not hasattr(self._model.visual, "forward_intermediates"):
            raise ValueError(f"encoder {self.identity.name} does not give its intermediate maps")
        prepared = self._prepare(images.to(self.device).float() * 0.5 + 0.5)
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
                prepared = [self._resize(p[None].to(self.device).float() / 255) for p in part]
                features.append(self.encode(torch.cat(prepared) * 2 - 1).cpu())
        return torch.cat(features) if features else torch.zeros(0, self.dimension)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:  # -> [N, D] float32, unit length, on the CPU
        """Features of texts. What is longer than the model's context is cut off at its end. Raises
        ValueError naming a vocabulary that is damaged, missing, or of another model."""
        if isinstance(texts, str):
            raise ValueError(f"texts must be a list of texts, got the one text {texts!r:.80}")
        if self._tokens is None:
            self._tokens = self._tokeniser()
        features = [torch.zeros(0, self.dimension)]
        for start in range(0, len(texts), self.batch):
            tokens = self._tokens(list(texts[start : start + self.batch])).to(self.device)
            with self._autocast():
                part = self._model.encode_text(tokens)
            features.append(F.normalize(part.float(), dim=-1).cpu())
        return torch.cat(features)

    def _tokeniser(self) -> Any:
        """open_clip's, with the vocabulary in the model's folder where there is one."""
        import open_clip

        own = Path(self._source.removeprefix("local-dir:")) / _VOCABULARY
        options: dict[str, Any] = {"bpe_path": str(own)} if own.is_file() else {}
        try:
            with _quiet():
                tokens = open_clip.get_tokenizer(self._source, **options)
        except Exception as error:  # damage is met with many kinds of exceptions
            words = " ".join(str(error).split())[:200]
            raise ValueError(f"{own}: is no readable vocabulary: {words}") from error
        text: Any = getattr(self._model, "text", self._model)
        its, wanted = getattr(tokens, "vocab_size", None), getattr(text, "vocab_size", None)
        if its and wanted and (its > wanted or (options and its != wanted)):
            found = "its vocabulary has" if options else "is missing, and open_clip's own has"
            raise ValueError(f"{own}: {found} {its} tokens, the model {wanted}")
        return tokens

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

    def _prepare(self, images: Tensor) -> Tensor:  # [B, 3, H, W] in [0, 1] -> as the model wants it
        return (self._resize(images) - self._mean) / self._std

    def _resize(self, images: Tensor) -> Tensor:
        """As open_clip's own transform resizes PIL images; differentiable."""
        how, size, (h, w) = self.preprocessing["resize_mode"], self.resolution, images.shape[-2:]
        if (h, w) == (size, size):
            return images
        if how == "squash":
            height, width = size, size
        else:
            side, whole = (min(h, w), int) if how == "shortest" else (max(h, w), round)
            height, width = max(whole(size * h / side), 1), max(whole(size * w / side), 1)
        mode = "bilinear" if self.preprocessing["interpolation"] == "bilinear" else "bicubic"
        resized = F.interpolate(
            images, size=(height, width), mode=mode, antialias=True, align_corners=False
        )
        resized = resized.clamp(0, 1)
        if how == "longest":
            top, left = (size - height) // 2, (size - width) // 2
            fill = self.preprocessing["fill_color"] / 255
            return F.pad(resized, (left, size - width - left, top, size - height - top), value=fill)
        top, left = round((height - size) / 2), round((width - size) / 2)
        return resized[..., top : top + size, left : left + size]

    def _autocast(self):
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def parse_name(name: str) -> tuple[str, str | None, str]:
    """What open_clip calls the model, its weights (None when they belong to it), and the name to
    show.

    Raises ValueError with the names that there are.

    >>> parse_name("ViT-L-14/openai")
    ('ViT-L-14', 'openai', 'ViT-L-14/openai')
    >>> parse_name("ViT-B-32")
    Traceback (most recent call last):
    ValueError: encoder 'ViT-B-32' needs weights: 'ViT-B-32/TAG' or 'ViT-B-32/FILE'; tags: ...
    """
    import open_clip

    if name == EMBEDDED:
        return f"local-dir:{ASSETS / EMBEDDED}", None, EMBEDDED
    if name.startswith("hf-hub:"):
        return name, None, name
    folder = Path(name.removeprefix("local-dir:"))
    if (folder / "open_clip_config.json").is_file():
        return f"local-dir:{folder}", None, "local-dir"
    if name.startswith(("local-dir:", "/", ".", "~")):
        raise ValueError(f"encoder {name!r}: {folder} holds no open_clip_config.json")
    model, _, weights = name.partition("/")
    if model not in open_clip.list_models():
        near = difflib.get_close_matches(
            model, [EMBEDDED, *open_clip.list_models()], n=3, cutoff=0.4
        )
        raise ValueError(
            f"encoder {name!r}: open_clip knows no model {model!r}; near it: {', '.join(near) or 'none'}"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if not weights:
        raise ValueError(
            f"encoder {name!r} needs weights: '{model}/TAG' or '{model}/FILE'; tags: {', '.join(tags)}"
        )
    if weights in tags:
        return model, weights, name
    if not Path(weights).is_file():
        raise ValueError(
            f"encoder {name!r}: {weights!r} is no file and no tag of {model}; tags: {', '.join(tags)}"
        )
    return model, weights, model


def _create(source: str, weights: str | None, name: str) -> torch.nn.Module:
    import open_clip

    fetched = not source.startswith("local-dir:") and not (weights and Path(weights).is_file())
    if not fetched:
        _check_files(source, weights)
    try:
        with _quiet():
            return open_clip.create_model(source, pretrained=weights, require_pretrained=True)
    except (
        Exception
    ) as error:  # of the network, the hub, the file: all mean that there is no such encoder here
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        if not fetched:
            files = weights or f"{CONFIG} and {WEIGHTS}"
            raise ValueError(f"encoder {name!r} cannot be loaded from {files}: {reason}") from error
        call = f"open_clip.create_model({source!r}" + (
            f", pretrained={weights!r})" if weights else ")"
        )
        raise RuntimeError(
            f"the weights of encoder {name!r} are not on this machine and could not be fetched ({reason}). "
            f'Fetch them where there is a network: python -c "import open_clip; {call}". '
            f"Without them use the embedded default: encoder={EMBEDDED}"
        ) from error


def _check_files(source: str, weights: str | None) -> None:
    """Raise ValueError naming a file of an encoder that is damaged, holds numbers that are not
    finite, or is a TorchScript archive, as OpenAI's weights of CLIP are: that is a program, and none
    is run here."""
    folder = Path(source.removeprefix("local-dir:"))
    if not weights:
        read_json(folder / CONFIG)
        for place in folder.iterdir():  # open_clip takes weights by any of many names
            if place.exists() and not (place.is_file() or place.is_dir()):
                raise ValueError(f"{place}: is no file that can be read to an end")
        weights = str(folder / WEIGHTS)
    path = Path(weights)
    if path.suffix == ".safetensors" and path.is_file():
        read_tensors(path)
    elif path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            code = any(name.partition("/")[2].startswith("code/") for name in archive.namelist())
        if code:
            raise ValueError(
                f"{path}: is a TorchScript archive, which is a program; expected tensors. In place "
                "of OpenAI's files name the tag, as ViT-B-32/openai: open_clip has them as tensors"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip logs what its exceptions say anyway."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _hash(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().float().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _describe(preprocessing: dict[str, Any]) -> str:
    p = preprocessing
    size = p["size"] if isinstance(p["size"], int) else "x".join(map(str, p["size"]))
    numbers = " ".join(json.dumps([round(float(x), 6) for x in p[key]]) for key in ("mean", "std"))
    return f"{size} px, {p['resize_mode']}, {p['interpolation']}, mean and std {numbers}"
