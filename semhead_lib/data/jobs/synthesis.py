"""Making a dataset from a source of subjects: in parallel, reproducible to the byte, and resumed by
the same command.

While a dataset is being made its folder holds finished shards and `synthesis.jsonl`: the plan, then
a line for each finished shard. Shards are written under temporary names by the workers; the one
process that holds the folder enters them into the log and then renames them, so a shard that is
there is whole and known. At the end `dataset.json` takes the place of `synthesis.jsonl`.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tqdm import tqdm

from semhead_lib import old_names
from semhead_lib.atomic import (
    folder_lock,
    leftovers,
    partial_path,
    publish,
    remove_leftovers,
    write_atomically,
)
from semhead_lib.data.dataset.entries import IMAGE_FORMATS
from semhead_lib.data.dataset.manifest import (
    LEASES,
    LOG,
    MANIFEST,
    Layout,
    Manifest,
    Plan,
    ShardRecord,
    merge_layouts,
    parse_layout,
    parse_plan,
    parse_record,
)
from semhead_lib.data.dataset.shards import made_problem
from semhead_lib.data.jobs.workers import SourceFactory, SynthesisError, make_shard, make_shards
from semhead_lib.data.subjects import SubjectSource
from semhead_lib.errors import check_numbers
from semhead_lib.files import read_bytes


@dataclass(frozen=True)
class SynthesisReport:
    """What `synthesize` did. A finished dataset that is started again has `views_made` 0."""

    manifest: Manifest
    views_made: int  # by this call
    bytes_made: int  # by this call, in shards
    seconds: float  # of this call, starting the workers included

    @property
    def views_per_second(self) -> float:
        """Views made per second of this call, all workers together."""
        return self.views_made / self.seconds if self.views_made else 0.0


def synthesize(
    make_source: SourceFactory,
    out: Path | str,
    subjects: int,
    *,
    shard_size: int = 32,
    workers: int = 1,
    seed: int | None = None,
    image_format: str = "png",
    resume: bool = True,
    progress: bool = True,
) -> SynthesisReport:
    """Write subjects 0 .. `subjects`-1 of a source as a dataset into the folder `out`.

    The same settings give the same bytes, whatever the number of workers and however often the run
    was interrupted: the same call goes on behind the last finished shard, and returns at once for a
    finished dataset.

    Args:
        make_source: builds the source, in every worker process: a function or class of a module, or
            a functools.partial of one.
        out: folder to write; made if missing. It must be empty, or hold this dataset, finished or
            not.
        shard_size: subjects a shard: the unit of work, and of what an interruption loses.
        workers: processes that make subjects; 0 makes them in this process, as several do where a
            single shard is left: there is nothing to share.
        seed: the seed the source was given, for the manifest; by default what its `describe()` has
            under "seed".
        image_format: "png" (lossless), "webp" (lossless, smaller, slower) or "jpg" (quality 95).
        resume: False refuses a folder that already holds a part of the dataset.
        progress: show subjects done, views per second and the time left on stderr.

    Raises:
        ValueError: an argument is out of range; the settings differ from those `out` was begun with
            (each difference is named); the subjects differ in resolution or fields.
        FileExistsError: `out` holds something else.
        BlockingIOError: another process is writing into `out`.
        SynthesisError: a subject failed (named by its index), or a worker process died.
        OSError: `out` cannot be written, or the disk is full.
        Finished shards are kept whatever happens.
    """
    check_numbers(workers=workers)
    if workers < 0:
        raise ValueError(f"workers must be at least 0, got {workers}")
    start, out = time.perf_counter(), Path(out)
    source = make_source()
    plan = make_plan(source, subjects, shard_size, image_format, seed)
    out.mkdir(parents=True, exist_ok=True)
    with folder_lock(out):
        if (out / MANIFEST).exists():
            manifest = Manifest.load(out)
            _compare(manifest.plan, plan, out, resume)
            tidy(out)
            return SynthesisReport(manifest, 0, 0, time.perf_counter() - start)
        done = _begin(plan, out, resume)
        before = sum(record.subjects for record, _ in done.values())
        made: list[ShardRecord] = []
        common = merge_layouts((r.name, layout) for r, layout in done.values())
        bar = tqdm(
            total=subjects, initial=before, unit="subject", desc=out.name, disable=not progress
        )
        with bar, open(out / LOG, "ab") as log:
            views = 0

            def on_subject(_index: int, count: int) -> None:
                nonlocal views
                views += count
                bar.set_postfix_str(
                    f"{views / (time.perf_counter() - start):.1f} views/s", refresh=False
                )
                bar.update()

            def on_shard(shard: int, partial: Path, record: ShardRecord, layout: Layout) -> None:
                nonlocal common
                common = common.merge(layout, record.name) if common else layout
                log.write(_line({"shard": asdict(record), "layout": asdict(layout)}))
                log.flush()
                os.fsync(log.fileno())
                publish(partial, out / record.name)
                done[shard] = record, layout
                made.append(record)

            todo = [shard for shard in range(plan.shards()) if shard not in done]
            try:
                if workers == 0 or (workers > 1 and len(todo) == 1):
                    for shard in todo:
                        on_shard(shard, *make_shard(source, plan, out, shard, on_subject))
                else:
                    make_shards(make_source, plan, out, todo, workers, on_subject, on_shard)
            except SynthesisError as error:
                raise SynthesisError(
                    f"{error}; {len(done)} of {plan.shards()} shards are finished and kept"
                ) from error
            except OSError as error:
                if error.filename is None:  # a full disk does not say which file
                    raise OSError(
                        error.errno, f"cannot write: {error.strerror}", str(out / LOG)
                    ) from error
                raise
            finally:
                remove_leftovers(out)
        assert common is not None  # there are shards
        manifest = Manifest(plan, common, tuple(done[shard][0] for shard in range(plan.shards())))
        manifest.save(out)
        (out / LOG).unlink()
    seconds = time.perf_counter() - start
    return SynthesisReport(
        manifest, sum(r.views for r in made), sum(r.bytes for r in made), seconds
    )


def make_plan(
    source: SubjectSource, subjects: int, shard_size: int, image_format: str, seed: int | None
) -> Plan:
    """The settings of a dataset as its manifest keeps them. Raises ValueError for a seed that is
    not the source's, or a number out of range."""
    for name, value in (("subjects", subjects), ("shard_size", shard_size)):
        check_numbers(**{name: value})
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if image_format not in IMAGE_FORMATS:
        raise ValueError(
            f"image_format must be one of {', '.join(IMAGE_FORMATS)}, got {image_format!r}"
        )
    settings = json.loads(json.dumps(source.describe(), allow_nan=False))  # as it will be read back
    stated = settings.get("seed", seed)
    if seed is not None and stated != seed:
        raise ValueError(f"seed is {seed}, but the source was built with seed {stated}")
    described = {"name": source.name, "licence": source.licence, "settings": settings}
    return Plan(subjects, shard_size, image_format, stated, described)


