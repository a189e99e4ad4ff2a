"""All that the library reads: a good input of each kind, how a user has it read, and, where changes
may be meant, how another reader reads it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plain
import torch
import yaml
from attempts import command, tree
from noise_source import NoiseSource
from small_training import ENCODER, SMALL
from small_training import _features as features

from semhead_lib import api
from semhead_lib.ablation import analysis, contest, plan, results
from semhead_lib.cameras import nearest_rigid
from semhead_lib.conditioning.cameras import condition_camera_name
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.packed import load_packed
from semhead_lib.data.dataset.packing import pack_dataset
from semhead_lib.data.dataset.reading import infos, subjects
from semhead_lib.data.dataset.semantics import fill_semantics
from semhead_lib.data.dataset.streaming import SubjectStream
from semhead_lib.data.jobs.distributed import synthesize_distributed
from semhead_lib.data.jobs.imports import import_dataset
from semhead_lib.data.jobs.synthesis import synthesize
from semhead_lib.data.kontext.inputs import choose_portraits
from semhead_lib.data.kontext.settings import PortraitFilter
from semhead_lib.data.portraits.alignment import label_of
from semhead_lib.data.portraits.photos import find_photos, read_photo
from semhead_lib.data.subjects import Subject
from semhead_lib.evaluation import plan_renderer
from semhead_lib.evaluation.headjudge.network import HeadJudge
from semhead_lib.evaluation.image_sets import ImageSet, is_image_set
from semhead_lib.evaluation.render_plan import RenderPlan
from semhead_lib.inversion.comparison import read_table
from semhead_lib.inversion.encoder import StyleEncoder
from semhead_lib.reproduce import profiles, runs
from semhead_lib.training.compact import restore_state

ROOT = Path(__file__).parents[2]
WANTED = PortraitFilter(resolution=128, least=32, azimuth=45, elevation=45)
SOURCE = functools.partial(NoiseSource, views=2, resolution=16)
TRAIN = [f"{key}={value}" for key, value in SMALL.items() if key != "kimg"]


@dataclass(frozen=True)
class Reader:
    """One way in which inputs of one kind are read."""

    name: str
    source: str  # name of the good input: a folder, or a file
    damaged: str  # patterns of what is damaged in a folder
    read: Callable[[Path], Any]
    plain: Callable[[Path], Any] | None = (
        None  # what another reader finds; None: nothing else is right
    )
    # changes within pixels and tensors that nothing can notice are left out
    whole: bool = True


def described(subject: Subject) -> dict[str, Any]:
    """All of a subject that shards keep as it is."""
    names = ("id", "attributes", "caption", "cameras", "semantic")
    arrays = ("views", "masks", "normals", "segmentation")
    found = {name: getattr(subject, name) for name in (*names, *arrays)}
    return {name: value for name, value in found.items() if value is not None}


def _in_memory(folder: Path) -> Any:
    held = SubjectsInMemory.load(folder, geometry=("normals", "segmentation"))
    return [described(subject) for subject in held]


def _one_by_one(folder: Path) -> Any:
    return [described(subject) for subject in subjects(folder)]


def _infos(folder: Path) -> Any:
    return [(info.id, info.caption) for info in infos(folder)]


def _plain_infos(folder: Path) -> Any:
    return [(subject["id"], subject["caption"]) for subject in plain.dataset(folder)]


def _checked(folder: Path) -> Any:
    if findings := check(folder):
        raise ValueError("; ".join(findings))
    return plain.dataset(folder)


def _captured(folder: Path) -> Any:
    """Images as they are: square ones, at their own resolution."""
    out = folder.parent / "imported"
    import_dataset(folder, out, workers=0, progress=False, resolution=40, crop="square")
    return [view.numpy() for each in subjects(out) for view in each.views]


def _plain_captured(folder: Path) -> Any:
    names = [folder / "images" / name for name in _plain_transforms(folder)]
    return [plain.pixels(name.read_bytes()) for name in names]


def _captured_names(folder: Path) -> Any:
    """Without numbers: any that a camera can have is right."""
    out = folder.parent / "imported"
    import_dataset(folder, out, workers=0, progress=False, resolution=16, crop="square")
    return [Path(name).name for each in subjects(out) for name in each.provenance["images"]]


def _plain_transforms(folder: Path) -> Any:
    frames = json.loads((folder / "transforms.json").read_bytes())["frames"]
    return [Path(frame["file_path"]).name for frame in frames]


def _plain_colmap(folder: Path) -> Any:
    lines = (folder / "images.txt").read_text().splitlines()
    return [line.split(maxsplit=9)[9] for line in lines[::2]]


def _image_set(path: Path) -> Any:
    if not is_image_set(path):
        raise ValueError(f"{path}: is no set of images")
    found = ImageSet(path)
    viewing = found.viewing(8, 8, 0)
    judged = found.heads(viewing, 16)
    parts = {name: made.images for name, made in judged.conditioned.items()}
    return judged.samples.images, viewing.cameras, judged.samples.fronts, parts


def _labelled(path: Path) -> Any:
    """Images and labels, in the order of names; heads are folders of equally many images."""
    images, cameras, *_ = _image_set(path)
    pairs = zip(images.flatten(0, 1).numpy(), cameras.flatten(0, 1).numpy(), strict=True)
    return [(image, label) for image, label in pairs]


def _plan(path: Path) -> Any:
    found = RenderPlan.load(path)
    try:
        script = plan_renderer.read_plan(path)
    except ValueError as error:  # the script's command line says of which file
        raise ValueError(f"{path}: {error}") from None
    return vars(found.summary), found.cameras, script["cameras"], script["images"]


def _plain_plan(path: Path) -> Any:
    content = json.loads(path.read_bytes())
    about, count = content["about"], content["about"]["heads"] * content["about"]["views"]
    rows = [row for row in content["images"] if row[0].startswith("front-")]
    rows = [row[2] for row in rows if not row[0].endswith("/front.png")][:count]
    cameras = np.float32([content["cameras"][row] for row in rows])
    shape = (about["heads"], about["views"], 25)
    summary = about | {"parts": tuple(about["parts"])}
    return summary, cameras.reshape(shape), content["cameras"], content["images"]


def _checked_archive(folder: Path) -> Any:
    if findings := check(folder):
        raise ValueError("; ".join(findings))
    return _eg3d(folder)


def _streamed(folder: Path) -> Any:
    batches = list(SubjectStream(folder, 2, 2, epochs=1))
    return [(b.images, b.cameras, b.semantics, b.masks, b.subject) for b in batches]


def _exported(folder: Path) -> Any:
    out = folder.parent / "exported"
    command("data", "export", folder, out)
    return tree(out)


def _packed(path: Path) -> Any:
    out = path.parent / "packed.tar"
    pack_dataset(path, out, 1.0, psnr=5, progress=False)
    return [described(subject) for subject in load_packed(out)]


def _encoded(folder: Path) -> Any:
    fill_semantics(folder, features, "another", progress=False)
    return _in_memory(folder)


def _imported(path: Path, **options: Any) -> Any:
    out = path.parent / "imported"
    import_dataset(path, out, workers=0, progress=False, **options)
    return [(s.views[0].numpy(), s.cameras[0].numpy()) for s in subjects(out)]


def _masked(path: Path) -> Any:
    out = path / "imported"
    import_dataset(path / "images", out, masks=path / "masks", workers=0, progress=False)
    return [(s.views[0].numpy(), s.masks[0].numpy()) for s in subjects(out)]  # type: ignore


def _eg3d(path: Path) -> Any:
    return [(image, nearest_rigid(label).astype(np.float32)) for image, label in plain.eg3d(path)]


def _masks(path: Path) -> Any:
    masks = plain.archive(path / "masks")
    images = plain.archive(path / "images")
    names = sorted(name for name in images if name.endswith(".png"))
    return [(plain.pixels(images[name]), plain.pixels(masks[name])) for name in names]


def _photos(folder: Path) -> Any:
    found = [(name, path.name, path) for name, path in find_photos(folder)]
    return [(name, file, read_photo(path), label_of(path)) for name, file, path in found]


def _plain_photos(folder: Path) -> Any:
    labels: dict[str, Any] = {}
    if (folder / "dataset.json").is_file():
        labels = dict(json.loads((folder / "dataset.json").read_bytes()).get("labels") or {})
    found = []
    for path in sorted(folder.glob("*.*")):
        if path.name != "dataset.json" and path.is_file():
            label = labels.get(path.name)
            label = None if label is None else nearest_rigid(np.float64(label)).astype(np.float32)
            found.append((path.stem, path.name, plain.photo(path.read_bytes()), label))
    return found


def _generator(folder: Path) -> Any:
    head = api.load(folder, device="cpu")
    network, bank = head.network, head.bank
    about = {"mode": bank.mode.name, "encoder": bank.encoder, "subjects": list(bank.subjects)}
    return json.dumps(network.config.as_json()), network.state_dict(), bank.features, about


def _plain_generator(folder: Path) -> Any:
    path = folder / "conditions.safetensors"
    features = torch.from_numpy(plain.tensors(path)["features"])
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    about = json.loads(header["__metadata__"]["semhead"])
    config = json.loads((folder / "config.json").read_bytes())
    config.pop("fields", None)  # how many it has
    config = json.dumps(config)
    features = torch.nn.functional.normalize(features, dim=-1)
    return config, plain.tensors(folder / "model.safetensors"), features, about


def _state(network: Any, names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in network.state_dict().items() if name in names}


def _encoder(folder: Path) -> Any:
    encoder = SemanticEncoder.load(str(folder), device="cpu")
    made = [encoder.images(torch.zeros(1, 3, 32, 32).byte()), encoder.texts(["an old man"])]
    if not all(bool(feature.isfinite().all()) for feature in made):
        raise AssertionError("its features are not finite")
    return _state(encoder._model, plain.tensors(folder / "model.safetensors"))


def _judge(folder: Path) -> Any:
    return HeadJudge.load(folder).state_dict()


def _weights(folder: Path) -> Any:
    return plain.tensors(folder / "model.safetensors")


def _style_encoder(folder: Path) -> Any:
    return StyleEncoder.load(folder).state_dict()


def _plain_style_encoder(folder: Path) -> Any:
    return plain.tensors(folder / "style_encoder.safetensors")


def _trained(folder: Path) -> Any:
    data = folder.parents[1] / "inputs" / "dataset"
    command("train", data, folder, "kimg=0.016", "device=cpu", *TRAIN)
    return _plain_trained(folder)


def _plain_trained(folder: Path) -> Any:
    steps = [line["step"] for line in plain.lines(folder / "log.jsonl")]
    return plain.tensors(folder / "generator" / "model.safetensors"), steps


def _restored(folder: Path) -> Any:
    restore_state(folder, folder.parent / "restored")
    return tree(folder.parent / "restored")


def _profile(path: Path) -> Any:
    steps = profiles.load_profile(path, ROOT / "notebooks", "runs/attack")
    given = yaml.safe_load(path.read_bytes())
    found = {step.name: step.parameters for step in steps}
    return {name: {key: found[name][key] for key in given[name] or {}} for name in given}


def _plain_profile(path: Path) -> Any:
    return {name: given or {} for name, given in yaml.safe_load(path.read_bytes()).items()}


def _study(path: Path) -> Any:
    study, given = plan.load_study(str(path), ROOT), yaml.safe_load(path.read_bytes())
    datasets = {
        name: {key: getattr(study.datasets[name], key) for key in values}
        for name, values in given["datasets"].items()
    }
    run = study.runs[0]
    options = dict(word.split("=") for word in run.parameters["options"].split())
    known = options | run.levels | run.parameters
    return datasets, {key: str(known[key]) for key in given["common"]}, len(study.runs)


def _plain_study(path: Path) -> Any:
    given = yaml.safe_load(path.read_bytes())
    common = {key: str(value) for key, value in given["common"].items()}
    count = {"mode=view,semantic": 2, "x": 0}
    return given["datasets"], common, sum(count.get(line, 2) for line in given["sweeps"].values())


def _contest(path: Path) -> Any:
    found = contest.load_contest(str(path), ROOT)
    numbers = {"minutes": found.minutes, "resolution": found.resolution, "heads": found.heads}
    names = [(entry.design, entry.seed, list(entry.parts)) for entry in found.entries]
    if not all(isinstance(number, int | float) and 0 < number < 1e6 for number in numbers.values()):
        raise AssertionError(f"no contest can have {numbers}")
    return numbers, found.datasets, names


def _plain_contest(path: Path) -> Any:
    given = yaml.safe_load(path.read_bytes())
    numbers = {name: given[name] for name in ("minutes", "resolution", "heads")}
    names = [
        (name, seed, list(asked["parts"]))
        for name, asked in given["designs"].items()
        for seed in asked["seeds"]
    ]
    return numbers, given["datasets"], names


def _cells(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with numbers as numbers, however they are written; missing ones are None."""

    def cell(value: Any) -> Any:
        try:
            return None if value in ("", None) or value != value else round(float(value), 9)
        except ValueError:
            return str(value)

    return [{name: cell(value) for name, value in row.items()} for row in rows]


