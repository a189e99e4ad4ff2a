"""A small dataset in memory: indexable, filtered by attributes, and a source of batches with random
access."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from semhead_lib.data.dataset.batches import Row, check_views, choose_views, collate
from semhead_lib.data.dataset.encoding import decode_subject
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.data.dataset.shards import read_listed
from semhead_lib.data.dataset.subset import limited_layout, limited_sample
from semhead_lib.data.subjects import Batch, Subject, all_present
from semhead_lib.devices import threads_of_one_core
from semhead_lib.progress import progress_bar

_HEAVY = ("depth", "normals", "segmentation")


class SubjectsInMemory(Sequence[Subject]):
    """Subjects held as uint8 tensors.

    >>> heads = SubjectsInMemory.load("data/heads")                                   # doctest: +SKIP
    >>> bearded = heads.filter(lambda attributes: attributes["beard"] != "none")      # doctest: +SKIP
    >>> batch = bearded.batch(step=0, subjects_per_batch=8, views_per_subject=4)      # doctest: +SKIP
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        indices: Sequence[int],
        manifest: Manifest,
        of_views: Sequence[Tensor]
        | None = None,  # [V, D] a subject: features that its views are conditioned on, each its own
    ) -> None:
        self._subjects, self.indices, self.manifest = list(subjects), list(indices), manifest
        self.of_views = of_views

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        geometry: Collection[str] = (),
        limit: int | None = None,
        views_limit: int | None = None,
        threads: int = 2,
        progress: bool = False,
    ) -> SubjectsInMemory:
        """Read the dataset in `folder`.

        `geometry` names what to keep of "depth", "normals" and "segmentation" (the rest always is);
        `limit` takes the first subjects only, `views_limit` so many views of each, spread over all
        (`subset.spread_views`). Raises FileNotFoundError, or ValueError naming the file and what is
        wrong.
        """
        folder, manifest = Path(folder), Manifest.load(folder)
        if unknown := set(geometry) - set(_HEAVY):
            raise ValueError(
                f"geometry may name {', '.join(_HEAVY)}, got {', '.join(sorted(unknown))}"
            )
        dropped = {name: None for name in _HEAVY if name not in geometry}
        manifest = replace(manifest, layout=limited_layout(manifest.layout, views_limit))

        def decode(entry: tuple[int, tuple[Path, dict]]) -> Subject:
            index, (path, sample) = entry
            try:
                if views_limit is not None:
                    sample = limited_sample(sample, index, views_limit)
                return replace(decode_subject(sample), **dropped)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None

        samples = islice(
            enumerate(
                (folder / record.name, sample)
                for record in manifest.shards
                for _, sample in read_listed(folder, record)
            ),
            limit,
        )
        subjects: list[Subject] = []
        total = manifest.subjects if limit is None else min(limit, manifest.subjects)
        with (
            threads_of_one_core(threads) as pool,
            progress_bar(total, "subject", shown=progress) as bar,
        ):
            while chunk := list(
                islice(samples, 4 * threads)
            ):  # bounds what is read but not yet decoded
                subjects += pool.map(decode, chunk)
                bar.update(len(chunk))
        return cls(subjects, range(len(subjects)), manifest)

    def __len__(self) -> int:
        return len(self._subjects)

    @overload
    def __getitem__(self, position: int) -> Subject: ...
    @overload
    def __getitem__(self, position: slice) -> list[Subject]: ...
    def __getitem__(self, position: int | slice) -> Subject | list[Subject]:
        return self._subjects[position]

    @property
    def order(self) -> dict[str, int]:
        """What settles the order of the batches, beside the seed: nothing."""
        return {}

    @property
    def digest(self) -> str:
        """Tells these subjects from others: of all that is known of them but pixels."""
        digest = hashlib.sha256()
        for position, subject in enumerate(self._subjects):
            known = (self.indices[position], subject.id, subject.attributes, subject.provenance)
            digest.update(json.dumps(known, sort_keys=True, default=str).encode())
            features = subject.semantic if self.of_views is None else self.of_views[position]
            for tensor in (subject.cameras, features):
                if tensor is not None:
                    digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()[:16]

    def semantics(self, count: int) -> tuple[tuple[str, ...], Tensor]:
        """Names and semantic features [N, D] of the first N <= `count` subjects."""
        first = self._subjects[:count]
        features = all_present((subject.semantic for subject in first), "semantic features")
        return tuple(subject.id for subject in first), torch.stack(features)

    def filter(self, keep: Callable[[dict[str, Any]], bool]) -> SubjectsInMemory:
        """Those whose attributes `keep` accepts; they keep their index of the dataset (`indices`,
        `Batch.subject`)."""
        kept = [i for i, subject in enumerate(self._subjects) if keep(subject.attributes)]
        of_views = self.of_views and [self.of_views[i] for i in kept]
        return SubjectsInMemory(
            [self._subjects[i] for i in kept],
            [self.indices[i] for i in kept],
            self.manifest,
            of_views,
        )

    def batch(
        self,
        step: int,
        subjects_per_batch: int,
        views_per_subject: int = 1,
        *,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
    ) -> Batch:
        """Batch number `step` of rank `rank`: a function of the arguments alone, so any run can go
        on anywhere.

        The ranks together walk through the subjects in a new order each epoch, each subject once
        per epoch; a batch may reach over the end of an epoch. B = subjects_per_batch *
        views_per_subject, views of a subject adjacent.
        Raises ValueError when there are no subjects, or one has fewer views.
        """
        if not self._subjects:
            raise ValueError("there are no subjects to make a batch of")
        if subjects_per_batch < 1 or step < 0 or not 0 <= rank < world_size:
            raise ValueError(
                f"expected subjects_per_batch >= 1, step >= 0 and 0 <= rank < world_size, "
                f"got {subjects_per_batch}, {step}, {rank} and {world_size}"
            )
        check_views(self.manifest.layout, views_per_subject)
        first, rows = (step * world_size + rank) * subjects_per_batch, []
        order = -1, np.arange(0)  # of an epoch
        for place in range(first, first + subjects_per_batch):
            epoch, position = divmod(place, len(self))
            if shuffle and order[0] != epoch:
                order = epoch, np.random.default_rng((seed, epoch)).permutation(len(self))
            position = int(order[1][position]) if shuffle else position
            subject, index = self._subjects[position], self.indices[position]
            chosen = choose_views(seed, epoch, index, len(subject.views), views_per_subject)
            masks = None if subject.masks is None else subject.masks[chosen]
            semantic = (
                subject.semantic if self.of_views is None else self.of_views[position][chosen]
            )
            rows.append(Row(index, subject.views[chosen], subject.cameras[chosen], semantic, masks))
        return collate(rows)

    def batches(
        self, subjects_per_batch: int, views_per_subject: int = 1, *, start: int = 0, **order
    ) -> Iterator[Batch]:
        """Batches number `start`, `start`+1, ... without end; `order` as in `batch`."""
        return (
            self.batch(step, subjects_per_batch, views_per_subject, **order)
            for step in count(start)
        )
