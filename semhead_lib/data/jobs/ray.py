"""A dataset made by a Ray cluster: tasks that each join `synthesize_distributed`, started again
when they are lost.

All machines of the cluster must see the folder under the same path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.data.jobs.distributed import synthesize_distributed
from semhead_lib.data.jobs.synthesis import SynthesisReport
from semhead_lib.data.jobs.workers import SourceFactory, SynthesisError


def synthesize_on_ray(
    make_source: SourceFactory,
    out: Path | str,
    subjects: int,
    *,
    workers: int = 0,
    address: str | None = None,
    losses: int = 10,
    **options: Any,
) -> SynthesisReport:
    """`synthesize_distributed` by `workers` Ray tasks; 0: one a GPU of the cluster, or one a core
    where there is none.

    A task whose process or machine is lost is started again elsewhere, `losses` times in all; its
    shard is taken over when its lease ends. Raises ModuleNotFoundError without Ray (extra `scale`),
    SynthesisError when a subject fails or too much is lost, and what `synthesize_distributed`
    raises.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("engine=ray needs Ray: pip install 'semhead[scale]'") from error
    started = not ray.is_initialized()
    if started:
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    try:
        cluster = ray.cluster_resources()
        gpus = int(cluster.get("GPU", 0))
        count = workers or gpus or int(cluster.get("CPU", 1))
        each = {"num_gpus": min(gpus / count, 1.0)} if gpus else {"num_cpus": 1}
        task = ray.remote(max_retries=0, **each)(_work)
        folder = str(Path(out).absolute())
        running = {
            task.remote(make_source, folder, subjects, rank, count, options): rank
            for rank in range(count)
        }
        reports = []
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            rank = running.pop(done)
            try:
                reports.append(ray.get(done))
            except ray.exceptions.RayTaskError as error:
                raise error.as_instanceof_cause() from None
            except ray.exceptions.RayError as error:  # a worker or a machine is gone
                losses -= 1
                if losses < 0:
                    raise SynthesisError(
                        f"too many workers were lost, the last one so: {error}"
                    ) from error
                running[task.remote(make_source, folder, subjects, rank, count, options)] = rank
    finally:
        if started:
            ray.shutdown()
    views, size, seconds = (
        sum(r[0] for r in reports),
        sum(r[1] for r in reports),
        max(r[2] for r in reports),
    )
    return SynthesisReport(Manifest.load(out), views, size, seconds)


def _work(
    make_source, out: str, subjects: int, rank: int, ranks: int, options: dict
) -> tuple[int, int, float]:
    report = synthesize_distributed(
        make_source, out, subjects, rank=rank, ranks=ranks, progress=False, **options
    )
    return report.views_made, report.bytes_made, report.seconds
