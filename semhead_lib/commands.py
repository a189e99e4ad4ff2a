"""What each command does, given its configuration: one short function a command, loading what it
needs when called."""

from __future__ import annotations

import functools
import os
from typing import Any

from semhead_lib.conf import data, models, runs
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


def headclip_train(config: models.HeadclipTrain) -> None:
    """`semhead headclip train OUT`."""
    from pathlib import Path

    from semhead_lib.conditioning.headclip.card import CARD, judge_and_describe
    from semhead_lib.conditioning.headclip.recipe import Recipe
    from semhead_lib.conditioning.headclip.training import make_subjects, train
    from semhead_lib.devices import available_cores, pick_device

    recipe = part(Recipe, config)
    workers, device = config.workers or available_cores(), pick_device(config.device)
    data = Path(config.data) / f"train-seed-{recipe.data_seed}"
    make_subjects(recipe, data, workers)
    train(recipe, data, config.out, device=device)
    judge_and_describe(config.out, config.data, workers=workers, device=device)
    print(Path(config.out) / CARD)


def judge_train(config: models.JudgeTrain) -> None:
    """`semhead judge train OUT`."""
    from pathlib import Path

    from semhead_lib.devices import available_cores, pick_device
    from semhead_lib.evaluation.headjudge.card import CARD, judge_and_describe
    from semhead_lib.evaluation.headjudge.recipe import Recipe
    from semhead_lib.evaluation.headjudge.training import TRAIN_SEED, make_subjects, train

    recipe = part(Recipe, config)
    workers, data = config.workers or available_cores(), Path(config.data)
    make_subjects(data / "train", recipe.subjects, recipe.views_per_subject, TRAIN_SEED, workers)
    train(recipe, data / "train", config.out, device=pick_device(config.device))
    judge_and_describe(config.out, data, workers)
    print(Path(config.out) / CARD)


def frontal_train(config: models.FrontalTrain) -> None:
    """`semhead frontal train DATA OUT`."""
    from pathlib import Path

    from semhead_lib.conditioning.frontal.card import CARD, check_unseen, judge_and_describe
    from semhead_lib.conditioning.frontal.recipe import Recipe
    from semhead_lib.conditioning.frontal.training import train
    from semhead_lib.conditioning.semantic import SemanticEncoder

    encoder = SemanticEncoder.load(config.encoder, device=config.device)
    check_unseen(config.data, config.unseen)
    train(part(Recipe, config), config.data, config.out, encoder, device=str(encoder.device))
    judge_and_describe(config.out, config.unseen, encoder)
    print(Path(config.out) / CARD)


def train(config: models.Train) -> None:
    """`semhead train DATA OUT`."""
    from semhead_lib import api

    print(api.train(**values_of(config)))


def reconstruct(config: models.Reconstruct) -> None:
    """`semhead reconstruct DATA OUT`."""
    from semhead_lib.training.data import GEOMETRY, subjects_in_memory
    from semhead_lib.training.reconstruction.settings import ReconstructionSettings
    from semhead_lib.training.reconstruction.trainer import reconstruct as run

    settings = part(ReconstructionSettings, config)
    geometry = GEOMETRY if settings.pixels else ()
    subjects = subjects_in_memory(
        config.data, geometry, limit=config.limit, views_limit=config.views_limit
    )
    print(run(settings, subjects, config.out, device=config.device, init=config.init))


def evaluate(config: models.Evaluate) -> None:
    """`semhead evaluate MODEL DATA OUT`."""
    from pathlib import Path

    from semhead_lib import api
    from semhead_lib.atomic import place_lock, remove_leftovers, write_atomically
    from semhead_lib.evaluation.judging import check_out
    from semhead_lib.evaluation.page import PAGE, Entry, write_evaluation
    from semhead_lib.evaluation.protocol import dumps

    settings = values_of(config, "model", "data", "out")
    out, sheets = Path(config.out), []
    check_out(out, config.model, config.data)
    with place_lock(out):
        remove_leftovers(out.parent, out.name)
        as_file = out.suffix == ".json" or out.is_file()
        found = api.evaluate(config.model, config.data, **settings, listen=sheets.append)
        if as_file:
            write_atomically(out, dumps(found.as_json()).encode())
        else:
            out.mkdir(parents=True, exist_ok=True)
            name = found.about.get("name", Path(config.model).name)
            write_evaluation(out, Entry(name, found, *sheets))
    print(
        found.overall(),
        found.table(scopes=[name for name in found.generated if name != "all"]),
        sep="\n\n",
    )
    for what, why in found.about.get("left_out", {}).items():
        print(f"left out: {what}: {why}")
    if not as_file:
        print(out / PAGE)