def _results(folder: Path) -> Any:
    found = analysis.load_results(folder)
    frames = (found.metrics, found.runs)
    return [_cells(frame.to_dict("records")) for frame in frames], found.study, sorted(found.heads)


def _plain_results(folder: Path) -> Any:
    tables = [_cells(plain.table(folder / name)) for name in ("metrics.csv", "runs.csv")]
    heads = sorted(path.stem for path in (folder / "heads").glob("*.webp"))
    return tables, json.loads((folder / "study.json").read_bytes()), heads


def _judged(folder: Path) -> Any:
    return _cells(read_table(folder / "judged.csv").to_dict("records"))


def _plain_judged(folder: Path) -> Any:
    return _cells(plain.table(folder / "judged.csv"))


def _measured(folder: Path) -> Any:
    return [
        json.dumps([r.kimg, r.condition_camera, r.evaluation.as_json()], sort_keys=True)
        for r in results.read_results(folder)
    ]


def _plain_measured(folder: Path) -> Any:
    found = [json.loads(path.read_bytes()) for path in folder.glob("kimg-*.json")]
    rows = [
        [float(c["kimg"]), condition_camera_name(c["condition_camera"]), c["evaluation"]]
        for c in found
    ]
    return [json.dumps(row, sort_keys=True) for row in sorted(rows, key=lambda row: row[:2])]


