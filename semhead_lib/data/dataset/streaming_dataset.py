"""A dataset of any size as a source of training batches: read while it is used, never held."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from semhead_lib.data.dataset.encoding import decode_entry
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.data.dataset.sample_info import decode_info
from semhead_lib.data.dataset.shards import read_listed
from semhead_lib.data.dataset.streaming import SubjectStream
from semhead_lib.data.dataset.subset import limited_layout
from semhead_lib.data.subjects import Batch


class SubjectsOnDisk:
    """What `SubjectsInMemory` is to a training, for datasets that do not fit: the same batches'
    shapes, another order.

    Args:
        folder: the dataset.
        views_limit: views of each subject that are used, spread over all; None: all.
        workers: processes of this rank that read and decode; 0 reads between the steps. A training
            goes on as it would have only with the same number.
        shuffle: subjects a worker shuffles among, on top of the shuffled shards.
        device: of the training; for "cuda" batches are laid out for a fast copy.

    Raises FileNotFoundError or ValueError for a bad dataset or arguments.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        views_limit: int | None = None,
        workers: int = 2,
        shuffle: int = 1024,
        device: str = "cpu",
    ) -> None:
        if workers < 0:
            raise ValueError(f"workers must be at least 0, got {workers}")
        self.folder, manifest = Path(folder), Manifest.load(folder)
        self.manifest = replace(manifest, layout=limited_layout(manifest.layout, views_limit))
        self.views_limit = views_limit
        self.workers, self.shuffle, self.device = workers, shuffle, device

    def __len__(self) -> int:
        return self.manifest.subjects

    @property
    def order(self) -> dict[str, int]:
        """What settles the order of the batches, beside the seed."""
        order = {"stream_workers": self.workers, "stream_shuffle": self.shuffle}
        return order if self.views_limit is None else order | {"views_limit": self.views_limit}

    @property
    def digest(self) -> str:
        """Tells this dataset from others: of the checksums of its shards."""
        return self.manifest.digest

    def semantics(self, count: int) -> tuple[tuple[str, ...], Tensor]:
        """Names and semantic features [N, D] of the first N <= `count` subjects. Raises ValueError
        naming the file."""
        names, features = [], []
        for path, sample in islice(self._bare(), count):
            try:
                info = decode_info(sample)
                features.append(decode_entry(sample, info, "semantic.npy"))
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            names.append(info.id)
        return tuple(names), torch.stack(features)

    def batches(
        self,
        subjects_per_batch: int,
        views_per_subject: int = 1,
        *,
        start: int = 0,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[Batch]:
        """Batches number `start`, `start`+1, ... of a rank, without end. Raises ValueError or
        OSError naming the file."""
        stream = SubjectStream(
            self.folder,
            subjects_per_batch,
            views_per_subject,
            views_limit=self.views_limit,
            seed=seed,
            shuffle=self.shuffle,
            start=start,
            rank=rank,
            world_size=world_size,
        )
        loader = DataLoader(
            stream,
            batch_size=None,
            num_workers=self.workers,
            worker_init_fn=_leave_signals_to_the_training,
            pin_memory=self.device == "cuda",
            generator=torch.Generator(),
        )
        try:
            yield from loader
        except (
            ValueError,
            OSError,
        ) as error:  # of a worker: with its whole traceback, the message last
            message = str(error).strip().splitlines()[-1]
            raise type(error)(message.removeprefix(f"{type(error).__name__}: ")) from None

    def _bare(self) -> Iterator[tuple[Path, dict]]:
        """The subjects in order, without their images."""
        for record in self.manifest.shards:
            path = self.folder / record.name
            for _, sample in read_listed(
                self.folder,
                record,
                lambda _, names: [n for n in names if n in ("json", "semantic.npy")],
            ):
                yield path, sample


def _leave_signals_to_the_training(worker: int) -> None:
    """A Ctrl-C reaches all processes of a terminal; the training finishes its step and then ends
    its readers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
