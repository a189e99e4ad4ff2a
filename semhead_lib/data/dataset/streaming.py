"""Streaming a dataset that does not fit in memory: sequential reads, shuffled, shared out exactly,
resumable.

The order is settled before anything is read. In each epoch the shards are put in a random order and
their subjects numbered through; each reader (a DataLoader worker of a rank) owns one contiguous
range of these numbers, so that the readers share every epoch without gap or overlap and differ by
at most one subject. Within its range a reader shuffles as with a buffer of `shuffle` subjects, then
reads front to back, holding no more than that many at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from semhead_lib.cameras import LABEL_LENGTH, check_cameras
from semhead_lib.data.dataset.batches import Row, check_views, choose_views, collate
from semhead_lib.data.dataset.encoding import decode_entry
from semhead_lib.data.dataset.entries import decode_npy
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.data.dataset.sample_info import Sample, decode_info
from semhead_lib.data.dataset.shards import read_listed
from semhead_lib.data.dataset.subset import limited_layout, spread_views
from semhead_lib.data.subjects import Batch


class SubjectStream(IterableDataset[Batch]):
    """Batches of a dataset folder, for `torch.utils.data.DataLoader(stream, batch_size=None,
    num_workers=...)`.

    Args:
        folder: the dataset.
        subjects_per_batch: subjects in a batch.
        views_per_subject: different views of each, adjacent in the batch: B is the product of both.
        views_limit: views of each subject that are used, spread over all (`subset.spread_views`).
            None: all.
        seed: of the order and of the views chosen; give all ranks the same.
        shuffle: subjects a reader shuffles among, on top of the shuffled shards; 0 keeps the
            dataset's order.
        epochs: passes over the data, each seeing every subject once; the last batch of a reader may
            then be smaller. None: without end, full batches only (a batch may reach over the end of
            an epoch).
        start: batches the DataLoader of this rank has already given, to go on behind them (endless
            streams only, with the same number of ranks and DataLoader workers). Costs no decoding.
        rank, world_size: of this process; by default those of torch.distributed, when it is
            initialised.

    Raises FileNotFoundError or ValueError from the constructor for a bad dataset or arguments;
    while iterating, ValueError naming the file that is wrong, or saying that there are more readers
    than subjects.
    """

    def __init__(
        self,
        folder: Path | str,
        subjects_per_batch: int,
        views_per_subject: int = 1,
        *,
        views_limit: int | None = None,
        seed: int = 0,
        shuffle: int = 1024,
        epochs: int | None = None,
        start: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self.folder, self.manifest = Path(folder), Manifest.load(folder)
        check_views(limited_layout(self.manifest.layout, views_limit), views_per_subject)
        self.views_limit = views_limit
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = (
            rank if rank is not None else (torch.distributed.get_rank() if distributed else 0)
        )
        self.world_size = (
            world_size
            if world_size is not None
            else (torch.distributed.get_world_size() if distributed else 1)
        )
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must be within 0 to {self.world_size - 1}, got {self.rank}")
        if (
            subjects_per_batch < 1
            or shuffle < 0
            or start < 0
            or (epochs is not None and epochs < 1)
        ):
            raise ValueError(
                "expected subjects_per_batch >= 1, shuffle >= 0, start >= 0 and epochs >= 1 or "
                "None, "
                f"got {subjects_per_batch}, {shuffle}, {start} and {epochs}"
            )
        if start and epochs is not None:
            raise ValueError(f"start works for endless streams (epochs=None), got epochs={epochs}")
        self.subjects_per_batch, self.views_per_subject = subjects_per_batch, views_per_subject
        self.seed, self.shuffle, self.epochs, self.start = seed, shuffle, epochs, start

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        role = (
            worker + self.start
        ) % workers  # batch i of a DataLoader comes from worker i modulo workers
        given = max(
            0, -(-(self.start - role) // workers)
        )  # batches that this role gave before `start`
        rows: list[Row] = []
        for row in self._rows(
            self.rank * workers + role, self.world_size * workers, given * self.subjects_per_batch
        ):
            rows.append(row)
            if len(rows) == self.subjects_per_batch:
                yield collate(rows)
                rows = []
        if rows:
            yield collate(rows)

    def _rows(self, reader: int, readers: int, skip: int) -> Iterator[Row]:
        """What `reader` of `readers` gives, but the first `skip`."""
        subjects = self.manifest.subjects
        if readers > subjects:
            raise ValueError(
                f"{self.folder} has {subjects} subjects, too few for {readers} readers (ranks x "
                "workers)"
            )
        low, high = reader * subjects // readers, (reader + 1) * subjects // readers
        skipped_epochs, skip = divmod(skip, high - low)
        for epoch in count(skipped_epochs) if self.epochs is None else range(self.epochs):
            order = _buffered_order(
                high - low, self.shuffle, np.random.default_rng((self.seed, epoch, reader))
            )
            yield from self._in_order(epoch, low, high, order[skip:])
            skip = 0

    def _in_order(self, epoch: int, low: int, high: int, order: np.ndarray) -> Iterator[Row]:
        """The rows at places `low + order`, reading places `low` to `high` of the epoch front to
        back."""
        waiting: dict[int, tuple[int, Path, Sample]] = {}
        wanted, targets = set(order.tolist()), iter(order.tolist())
        target = next(targets, None)
        for place, subject, path, sample in self._read(epoch, low, high, wanted):
            waiting[place] = subject, path, sample
            while target in waiting:
                yield self._row(epoch, *waiting.pop(target))
                target = next(targets, None)

    def _read(
        self, epoch: int, low: int, high: int, wanted: set[int]
    ) -> Iterator[tuple[int, int, Path, Sample]]:
        """Places `low` to `high` of an epoch: (place - low, subject index, shard, the entries a
        batch needs)."""
        shards = np.arange(len(self.manifest.shards))
        if self.shuffle:
            shards = np.random.default_rng((self.seed, epoch)).permutation(shards)
        begin = 0
        for shard in shards.tolist():
            record, first = self.manifest.shards[shard], self.manifest.first_subjects[shard]
            offset, begin = begin - low, begin + record.subjects
            inside = range(max(0, -offset), min(record.subjects, high - low - offset))
            chosen = [position for position in inside if position + offset in wanted]
            if not chosen:
                continue

            def choose(
                position: int, names: list[str], first=first, chosen=frozenset(chosen)
            ) -> list[str] | None:
                return self._entries(epoch, first + position, names) if position in chosen else None

            path = self.folder / record.name
            for position, sample in read_listed(self.folder, record, choose):
                yield position + offset, first + position, path, sample
                if position == chosen[-1]:
                    break

    def _views(self, epoch: int, subject: int, views: int) -> list[int]:
        kept = spread_views(subject, views, self.views_limit)
        chosen = choose_views(self.seed, epoch, subject, len(kept), self.views_per_subject)
        return [kept[i] for i in chosen]

    def _entries(self, epoch: int, subject: int, names: list[str]) -> list[str]:
        """Of the entries of a subject those that this epoch's batch needs."""
        views = self._views(epoch, subject, sum(name.startswith("view_") for name in names))
        stems = {
            "json",
            "cameras",
            "semantic",
            *(f"{s}_{v:03d}" for s in ("view", "mask") for v in views),
        }
        return [name for name in names if name.partition(".")[0] in stems]

    def _row(self, epoch: int, subject: int, path: Path, sample: Sample) -> Row:
        try:
            info = decode_info(sample)
            views = self._views(epoch, subject, info.views)

            def stack(field: str) -> torch.Tensor:
                return torch.stack(
                    [decode_entry(sample, info, info.entry(field, view)) for view in views]
                )

            cameras = decode_npy(
                sample.get("cameras.npy", b""), f"{info.id}.cameras.npy", (info.views, LABEL_LENGTH)
            )
            cameras = cameras[views]  # of many views few are used, so only those are checked
            check_cameras(cameras, f"{info.id}.cameras.npy: views {views}")
            return Row(
                subject=subject,
                views=stack("views"),
                cameras=cameras,
                semantic=decode_entry(sample, info, "semantic.npy")
                if "semantic" in info.fields
                else None,
                masks=stack("masks") if "masks" in info.fields else None,
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _buffered_order(length: int, buffer: int, generator: np.random.Generator) -> np.ndarray:
    """The order in which a shuffle buffer of that size gives 0 .. length-1: each is at most
    `buffer` places early.

    >>> _buffered_order(4, 0, np.random.default_rng(0)).tolist()
    [0, 1, 2, 3]
    """
    if buffer < 2:
        return np.arange(length)
    held = list(range(min(buffer, length)))
    order = np.empty(length, dtype=np.int64)
    picks = (
        generator.integers(len(held), size=max(0, length - buffer))
        if held
        else np.empty(0, dtype=np.int64)
    )
    for place, pick in enumerate(picks.tolist()):
        order[place], held[pick] = held[pick], place + buffer
    order[len(picks) :] = generator.permutation(held)
    return order