def compare(config: models.Compare) -> None:
    """`semhead compare GENERATORS... reference=DATASET out=DIR`."""
    from pathlib import Path

    from semhead_lib.evaluation.comparison import compare as execute
    from semhead_lib.evaluation.page import PAGE, side_by_side
    from semhead_lib.evaluation.settings import ImageSetSettings

    sets = part(ImageSetSettings, config)
    names = config.names and [name.strip() for name in config.names.split(",")]
    own = values_of(config, *values_of(sets), "generators", "names", "device")
    entries = execute(
        config.generators, names=names or None, sets=sets, device=_device(config), **own
    )
    scopes = [scope for scope in entries[0].found.generated if scope != "all"]
    print(side_by_side(entries))
    for entry in entries:
        print(f"\n{entry.name}", entry.found.table(scopes=scopes), sep="\n\n")
        for what, why in entry.found.about.get("left_out", {}).items():
            print(f"left out: {what}: {why}")
    print(Path(config.out) / PAGE)


def render_plan(config: models.RenderPlan) -> None:
    """`semhead render-plan OUT`."""
    from pathlib import Path

    from semhead_lib.atomic import place_lock, write_atomically
    from semhead_lib.errors import UsageError
    from semhead_lib.evaluation import plan_renderer
    from semhead_lib.evaluation.judging import reference_subjects
    from semhead_lib.evaluation.render_plan import RenderPlan

    asked: dict[str, Any] = dict(views=config.views, seed=config.seed, parts=config.conditions)
    if config.cameras == "bins":
        plan = RenderPlan.of_bins(config.heads, **asked)
    elif config.reference is None:
        raise UsageError("reference=... is needed: the dataset of the comparison, or cameras=bins")
    else:
        subjects = reference_subjects(config.reference, 2 * config.heads, progress=True)
        plan = RenderPlan.of_reference(subjects, config.heads, **asked)
    out = Path(config.out)
    with place_lock(out):
        count = plan.save(out)
    script = out.with_name(Path(plan_renderer.__file__).name)
    if not script.exists():
        write_atomically(script, Path(plan_renderer.__file__).read_bytes())
    cameras = "the real heads' cameras" if config.cameras == "reference" else "bins of azimuth"
    print(f"{out}: {count} images of {plan.summary.heads} heads, {cameras}")
    print(f"{script}: renders them within a checkout of EG3D or a descendant")


def sample(config: models.Sample) -> None:
    """`semhead sample MODEL OUT`."""
    if config.reject or config.max_distance is not None:
        from semhead_lib.rejection.head_filter import sample as draw
    else:
        from semhead_lib.viz.samples import sample as draw

    print(draw(**values_of(config)))


def rejection(config: models.Rejection) -> None:
    """`semhead rejection MODEL DATA OUT`."""
    from semhead_lib.rejection.curve import measure

    print(measure(**values_of(config)))


def invert(config: models.Invert) -> int:
    """`semhead invert PHOTOS...`: 1 when some of them could not be inverted."""
    from semhead_lib.conditioning.semantic import SemanticEncoder
    from semhead_lib.evaluation.features import FeatureExtractor
    from semhead_lib.inversion.batch import invert_photos
    from semhead_lib.inversion.inverter import Inverter
    from semhead_lib.inversion.settings import Files, InversionSettings

    inverter = Inverter(
        config.model,
        part(InversionSettings, config),
        start_at=config.start,
        candidates=config.candidates,
        front=config.front,
        perceptual=config.perceptual,
        encoder=SemanticEncoder.load(config.encoder, device=_device(config)),
        attention=config.attention,
        device=config.device,
    )
    files = part(Files, config)
    extractor = FeatureExtractor.load(config.features, device=_device(config))
    failed = invert_photos(config.photos, config.out, inverter, files, extractor=extractor)
    return 1 if failed else 0


def inverter_train(config: models.InverterTrain) -> None:
    """`semhead inverter train MODEL OUT`."""
    from semhead_lib.conditioning.semantic import SemanticEncoder
    from semhead_lib.inversion.encoder_training import train_encoder
    from semhead_lib.inversion.settings import EncoderRecipe

    recipe = part(EncoderRecipe, config)
    clip = SemanticEncoder.load(config.encoder, device=_device(config))
    print(train_encoder(config.model, config.out, recipe, clip=clip, device=config.device))


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


def reproduce(config: runs.Reproduce) -> None:
    """`semhead reproduce PROFILE`."""
    from semhead_lib.reproduce.driver import reproduce as execute

    execute(**values_of(config))


def ablate(config: runs.Ablate) -> int:
    """`semhead ablate STUDY`."""
    from semhead_lib.ablation.study import ablate as execute

    done = execute(**values_of(config, "launcher"), launcher=values_of(config.launcher))
    return 0 if done else 1


def contest(config: runs.Contest) -> int:
    """`semhead contest CONTEST`."""
    from semhead_lib.ablation.contest import contest as execute

    return 0 if execute(config.contest, **values_of(config, "contest")) else 1


def doctor(config: runs.Doctor) -> int:
    """`semhead doctor`."""
    from semhead_lib.doctor import main

    return main(as_json=config.json)


def _device(config: Any) -> str:
    from semhead_lib.devices import pick_device

    return pick_device(config.device)


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
