"""Datasets of parametric heads, and the semantic features of images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from semhead_lib.conditioning.frontal.network import predict_fronts, predictor_for
from semhead_lib.conditioning.semantic import EMBEDDED, SemanticEncoder
from semhead_lib.data.portraits.photos import as_photo
from semhead_lib.devices import pick_device, worker_processes
from semhead_lib.heads import AnyImage


def synthesize(
    out: Path | str,
    subjects: int,
    *,
    encoder: str | SemanticEncoder = EMBEDDED,
    workers: int = 0,
    device: str = "auto",
    progress: bool = True,
    **settings: Any,
) -> Path:
    """Make a dataset of parametric heads with their semantic features; returns its folder.

    The same call resumes, and returns at once for a finished dataset.

    Args:
        out: folder to write.
        subjects: number of heads, each rendered from several views and once from the front.
        encoder: the encoder of the semantic features, by name or loaded.
        workers: processes; 0: one per core, or none if OMP_NUM_THREADS is 1.
        settings: of `semhead_lib.data.parametric.source.ParametricSource`, such as seed=0,
            resolution=128, views_per_subject=8, channels=("depth",).

    Raises ValueError for settings out of range, or if the folder holds another dataset;
    ModuleNotFoundError without the extra `data`.
    """
    from semhead_lib.data.dataset.semantics import fill_semantics
    from semhead_lib.data.jobs.synthesis import synthesize as make
    from semhead_lib.data.parametric.source import ParametricSource

    if isinstance(encoder, str):
        encoder = SemanticEncoder.load(encoder, device=device)
    source = partial(ParametricSource, device=pick_device(device), **settings)
    make(source, out, subjects, workers=worker_processes(workers), progress=progress)
    identity, batch = str(encoder.identity), encoder.batch
    fill_semantics(out, encoder.images, identity, batch=batch, progress=progress)
    return Path(out)


def encode(
    image: AnyImage,
    encoder: str = EMBEDDED,
    *,
    front: bool = False,
    device: str = "auto",
) -> Tensor:  # [D] float32, unit length
    """The semantic feature of an image, which generators are conditioned on.

    Args:
        image: a head, cropped as in the data: a file, a PIL image, a uint8 array [H, W, 3] or a
            uint8 tensor [3, H, W].
        front: predict the feature of the frontal view (`conditioning.frontal`), for photographs and
            for images that are not frontal.
        encoder: "headclip-64", an open_clip "MODEL/WEIGHTS", "timm/NAME", or a folder
            (`SemanticEncoder.load`).

    Raises ValueError for an invalid image or encoder, or with `front`, an encoder without a
    predictor; RuntimeError if the weights cannot be fetched.

    >>> import torch
    >>> encode(torch.zeros(3, 64, 64, dtype=torch.uint8)).shape
    torch.Size([128])
    """
    clip, photo = SemanticEncoder.load(encoder, device=device), as_photo(image)
    if not front:
        return clip.images([photo])[0]
    return predict_fronts(clip, predictor_for(clip), photo[None]).features[0]