def _portraits(folder: Path) -> Any:
    choose_portraits(folder / "images", folder / "out", WANTED, progress=False)
    return tree(folder / "out")


def _plain_portraits(folder: Path) -> Any:
    return tree(folder / "out")


def _continued(folder: Path) -> Any:
    synthesize(SOURCE, folder, 7, shard_size=2, workers=0, progress=False)
    return tree(folder)


def _continued_together(folder: Path) -> Any:
    synthesize_distributed(SOURCE, folder, 7, shard_size=2, lease=1.0, progress=False)
    return tree(folder)


def _encoding_continued(folder: Path) -> Any:
    fill_semantics(folder, features, ENCODER + " 2", progress=False)
    return _in_memory(folder)


def _run(folder: Path) -> Any:
    steps = profiles.load_profile(
        ROOT / "papermill_runs/profiles/smoke.yaml", ROOT / "notebooks", "x"
    )
    run = runs.Run(folder, ROOT)
    return len([run.why_execute(step, steps[:i], "", True) for i, step in enumerate(steps)])


READERS = (
    Reader("dataset: in memory", "dataset", "*", _in_memory, plain.dataset),
    Reader("dataset: one by one", "dataset", "*", _one_by_one, plain.dataset),
    Reader("dataset: infos", "dataset", "*", _infos, _plain_infos, False),
    Reader("dataset: streamed", "dataset", "*", _streamed, None, False),
    Reader("dataset: check", "dataset", "*", _checked),
    Reader("dataset: export", "dataset", "*", _exported),
    Reader("dataset: encode", "dataset", "*", _encoded),
    Reader("dataset: pack", "dataset", "*", _packed),
    Reader("packed dataset", "packed.tar", "", lambda p: [described(s) for s in load_packed(p)]),
    Reader("begun synthesis", "begun", "*", _continued),
    Reader("begun synthesis, distributed", "begun-distributed", "**/*", _continued_together),
    Reader("begun encoding", "begun-encoding", "*", _encoding_continued),
    Reader("EG3D's form: folder", "eg3d", "**/*", _imported, _eg3d),
    Reader("EG3D's form: zip", "eg3d.zip", "", _imported, _eg3d),
    Reader("EG3D's form: check", "eg3d.zip", "", _checked_archive, _eg3d),
    Reader("capture: images", "transforms", "images/*", _captured, _plain_captured),
    Reader("capture: transforms.json", "transforms", "*", _captured_names, _plain_transforms),
    Reader("capture: COLMAP", "colmap", "*", _captured_names, _plain_colmap),
    Reader("image set: by a plan", "set", "**/*", _image_set),
    Reader("image set: folder", "labelled", "**/*", _labelled, _eg3d),
    Reader("image set: zip", "labelled.zip", "", _labelled, _eg3d),
    Reader("render plan", "plan.json", "", _plan, _plain_plan),
    Reader("masks", "masked", "masks/**/*.png", _masked, _masks),
    Reader("photographs", "photos", "*", _photos, _plain_photos),
    Reader("portraits", "portraits", "**/*", _portraits, _plain_portraits),
    Reader("generator", "generator", "*", _generator, _plain_generator),
    Reader("encoder's folder", "headclip", "*.*", _encoder, _weights),
    Reader("headjudge's folder", "headjudge", "*", _judge, _weights),
    Reader("style encoder", "style", "*", _style_encoder, _plain_style_encoder),
    Reader("training", "training", "*.json*,snapshots/*,generator/*", _trained, _plain_trained),
    Reader("compact training", "compact", "*", _restored),
    Reader("profile", "profile.yaml", "", _profile, _plain_profile),
    Reader("study", "study.yaml", "", _study, _plain_study),
    Reader("contest", "contest.yaml", "", _contest, _plain_contest),
    Reader("run.json", "run", "*", _run),
    Reader("results of a study", "results", "*.*", _results, _plain_results),
    Reader("measurements of a run", "measured", "*", _measured, _plain_measured),
    Reader("table of inversions", "judged", "*", _judged, _plain_judged),
)  # fmt: skip
