"""Commands that train, judge, sample and invert."""

from __future__ import annotations

from typing import Any

from semhead_lib.conf import models
from semhead_lib.settings import part, values_of


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

    from semhead_lib.conditioning.frontal.card import CARD, judge_and_describe
    from semhead_lib.conditioning.frontal.recipe import Recipe
    from semhead_lib.conditioning.frontal.training import train
    from semhead_lib.conditioning.semantic import SemanticEncoder
    from semhead_lib.data.dataset.manifest import check_unseen

    encoder = SemanticEncoder.load(config.encoder, device=config.device)
    check_unseen(config.data, config.unseen)
    train(part(Recipe, config), config.data, config.out, encoder, device=str(encoder.device))
    judge_and_describe(config.out, config.unseen, encoder)
    print(Path(config.out) / CARD)


def finder_train(config: models.FinderTrain) -> None:
    """`semhead finder train DATA OUT`."""
    from pathlib import Path

    from semhead_lib.data.dataset.manifest import check_unseen
    from semhead_lib.data.dataset.memory import SubjectsInMemory
    from semhead_lib.data.portraits.head_finder.card import CARD, judge_and_describe
    from semhead_lib.data.portraits.head_finder.recipe import Recipe
    from semhead_lib.data.portraits.head_finder.training import train_head_finder

    check_unseen(config.data, config.unseen)
    subjects = SubjectsInMemory.load(config.data, geometry=("depth",), progress=True)
    train_head_finder(subjects, config.out, part(Recipe, config), _device(config), init=config.init)
    judge_and_describe(config.out, config.unseen)
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
    from semhead_lib.evaluation.page import PAGE, Entry, write_evaluation
    from semhead_lib.evaluation.protocol import dumps
    from semhead_lib.evaluation.targets import check_out

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
    for line in found.left_out():
        print(line)
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
        for line in entry.found.left_out():
            print(line)
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
    if config.cameras == "bins" and config.reference is not None:
        raise UsageError("reference=... is for cameras=reference; cameras=bins needs no dataset")
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


def _device(config: Any) -> str:
    from semhead_lib.devices import pick_device

    return pick_device(config.device)
