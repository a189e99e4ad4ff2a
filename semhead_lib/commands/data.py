"""Commands that make datasets, and read, check and write them."""

from __future__ import annotations

import functools
import os

from semhead_lib.conf import data
from semhead_lib.settings import part, values_of

_RANKS = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))  # of torchrun and accelerate


def synthesize(config: data.Synthesize) -> None:
    """`semhead synthesize out=DIR ...`."""
    from hydra.utils import get_object

    from semhead_lib.devices import pick_device

    settings = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in values_of(config.source).items()
    }
    rank, ranks, local = (int(os.environ.get(name, low)) for name, low in _RANKS)
    device = pick_device(config.source.device)
    settings["device"] = f"cuda:{local}" if device == "cuda" and ranks > 1 else device
    make_source = functools.partial(get_object(config.source.TARGET), **settings)
    source = make_source()
    if config.dry_run:  # for as many as are asked for, though there may be fewer portraits yet
        _say_cost(config, source, config.subjects)
        return
    subjects = min(config.subjects, len(source)) if hasattr(source, "__len__") else config.subjects
    print(f"licence of what is made: {source.licence}", flush=True)
    encoder = None
    if config.encoder is not None:  # before hours of synthesis: a missing encoder is said at once
        from semhead_lib.conditioning.semantic import SemanticEncoder

        encoder = SemanticEncoder.load(config.encoder)
    common = dict(shard_size=config.shard_size, image_format=config.image_format)
    report = _make_dataset(config, make_source, source, subjects, rank, ranks, common)
    if rank == 0:
        _say_made(config.out, report)
        if encoder is not None:
            _encode(config.out, encoder)


def _make_dataset(
    config: data.Synthesize, make_source, source, subjects: int, rank: int, ranks: int, common: dict
):
    """The dataset by the engine that was asked for; started by torchrun, all processes work
    together."""
    if config.engine == "ray":
        from semhead_lib.data.jobs.ray import synthesize_on_ray

        return synthesize_on_ray(
            make_source,
            config.out,
            subjects,
            workers=config.workers,
            lease=config.lease,
            address=config.address,
            **common,
        )
    if config.engine == "distributed" or ranks > 1:
        from semhead_lib.data.jobs.distributed import synthesize_distributed

        return synthesize_distributed(
            make_source, config.out, subjects, rank=rank, ranks=ranks, lease=config.lease, **common
        )
    from semhead_lib.data.jobs.synthesis import synthesize as make
    from semhead_lib.devices import available_cores

    own = (
        0 if hasattr(source, "measured_by") else available_cores()
    )  # one large model does not fit many times
    return make(make_source, config.out, subjects, workers=config.workers or own, **common)


def _say_cost(config: data.Synthesize, source, subjects: int) -> None:
    """What the dataset would take: measured on one device or core here, nothing is written."""
    from semhead_lib.data.kontext.cost import REPORTED, estimate, measure, measure_subject

    own = config.source
    if isinstance(own, data.Kontext):
        speed, size = (config.images_per_second, own.resolution**2 * 1.5)
        if not speed:
            editor, portrait = source.measured_by()
            speed, size = measure(editor, portrait, own.resolution)
        whole = estimate(
            subjects,
            own.views_per_subject,
            images_per_second=speed,
            bytes_per_view=size,
            tries=own.tries,
            attempts=own.attempts,
            passing=config.passing,
            complete=own.balance == "complete",
            frontalised=source.frontalised,
        )
        known = "taken for given" if config.images_per_second else "measured"
        where = (
            f"{speed:.3g} images a second on one device, {known}; {100 * config.passing:.0f} "
            "% taken to pass"
        )
    else:
        speed, size = measure_subject(source)
        whole = estimate(
            subjects,
            own.views_per_subject + 1,
            images_per_second=speed,
            bytes_per_view=size,
            tries=1,
            attempts=1,
            passing=1.0,
        )
        where = f"{speed:.3g} images a second on one core"
    print(f"{whole} ({where})")
    if isinstance(own, data.Kontext):
        print(f"{whole.seconds:,.1f} s of a device for each kept view; {REPORTED}")


def data_portraits(config: data.Portraits) -> None:
    """`semhead data portraits SRC OUT`."""
    from semhead_lib.data.kontext.inputs import PortraitFilter, choose_portraits
    from semhead_lib.devices import available_cores

    wanted, workers = part(PortraitFilter, config), config.workers or available_cores()
    counts = choose_portraits(config.src, config.out, wanted, workers=workers)
    print(f"{config.out}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))


def data_encode(config: data.Encode) -> None:
    """`semhead data encode DIR`."""
    from semhead_lib.conditioning.semantic import SemanticEncoder

    settings = values_of(config, "path", "encoder")
    _encode(config.path, SemanticEncoder.load(config.encoder, **settings))


def data_check(config: data.Check) -> int:
    """`semhead data check DIR`: a line for each finding on stdout."""
    from semhead_lib.data.dataset.check import check

    findings = check(config.path)
    print("\n".join(findings) if findings else f"{config.path}: no damage found")
    return 1 if findings else 0


def data_import(config: data.Import) -> None:
    """`semhead data import SRC OUT`."""
    from semhead_lib.data.jobs.imports import import_dataset
    from semhead_lib.devices import available_cores

    settings = values_of(config, "src", "out", "workers")
    workers = config.workers or available_cores()
    report = import_dataset(config.src, config.out, workers=workers, **settings)
    _say_made(config.out, report)


def data_export(config: data.Export) -> None:
    """`semhead data export DIR OUT`."""
    from semhead_lib.data.dataset.eg3d_format import export_dataset

    count = export_dataset(config.path, config.out, masks=config.masks)
    print(f"{config.out}: {count} images")


def data_pack(config: data.Pack) -> None:
    """`semhead data pack DATASET FILE`."""
    import sys

    from semhead_lib.data.dataset.packing import pack_dataset
    from semhead_lib.devices import available_cores

    report = pack_dataset(
        config.path,
        config.out,
        config.size,
        psnr=config.psnr,
        geometry=config.geometry,
        threads=available_cores(),
    )
    print(f"{config.out}: {report}")
    if report.left_out:
        whole = report.subjects + report.left_out
        print(
            f"warning: {report.left_out} of {whole} subjects are left out, evenly: all of them do "
            "not fit in "
            f"{config.size:g} MB at {config.psnr:g} dB",
            file=sys.stderr,
        )


def _encode(folder: str, encoder) -> None:
    from semhead_lib.data.dataset.semantics import fill_semantics

    manifest = fill_semantics(folder, encoder.images, str(encoder.identity), batch=encoder.batch)
    print(
        f"{folder}: {manifest.subjects} features of {encoder.dimension} numbers, {encoder.identity}"
    )


def _say_made(out: str, report) -> None:
    made = (
        f"{report.views_made} views in {report.seconds:.0f} s"
        if report.views_made
        else "was finished already"
    )
    print(f"{out}: {report.manifest.subjects} subjects, {report.manifest.views} views ({made})")