def _compare(there: Plan, here: Plan, out: Path, resume: bool) -> None:
    """Raise unless this run may go on with what is in `out`."""
    if not resume:
        raise FileExistsError(
            f"{out} already holds a dataset, finished or not; allow resuming or use another folder"
        )
    compare_plans(there, here, out)


def tidy(out: Path) -> None:
    """Remove what the making of a finished dataset left there: by a process that was killed between
    writing `dataset.json` and this. Where the disk cannot be written, it stays."""
    with suppress(OSError):
        for name in (LEASES, old_names.LEASES):
            if (out / name).is_dir():  # at once: nobody finds a part of it
                (out / name).rename(partial_path(out / name))
        if (out / LOG).exists():
            (out / LOG).unlink()
        remove_leftovers(out)


_SINCE = ("images_sha256", "masks_sha256")  # settings that earlier datasets do not say


def compare_plans(there: Plan, here: Plan, out: Path) -> None:
    """Raise ValueError naming each setting of the dataset in `out` that is another one here."""
    settings = there.source.get("settings", {})
    own = here.source.get("settings", {})
    if unknown := [name for name in _SINCE if name in own and name not in settings]:
        own = {name: value for name, value in own.items() if name not in unknown}
        here = replace(here, source=here.source | {"settings": own})
    if differences := there.differences(here):
        raise ValueError(
            f"{out} was begun with other settings: {'; '.join(differences)}. Use another folder"
        )


def _begin(plan: Plan, out: Path, resume: bool) -> dict[int, tuple[ShardRecord, Layout]]:
    """Prepare `out` for writing and return what is already finished, by shard number. A shard that
    was damaged since, or that the log describes wrongly, is none of them: it is made again."""
    done = {}
    if (out / LOG).exists():
        there, records = _read_log(out / LOG)
        if records or not resume:  # else nothing was finished: whatever was mended since may differ
            _compare(there, plan, out, resume)
        numbers = {plan.shard_name(shard): shard for shard in range(plan.shards())}
        for record, layout in records:
            if record.name in numbers and not made_problem(out, record, layout):
                done[numbers[record.name]] = record, layout
    elif (out / LEASES).exists() or (out / old_names.LEASES).exists():
        raise FileExistsError(
            f"{out} is being made by several processes: engine=distributed goes on with it"
        )
    elif set(out.iterdir()) - set(leftovers(out)):
        raise FileExistsError(
            f"{out} is not empty and holds no dataset of ours; use another folder ({MANIFEST} and "
            f"{LOG} are missing)"
        )
    remove_leftovers(out)
    lines = [_line({"plan": asdict(plan)})]
    lines += [
        _line({"shard": asdict(record), "layout": asdict(layout)})
        for record, layout in done.values()
    ]
    write_atomically(out / LOG, b"".join(lines))
    return done


def _read_log(path: Path) -> tuple[Plan, list[tuple[ShardRecord, Layout]]]:
    """The plan and the finished shards. A last line that was cut off by the interruption is left
    out."""
    first, *rest = read_bytes(path).split(b"\n")
    try:
        plan = parse_plan(json.loads(first)["plan"])
        lines = [json.loads(line) for line in rest[:-1]]
        done = [(parse_record(line["shard"]), parse_layout(line["layout"])) for line in lines]
        merge_layouts((record.name, layout) for record, layout in done)
        return plan, done
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged: {error}; delete the folder to begin anew") from None


def _line(content: dict) -> bytes:
    return json.dumps(content).encode() + b"\n"
