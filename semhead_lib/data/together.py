"""Making one dataset by many processes on many machines, started and lost at any time, on a folder that all see.

Shards are claimed (`claims`), made under names of their makers, and settled: of a shard that two have made, one counts.
Whoever finds all shards settled gives them their names, writes `dataset.json`, and puts the claims away; doing so
twice changes nothing. So no process leads, and any number may join or be killed at any time.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from semhead_lib.data.claims import Claims
from semhead_lib.data.files import partial_path, publish, remove_leftovers
from semhead_lib.data.manifest import (
    MANIFEST,
    Layout,
    Manifest,
    Plan,
    ShardRecord,
    merged_layout,
    parse_layout,
    parse_plan,
    parse_record,
)
from semhead_lib.data.synthesis import CLAIMS, LOG, SynthesisReport, compare_plans, make_plan
from semhead_lib.data.workers import SourceFactory, make_shard

_PLAN = "plan"  # settled by whoever comes first


def synthesize_together(
    make_source: SourceFactory,
    out: Path | str,
    subjects: int,
    *,
    shard_size: int = 32,
    seed: int | None = None,
    image_format: str = "png",
    rank: int = 0,
    ranks: int = 1,
    lease: float = 120.0,
    progress: bool = True,
) -> SynthesisReport:
    """Make subjects 0 .. `subjects`-1 of a source in `out`, with all others who are called so, until all are made.

    The bytes are those of `synthesize`, where the source's own are always the same.

    Args:
        rank, ranks: this process's place among those started at once: each begins elsewhere.
        lease: seconds without a sign of life after which another process takes a shard over.
        Others as of `synthesize`.

    Raises:
        ValueError: an argument is out of range, or the settings differ from those `out` was begun with.
        FileExistsError: `out` holds something else, or a dataset that one process alone is making.
        SynthesisError: a subject failed. The others go on, and meet it too.
        OSError: `out` cannot be written.
    """
    if not 0 <= rank < ranks:
        raise ValueError(f"rank must be 0 to {ranks - 1}, got {rank}")
    start, out, source = time.perf_counter(), Path(out), make_source()
    plan = make_plan(source, subjects, shard_size, image_format, seed)
    out.mkdir(parents=True, exist_ok=True)
    if (out / MANIFEST).exists():
        return SynthesisReport(_finished(out, plan), 0, 0, time.perf_counter() - start)
    if (out / LOG).exists():
        raise FileExistsError(f"{out} is being made by one process: the same command without engine=together goes on")
    folder = out / CLAIMS
    if not folder.exists() and any(path for path in out.iterdir() if not path.name.startswith(".")):
        raise FileExistsError(f"{out} is not empty and holds no dataset of ours; use another folder")
    folder.mkdir(exist_ok=True)
    made: list[ShardRecord] = []
    try:
        with Claims(folder, lease) as claims:
            if not claims.settle(_PLAN, asdict(plan)):
                compare_plans(parse_plan(claims.outcome(_PLAN)), plan, out)
            bar = tqdm(total=plan.shards(), unit="shard", desc=f"{out.name}, process {rank}", disable=not progress)
            with bar:
                for shard in _mine(plan, claims, rank, ranks, bar):
                    made += _make(source, plan, out, shard, claims)
            _merge(plan, out, claims)
    except FileNotFoundError:  # the claims were put away by somebody who found all settled
        if not (out / MANIFEST).exists():
            raise
    manifest = _finished(out, plan)
    seconds = time.perf_counter() - start
    return SynthesisReport(manifest, sum(r.views for r in made), sum(r.bytes for r in made), seconds)


def _mine(plan: Plan, claims: Claims, rank: int, ranks: int, bar: tqdm) -> Iterator[int]:
    """Shards to make, claimed, until all are settled; waits while others have the rest."""
    count = plan.shards()
    order = [(i + rank * count // ranks) % count for i in range(count)]
    while True:
        settled = claims.settled()
        bar.n = len(settled) - (_PLAN in settled)
        bar.refresh()
        left = [shard for shard in order if _piece(plan, shard) not in settled]
        if not left:
            if claims.folder.exists():
                return
            raise FileNotFoundError(claims.folder)
        shard = next((s for s in left if claims.take(_piece(plan, s))), None)
        if shard is None:
            time.sleep(min(claims.lease / 4, 2.0))
        else:
            yield shard


def _make(source, plan: Plan, out: Path, shard: int, claims: Claims) -> list[ShardRecord]:
    """Make a claimed shard and settle it; its record, if this one counts."""
    piece = _piece(plan, shard)
    try:
        partial, record, layout = make_shard(source, plan, out, shard, lambda *_: None)
        named = partial.with_name(f".{record.name}.{claims.owner}.partial")  # process numbers of two machines may agree
        partial.rename(named)
        try:
            counts = claims.settle(piece, {"file": named.name, "shard": asdict(record), "layout": asdict(layout)})
        except BaseException:
            named.unlink(missing_ok=True)
            raise
        if not counts:
            named.unlink(missing_ok=True)
            return []
        _name(named, out / record.name)
        return [record]
    finally:
        claims.release(piece)


def _merge(plan: Plan, out: Path, claims: Claims) -> None:
    """Write the manifest of all settled shards, and put the claims away. Done twice, or by two, it changes nothing."""
    records: list[ShardRecord] = []
    layouts: list[tuple[str, Layout]] = []
    for shard in range(plan.shards()):
        outcome = claims.outcome(_piece(plan, shard))
        if outcome is None:
            raise FileNotFoundError(claims.folder)
        record = parse_record(outcome["shard"])
        _name(out / outcome["file"], out / record.name)
        records.append(record)
        layouts.append((record.name, parse_layout(outcome["layout"])))
    Manifest(plan, merged_layout(layouts), tuple(records)).save(out)
    aside = partial_path(claims.folder)
    claims.folder.rename(aside)  # at once: nobody finds a part of it
    shutil.rmtree(aside, ignore_errors=True)
    remove_leftovers(out)


def _name(made: Path, path: Path) -> None:
    """Give a settled shard its name: by its maker, or, where that was lost before, by whoever merges."""
    try:
        publish(made, path)
    except FileNotFoundError:
        if not path.exists():
            raise


def _finished(out: Path, plan: Plan) -> Manifest:
    manifest = Manifest.load(out)
    compare_plans(manifest.plan, plan, out)
    return manifest


def _piece(plan: Plan, shard: int) -> str:
    return Path(plan.shard_name(shard)).stem
