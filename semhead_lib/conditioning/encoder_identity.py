"""Which encoder made a feature: its name, a digest of its weights, and its preprocessing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from semhead_lib.data.subjects import Subject


@dataclass(frozen=True)
class EncoderIdentity:
    """What made a feature. Features of encoders whose weights or preprocessing differ must not be
    mixed.

    >>> str(EncoderIdentity("ViT-B-32/openai", "0123456789abcdef", "224 px, shortest, bicubic"))
    'ViT-B-32/openai [weights 0123456789abcdef; input 224 px, shortest, bicubic]'
    """

    name: str  # as open_clip or timm names it, without paths of this machine
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


def weights_digest(model: nn.Module) -> str:
    """The digest of an identity, of all tensors of a model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().float().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
