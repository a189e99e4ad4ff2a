"""The types that every dataset yields: a `Subject` (one head, all its views) and a `Batch` (what
training sees)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from semhead_lib.cameras import check_cameras

_ID = re.compile(
    r"[A-Za-z0-9_-]{1,80}"
)  # a file name on every system, and what WebDataset takes as one key


@dataclass(frozen=True)
class Subject:
    """One head seen from V cameras, under one identity, hair style, expression and light.

    `validate` says what is wrong with one; readers and writers call it.
    """

    id: str  # unique in its dataset: 1 to 80 letters, digits, '_' and '-'
    views: Tensor  # [V, 3, H, W] uint8 RGB
    cameras: Tensor  # [V, 25] float32
    # [3, H, W] uint8 RGB: azimuth 0, elevation 0, neutral light; where semantics come from
    frontal: Tensor
    masks: Tensor | None = None  # [V, H, W] uint8 coverage of the head: 0 background, 255 subject
    depth: Tensor | None = None  # [V, H, W] float32 camera z in scene units, 0 where nothing is hit
    normals: Tensor | None = (
        None  # [V, 3, H, W] uint8 world normals, 127.5 * (n + 1); 0 where nothing is hit
    )
    segmentation: Tensor | None = None  # [V, H, W] uint8 class of the surface, 0 background
    semantic: Tensor | None = None  # [D] float32 unit feature of the frontal view
    semantic_encoder: str | None = None  # identity of the encoder that made `semantic`
    attributes: dict[str, Any] = field(default_factory=dict)  # JSON: what is known of the subject
    caption: str = ""  # one English sentence
    provenance: dict[str, Any] = field(default_factory=dict)  # JSON: source, versions, seed
    licence: str = ""  # SPDX identifier or a sentence

    def validate(self) -> Subject:
        """Return self, or raise ValueError naming the field, what was expected and what came."""
        if not _ID.fullmatch(self.id):
            raise ValueError(
                f"subject id must be 1 to 80 letters, digits, '_' or '-', got {self.id!r}"
            )
        v, _, h, w = self.views.shape if self.views.ndim == 4 else (0, 0, 0, 0)
        expected = {
            "views": ((v, 3, h, w), torch.uint8),
            "cameras": ((v, 25), torch.float32),
            "frontal": ((3, h, w), torch.uint8),
            "masks": ((v, h, w), torch.uint8),
            "depth": ((v, h, w), torch.float32),
            "normals": ((v, 3, h, w), torch.uint8),
            "segmentation": ((v, h, w), torch.uint8),
        }
        for name, (shape, dtype) in expected.items():
            if (
                name in ("masks", "depth", "normals", "segmentation")
                and getattr(self, name) is None
            ):
                continue
            value: Tensor = getattr(self, name)
            if v == 0 or tuple(value.shape) != shape or value.dtype != dtype:
                raise ValueError(
                    f"subject {self.id}: {name} must be {dtype} of shape {list(shape)}, "
                    f"got {value.dtype} of shape {list(value.shape)}"
                )
        if self.semantic is not None:
            if (
                self.semantic.ndim != 1
                or self.semantic.dtype != torch.float32
                or not self.semantic.isfinite().all()
            ):
                raise ValueError(
                    f"subject {self.id}: semantic must be finite torch.float32 numbers of shape "
                    "[D], "
                    f"got {self.semantic.dtype} of shape {list(self.semantic.shape)}"
                )
            if not self.semantic_encoder:
                raise ValueError(
                    f"subject {self.id}: semantic needs semantic_encoder, the identity of what "
                    "made it"
                )
        check_cameras(self.cameras, f"subject {self.id}: cameras")
        return self


def all_present(tensors: Iterable[Tensor | None], what: str) -> list[Tensor]:
    """The tensors of all subjects. Raises ValueError when one is missing, naming `what` they are."""
    found = list(tensors)
    there = [tensor for tensor in found if tensor is not None]
    if len(there) < len(found):
        raise ValueError(f"{len(found) - len(there)} of {len(found)} subjects have no {what}")
    return there


@dataclass(frozen=True)
class Batch:
    """Images with what conditions them. Row i of every tensor belongs to image i."""

    images: Tensor  # [B, 3, H, W] uint8
    cameras: Tensor  # [B, 25] float32
    subject: Tensor  # [B] int64 index of the subject in its dataset
    semantics: Tensor | None = None  # [B, D] float32, None when the dataset has no features yet
    masks: Tensor | None = None  # [B, 1, H, W] uint8 coverage of the head

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """The same batch on `device`."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(
            self,
            **{
                k: v.to(device, non_blocking=non_blocking)
                for k, v in moved.items()
                if v is not None
            },
        )

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (`torch.utils.data.DataLoader` calls this)."""
        pinned = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v.pin_memory() for k, v in pinned.items() if v is not None})

    def __len__(self) -> int:
        return len(self.images)


class SubjectSource(Protocol):
    """Where subjects come from. `subject(i)` depends on the source's settings and i alone, never on
    earlier calls.

    Building one should be cheap (models load at the first `subject`), because each worker process
    builds its own and the process that starts them builds one to ask for its settings.
    """

    @property
    def name(self) -> str:
        """ "parametric", "kontext", ..."""
        ...

    @property
    def licence(self) -> str:
        """Of what the source makes."""
        ...

    def describe(self) -> dict[str, Any]:
        """All settings that change what is made, as JSON: the dataset's provenance, and what a
        resume compares."""
        ...

    def subject(self, index: int) -> Subject:
        """Make subject `index`."""
        ...


def age_group(age: int) -> str:
    """The word for an age in years.

    >>> [age_group(age) for age in (16, 30, 50, 70)]
    ['teenage', 'young', 'middle-aged', 'old']
    """
    return "teenage" if age < 20 else "young" if age < 35 else "middle-aged" if age < 58 else "old"
