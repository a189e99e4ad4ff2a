"""What turning many portraits around takes: images, GPU hours and bytes, from measured speeds."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from semhead_lib.data.dataset.encoding import encode_subject
from semhead_lib.data.dataset.entries import encode_image
from semhead_lib.data.kontext.editor import Editor
from semhead_lib.data.kontext.prompts import instruction, views_of
from semhead_lib.data.subjects import SubjectSource

REPORTED = (  # of the paper, in published notes on it
    "as reported, the paper's 11.2 million images (350,000 photographs, 32 views of each) took "
    "400 A10 for 26 days: about 250,000 device hours, 80 s a kept image"
)


@dataclass(frozen=True)
class Cost:
    """An estimate for a whole dataset."""

    subjects: int
    views: int  # kept in the end, the portraits' own included
    made: float  # images that the editor makes
    hours: float  # of one device
    bytes: float  # of the views on the disk

    @property
    def seconds(self) -> float:
        """Of one device, for each view that is kept."""
        return 3600 * self.hours / max(self.views, 1)

    def __str__(self) -> str:
        return (
            f"{self.subjects:,} subjects, {self.views:,} views kept, {self.made:,.0f} images "
            "made, "
            f"{self.hours:,.0f} device hours, {_size(self.bytes)}"
        )


def estimate(
    subjects: int,
    views_per_subject: int,  # the frontal one included
    *,
    tries: int,
    attempts: int,
    passing: float,  # share of the images that pass all checks
    images_per_second: float,  # of one device
    bytes_per_view: float,
    complete: bool = False,  # a subject of which a view failed at last keeps its own portrait alone
    frontalised: float = 0.0,  # share of the portraits that a frontal view is made of first
) -> Cost:
    """The cost of a dataset. A view is asked for `tries` times at once, at most `attempts` times,
    until one passes.

    A view is settled after an attempt with chance q = 1 - (1 - passing)^tries, so it takes (1 - (1
    - q)^attempts) / q attempts on average, and fails at last with (1 - q)^attempts. Frontal views of
    portraits cost as much as others, and are taken to succeed in the end. Raises ValueError for
    numbers out of range.

    >>> estimate(100, 13, tries=1, attempts=3, passing=0.5, images_per_second=1.0, bytes_per_view=1e6).made
    2100.0
    """
    if not 0 <= frontalised <= 1:
        raise ValueError(f"frontalised must be 0 to 1, got {frontalised}")
    numbers = dict(
        subjects=subjects, tries=tries, attempts=attempts, images_per_second=images_per_second
    )
    for name, value in numbers.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    if not 0 < passing <= 1:
        raise ValueError(f"passing must be more than 0 and at most 1, got {passing}")
    settled = 1 - (1 - passing) ** tries
    each = tries * (1 - (1 - settled) ** attempts) / settled
    made = subjects * (views_per_subject - 1 + frontalised) * each
    succeeds = (1 - (1 - settled) ** attempts) ** (views_per_subject - 1 if complete else 1)
    kept = round(subjects * (1 + (views_per_subject - 1) * succeeds))
    return Cost(subjects, kept, made, made / images_per_second / 3600, kept * bytes_per_view)


def measure(
    editor: Editor, portrait: Tensor, resolution: int, images: int = 4
) -> tuple[float, float]:
    """Images a second of this machine's device, the first batch left out, and bytes of a stored
    view."""
    from semhead_lib.data.portraits.crop import resized

    views = views_of(0)[1 : images + 1]
    words, seeds = [instruction(view) for view in views], list(range(len(views)))
    editor.edit([portrait], words[:1], seeds[:1])  # loads, compiles
    began = time.perf_counter()
    made = editor.edit([portrait] * len(views), words, seeds)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    size = sum(len(encode_image(resized(image, (resolution, resolution)))) for image in made) / len(
        made
    )
    return len(views) / seconds, size


def measure_subject(source: SubjectSource) -> tuple[float, float]:
    """Images a second of this process, and bytes of a stored view, of a source that makes whole
    subjects."""
    source.subject(0)  # loads
    began = time.perf_counter()
    made = source.subject(1)
    seconds = time.perf_counter() - began
    size = sum(
        len(content) for content in encode_subject(made).values() if isinstance(content, bytes)
    )
    return (len(made.views) + 1) / seconds, size / (len(made.views) + 1)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:,.1f} {unit}"
        count /= 1000
    raise AssertionError
