"""Parts of a dataset: its first subjects, and of each as many views as asked for, spread over all.

The views of a subject are stored in an order that goes around the head, so the first of them would
show one side. `spread_views` takes them from all along that order instead: each prefix of its own
order is spread evenly (van der Corput, 1935), from a start that differs from subject to subject, so
that all views of the dataset are used. Fewer views are always a part of more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from semhead_lib.atomic import folder_lock, publish, remove_leftovers
from semhead_lib.data.dataset.encoding import decode_entry
from semhead_lib.data.dataset.entries import encode_image, encode_npy
from semhead_lib.data.dataset.manifest import MANIFEST, Layout, Manifest, Plan
from semhead_lib.data.dataset.sample_info import Sample, decode_info, encode_info
from semhead_lib.data.dataset.shards import read_listed, write_shard
from semhead_lib.data.subjects import Subject

_OF_VIEWS = ("views", "masks", "depth", "normals", "segmentation")
_SEED = 20261128  # of the starts: the same for every dataset, so that a part stays the same part


def spread_views(subject: int, views: int, limit: int | None) -> list[int]:
    """Of the `views` of subject number `subject` those that are used, in their order; None: all.

    >>> spread_views(0, 4, None), len(spread_views(0, 32, 8)), spread_views(0, 4, 9)
    ([0, 1, 2, 3], 8, [0, 1, 2, 3])
    """
    if limit is None or limit >= views:
        return list(range(views))
    start, kept, number = float(np.random.default_rng((_SEED, subject)).random()), set(), 0
    while len(kept) < limit:
        kept.add(int((_van_der_corput(number) + start) % 1.0 * views))
        number += 1
    return sorted(kept)


def _van_der_corput(number: int) -> float:
    """The binary digits of a number behind the point, the last one first.

    >>> [_van_der_corput(i) for i in range(5)]
    [0.0, 0.5, 0.25, 0.75, 0.125]
    """
    value, place = 0.0, 0.5
    while number:
        value, number, place = value + place * (number % 2), number // 2, place / 2
    return value


def limited_layout(layout: Layout, views_limit: int | None) -> Layout:
    """The layout of a dataset whose subjects show `views_limit` views. Raises ValueError for
    anything but an integer of at least one."""
    if views_limit is None:
        return layout
    if isinstance(views_limit, bool) or not isinstance(views_limit, int) or views_limit < 1:
        raise ValueError(f"views_limit must be an integer >= 1 or null, got {views_limit!r:.60}")
    least, most = layout.views_per_subject
    return replace(layout, views_per_subject=(min(least, views_limit), min(most, views_limit)))


def limited_subject(subject: Subject, index: int, views_limit: int | None) -> Subject:
    """Subject number `index` of its dataset with `views_limit` views."""
    kept = spread_views(index, len(subject.views), views_limit)
    if len(kept) == len(subject.views):
        return subject
    present = [f for f in (*_OF_VIEWS, "cameras") if getattr(subject, f) is not None]
    return replace(subject, **{field: getattr(subject, field)[kept] for field in present})


def limited_sample(sample: Sample, index: int, views_limit: int | None) -> dict[str, Any]:
    """The same of an encoded subject: its images stay as they are to the byte."""
    info = decode_info(sample)
    kept = spread_views(index, info.views, views_limit)
    if len(kept) == info.views:
        return dict(sample)
    front = info.frontal_view
    here = replace(info, views=len(kept), frontal_view=kept.index(front) if front in kept else None)
    found = {name: sample[name] for name in ("__key__", "semantic.npy") if name in sample}
    found["cameras.npy"] = encode_npy(decode_entry(sample, info, "cameras.npy")[kept])
    if front is not None and here.frontal_view is None:
        view = decode_entry(sample, info, info.entry("views", front))
        found["frontal.png"] = encode_image(view)
    elif "frontal.png" in sample:
        found["frontal.png"] = sample["frontal.png"]
    for field in info.fields:
        for new, old in enumerate(kept if field in _OF_VIEWS else ()):
            if (name := info.entry(field, old)) in sample:
                found[here.entry(field, new)] = sample[name]
    return found | {"json": encode_info(here)}


def write_part(source: Path | str, out: Path | str, subjects: int, views: int) -> Manifest:
    """Write the first `subjects` of the dataset in `source`, with `views` of each, as a dataset of
    its own into the folder `out`. Nothing is rendered or encoded again.

    A part that is there already is left. Raises FileNotFoundError or ValueError for a bad dataset,
    or one that has fewer subjects or views; FileExistsError when `out` holds something else.
    """
    source, out = Path(source), Path(out)
    for name, value in (("subjects", subjects), ("views", views)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{name} must be an integer, got {value!r:.60}")
    whole = Manifest.load(source)
    least = whole.layout.views_per_subject[0]
    if not 1 <= subjects <= whole.subjects or not 1 <= views <= least:
        raise ValueError(
            f"{source}: has {whole.subjects} subjects of {least} views or more, no part of "
            f"{subjects} with {views}"
        )
    plan = _plan(whole, subjects, views)
    out.mkdir(parents=True, exist_ok=True)
    with folder_lock(out):
        remove_leftovers(out)
        if (out / MANIFEST).exists():
            there = Manifest.load(out)
            if differences := there.plan.differences(plan):
                raise FileExistsError(f"{out} is another dataset: {'; '.join(differences)}")
            return there
        own = {plan.shard_name(number) for number in range(plan.shards())}  # of an interrupted call
        for name in sorted(entry.name for entry in out.iterdir()):
            if name not in own and not name.startswith("."):
                raise FileExistsError(f"{out} holds something else: {name}. Use an empty folder")
        records, layout = [], None
        for number, samples in enumerate(_parts(source, whole, subjects, views)):
            partial, record, found = write_shard(out / plan.shard_name(number), samples)
            publish(partial, out / record.name)
            records.append(record)
            layout = layout.merge(found, record.name) if layout else found
        assert layout is not None  # there are shards
        manifest = Manifest(plan, layout, tuple(records), whole.cameras)
        manifest.save(out)
    return manifest


def _plan(whole: Manifest, subjects: int, views: int) -> Plan:
    """The plan of a part: its source's, and what it is a part of."""
    settings = whole.plan.source.get("settings", {})
    of = {
        "subjects": whole.subjects,
        "views_per_subject": whole.layout.views_per_subject[0],
        "digest": whole.digest,
    }
    settings = {**settings, "views_per_subject": views, "part_of": of}
    return replace(
        whole.plan, subjects=subjects, source={**whole.plan.source, "settings": settings}
    )


def _parts(
    source: Path, whole: Manifest, subjects: int, views: int
) -> Iterator[Iterator[dict[str, Any]]]:
    """The samples of each shard of a part."""
    for record, first in zip(whole.shards, whole.first_subjects, strict=False):
        if first >= subjects:
            return
        yield (
            limited_sample(sample, first + position, views)
            for position, sample in read_listed(source, record)
            if first + position < subjects
        )
