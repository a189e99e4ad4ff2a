"""Worker processes that make shards: spawned, one torch thread each, gone when their parent is
gone."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from semhead_lib.data.dataset.encoding import encode_subject
from semhead_lib.data.dataset.manifest import Layout, Plan, ShardRecord
from semhead_lib.data.dataset.shards import write_shard
from semhead_lib.data.subjects import SubjectSource
from semhead_lib.errors import worded

SourceFactory = Callable[[], SubjectSource]
OnSubject = Callable[[int, int], None]  # (index, views) of a subject that was made
OnShard = Callable[
    [int, Path, ShardRecord, Layout], None
]  # number, temporary file, record and layout of a shard
_THREADS: dict[str, str] = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)


class SynthesisError(RuntimeError):
    """A subject could not be made, or a worker was lost. Finished shards are kept."""


def make_shard(
    source: SubjectSource, plan: Plan, out: Path, shard: int, on_subject: OnSubject
) -> tuple[Path, ShardRecord, Layout]:
    """Make shard number `shard` as a temporary file (see `shards.write_shard`).

    Raises SynthesisError naming the subject that failed, ValueError for subjects that do not fit
    together, OSError.
    """

    def samples() -> Iterator[dict[str, Any]]:
        for index in plan.indices(shard):
            try:
                subject = source.subject(index)
                sample = encode_subject(subject, plan.image_format)
            except Exception as error:
                raise SynthesisError(f"subject {index}: {worded(error)}") from error
            on_subject(index, len(subject.views))
            yield sample

    return write_shard(out / plan.shard_name(shard), samples())


def make_shards(
    make_source: SourceFactory,
    plan: Plan,
    out: Path,
    shards: list[int],
    workers: int,
    on_subject: OnSubject,
    on_shard: OnShard,
) -> None:
    """Make `shards` in `workers` processes, calling back in this one as subjects and shards are
    done.

    Raises SynthesisError when a subject fails or a worker dies, OSError when a worker cannot write;
    by then no worker runs any more.
    """
    queue, running = list(reversed(shards)), {}
    try:
        for _ in range(min(workers, len(shards))):
            worker = _Worker(make_source, plan, out)
            running[worker.connection] = worker
            worker.assign(queue.pop())
        while running:
            for connection in wait(list(running)):
                worker = running[connection]
                kind, *content = worker.receive()
                if kind == "subject":
                    worker.last = content[0]
                    on_subject(*content)
                elif kind == "shard":
                    on_shard(*content)
                    if queue:
                        worker.assign(queue.pop())
                    else:
                        del running[connection]
                        worker.stop()
                else:
                    error, trace = content
                    error.add_note(f"in a worker process:\n{trace}")
                    raise error
    finally:
        for worker in running.values():
            worker.process.kill()
            worker.process.join()


class _Worker:
    """The parent's end of one worker process."""

    def __init__(self, make_source: SourceFactory, plan: Plan, out: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, far = context.Pipe()
        self.last: int | None = None  # the subject it made last
        self.process = context.Process(
            target=_work, args=(make_source, plan, out, far), daemon=True
        )
        try:
            with _starting():
                self.process.start()
        except (
            AttributeError,
            TypeError,
            ValueError,
        ) as error:  # what pickling raises for local functions and such
            raise ValueError(
                "make_source must be a function or class of a module, or a functools.partial of "
                f"one: {error}"
            ) from error
        finally:
            far.close()  # now the pipe ends when the worker ends

    def assign(self, shard: int) -> None:
        with contextlib.suppress(OSError):  # a dead worker is noticed by `receive`
            self.connection.send(shard)

    def receive(self) -> tuple:
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
        code = self.process.exitcode
        how = f"ended with exit code {code}, see its output above"
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            how += ", often for want of memory" if -code == signal.SIGKILL else ""
        when = "before its first subject" if self.last is None else f"after subject {self.last}"
        raise SynthesisError(f"a worker process {how}, {when}")

    def stop(self) -> None:
        self.connection.close()
        self.process.join()


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """What a child inherits: Ctrl-C is its parent's affair, and numerical libraries use one
    thread."""
    before = {name: os.environ.get(name) for name in _THREADS}
    main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    os.environ.update(_THREADS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if main:
            signal.signal(signal.SIGINT, handler)


def _work(make_source: SourceFactory, plan: Plan, out: Path, connection: Connection) -> None:
    """A worker: makes the shards it is given until the pipe closes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        source = make_source()
        while True:
            shard = connection.recv()
            result = make_shard(
                source, plan, out, shard, lambda i, v: connection.send(("subject", i, v))
            )
            connection.send(("shard", shard, *result))
    except EOFError:
        return
    except Exception as error:
        trace = "".join(traceback.format_exception(error))
        if not isinstance(error, SynthesisError | OSError | ValueError):
            error = SynthesisError(f"{type(error).__name__}: {error}")
        connection.send(("failed", _portable(error), trace))


def _portable(error: Exception) -> Exception:
    """`error` without what may not survive the way to another process: its cause, and the arguments
    of subclasses."""
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    return ValueError(str(error)) if isinstance(error, ValueError) else SynthesisError(str(error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
    os._exit(1)
