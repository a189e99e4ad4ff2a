"""What each command does, given its configuration: one short function a command, loading what it
needs when called."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from omegaconf import DictConfig

_RANKS = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))  # of torchrun and accelerate


def synthesize(config: DictConfig) -> None:
    """`semhead synthesize out=DIR ...`."""
    from hydra.utils import get_object
    from omegaconf import OmegaConf

    from semhead_lib.devices import pick_device

    of_the_dataset = (
        "_target_",
        "out",
        "subjects",
        "shard_size",
        "workers",
        "image_format",
        "encoder",
        "engine",
        "lease",
        "address",
        "dry_run",
        "passing",
        "images_per_second",
    )
    settings = {
        key: value
        for key, value in OmegaConf.to_object(config).items()
        if key not in of_the_dataset
    }
    settings = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    rank, ranks, local = (int(os.environ.get(name, low)) for name, low in _RANKS)
    if "device" in settings:
        device = pick_device(settings["device"])
        settings["device"] = f"cuda:{local}" if device == "cuda" and ranks > 1 else device
    make_source = functools.partial(get_object(config._target_), **settings)
    source = make_source()
    if config.dry_run:  # for as many as are asked for, though there may be fewer portraits yet
        _say_cost(config, source, config.subjects)
        return
    subjects = min(config.subjects, len(source)) if hasattr(source, "__len__") else config.subjects
    print(f"licence of what is made: {source.licence}", flush=True)
    if config.encoder is not None:  # before hours of synthesis: a missing encoder is said at once
        from semhead_lib.conditioning.semantic import SemanticEncoder

        encoder = SemanticEncoder.load(config.encoder)
    common = dict(shard_size=config.shard_size, image_format=config.image_format)
    report = _make_dataset(config, make_source, source, subjects, rank, ranks, common)
    if rank == 0:
        _say_made(config.out, report)
        if config.encoder is not None:
            _encode(config.out, encoder)


def _make_dataset(
    config: DictConfig, make_source, source, subjects: int, rank: int, ranks: int, common: dict
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


def _say_cost(config: DictConfig, source, subjects: int) -> None:
    """What the dataset would take: measured on one device or core here, nothing is written."""
    from semhead_lib.data.kontext.cost import estimate, measure, measure_subject

    if hasattr(source, "measured_by"):
        speed, size = (config.images_per_second, config.resolution**2 * 1.5)
        if not speed:
            speed, size = measure(*source.measured_by(), config.resolution)
        asked = dict(tries=config.tries, attempts=config.attempts, passing=config.passing)
        asked["complete"] = config.balance == "complete"
        whole = estimate(
            subjects,
            config.views_per_subject,
            images_per_second=speed,
            bytes_per_view=size,
            **asked,
        )
        known = "taken for given" if config.images_per_second else "measured"
        where = (
            f"{speed:.3g} images a second on one device, {known}; {100 * config.passing:.0f} "
            "% taken to pass"
        )
    else:
        speed, size = measure_subject(source)
        asked = dict(tries=1, attempts=1, passing=1.0)
        whole = estimate(
            subjects,
            config.views_per_subject + 1,
            images_per_second=speed,
            bytes_per_view=size,
            **asked,
        )
        where = f"{speed:.3g} images a second on one core"
    print(f"{whole} ({where})")


def data_portraits(config: DictConfig) -> None:
    """`semhead data portraits SRC OUT`."""
    from semhead_lib.data.kontext.inputs import PortraitFilter, choose_portraits
    from semhead_lib.devices import available_cores

    others = ("src", "out", "workers")
    wanted = PortraitFilter(**{key: value for key, value in config.items() if key not in others})
    counts = choose_portraits(
        config.src, config.out, wanted, workers=config.workers or available_cores()
    )
    print(f"{config.out}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))


def data_encode(config: DictConfig) -> None:
    """`semhead data encode DIR`."""
    from semhead_lib.conditioning.semantic import SemanticEncoder

    settings = dict(device=config.device, dtype=config.dtype, batch=config.batch)
    _encode(config.path, SemanticEncoder.load(config.encoder, **settings))


def headclip_train(config: DictConfig) -> None:
    """`semhead headclip train OUT`."""
    from pathlib import Path

    from semhead_lib.conditioning.headclip.card import CARD, judge_and_describe
    from semhead_lib.conditioning.headclip.recipe import Recipe
    from semhead_lib.conditioning.headclip.training import make_people, train
    from semhead_lib.devices import available_cores, pick_device

    others = ("out", "people", "workers", "device")
    recipe = Recipe(**{key: value for key, value in config.items() if key not in others})
    workers, device = config.workers or available_cores(), pick_device(config.device)
    people = Path(config.people) / f"train-seed-{recipe.data_seed}"
    make_people(recipe, people, workers)
    train(recipe, people, config.out, device=device)
    judge_and_describe(config.out, config.people, workers=workers, device=device)
    print(Path(config.out) / CARD)


def judge_train(config: DictConfig) -> None:
    """`semhead judge train OUT`."""
    from pathlib import Path

    from semhead_lib.devices import available_cores, pick_device
    from semhead_lib.evaluation.headjudge.card import CARD, judge_and_describe
    from semhead_lib.evaluation.headjudge.training import TRAIN_SEED, Recipe, make_people, train

    others = ("out", "people", "workers", "device")
    recipe = Recipe(**{key: value for key, value in config.items() if key not in others})
    workers, people = config.workers or available_cores(), Path(config.people)
    make_people(people / "train", recipe.subjects, recipe.views_per_subject, TRAIN_SEED, workers)
    train(recipe, people / "train", config.out, device=pick_device(config.device))
    judge_and_describe(config.out, people, workers)
    print(Path(config.out) / CARD)


def train(config: DictConfig) -> None:
    """`semhead train DATA OUT`."""
    from semhead_lib import api

    changes = _generator_changes(config.get("generator") or {})
    print(api.train(**{**config, "generator": changes}))


def reconstruct(config: DictConfig) -> None:
    """`semhead reconstruct DATA OUT`."""
    from semhead_lib.data.dataset.memory import SubjectsInMemory
    from semhead_lib.devices import available_cores
    from semhead_lib.training.reconstruction.settings import ReconstructionSettings
    from semhead_lib.training.reconstruction.trainer import reconstruct as run

    changes = _generator_changes(config.get("generator") or {})
    settings = {
        key: value
        for key, value in config.items()
        if key not in ("data", "out", "limit", "init", "device")
    }
    settings = ReconstructionSettings(**settings | {"generator": changes})
    data = SubjectsInMemory.load(
        config.data,
        geometry=("depth", "segmentation"),
        limit=config.limit,
        threads=available_cores(),
        progress=True,
    )
    print(run(settings, data, config.out, device=config.device, init=config.init))


def _generator_changes(words: Mapping[str, str]) -> dict[str, Any]:
    """What `generator.NAME=VALUE` asks for: numbers, words, or lists as in JSON. Raises ValueError
    for other keys."""
    import json

    changes = {}
    for key, text in words.items():
        group, _, name = key.partition(".")
        if group != "generator":
            raise ValueError(f"unknown key '{key}': dotted keys of train begin with generator.")
        try:
            changes[name] = json.loads(text)
        except ValueError:
            changes[name] = text
    return changes


def evaluate(config: DictConfig) -> None:
    """`semhead evaluate MODEL DATA OUT`."""
    from pathlib import Path

    from semhead_lib import api
    from semhead_lib.atomic import place_lock, write_atomically
    from semhead_lib.evaluation.protocol import dumps

    settings = {key: value for key, value in config.items() if key not in ("model", "data", "out")}
    with place_lock(Path(config.out)):
        found = api.evaluate(config.model, config.data, **settings)
        write_atomically(Path(config.out), dumps(found.as_json()).encode())
    print(
        found.overall(),
        found.table(scopes=[name for name in found.generated if name != "all"]),
        sep="\n\n",
    )


def sample(config: DictConfig) -> None:
    """`semhead sample MODEL OUT`."""
    from semhead_lib.viz.samples import sample as draw

    with _held(config.out):
        print(draw(**config))


def invert(config: DictConfig) -> int:
    """`semhead invert PHOTOS...`: 1 when some of them could not be inverted."""
    from semhead_lib.conditioning.semantic import SemanticEncoder
    from semhead_lib.evaluation.features import FeatureExtractor
    from semhead_lib.inversion.batch import Files, invert_photos
    from semhead_lib.inversion.inverter import Inverter
    from semhead_lib.inversion.search import InversionSettings

    names = ("space", "steps", "pivotal_steps", "camera_lr", "seed")
    inverter = Inverter(
        config.model,
        InversionSettings(**{name: config[name] for name in names}),
        start_at=config.start,
        candidates=config.candidates,
        perceptual=config.perceptual,
        encoder=SemanticEncoder.load(config.encoder, device=_device(config)),
        attention=config.attention,
        device=config.device,
    )
    files = Files(config.frames, config.mesh, int(config.landmarks))
    extractor = FeatureExtractor.load(config.features, device=_device(config))
    with _held(config.out):
        failed = invert_photos(config.photos, config.out, inverter, files, extractor=extractor)
    return 1 if failed else 0


def inverter_train(config: DictConfig) -> None:
    """`semhead inverter train MODEL OUT`."""
    from semhead_lib.conditioning.semantic import SemanticEncoder
    from semhead_lib.inversion.encoder_training import EncoderRecipe, train_encoder

    others = ("model", "out", "encoder", "device")
    recipe = EncoderRecipe(**{key: value for key, value in config.items() if key not in others})
    clip = SemanticEncoder.load(config.encoder, device=_device(config))
    with _held(config.out):
        print(train_encoder(config.model, config.out, recipe, clip=clip, device=config.device))


def data_check(config: DictConfig) -> int:
    """`semhead data check DIR`: a line for each finding on stdout."""
    from semhead_lib.data.dataset.check import check

    findings = check(config.path)
    print("\n".join(findings) if findings else f"{config.path}: no damage found")
    return 1 if findings else 0


def data_import(config: DictConfig) -> None:
    """`semhead data import SRC OUT`."""
    from semhead_lib.data.jobs.imports import import_dataset
    from semhead_lib.devices import available_cores

    report = import_dataset(
        config.src,
        config.out,
        group=config.group,
        licence=config.licence,
        image_format=config.image_format,
        shard_size=config.shard_size,
        workers=config.workers or available_cores(),
    )
    _say_made(config.out, report)


def data_export(config: DictConfig) -> None:
    """`semhead data export DIR OUT`."""
    from semhead_lib.data.dataset.eg3d_format import export_dataset

    print(f"{config.out}: {export_dataset(config.path, config.out)} images")


def data_pack(config: DictConfig) -> None:
    """`semhead data pack DATASET FILE`."""
    import sys

    from semhead_lib.data.dataset.packing import pack_dataset
    from semhead_lib.devices import available_cores

    report = pack_dataset(
        config.path, config.out, config.size, psnr=config.psnr, threads=available_cores()
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


def reproduce(config: DictConfig) -> None:
    """`semhead reproduce PROFILE`."""
    from semhead_lib.reproduce.driver import reproduce as execute

    execute(**{**config, "overrides": dict(config.overrides)})


def ablate(config: DictConfig) -> int:
    """`semhead ablate STUDY`."""
    from semhead_lib.ablation.study import ablate as execute

    settings = {
        name: config[name] for name in ("study", "only", "ignore_code", "dry_run", "report")
    }
    return 0 if execute(**settings, launcher=dict(config.launcher)) else 1


def contest(config: DictConfig) -> int:
    """`semhead contest CONTEST`."""
    from semhead_lib.ablation.contest import contest as execute

    return 0 if execute(config.contest, config.only, config.workers, config.dry_run) else 1


def doctor(config: DictConfig) -> int:
    """`semhead doctor`."""
    from semhead_lib.doctor import main

    return main(as_json=config.json)


def _held(out: str) -> AbstractContextManager[None]:
    """The folder `out`, made if missing, held for this process (see `atomic.folder_lock`)."""
    from pathlib import Path

    from semhead_lib.atomic import folder_lock

    Path(out).mkdir(parents=True, exist_ok=True)
    return folder_lock(Path(out))


def _device(config: DictConfig) -> str:
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
