"""Making one dataset by many processes on many machines, started and lost at any time, on a folder
that all see.

Shards are claimed (`leases`), made under names of their makers, and settled: of a shard that two
have made, one counts. Whoever finds all shards settled gives them their names, writes
`dataset.json`, and puts the leases away; doing so twice changes nothing. So no process leads, and
any number may join or be killed at any time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from semhead_lib import old_names
from semhead_lib.atomic import publish
from semhead_lib.data.dataset.manifest import (
    LEASES,
    LOG,
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
from semhead_lib.data.dataset.shards import made_problem
from semhead_lib.data.jobs.leases import Leases
from semhead_lib.data.jobs.synthesis import SynthesisReport, compare_plans, make_plan, tidy
from semhead_lib.data.jobs.workers import SourceFactory, make_shard
from semhead_lib.files import in_file

_PLAN = "plan"  # settled by whoever comes first


def synthesize_distributed(
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
    """Make subjects 0 .. `subjects`-1 of a source in `out`, with all others who are called so,
    until all are made.

    The bytes are those of `synthesize`, where the source's own are always the same.

    Args:
        rank, ranks: this process's place among those started at once: each begins elsewhere.
        lease: seconds without a sign of life after which another process takes a shard over.
        Others as of `synthesize`.

    Raises:
        ValueError: an argument is out of range, or the settings differ from those `out` was begun
            with.
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
        manifest = _finished(out, plan)
        tidy(out)
        return SynthesisReport(manifest, 0, 0, time.perf_counter() - start)
    if (out / LOG).exists():
        raise FileExistsError(
            f"{out} is being made by one process: the same command with engine=local goes on"
        )
    folder = out / LEASES
    with suppress(OSError):  # there is none, or another process was faster
        (out / old_names.LEASES).rename(folder)
    if not folder.exists() and any(path for path in out.iterdir() if not path.name.startswith(".")):
        raise FileExistsError(
            f"{out} is not empty and holds no dataset of ours; use another folder ({MANIFEST} and "
            f"{LEASES} are missing)"
        )
    folder.mkdir(exist_ok=True)
    made: list[ShardRecord] = []
    try:
        with Leases(folder, lease) as leases:
            if not leases.settle(_PLAN, asdict(plan)):
                compare_plans(_plan_of(leases), plan, out)
                _give_back_damaged(plan, out, leases, rank, ranks)
            bar = tqdm(
                total=plan.shards(),
                unit="shard",
                desc=f"{out.name}, process {rank}",
                disable=not progress,
            )
            with bar:
                for shard in _mine(plan, leases, rank, ranks, bar):
                    made += _make(source, plan, out, shard, leases)
            _merge(plan, out, leases)
    except FileNotFoundError:  # the leases were put away by somebody who found all settled
        if not (out / MANIFEST).exists():
            raise
    manifest = _finished(out, plan)
    seconds = time.perf_counter() - start
    return SynthesisReport(
        manifest, sum(r.views for r in made), sum(r.bytes for r in made), seconds
    )


def _plan_of(leases: Leases) -> Plan:
    try:
        return parse_plan(leases.outcome(_PLAN))
    except ValueError as error:
        raise ValueError(in_file(leases.folder / f"{_PLAN}.json", error)) from None


def _give_back_damaged(plan: Plan, out: Path, leases: Leases, rank: int, ranks: int) -> None:
    """Of the shards that were made before, this process's part: those that were damaged since, or are
    gone, or that their outcome describes wrongly, are to be made again."""
    for shard in range(rank, plan.shards(), ranks):
        piece = _piece(plan, shard)
        if piece in leases.settled():
            record, layout, made = _outcome(leases, piece)
            files = (replace(record, name=made), record)  # in this order: one becomes the other
            if all(made_problem(out, file, layout) for file in files):
                leases.forget(piece)


def _outcome(leases: Leases, piece: str) -> tuple[ShardRecord, Layout, str]:
    """What was made of a piece, its layout, and its temporary name. Raises ValueError naming a file
    that is damaged."""
    outcome = leases.outcome(piece)
    if outcome is None:
        raise FileNotFoundError(leases.folder)
    try:
        record, layout = parse_record(outcome["shard"]), parse_layout(outcome["layout"])
        made = str(outcome["file"])
        if record.name != f"{piece}.tar" or Path(made).name != made or not made.startswith("."):
            raise ValueError(f"names {record.name!r:.60} and {made!r:.60}")
        return record, layout, made
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        path = leases.folder / f"{piece}.json"
        raise ValueError(f"{path}: damaged ({error}); remove it to do this piece again") from None


def _mine(plan: Plan, leases: Leases, rank: int, ranks: int, bar: tqdm) -> Iterator[int]:
    """Shards to make, claimed, until all are settled; waits while others have the rest."""
    count = plan.shards()
    order = [(i + rank * count // ranks) % count for i in range(count)]
    said: dict[str, str] = {}
    while True:
        settled = leases.settled()
        bar.n = len(settled) - (_PLAN in settled)
        bar.refresh()
        left = [shard for shard in order if _piece(plan, shard) not in settled]
        if not left:
            if leases.folder.exists():
                return
            raise FileNotFoundError(leases.folder)
        shard = next((s for s in left if leases.take(_piece(plan, s))), None)
        if shard is None:
            holders = leases.holders()
            if holders != said and holders and not bar.disable:
                names = ", ".join(f"{piece} of {owner}" for piece, owner in holders.items())
                bar.write(f"waiting for {names}; at most {leases.lease:g} s if lost", sys.stderr)
            said = holders
            time.sleep(min(leases.lease / 4, 2.0))
        else:
            yield shard


def _make(source, plan: Plan, out: Path, shard: int, leases: Leases) -> list[ShardRecord]:
    """Make a claimed shard and settle it; its record, if this one counts."""
    piece = _piece(plan, shard)
    try:
        partial, record, layout = make_shard(source, plan, out, shard, lambda *_: None)
        named = partial.with_name(
            f".{record.name}.{leases.owner}.partial"
        )  # process numbers of two machines may agree
        partial.rename(named)
        try:
            counts = leases.settle(
                piece, {"file": named.name, "shard": asdict(record), "layout": asdict(layout)}
            )
        except BaseException:
            named.unlink(missing_ok=True)
            raise
        if not counts:
            named.unlink(missing_ok=True)
            return []
        _name(named, out / record.name)
        return [record]
    finally:
        leases.release(piece)


def _merge(plan: Plan, out: Path, leases: Leases) -> None:
    """Write the manifest of all settled shards, and put the leases away. Done twice, or by two, it
    changes nothing."""
    records: list[ShardRecord] = []
    layouts: list[tuple[str, Layout]] = []
    for shard in range(plan.shards()):
        piece = _piece(plan, shard)
        record, layout, made = _outcome(leases, piece)
        path = out / record.name
        _name(out / made, path)
        if not path.is_file() or path.stat().st_size != record.bytes:
            raise ValueError(f"{path}: is not the shard that was made; start again to make it anew")
        records.append(record)
        layouts.append((str(leases.folder / f"{piece}.json"), layout))
    Manifest(plan, merged_layout(layouts), tuple(records)).save(out)
    tidy(out)


def _name(made: Path, path: Path) -> None:
    """Give a settled shard its name: by its maker, or, where that was lost before, by whoever
    merges."""
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
